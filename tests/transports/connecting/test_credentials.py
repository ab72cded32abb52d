"""Secrets that are renewed: read anew for each link, told when they are bad, never shown."""

from __future__ import annotations

import asyncio
import functools
import os
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from petalkit._values.errors import ConfigError, ConnectFailed, RejectedByBroker
from petalkit._values.settings.settings import RENEWABLE, Settings
from petalkit.transports import ConnectOptions, create_transport
from petalkit.transports._connecting.credentials import CredentialsFailed, renew, renew_from_files

from ...brokers import Mosquitto
from ..fake_broker import Peer, connack, open_fake_broker

pytestmark = pytest.mark.trio

LIMIT = 10.0  # seconds of real time, against a hang
SECRET = "hunter2"
ANY_TEXT = [name for name in RENEWABLE if name != "proxy_credentials"]  # which has a colon
WAYS = pytest.mark.parametrize(
    "way",
    [{}, {"protocol": "5"}, {"transport": "native"}],
    ids=["3.1.1", "5", "native"],
)


def renewed(**settings: Any) -> Callable[[], Awaitable[Settings]]:
    """Renew all of them, within 10 s."""
    return functools.partial(_renew, Settings(**settings))


async def _renew(settings: Settings) -> Settings:
    return await renew(settings, RENEWABLE, trio.current_time() + 10)


def others(name: str) -> dict[str, Any]:
    """What has to stand beside one of them."""
    pair = {"cert_file": Path("c"), "key_file": Path("k")}
    return {"password": {"username": "u"}, "key_password": pair}.get(name, {})


# -- files


# One that stands in a header has no spaces.
@pytest.mark.parametrize("name", [one for one in ANY_TEXT if one != "compat_http_token"])
async def test_a_file_is_read_each_time_and_its_line_end_is_not_the_secrets(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / "secret"
    renew_now = renewed(**others(name), **{f"{name}_file": file})
    for text, secret in (("a b \n", "a b "), ("c\r\n", "c"), ("d\n\n", "d\n"), ("é", "é")):
        file.write_bytes(text.encode())
        found = await renew_now()
        assert getattr(found, name) == secret
        assert found.origin_of(name) == name


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"x" * 65_536, "is larger than 65535 bytes"),
        (SECRET.encode() + b"\xff", "is not UTF-8"),
    ],
)
async def test_a_bad_file_is_a_failed_connect_with_its_name_and_nothing_in_it(
    tmp_path: Path, content: bytes | None, text: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConnectFailed) as caught:
        await renewed(username="u", password_file=file)()
    assert str(caught.value) == f"password_file: {file} {text}"
    assert SECRET not in repr(caught.value)


async def test_a_value_that_mqtt_cannot_carry_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "name"
    file.write_bytes(SECRET.encode() + b"\0")
    with pytest.raises(CredentialsFailed, match="null character") as caught:
        await renewed(username_file=file)()
    assert caught.value.setting == "username_file"
    assert SECRET not in str(caught.value)


async def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CredentialsFailed, match="is not a regular file"):
        await renewed(username="u", password_file=tmp_path / "pipe")()


# -- functions


async def test_a_function_is_asked_each_time_plain_or_asynchronous() -> None:
    asked = 0

    async def later() -> str:
        nonlocal asked
        await trio.lowlevel.checkpoint()
        asked += 1
        return f"token {asked}"

    renew_now = renewed(username_source=lambda: "u", password_source=later)
    assert [(await renew_now()).password for _ in range(2)] == ["token 1", "token 2"]
    assert (await renew_now()).username == "u"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "has none to give now"),
        ("", "has none to give now"),
        (b"hunter2", "gave bytes, not a text"),
        (LookupError(SECRET), "raised LookupError"),
        (asyncio.CancelledError(SECRET), "raised CancelledError"),
        (SystemExit(SECRET), "raised SystemExit"),
    ],
)
async def test_a_function_without_a_secret_is_a_failed_connect(given: Any, text: str) -> None:
    def source() -> Any:
        if isinstance(given, BaseException):
            raise given
        return given

    with pytest.raises(CredentialsFailed) as caught:
        await renewed(username="u", password_source=source)()
    assert str(caught.value) == f"password_source: {text}"
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_a_function_has_as_long_as_the_connect(autojump_clock: MockClock) -> None:
    with pytest.raises(CredentialsFailed, match=r"no answer in time \(connect_timeout\)"):
        await renewed(username="u", password_source=trio.sleep_forever)()
    assert trio.current_time() == 10


async def test_a_cancellation_travels_through_a_function(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await renewed(username="u", password_source=trio.sleep_forever)()
    assert scope.cancelled_caught


# -- what the settings contradict


@pytest.mark.parametrize("name", ANY_TEXT)
async def test_one_origin_alone(name: str) -> None:
    given: dict[str, Any] = {
        name: "x",
        f"{name}_file": Path("f"),
        f"{name}_source": lambda: "x",
    }
    for one in given:
        assert Settings(**others(name), **{one: given[one]}).origin_of(name) == one
    for first, second in ((0, 1), (0, 2), (1, 2)):
        names = list(given)
        both = {names[first]: given[names[first]], names[second]: given[names[second]]}
        with pytest.raises(ConfigError, match=f"cannot be given together with {names[first]}"):
            Settings(**others(name), **both)


async def test_what_a_proxy_is_shown_is_a_name_and_a_password(tmp_path: Path) -> None:
    file = tmp_path / "proxy"
    renew_it = renewed(proxy="http://p:1", proxy_credentials_file=file)
    for text in ("me:first", "me:second"):
        file.write_text(text + "\n")
        assert (await renew_it()).proxy_credentials == text
    file.write_text("hunter2\n")
    with pytest.raises(CredentialsFailed, match=r"proxy_credentials_file: .*a colon") as caught:
        await renew_it()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["password", "key_password"])
@pytest.mark.parametrize("kind", ["", "_file", "_source"])
async def test_a_password_belongs_to_something(name: str, kind: str) -> None:
    given: Any = {"": "x", "_file": Path("f"), "_source": lambda: "x"}[kind]
    with pytest.raises(ConfigError, match="beside it") as caught:
        Settings(**{name + kind: given})
    assert caught.value.setting == name + kind
    Settings(**others(name), **{name + kind: given})


async def test_no_secret_is_shown() -> None:
    given = {name: SECRET for name in ANY_TEXT if name != "username"}
    given["proxy_credentials"] = f"me:{SECRET}"
    shown = repr(Settings(username="u", cert_file=Path("c"), key_file=Path("k"), **given))
    assert SECRET not in shown


# -- on the way to a broker


@WAYS
async def test_each_connect_says_what_is_good_now(tmp_path: Path, way: dict[str, str]) -> None:
    v5 = way != {}

    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b"") if v5 else connack())
        await peer.serve(v5=v5)

    file = tmp_path / "token"
    async with open_fake_broker(script) as broker:
        settings = Settings(
            broker=broker.url, username_source=lambda: "device", password_file=file, **way
        )
        transport = create_transport(settings)
        with trio.fail_after(LIMIT):
            for token in ("first", None, "second"):
                file.unlink(missing_ok=True)
                if token is None:
                    with pytest.raises(ConnectFailed, match=r"password_file: .* cannot be read"):
                        async with transport.connect(ConnectOptions(client_id="x")):
                            raise AssertionError("it had no password")
                    continue
                file.write_text(f"{token}\n")
                async with transport.connect(ConnectOptions(client_id="x")):
                    pass
    said = [peer.received[0].body for peer in broker.peers]
    assert [body[-len(b"second") :] for body in said] == [b"\x05first", b"second"]
    assert all(b"\0\x06device" in body for body in said)


@WAYS
async def test_a_broker_that_knows_only_the_new_password(
    start_mosquitto: Callable[..., Mosquitto], tmp_path: Path, way: dict[str, str]
) -> None:
    (tmp_path / "tokens").mkdir()
    file = tmp_path / "tokens" / "token"
    file.write_text("old\n")
    broker = start_mosquitto(users={"device": "old"})
    settings = Settings(broker=broker.url, username="device", password_file=file, **way)
    transport = create_transport(settings)
    options = attrs.evolve(ConnectOptions(client_id="x"), disconnect_timeout=1.0)
    with trio.fail_after(3 * LIMIT):
        async with transport.connect(options):
            pass
        broker.stop()
        broker.set_users({"device": "new"})
        broker.start()
        with pytest.raises(RejectedByBroker):
            async with transport.connect(options):
                raise AssertionError("that password is old")
        file.write_text("new\n")
        async with transport.connect(options):
            pass


async def test_the_files_are_read_without_waiting_for_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    settings = Settings(username_source=lambda: "u", password_file=tmp_path / "token")
    found = renew_from_files(settings, RENEWABLE)
    assert (found.password, found.origin_of("username")) == ("t", "username_source")
