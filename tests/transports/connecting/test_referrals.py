"""Where the broker sends us: who may be followed, for how long, and how often in a row."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from petalkit import ConfigError, ConnectFailed, ConnectionLost, RejectedByBroker, Settings
from petalkit._values.settings.server_references import (
    Reference,
    Referral,
    is_allowed,
    read_references,
    referral_of,
)
from petalkit.transports import ConnectOptions, Transport, create_transport
from petalkit.transports._connecting.credentials import CredentialsFailed
from petalkit.transports._connecting.referrals import (
    HOPS_FORGOTTEN,
    HOPS_MAX,
    MOVED_FAILURES_MAX,
    Referrals,
)
from petalkit.transports._connecting.tls import Address, broker_address

from ...brokers import Certificates
from ..fake_broker import DISCONNECT, FakeBroker, Peer, connack, open_fake_broker, packet

LIMIT = 10.0  # seconds of real time
ANOTHER, MOVED = 0x9C, 0x9D


# -- values


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("b.example", [Reference("b.example")]),
        ("B.Example.:8883", [Reference("b.example", 8883)]),
        ("a:1 b:2", [Reference("a", 1), Reference("b", 2)]),
        ("[2001:db8::1]:8883 [::1]", [Reference("2001:db8::1", 8883), Reference("::1")]),
        ("", []),
        ("a:0 a:65536 a:x a: a:99999999 :1 [::1 [::1]1 []:1", []),
        ("mqtts://a a/b u@a a?b a\nb a\x00 b\u00fccher " + "x" * 300, []),
        ("\u0661:1 a:\u0661 ok", [Reference("ok")]),
    ],
)
def test_what_a_server_reference_says(text: str, references: list[Reference]) -> None:
    assert list(read_references(text)) == references


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("b.example", "b.example", True),
        ("B.EXAMPLE.", "b.example", True),
        ("b.example", "a.b.example", False),
        ("b.example:8883", "b.example", True),
        ("b.example:8884", "b.example", False),
        ("*.example", "b.example", True),
        ("*.example", "a.b.example", True),
        ("*.example", "example", False),
        ("*.example", "bexample", False),
        ("*.example:8884", "b.example", False),
        ("[2001:db8::1]:8883", "2001:db8::1", True),
    ],
)
def test_whom_the_setting_allows(pattern: str, host: str, allowed: bool) -> None:
    assert Settings(protocol="5", server_references=(pattern,)).server_references == (pattern,)
    assert is_allowed(Reference(host, 8883), (pattern,)) is allowed


@pytest.mark.parametrize("pattern", ["*", "*.", "a:b", "mqtts://a", "a/b", "a b", "*.[::1]", ""])
def test_what_names_no_server_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(protocol="5", server_references=(pattern,))
    assert caught.value.setting == "server_references"


def test_only_two_reason_codes_send_us_away() -> None:
    assert referral_of(0x87, "b") is None
    assert referral_of(ANOTHER, None) is None
    assert referral_of(MOVED, "b") is not None


# -- what comes of it


class Way:
    """The referrals of one transport, and a broker that says what a test tells it."""

    def __init__(self, *allowed: str, broker: str = "mqtts://home:1", insecure: bool = False):
        settings = Settings(
            broker=broker, protocol="5", server_references=allowed, allow_insecure=insecure
        )
        self.home = broker_address(settings)
        self.referrals = Referrals(settings, self.home)

    def go(
        self,
        *,
        said: tuple[int, str] | None = None,
        up: bool = False,
        lived: float = 0.0,
        fail: bool | Exception = False,
    ) -> str:
        """One attempt; where it went."""
        address = self.referrals.take_address()
        try:
            with self.referrals.attempt(address) as attempt:
                if isinstance(fail, Exception):
                    raise fail
                if fail:
                    raise ConnectFailed("nobody there")
                if up:
                    attempt.up = trio.current_time() - lived
                if said is not None:
                    attempt.referral = referral_of(*said)
        except (ConnectFailed, RejectedByBroker):
            pass
        return str(address)


@pytest.mark.trio
async def test_another_server_is_for_one_connect_and_moved_is_for_good() -> None:
    way = Way("b")
    assert way.go(said=(ANOTHER, "b:2")) == "home:1"
    assert [way.go(up=True), way.go(up=True)] == ["b:2", "home:1"]
    way.go(said=(MOVED, "b"))
    assert [way.go(up=True), way.go(up=True)] == ["b:1", "b:1"]  # the port of the settings


@pytest.mark.trio
async def test_nobody_is_followed_by_default_or_who_is_not_allowed() -> None:
    for way in (Way(), Way("c", "b:3")):
        way.go(said=(MOVED, "b:2"))
        assert way.go() == "home:1"
    way = Way("c")
    way.go(said=(MOVED, "b:2 evil@c:3 c:3 c:4"))
    assert way.go() == "c:3"  # the first that is allowed


@pytest.mark.trio
async def test_plain_tcp_is_followed_to_this_machine_only() -> None:
    way = Way("*.example", "127.0.0.1", broker="mqtt://127.0.0.1:1")
    way.go(said=(MOVED, "b.example:2 127.0.0.1:2"))
    assert way.go() == "127.0.0.1:2"
    way = Way("b.example", broker="mqtt://127.0.0.1:1", insecure=True)
    way.go(said=(MOVED, "b.example:2"))
    assert way.go() == "b.example:2"


@pytest.mark.trio
async def test_a_server_that_cannot_be_reached_is_given_up() -> None:
    way = Way("b")
    way.go(said=(ANOTHER, "b:2"))
    assert [way.go(fail=True), way.go()] == ["b:2", "home:1"]
    way.go(said=(MOVED, "b:2"))
    went = [way.go(fail=True) for _ in range(MOVED_FAILURES_MAX + 1)]
    assert went == ["b:2"] * MOVED_FAILURES_MAX + ["home:1"]


@pytest.mark.trio
async def test_a_server_that_refuses_us_for_good_is_given_up() -> None:
    """Moved to where we are not authorized, the device would be off the net until a restart."""
    way = Way("b")
    way.go(said=(MOVED, "b:2"))
    refusal = RejectedByBroker(0x87, "Not authorized")
    went = [way.go(fail=refusal) for _ in range(MOVED_FAILURES_MAX + 1)]
    assert went == ["b:2"] * MOVED_FAILURES_MAX + ["home:1"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"server_references": ("b",)}, "server_references"),
        (
            {"server_references": ("b",), "protocol": "5", "broker": "unix:///x"},
            "server_references",
        ),
        ({"proxy_credentials": "me:hunter2"}, "proxy_credentials"),
    ],
    ids=["3.1.1", "unix", "no proxy"],
)
def test_what_can_do_nothing_is_refused(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        broker_address(Settings(**settings))
    assert refused.value.setting == name
    assert "hunter2" not in str(refused.value)


@pytest.mark.trio
async def test_a_secret_that_cannot_be_read_says_nothing_of_the_server() -> None:
    way = Way("b")
    way.go(said=(MOVED, "b:2"))
    missing = CredentialsFailed("password_file", "it cannot be read")
    went = [way.go(fail=missing) for _ in range(MOVED_FAILURES_MAX + 1)]
    assert went == ["b:2"] * (MOVED_FAILURES_MAX + 1)


@pytest.mark.trio
@pytest.mark.parametrize(("first", "second"), [("home", "b"), ("b", "home")])
async def test_another_server_is_reached_as_no_proxy_says_of_it(first: str, second: str) -> None:
    """`b` is named there, and `home` is not."""
    settings = Settings(
        broker=f"mqtts://{first}:1",
        protocol="5",
        server_references=("home", "b"),
        proxy="http://p:3128",
        no_proxy="b",
    )
    referrals = Referrals(settings, broker_address(settings))
    address = referrals.take_address()
    assert (address.proxy is None) is (first == "b")
    with referrals.attempt(address) as attempt:
        attempt.referral = Referral(MOVED, f"{second}:2")
    address = referrals.take_address()
    assert address.host == second
    assert (address.proxy is None) is (second == "b")


@pytest.mark.trio
async def test_servers_that_send_us_round_are_left(caplog: pytest.LogCaptureFixture) -> None:
    way = Way("b", "home")
    went = [way.go(said=(ANOTHER, "home:1" if n % 2 else "b:2"), up=True) for n in range(HOPS_MAX)]
    assert went == ["home:1", "b:2"] * (HOPS_MAX // 2)
    assert "times in a row" not in caplog.text
    way.go(said=(ANOTHER, "b:2"), up=True)
    assert "times in a row" in caplog.text
    assert way.go() == "home:1"


@pytest.mark.trio
async def test_a_link_that_lived_is_no_hop() -> None:
    way = Way("b", "home")
    for number in range(3 * HOPS_MAX):
        there, back = ("home:1", "b:2") if number % 2 == 0 else ("b:2", "home:1")
        assert way.go(said=(MOVED, back), up=True, lived=HOPS_FORGOTTEN) == there


# -- links


def _settings(kind: str, port: int, *allowed: str, certificates: Certificates | None) -> Transport:
    return create_transport(
        Settings(
            broker=f"mqtt{'s' if certificates else ''}://localhost:{port}",
            transport=kind,
            protocol="5",
            ca_file=certificates.ca if certificates else None,
            server_references=allowed,
        )
    )


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _reference(port: int) -> bytes:
    return b"\x1c" + _text(f"127.0.0.1:{port}")


async def _polite(peer: Peer) -> None:
    if await peer.packet() is not None:  # None where there is no trust
        await peer.send(connack(properties=b""))
        await peer.serve(v5=True)


@asynccontextmanager
async def _two(
    script_of_first: str, certificates: Certificates | None
) -> AsyncGenerator[tuple[FakeBroker, FakeBroker]]:
    """A broker that sends away, by `CONNACK` or `DISCONNECT`, and the one that it names."""
    async with open_fake_broker(_polite, certificates) as second:

        async def first(peer: Peer) -> None:
            properties = _reference(second.port)
            if script_of_first == "CONNACK":
                await peer.accept(connack=connack(ANOTHER, properties=properties))
            else:
                await peer.accept(connack=connack(properties=b""))
                body = bytes([MOVED, len(properties)]) + properties
                await peer.send(packet(DISCONNECT, body))

        async with open_fake_broker(first, certificates) as broker:
            yield broker, second


OPTIONS = ConnectOptions(client_id="c")
BOTH = pytest.mark.parametrize("kind", ["native", "asyncio-mqtt"])


@BOTH
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_connack_that_names_an_allowed_server_is_followed_at_once(
    kind: str, tls: bool, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "petalkit")

    async def main() -> None:
        used = certificates if tls else None
        with trio.fail_after(LIMIT):
            async with _two("CONNACK", used) as (first, second):
                transport = _settings(kind, first.port, "127.0.0.1", certificates=used)
                async with transport.connect(OPTIONS):
                    assert (len(first.peers), len(second.peers)) == (1, 1)
                assert f"127.0.0.1:{second.port}: going there" in caplog.text

    trio.run(main)


@BOTH
def test_a_server_that_is_not_allowed_is_named_and_not_followed(kind: str) -> None:
    async def main() -> None:
        with trio.fail_after(LIMIT):
            async with _two("CONNACK", None) as (first, second):
                transport = _settings(kind, first.port, certificates=None)
                with pytest.raises(RejectedByBroker) as caught:
                    async with transport.connect(OPTIONS):
                        pass
                assert caught.value.reason_code == ANOTHER
                assert f"names another server: 127.0.0.1:{second.port}" in str(caught.value)
                assert not second.peers

    trio.run(main)


@BOTH
def test_a_disconnect_that_names_a_server_leads_the_next_link_there(kind: str) -> None:
    async def main() -> None:
        with trio.fail_after(LIMIT):
            async with _two("DISCONNECT", None) as (first, second):
                transport = _settings(kind, first.port, "127.0.0.1", certificates=None)
                with pytest.raises(ConnectionLost, match="names another server: 127"):
                    async with transport.connect(OPTIONS) as link:
                        await link.receive()
                for _ in range(2):
                    async with transport.connect(OPTIONS):
                        pass
                assert (len(first.peers), len(second.peers)) == (1, 2)

    trio.run(main)


@BOTH
def test_a_name_that_the_certificate_has_not_is_no_server(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    certificates = Certificates.make(tmp_path_factory.mktemp("named"), "localhost")

    async def main() -> None:
        with trio.fail_after(LIMIT):
            async with _two("CONNACK", certificates) as (first, _second):
                transport = _settings(kind, first.port, "127.0.0.1", certificates=certificates)
                with pytest.raises(ConnectFailed, match=r"no TLS with 127\.0\.0\.1"):
                    async with transport.connect(OPTIONS):
                        pass

    trio.run(main)


@BOTH
def test_what_the_block_raises_is_not_taken_for_a_refusal(kind: str) -> None:
    async def main() -> None:
        with trio.fail_after(LIMIT):
            async with open_fake_broker(_polite) as broker:
                transport = _settings(kind, broker.port, "127.0.0.1", certificates=None)
                with pytest.raises(RejectedByBroker, match="mine"):
                    async with transport.connect(OPTIONS):
                        raise RejectedByBroker(ANOTHER, "mine")
                assert len(broker.peers) == 1

    trio.run(main)


@pytest.mark.parametrize("where", ["CONNACK", "DISCONNECT"])
def test_a_reason_code_that_has_no_name_is_told_by_its_number(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        if where == "CONNACK":
            await peer.accept(connack=connack(0xF5, properties=b""))
        else:
            await peer.accept(connack=connack(properties=b""))
            await peer.send(packet(DISCONNECT, b"\xf5\x00"))

    async def main() -> None:
        with trio.fail_after(LIMIT):
            async with open_fake_broker(script) as broker:
                transport = _settings("asyncio-mqtt", broker.port, certificates=None)
                with pytest.raises((RejectedByBroker, ConnectionLost), match="reason code 0xf5"):
                    async with transport.connect(OPTIONS) as link:
                        await link.receive()

    trio.run(main)
    assert "a link has failed" not in caplog.text  # it is no fault of ours


@pytest.mark.trio
async def test_a_stream_of_the_users_is_left_to_the_user() -> None:
    settings = Settings(protocol="5", server_references=("b",))
    referrals = Referrals(settings, broker_address(settings), follow=False)
    with referrals.attempt(referrals.take_address()) as attempt:
        attempt.referral = referral_of(MOVED, "b:2")
    assert referrals.take_address() == Address("localhost", 1883, tls=False)


@pytest.mark.trio
async def test_the_proxy_is_named_in_the_log_of_each_connect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "petalkit")
    settings = Settings(broker="mqtts://b:1", proxy="http://p:2", proxy_credentials="me:hunter2")

    @asynccontextmanager
    async def refuse(
        address: Address, options: ConnectOptions, deadline: float
    ) -> AsyncGenerator[None]:
        raise ConnectFailed("nobody there")
        yield

    referrals = Referrals(settings, broker_address(settings))
    with pytest.raises(ConnectFailed):
        async with referrals.connect(ConnectOptions(client_id="c"), refuse):  # type: ignore[arg-type]
            pass
    assert "connecting to b:1 through the proxy http://p:2" in caplog.text
    assert "hunter2" not in caplog.text
