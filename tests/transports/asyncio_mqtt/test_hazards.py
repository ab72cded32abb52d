"""The rows S1 to S20 of the asyncio-mqtt stack, one by one, against a broker that is scripted.

Each test is red when its mend is taken out; its docstring says what that is.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import tomllib
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from petalkit._values.errors import ConnectionLost, TransportError
from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit._values.topics import TopicFilter
from petalkit.transports import Delivery
from petalkit.transports import _base_link as base_link
from petalkit.transports._connecting.tls import Address
from petalkit.transports._receiving.bounded_inbox import BUFFER_MESSAGES
from petalkit.transports.asyncio_mqtt import create
from petalkit.transports.asyncio_mqtt._client import HardenedClient
from petalkit.transports.asyncio_mqtt._link import AsyncioLink
from petalkit.transports.asyncio_mqtt._wire import Wire

from ...brokers import Certificates
from ..fake_broker import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    Peer,
    connack,
    open_fake_broker,
    polite,
    publish,
)
from ..fake_broker_link import connected
from ..links import LIMIT, OPTIONS, collect, numbers

pytestmark = pytest.mark.trio

T = TopicFilter("t")


def numbered(first: int, last: int) -> list[bytes]:
    return [publish(n, b"%d" % n) for n in range(first, last + 1)]


def bare_client(loop: asyncio.AbstractEventLoop, events: object) -> HardenedClient:
    address = Address("127.0.0.1", 1, tls=False)
    return HardenedClient(loop, Wire(), events, address, Settings(), OPTIONS)  # type: ignore[arg-type]


async def test_s01_the_client_starts_on_paho_2() -> None:
    """Take out `HardenedClient.__init__`: the base's asks paho for things of version 1."""
    import trio_asyncio

    async with trio_asyncio.open_loop() as loop:
        client = bare_client(loop, None)
        assert client.id == "device"


async def test_s02_connecting_needs_no_thread_and_no_second_socket() -> None:
    """Take out `_Paho._create_socket`: paho opens a socket of its own.

    Take out `HardenedClient.connect`: the base runs paho in a thread.
    """
    threads: set[int] = set()

    class Watched(AsyncioLink):
        def on_output(self) -> None:
            threads.add(threading.get_ident())
            super().on_output()

    async with open_fake_broker(polite) as broker:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("petalkit.transports.asyncio_mqtt._transport.AsyncioLink", Watched)
            async with create(Settings(broker=broker.url)).connect(OPTIONS) as link:
                await link.subscribe([T])
        assert threads == {threading.get_ident()}
        assert len(broker.peers) == 1
        assert broker.peers[0].kinds()[:2] == [CONNECT, SUBSCRIBE]


@pytest.mark.parametrize("read_size", [16, base_link.READ_SIZE])
async def test_s03_packets_in_one_tls_record_are_all_read(
    certificates: Certificates, read_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take out the loop over `pending()` in `receive_some`."""
    monkeypatch.setattr("petalkit.transports.asyncio_mqtt._link.READ_SIZE", read_size)

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(PUBLISH)
        await peer.send(*numbered(1, 10))
        await trio.sleep_forever()

    async with open_fake_broker(script, certificates) as broker:
        settings = Settings(broker=broker.url, ca_file=certificates.ca)
        options = attrs.evolve(OPTIONS, disconnect_timeout=0)
        async with create(settings).connect(options) as link:
            link.publish_nowait(Message("go", b"", qos=0), lambda _: None)
            assert numbers(await collect(link, 10, ack=False)) == list(range(1, 11))


async def test_s04_a_session_replayed_right_after_connack_is_delivered() -> None:
    """Take out `HardenedClient._on_message`: the base's has no listener yet."""

    async def script(peer: Peer) -> None:
        await peer.accept(*numbered(1, 10), connack=connack(session_present=True))
        await peer.serve()

    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url)).connect(OPTIONS) as link,
    ):
        assert link.session_present
        await link.subscribe([T])
        assert broker.peers[0].of(PUBACK) == []
        assert numbers(await collect(link, 10, ack=False)) == list(range(1, 11))


async def test_s05_acknowledged_by_hand_in_order_and_nothing_dropped() -> None:
    """Take out `manual_ack=True`: paho acknowledges by itself."""
    total = 5 * BUFFER_MESSAGES

    async def script(peer: Peer) -> None:
        await peer.accept(*numbered(1, total))
        await peer.serve()

    async with open_fake_broker(script) as broker:
        async with create(Settings(broker=broker.url)).connect(OPTIONS) as link:
            found = await collect(link, total, ack=False)
            await trio.testing.wait_all_tasks_blocked()
            assert broker.peers[0].of(PUBACK) == []
            for delivery in reversed(found):
                delivery.ack()
        assert numbers(found) == list(range(1, total + 1))
        assert [each.packet_id for each in broker.peers[0].of(PUBACK)] == list(range(1, total + 1))


async def test_s06_cancelled_while_waiting_for_connack() -> None:
    """Take out `closing()` in `connect`: the broker never sees the end."""
    ended = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.packet()
        scope.cancel()
        assert await peer.packet() is None
        ended.set()

    async with open_fake_broker(script) as broker:
        with trio.CancelScope() as scope:
            async with create(Settings(broker=broker.url)).connect(OPTIONS):
                raise AssertionError("there was no CONNACK")
        assert scope.cancelled_caught
        with trio.fail_after(LIMIT):
            await ended.wait()


async def test_s06_a_disconnect_after_a_cancelled_connect_is_harmless() -> None:
    """Take out the question whether `_connected` is done in `_on_disconnect`."""
    import trio_asyncio
    from paho.mqtt.client import DisconnectFlags
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.reasoncodes import ReasonCode

    ends: list[str] = []

    class Events:
        def on_end(self, reason: str, *, reason_code: int | None) -> None:
            ends.append(reason)

    async with trio_asyncio.open_loop() as loop:
        client = bare_client(loop, Events())
        client._connected.cancel()
        flags = DisconnectFlags(is_disconnect_packet_from_server=False)
        client._on_disconnect(
            None, None, flags, ReasonCode(PacketTypes.DISCONNECT, identifier=0x80)
        )
    assert len(ends) == 1


async def test_s07_s08_nothing_of_one_connection_is_sent_on_the_next() -> None:
    """Keep the client (or the link's outbox) in the transport: the publish is sent again."""

    async def never_acknowledges(peer: Peer) -> None:
        await peer.accept()
        await peer.drain()

    async with open_fake_broker(never_acknowledges) as broker:
        transport = create(Settings(broker=broker.url))
        async with transport.connect(OPTIONS) as link:
            with trio.move_on_after(0.01):
                await link.publish(Message("out", b"once"))
        async with transport.connect(OPTIONS) as link:
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert broker.peers[0].kinds() == [CONNECT, PUBLISH, DISCONNECT]
        assert broker.peers[1].kinds() == [CONNECT, DISCONNECT]


async def until(condition: object) -> None:
    """Let real sockets catch up, without looking at a clock that is mocked."""
    assert callable(condition)
    for _ in range(10_000):
        if condition():
            return
        await trio.testing.wait_all_tasks_blocked(0)
        await trio.to_thread.run_sync(lambda: threading.Event().wait(0.001))
    raise AssertionError("it does not happen")


async def test_s09_a_half_open_link_is_noticed(mock_clock: trio.testing.MockClock) -> None:
    """Let `KeepAlive._death` say never: it is not noticed."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.drain()

    options = attrs.evolve(OPTIONS, keep_alive=20)
    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url)).connect(options) as link,
    ):
        peer = broker.peers[0]
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(20)
        await until(lambda: peer.of(PINGREQ))
        assert isinstance(link, AsyncioLink)
        mock_clock.jump(10)
        await until(link._ended.is_set)
        with pytest.raises(ConnectionLost, match="no sign of life"):
            await link.receive()


async def test_s09_a_link_that_nobody_reads_is_pinged_and_not_judged(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Take out `pause` and `resume`: the silence of our own making kills the link."""
    total = 3 * BUFFER_MESSAGES

    async def script(peer: Peer) -> None:
        await peer.accept(*numbered(1, total))
        await peer.serve()

    options = attrs.evolve(OPTIONS, keep_alive=20)
    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url)).connect(options) as link,
    ):
        peer = broker.peers[0]
        assert isinstance(link, AsyncioLink)
        await until(link._inbox.is_full)
        for pings in range(1, 6):
            mock_clock.jump(20)
            await until(lambda wanted=pings: len(peer.of(PINGREQ)) >= wanted)
        found: list[Delivery] = []
        while len(found) < total:
            found += await link.receive()
        assert numbers(found) == list(range(1, total + 1))


async def test_s10_python_is_bounded_where_trio_asyncio_is() -> None:
    """Take the bound out of pyproject.toml."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.14"
    assert "paho-mqtt>=2.1,<3" in project["dependencies"]  # S1
    assert "asyncio-mqtt==0.16.2" in project["dependencies"]


async def test_s11_asyncio_wait_for_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take out `HardenedClient._wait_for`."""

    async def swallowing(*args: object, **kwargs: object) -> None:
        raise AssertionError("asyncio.wait_for was called")

    monkeypatch.setattr(asyncio, "wait_for", swallowing)
    async with (
        open_fake_broker(polite) as broker,
        create(Settings(broker=broker.url)).connect(OPTIONS) as link,
    ):
        await link.subscribe([T])
        await link.unsubscribe([T])


async def test_s11_cancelling_a_subscribe_travels_and_the_link_lives_on() -> None:
    """Take out the `finally` of `_ask`: the call goes on behind the caller's back."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(SUBSCRIBE)
        scope.cancel()
        await peer.serve()

    async with connected(script) as link:
        with trio.CancelScope() as scope:
            await link.subscribe([T])
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(link, AsyncioLink)
        assert link._client._pending_subscribes == {}
        with trio.fail_after(LIMIT):
            await link.subscribe([T])


@pytest.mark.parametrize("tls", [False, True])
async def test_s12_tcp_nodelay_is_set(certificates: Certificates, *, tls: bool) -> None:
    """Set it to 0 in `_open_tcp` (Trio's own stream has set it before, so out is not enough)."""
    import socket

    async with open_fake_broker(polite, certificates if tls else None) as broker:
        settings = Settings(broker=broker.url, ca_file=certificates.ca if tls else None)
        async with create(settings).connect(OPTIONS) as link:
            assert isinstance(link, AsyncioLink)
            assert link._sock.raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_s13_an_exception_in_an_asyncio_callback_ends_the_link_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Take out `except Exception` in `AsyncioLink.run`: it comes out of the user's block."""

    def callback() -> None:
        raise ZeroDivisionError

    outcomes: list[TransportError | None] = []
    async with (
        open_fake_broker(polite) as broker,
        create(Settings(broker=broker.url)).connect(OPTIONS) as link,
    ):
        assert isinstance(link, AsyncioLink)
        link._client._loop.call_soon(callback)
        link.publish_nowait(Message("out", b""), outcomes.append)
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost):
            await link.receive()
        await trio.lowlevel.checkpoint()  # this block is not cancelled
        with pytest.raises(ConnectionLost):
            await link.subscribe([T])
    assert len(outcomes) == 1
    assert "a link has failed" in caplog.text


async def test_s13_a_subscribe_that_was_waiting_hears_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Await the client in `_ask` itself: the future of a loop that has failed is never done."""
    links: list[AsyncioLink] = []

    def callback() -> None:
        raise ZeroDivisionError

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(SUBSCRIBE)
        links[0]._client._loop.call_soon(callback)
        await peer.drain()

    async with connected(script) as link:
        assert isinstance(link, AsyncioLink)
        links.append(link)
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost):
            await link.subscribe([T])
        await trio.lowlevel.checkpoint()
    assert "a link has failed" in caplog.text


async def test_s15_a_cancelled_block_says_goodbye() -> None:
    """Take out `shield=True` in `connect`: with bytes unread, a reset overtakes the DISCONNECT."""
    goodbye = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept(*[publish(0, bytes(5000)) for _ in range(1000)])
        await peer.expect(DISCONNECT)
        assert await peer.packet() is None
        goodbye.set()

    async with open_fake_broker(script) as broker:
        with trio.CancelScope() as scope:
            async with create(Settings(broker=broker.url)).connect(OPTIONS) as link:
                link.publish_nowait(Message("last", b"words"), lambda _: None)
                scope.cancel()
                await trio.sleep_forever()
        with trio.fail_after(LIMIT):
            await goodbye.wait()
        assert broker.peers[0].kinds() == [CONNECT, PUBLISH, DISCONNECT]


async def test_s17_only_the_rename_notice_is_quiet() -> None:
    """Take out the filter of `_without_rename_notice`."""
    code = (
        "import logging; logging.basicConfig();"
        "import petalkit.transports.asyncio_mqtt;"
        "logging.getLogger('mqtt').warning('another')"
    )
    done = await trio.run_process([sys.executable, "-c", code], capture_stderr=True)
    assert done.stderr == b"WARNING:mqtt:another\n"


async def test_s19_a_delivery_acknowledges_on_its_own_link_only() -> None:
    """Give all links of a transport one `AckWindow`, or leave out its `close`."""

    async def script(peer: Peer) -> None:
        await peer.accept(publish(7, b"7"))
        await peer.serve()

    async with open_fake_broker(script) as broker:
        transport = create(Settings(broker=broker.url))
        async with transport.connect(OPTIONS) as first:
            (old,) = await collect(first, 1, ack=False)
        async with transport.connect(OPTIONS) as second:
            (new,) = await collect(second, 1, ack=False)
            old.ack()
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(first, AsyncioLink)
        assert not first._outgoing.window.ready
        assert broker.peers[1].of(PUBACK) == []
        new.ack()  # left too


async def test_s20_retained_messages_come_for_a_new_subscription_only() -> None:
    """Take out `retainHandling=1`."""

    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b""))
        await peer.serve(v5=True)

    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url, protocol="5")).connect(OPTIONS) as link,
    ):
        await link.subscribe([T])
        (subscribe,) = broker.peers[0].of(SUBSCRIBE)
        assert subscribe.body[-1] == 0b01_0001  # MQTT 5.0, section 3.8.3.1: handling 1, QoS 1
