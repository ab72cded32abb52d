"""The broker on sockets: clients that do not read, do not speak, or speak nonsense; and its end."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import mqtt5
import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, RejectConnection, Request

from petalkit.transports._broker.serving.websocket import is_allowed

from .conftest import LIMIT, Peer, Served

# Rust's panics over text that is not UTF-8.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
Serve = Callable[..., AbstractAsyncContextManager[Served]]
FILTER = mqtt5.TopicFilter("t", max_qos=mqtt5.QoS.AT_LEAST_ONCE)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(LIMIT):
        while not condition():
            await trio.sleep(0.005)


@pytest.mark.trio
async def test_when_it_is_left_its_clients_are_told(serve: Serve) -> None:
    async with serve() as broker:
        new = await broker.connect("new")
        silent = await broker.open()
        await until(lambda: broker.server.clients == 2)
    goodbye = await new.packet()
    assert int(goodbye.reason_code) == 0x8B  # server shutting down
    assert await new.packet() is None
    assert await silent.packet() is None
    with pytest.raises(OSError, match="all attempts to connect"):
        await broker.open()


@pytest.mark.trio
async def test_a_client_that_does_not_read_does_not_hold_up_the_end(serve: Serve) -> None:
    async with serve() as broker:
        slow, sender = await broker.connect("slow"), await broker.connect("sender")
        await slow.send(mqtt5.SubscribePacket(1, [FILTER]))
        await slow.ping()
        for _ in range(200):
            await sender.send(mqtt5.PublishPacket("t", b"x" * 100_000))
        await sender.ping()
        started = trio.current_time()
    assert trio.current_time() - started < 5


@pytest.mark.trio
async def test_a_client_that_does_not_read_costs_others_nothing_and_memory_its_bound(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(max_queued_bytes=300_000) as broker:
        slow, sender = await broker.connect("slow"), await broker.connect("sender")
        fast = await broker.connect("fast")
        for peer in (slow, fast):
            await peer.send(mqtt5.SubscribePacket(1, [FILTER]))
            await peer.ping()
        at_least = mqtt5.QoS.AT_LEAST_ONCE
        for number in range(1, 201):
            await sender.send(
                mqtt5.PublishPacket("t", b"x" * 100_000, qos=at_least, packet_id=number)
            )
            message = await fast.packet()
            await fast.send(mqtt5.PubAckPacket(message.packet_id))
        session = broker.server._broker.sessions["slow"]
        assert session.held_bytes <= 300_000
        assert broker.server.statistics().dropped_queue_full > 100
    told = [one.getMessage() for one in caplog.records if "are dropped" in one.getMessage()]
    assert told == ["messages for 'slow' are dropped: its queue is full"]


@pytest.mark.trio
async def test_who_reads_late_gets_everything_whole_and_in_order(serve: Serve) -> None:
    async with serve() as broker:
        slow, sender = await broker.connect("slow"), await broker.connect("sender")
        await slow.send(mqtt5.SubscribePacket(1, [FILTER]))
        await slow.ping()
        for number in range(140):  # more than a socket holds, and less than the bound
            await sender.send(mqtt5.PublishPacket("t", b"%d" % number * 15_000))
        await sender.ping()
        for number in range(140):
            assert (await slow.packet()).payload == b"%d" % number * 15_000


@pytest.mark.trio
@pytest.mark.real_time
async def test_a_client_that_takes_nothing_for_too_long_is_cut_off(serve: Serve) -> None:
    async with serve(send_timeout=1.0) as broker:
        slow, sender = await broker.connect("slow"), await broker.connect("sender")
        await slow.send(mqtt5.SubscribePacket(1, [FILTER]))
        await slow.ping()
        for _ in range(100):
            await sender.send(mqtt5.PublishPacket("t", b"x" * 100_000))
        await until(lambda: broker.server.clients == 1)


@pytest.mark.trio
@pytest.mark.real_time
async def test_silence_is_bounded_before_connect_and_after(serve: Serve) -> None:
    async with serve(connect_timeout=1.0) as broker:
        stranger, half = await broker.open(), await broker.open(b"\x10")
        http = await broker.open(b"GET / HTTP/1.1\r\n")
        quiet = await broker.connect("quiet", keep_alive=1)
        for peer in (stranger, half, http):
            assert await peer.packet() is None
        assert int((await quiet.packet()).reason_code) == 0x8D  # keep alive timeout


@pytest.mark.trio
async def test_more_connections_than_there_may_be_are_closed_at_once(serve: Serve) -> None:
    async with serve(max_connections=2) as broker:
        first, _second = await broker.connect("1"), await broker.connect("2")
        assert await (await broker.open()).packet() is None
        await first.send(mqtt5.DisconnectPacket())
        assert await first.packet() is None
        await until(lambda: broker.server.clients == 1)
        assert await broker.connect("3")


@pytest.mark.trio
async def test_a_reset_in_the_middle_of_a_packet_is_a_will(serve: Serve) -> None:
    async with serve() as broker:
        watcher = await broker.connect("w")
        await watcher.send(mqtt5.SubscribePacket(1, [FILTER]))
        await watcher.ping()
        peer = await broker.connect("d", will=mqtt5.Will("t", payload=b"dead"))
        assert isinstance(peer.stream, trio.SocketStream)
        await peer.stream.send_all(b"\x30\x7f\0\1")
        peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await peer.stream.aclose()
        assert (await watcher.packet()).payload == b"dead"


@pytest.mark.trio
async def test_nonsense_ends_who_sent_it_and_nobody_else(serve: Serve) -> None:
    chance = random.Random(1)
    async with serve(max_packet_size=4096) as broker:
        good = await broker.connect("good")
        hello = mqtt5.ConnectPacket("bad", clean_start=True).write()
        async with trio.open_nursery() as nursery:
            for number in range(60):
                data = chance.randbytes(chance.randrange(1, 300))
                if number % 2:
                    data = hello + data
                nursery.start_soon(nonsense, broker, data)
        await good.ping()
        assert broker.server.statistics().published < 100


async def nonsense(broker: Served, data: bytes) -> None:
    peer = await broker.open(data)
    try:
        with trio.move_on_after(0.2):
            while await peer.stream.receive_some():
                pass
    except trio.BrokenResourceError:
        pass
    await peer.stream.aclose()


@pytest.mark.trio
async def test_a_fault_of_the_broker_is_the_end_of_one_client(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as broker:
        good, bad = await broker.connect("good"), await broker.connect("bad")
        monkeypatch.setattr(broker.server._broker, "publish", lambda *_: 1 // 0)
        await bad.send(mqtt5.PublishPacket("t", b""))
        assert await bad.packet() is None
        await good.ping()
    assert "a fault of the broker ends its connection" in caplog.text


@pytest.mark.trio
async def test_it_is_cancelled_from_outside_and_tells_its_clients(serve: Serve) -> None:
    with trio.CancelScope() as scope:
        async with serve() as broker:
            peer = await broker.connect("c")
            scope.cancel()
            await trio.sleep_forever()
    assert int((await peer.packet()).reason_code) == 0x8B


# -- WebSockets


async def open_websocket(
    broker: Served, origin: str | None = None, subprotocols: tuple[str, ...] = ("mqtt",)
) -> tuple[trio.SocketStream, WSConnection, Any]:
    stream = await trio.open_tcp_stream("127.0.0.1", broker.port)
    connection = WSConnection(ConnectionType.CLIENT)
    headers = [] if origin is None else [(b"origin", origin.encode())]
    request = Request(
        host="localhost", target="/any", subprotocols=list(subprotocols), extra_headers=headers
    )
    data = connection.send(request)
    await stream.send_all(data[:2])  # in two pieces: it is not told by a whole line
    await trio.sleep(0.01)
    await stream.send_all(data[2:])
    connection.receive_data(await stream.receive_some())
    return stream, connection, next(connection.events())


@pytest.mark.trio
@pytest.mark.parametrize("origin", [None, "http://localhost:5173", "http://127.0.0.1:9"])
async def test_a_websocket_on_the_same_port(serve: Serve, origin: str | None) -> None:
    async with serve() as broker:
        stream, connection, answer = await open_websocket(broker, origin)
        assert isinstance(answer, AcceptConnection)
        assert answer.subprotocol == "mqtt"
        hello = mqtt5.ConnectPacket("c", clean_start=True).write() + b"\xc0\0"
        for half in (hello[:5], hello[5:]):
            await stream.send_all(connection.send(BytesMessage(half)))
        got = b""
        with trio.fail_after(LIMIT):
            while not got.endswith(b"\xd0\0"):
                connection.receive_data(await stream.receive_some())
                got += b"".join(bytes(event.data) for event in connection.events())
        assert isinstance(mqtt5.read(memoryview(got))[0], mqtt5.ConnAckPacket)


@pytest.mark.trio
@pytest.mark.parametrize(
    ("origin", "subprotocols", "status"),
    [("https://example.org", ("mqtt",), 403), ("null", ("mqtt",), 403), (None, (), 400)],
)
async def test_a_page_of_somebody_else_and_another_protocol_are_refused(
    serve: Serve, origin: str | None, subprotocols: tuple[str, ...], status: int
) -> None:
    async with serve() as broker:
        stream, _, answer = await open_websocket(broker, origin, subprotocols)
        assert isinstance(answer, RejectConnection)
        assert answer.status_code == status
        with trio.fail_after(LIMIT):
            while await stream.receive_some():
                pass


@pytest.mark.trio
async def test_a_page_that_was_named_may_connect(serve: Serve) -> None:
    async with serve(origins=frozenset({"https://example.org"})) as broker:
        _, _, answer = await open_websocket(broker, "https://example.org")
        assert isinstance(answer, AcceptConnection)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://[::1]:8000", True), ("http://localhost", True), ("https://127.8.8.8", True),
        ("http://localhost.example.org", False), ("http://127.0.0.1.example.org", False),
        ("null", False), ("", False), ("http://[", False), ("http://10.0.0.1", False),
    ],
)  # fmt: skip
def test_which_pages_are_of_this_machine(origin: str, allowed: bool) -> None:
    assert is_allowed(origin, frozenset()) is allowed
    assert is_allowed(origin, frozenset("*"))


@pytest.mark.trio
async def test_what_takes_many_turns_is_done_to_its_end(serve: Serve) -> None:
    async with serve() as broker:
        client = await broker.connect("c")
        retained = [mqtt5.PublishPacket(f"r/{number}", b"x", retain=True) for number in range(500)]
        await client.send(*retained)
        asked = mqtt5.SubscribePacket(1, [mqtt5.TopicFilter("+/1")])
        await client.stream.send_all(asked.write() * 30)
        for _ in range(30):
            assert isinstance(await client.packet(), mqtt5.SubAckPacket)
            assert isinstance(await client.packet(), mqtt5.PublishPacket)
        await client.ping()


@pytest.mark.trio
async def test_a_hundred_clients_come_at_once(serve: Serve) -> None:
    async with serve() as broker:
        peers: list[Peer] = []

        async def come(name: str) -> None:
            peers.append(await broker.connect(name))

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(come, f"c{number}")
        assert broker.server.clients == 100
        assert broker.server.sessions == 100
