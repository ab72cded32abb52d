"""Where the broker is, and which settings are refused before anything is connected."""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from cryptography.hazmat.primitives import serialization

from petalkit._values.errors import ConfigError, ConnectFailed
from petalkit._values.settings.settings import Settings
from petalkit.transports import ConnectOptions, create_transport
from petalkit.transports._connecting.credentials import CredentialsFailed
from petalkit.transports._connecting.tls import (
    Address,
    broker_address,
    check_files,
    is_loopback,
    tls_context,
)

from ...brokers import Certificates, Mosquitto, free_port
from ..fake_broker import Peer, connack
from ..resolver import Resolver

WAYS = pytest.mark.parametrize("way", ["asyncio-mqtt", "native"])


@pytest.mark.parametrize(
    ("broker", "address"),
    [
        ("mqtt://localhost", Address("localhost", 1883, tls=False)),
        ("mqtt://127.0.0.1:2000", Address("127.0.0.1", 2000, tls=False)),
        ("mqtt://127.8.9.1", Address("127.8.9.1", 1883, tls=False)),
        ("mqtt://[::1]:2000/", Address("::1", 2000, tls=False)),
        ("mqtts://broker.example.org", Address("broker.example.org", 8883, tls=True)),
        ("mqtts://10.0.0.1:443", Address("10.0.0.1", 443, tls=True)),
        ("unix:///run/b.sock", Address("localhost", 1883, tls=False, path="/run/b.sock")),
    ],
)
def test_addresses(broker: str, address: Address) -> None:
    assert broker_address(Settings(broker=broker)) == address


@pytest.mark.parametrize(
    "host", ["broker.example.org", "10.0.0.1", "0.0.0.0", "[::2]", "localhost.example.org", "127.1"]
)
def test_plain_tcp_stays_on_this_machine(host: str) -> None:
    with pytest.raises(ConfigError, match="allow_insecure"):
        broker_address(Settings(broker=f"mqtt://{host}"))
    assert not broker_address(Settings(broker=f"mqtt://{host}", allow_insecure=True)).tls


@pytest.mark.parametrize(
    "broker",
    [
        "http://localhost",
        "wsx://localhost",
        "ws://localhost/mqtt?token=hunter2",
        "ws://localhost/mqtt#x",
        "ws://localhost/m\u00fcnchen",
        "ws://localhost:0/mqtt",
        "unix://run/x",
        "unix:///",
        "unix:///run/x?y",
        "mqtt:///x",
        "mqtt://localhost/x",
        "mqtt://localhost?x=1",
        "mqtt://localhost:0",
        "mqtt://local host",
        "unix:://x",
    ],
)
def test_other_addresses_are_refused(broker: str) -> None:
    with pytest.raises(ConfigError) as caught:
        broker_address(Settings(broker=broker))
    assert caught.value.setting == "broker"


def test_tls_settings_beside_a_plain_address_are_a_mistake(certificates: Certificates) -> None:
    with pytest.raises(ConfigError) as caught:
        broker_address(Settings(ca_file=certificates.ca))
    assert caught.value.setting == "ca_file"


def test_certificates_and_names_are_always_checked(certificates: Certificates) -> None:
    context = tls_context(
        Settings(
            broker="mqtts://localhost",
            ca_file=certificates.ca,
            cert_file=certificates.client_cert,
            key_file=certificates.client_key,
            alpn=("x-amzn-mqtt-ca",),
        )
    )
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] == 1  # and not the system's besides


@pytest.mark.trio
@WAYS
@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
@pytest.mark.parametrize("bad", ["missing", "rubbish", "folder", "null\0character"])
async def test_files_that_cannot_be_used_are_named_at_each_connect_and_never_before(
    certificates: Certificates, tmp_path: Path, name: str, bad: str, way: str
) -> None:
    (tmp_path / "rubbish").write_text("this is not PEM")
    (tmp_path / "folder").mkdir()
    files: dict[str, Any] = {
        "ca_file": certificates.ca,
        "cert_file": certificates.client_cert,
        "key_file": certificates.client_key,
        name: tmp_path / bad,
    }
    settings = Settings(broker=f"mqtts://127.0.0.1:{free_port()}", transport=way, **files)
    transport = create_transport(settings)
    named = {"key_file": "cert_file"}.get(name, name) if bad == "rubbish" else name
    # OpenSSL cannot say which of the pair it was.
    for _ in range(2):
        with pytest.raises(ConnectFailed, match=f"^{named}: ") as caught:
            async with transport.connect(ConnectOptions(client_id="x")):
                raise AssertionError("there is no broker")
        if "\0" not in bad:
            assert str(tmp_path / bad) in str(caught.value)
    with pytest.raises(ConfigError) as refused:
        check_files(settings)
    assert refused.value.setting == named


@pytest.mark.parametrize("name", ["x" * 256, "ä"])
def test_names_of_alpn_that_cannot_be_sent(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^alpn: "):
        Settings(broker="mqtts://localhost", alpn=("mqtt", name))


# -- keys with a password


@pytest.fixture
def encrypted(certificates: Certificates, tmp_path: Path) -> Path:
    """The client's key, encrypted with the password "secret"."""
    key = serialization.load_pem_private_key(certificates.client_key.read_bytes(), None)
    path = tmp_path / "encrypted.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return path


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ({}, "is encrypted: set key_password_file"),
        ({"key_password": "wrong"}, "cannot be decrypted: the key password is wrong"),
        ({"key_password": "x" * 2000}, "cannot be decrypted: the key password is wrong"),
    ],
    ids=["none", "wrong", "long"],
)
def test_an_encrypted_key_is_never_asked_for_on_the_terminal(
    certificates: Certificates, encrypted: Path, password: dict[str, str], text: str
) -> None:
    settings = Settings(
        broker="mqtts://localhost",
        cert_file=certificates.client_cert,
        key_file=encrypted,
        **password,  # type: ignore[arg-type]
    )
    with pytest.raises(CredentialsFailed) as caught:
        tls_context(settings)
    assert str(caught.value).startswith(f"key_file: {encrypted} {text}")
    tls_context(attrs.evolve(settings, key_password="secret"))


@pytest.mark.trio
@WAYS
async def test_the_password_of_a_key_is_read_at_each_connect(
    start_mosquitto: Callable[..., Mosquitto],
    certificates: Certificates,
    encrypted: Path,
    tmp_path: Path,
    way: str,
) -> None:
    broker = start_mosquitto(certificates=certificates, require_client_certificate=True)
    word = tmp_path / "word"
    settings = Settings(
        broker=broker.url,
        transport=way,
        ca_file=certificates.ca,
        cert_file=certificates.client_cert,
        key_file=encrypted,
        key_password_file=word,
    )
    transport = create_transport(settings)
    for text, problem in (
        (None, "key_password_file: .* cannot be read"),
        ("wrong\n", "the key password is wrong"),
    ):
        if text is not None:
            word.write_text(text)
        with pytest.raises(ConnectFailed, match=problem):
            async with transport.connect(ConnectOptions(client_id="x")):
                raise AssertionError("there was no key")
    word.write_text("secret\n")
    async with transport.connect(ConnectOptions(client_id="x")):
        pass


# -- names


@pytest.mark.parametrize(
    ("broker", "host", "name"),
    [
        ("broker.example.com", "broker.example.com", "broker.example.com"),
        ("broker.example.com.", "broker.example.com.", "broker.example.com"),
        ("[fe80::1%lo]", "fe80::1%lo", "fe80::1"),
        ("[fe80::1%25lo]", "fe80::1%lo", "fe80::1"),
        ("[fe80::1%25]", "fe80::1%25", "fe80::1"),  # a bare zone, which is a number
        ("[fe80::1%2525]", "fe80::1%25", "fe80::1"),
        ("[FE80::1%Eth0]", "fe80::1%Eth0", "fe80::1"),
        ("bücher.example.", "bücher.example.", "xn--bcher-kva.example"),
        ("straße.example", "straße.example", "xn--strae-oqa.example"),  # Python's codec: strasse
    ],
)
def test_neither_zone_nor_dot_is_a_part_of_the_name_that_is_checked(
    broker: str, host: str, name: str
) -> None:
    address = broker_address(Settings(broker=f"mqtts://{broker}:8883"))
    assert (address.host, address.server_name) == (host, name)
    named = Settings(broker=f"mqtts://{broker}:8883", tls_server_name="other.example.")
    assert broker_address(named).host == host
    assert broker_address(named).server_name == "other.example"


@pytest.mark.parametrize(
    "host", [".", "..", "a%25b", "a%b", "[fe80::1%25%20]", "[::1%25a%2fb]", "[::1%]", "x.\u2024y"]
)
def test_names_that_are_none(host: str) -> None:
    with pytest.raises(ConfigError, match=r"^broker: "):
        broker_address(Settings(broker=f"mqtts://{host}"))


@pytest.mark.parametrize("name", ["", "a b", "[::1]", "fe80::1%lo", "mqtts://x", "\0", 5])
def test_server_names_that_are_none(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"^tls_server_name: "):
        Settings(broker="mqtts://localhost", tls_server_name=name)
    with pytest.raises(ConfigError, match=r"^tls_server_name: needs an mqtts://"):
        broker_address(Settings(tls_server_name="localhost"))


def test_which_names_are_this_machine() -> None:
    """`localhost.` is looked up past the hosts file, so anybody may answer."""
    assert is_loopback("::1%1")
    assert not is_loopback("localhost.")
    assert not is_loopback("fe80::1%lo")


@pytest.mark.trio
@WAYS
@pytest.mark.parametrize(
    ("certified", "host", "options"),
    [
        ("broker.example.com", "broker.example.com.", {}),
        ("broker.example.com", "127.0.0.1", {"tls_server_name": "broker.example.com"}),
        ("xn--strae-oqa.example", "straße.example", {}),
        ("xn--bcher-kva.example", "bücher.example.", {}),
        ("::1", "[::1%1]", {}),  # of the resolver's zones, what loopback has is a number
        ("::1", "[::1%251]", {}),
        ("broker.example.com", "evil.example.com", None),
        ("127.0.0.1", "127.0.0.1", None),
    ],
)
async def test_links_to_hosts_that_are_written_so(
    tmp_path: Path, way: str, certified: str, host: str, options: dict[str, str] | None
) -> None:
    """None: refused, with the name that was checked."""
    made = Certificates.make(tmp_path, certified)
    v5 = way == "native"
    names: list[str | None] = []
    context = made.server_context()
    context.sni_callback = lambda _, name, __: names.append(name)

    async def serve(plain: trio.SocketStream) -> None:
        peer = Peer(trio.SSLStream(plain, context, server_side=True))
        with contextlib.suppress(trio.BrokenResourceError, AssertionError):
            await peer.accept(connack=connack(properties=b"") if v5 else connack())
            await peer.serve(v5=v5)

    trio.socket.set_custom_hostname_resolver(Resolver())
    refused = options is None
    if refused:
        options = {"tls_server_name": "wrong.example"} if certified == host else {}
    where = "::1" if ":" in host else "127.0.0.1"
    async with trio.open_nursery() as nursery:
        start = functools.partial(trio.serve_tcp, serve, 0, host=where)
        port = (await nursery.start(start))[0].socket.getsockname()[1]
        settings = Settings(
            broker=f"mqtts://{host}:{port}",
            transport=way,
            ca_file=made.ca,
            **options,  # type: ignore[arg-type]
        )
        with trio.fail_after(10), contextlib.ExitStack() as stack:
            if refused:
                stack.enter_context(pytest.raises(ConnectFailed, match="mismatch"))
            async with create_transport(settings).connect(ConnectOptions(client_id="x")):
                assert not refused
        nursery.cancel_scope.cancel()
    if not refused:
        assert names == [None if ":" in certified else certified]
