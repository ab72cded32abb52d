"""Settings as people write them: a TOML file, the environment, and the addresses in them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import attrs

from petalkit import ConfigError, Identity, Settings
from petalkit._serving.identity.client_id import client_id_of
from petalkit._serving.identity.sources import FILE_PLACES, FileSource, SourceError
from petalkit._values.settings.settings import environment_name
from petalkit.cli._settings.loading import load, loadable_fields
from petalkit.client._opening import connect_options
from petalkit.transports import create_transport
from petalkit.transports._connecting.tls import broker_address
from petalkit.transports._receiving.bounded_inbox import packet_limit
from petalkit.transports.native._session import ClientSession
from petalkit.transports.sidecar._addresses import callback_url, sidecar_addresses

from .reader import Reader
from .scratch import scratch

NAMES = tuple(loadable_fields())
_SECRET = "hunter2-hunter2"
SECRETS = tuple(name for name, field in loadable_fields().items() if field.metadata.get("secret"))


# What a setting may be given; some of it is good for some of them.
_SECRETS = (f"'{_SECRET}'", f"['{_SECRET}']", f"{{a = '{_SECRET}'}}", f"'{_SECRET}\\u0000'")
_VALUES = (
    "0", "1", "-1", "20", "65536", "1e400", "1" + "0" * 400, "0.5", "inf", "nan", "1_0", "0x10",
    "true", "false", "[]", "['a']", "['a', 'a/b', '#']", "[1]", "{a = 1}", "2030-01-01",
    "12:30:00", "''", "'a'", "'off'", "'/'", "'~'", "'~nobody/x'", "'on'", "'accepted'", "'wait'",
    "'handled'", "'guide'", "'host-0.2'", "'5'", "'3.1.1'", "5", "3.1", "'native'", "'sidecar'",
    "'asyncio-mqtt'", "'mqtt://localhost'", "'mqtts://h:8883'", "'unix:///x'", "'http://[::1]:1'",
    "'127.0.0.1:0'", "'{organization_id}'", "'{organization_id.x}'", "'{device_id!r:>9}'", "'{'",
    "'{0}'", "'{organization_id[0]}'", "'{device_id:999999999}'", "'a/{device_id}/+'",
    "\"\\u0000\"", "\"a\\u0000b\"", "\"\\n\"", "'" + "x" * 200 + "'", "'x,y'", f"'{'x' * 66_000}'",
    "'[\"a\", \"b\"]'", "'[[[1'",
)  # fmt: skip


def settings(data: bytes) -> None:
    """A TOML file, and behind null bytes variables: `setting=value`; or both made of the input."""
    reader = Reader(data)
    is_text = bool(reader.byte() & 1)
    if is_text:
        toml, *variables = reader.rest().split(b"\0")
        pairs = [os.fsdecode(each).partition("=") for each in variables]
        environment = {environment_name(name): value for name, _, value in pairs if name in NAMES}
    else:
        toml, environment = b"[petalkit]\n", {}
        while reader:
            name = reader.choice(NAMES)
            where = reader.byte()
            value = reader.choice(_SECRETS if name in SECRETS else _VALUES)
            if where % 4 == 0:
                environment[environment_name(name)] = value.strip("'")
            elif where % 4 == 1:
                text = reader.sized().replace(b"\0", b"").replace(_SECRET.encode(), b"")
                environment[environment_name(name)] = os.fsdecode(text)
            else:
                toml += f"{name} = {value}\n".encode()
    file = scratch() / "petalkit.toml"
    file.write_bytes(toml)
    with _environment(environment):
        try:
            loaded = load(config=file).settings
        except ConfigError as error:
            assert error.setting in (*NAMES, "config")
            if not is_text:  # where a secret may stand in any setting
                _check_text(error)
            return
    _check(loaded)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Exactly these variables of petalkit's, for a while."""
    before = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("PETALKIT_")}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(before)


def _check_text(error: ConfigError) -> None:
    """Whoever reads it sees which setting it is, and no secret."""
    assert error.setting in str(error)
    assert _SECRET not in str(error)


def _check(loaded: Settings) -> None:
    """What was loaded can be used, or says why not when its transport is made."""
    for field in attrs.fields(Settings):
        value = getattr(loaded, field.name)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str):
                text.encode()  # all of them are said to somebody
        if isinstance(value, int | float):
            assert value == value
            assert value >= 0
    assert attrs.evolve(loaded) == loaded
    assert "\0" not in f"{loaded.username}{loaded.client_id}"
    identity = Identity("acme", "device", base_topic=loaded.base_topic)
    for topic in (*loaded.command_topics, loaded.response_topic, loaded.status_topic):
        assert identity.topic(topic)
    assert client_id_of(loaded, identity)
    try:
        create_transport(loaded)
    except ConfigError as error:
        _check_text(error)
    if loaded.transport == "native":  # CONNECT can be said
        ClientSession().connect(
            connect_options(loaded),
            packet_limit=packet_limit(loaded.payload_max),
            username=loaded.username,
            password=loaded.password,
        )


# What addresses are made of.
_PARTS = (
    "mqtt", "mqtts", "unix", "http", "https", "://", "//", "/", ":", "[", "]", "@", "?", "#", "%",
    ".", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "fe80::1%eth0", "h", "0", "1", "65535",
    "65536", f"user:{_SECRET}@", "path", " ", "\t", "\r\n", "\0", "\udcff", "ä", "xn--", "Ⅷ", "¹",
)  # fmt: skip


def _address(reader: Reader) -> str:
    """A scheme, and some parts; or any text."""
    count = reader.byte() % 16
    if not count:
        return reader.text()
    return "".join(reader.choice(_PARTS) for _ in range(count))


def addresses(data: bytes) -> None:
    """The addresses of the broker and the sidecar, and our two."""
    reader = Reader(data)
    broker, sidecar, listen, told = (_address(reader) for _ in range(4))
    if broker.startswith("unix:///"):
        broker = broker.replace(_SECRET, "")  # it is the name of a file there
    listen = listen.replace(_SECRET, "")
    try:
        found = Settings(
            broker=broker or "mqtt://localhost",
            sidecar_url=sidecar or "http://localhost",
            callback_listen=listen or "127.0.0.1:0",
            callback_url=told or None,
            allow_insecure=len(data) % 2 == 0,
            sidecar_token=_SECRET,
        )
    except ConfigError as error:
        _check_text(error)
        return
    try:
        address = broker_address(found)
    except ConfigError as error:
        _check_text(error)
    else:
        assert address.host
        assert address.host.isprintable()
        assert " " not in address.host
        assert 0 < address.port < 65_536
        assert address.path is None or address.path.startswith("/")
        assert str(address)
    try:
        both = sidecar_addresses(found)
    except ConfigError as error:
        _check_text(error)
    else:
        assert both.host
        assert both.host.isprintable()
        assert 0 < both.port < 65_536
        assert both.listen_host
        assert 0 <= both.listen_port < 65_536
        assert both.prefix.isascii()
        assert callback_url(found, 3005).endswith(f"?token={_SECRET}")
        head = f"POST {both.prefix}/publish HTTP/1.1\r\nhost: {both.authority}\r\n\r\n"
        assert head.count("\n") == 3
        head.encode("ascii")


_PLACES = tuple(sorted({name for place in FILE_PLACES for name in place}))


def organization_file(data: bytes) -> None:
    """The file that provisioning writes."""
    path = scratch() / "organization.json"
    path.write_bytes(Reader(data).json_text(_PLACES))
    try:
        found = FileSource(path).read_now()
    except SourceError as error:
        assert str(error)
    else:
        assert found
