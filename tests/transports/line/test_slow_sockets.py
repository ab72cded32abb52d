"""What the kernel holds back, over real sockets: a PINGREQ that has not left is not judged."""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

import pytest
import trio
import trio.testing

from petalkit._values.errors import ConnectionLost
from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit.transports import ConnectOptions, create_transport
from petalkit.transports._connecting.sockets import PlainStream
from petalkit.transports._line.send_queue import Outflow, outflow, queued

from ...brokers import Certificates
from ..fake_broker import PUBACK, PUBLISH, Peer, answer, connack, open_fake_broker

pytestmark = [
    pytest.mark.trio,
    pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="NO SEND QUEUE"),
]

LIMIT = 10.0  # seconds; only a test that fails gets near it
OPTIONS = ConnectOptions(client_id="device", keep_alive=1, payload_max=1024 * 1024)
PAYLOAD = bytes(200_000)
CHUNK = 12_000  # bytes that the slow side takes at once; of TLS one record
WIRES: dict[str, dict[str, Any]] = {
    "3.1.1": {},
    "native": {"transport": "native"},
}


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Any:
    if request.param == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def fill(ours: socket.socket) -> int:
    written = 0
    try:
        while True:
            written += ours.send(bytes(10_000))
    except BlockingIOError:
        return written


def falls(ours: socket.socket, below: int) -> bool:
    """Whether it does, soon: an acknowledgement takes a moment, also here."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        if (held := queued(ours)) is not None and held < below:
            return True
    return False


async def test_the_kernel_tells_what_has_not_left(pair: Any) -> None:
    ours, theirs = pair
    assert queued(ours) == 0
    fill(ours)
    before = queued(ours)
    assert before
    theirs.settimeout(LIMIT)
    got = 0
    while got < before // 2:
        got += len(theirs.recv(65_536))
    assert falls(ours, before)


async def test_a_closed_socket_says_nothing(pair: Any) -> None:
    ours, _ = pair
    ours.close()
    assert queued(ours) is None


async def test_streams_are_asked_through_their_layers() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        stream = PlainStream(ours)
        await stream.send_all(bytes(1000))
        found = outflow(stream)
        assert found is not None
        assert found.written == 1000
        assert found.queued >= 1000

        assert outflow(Layer(Layer(stream))) == found
        assert outflow(trio.testing.memory_stream_pair()[0]) is None
        await stream.aclose()
        assert outflow(stream) is None


class Layer:
    def __init__(self, transport_stream: object) -> None:
        self.transport_stream = transport_stream


async def test_a_stream_of_trios_own_is_asked_too() -> None:
    ours, theirs = trio.socket.socketpair()
    async with trio.SocketStream(ours) as stream, trio.SocketStream(theirs):
        assert outflow(stream) == Outflow(0, 0)


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes all at once from the device, as it does where a line has been fast."""
    open_tcp_stream = trio.open_tcp_stream

    async def open_roomy(*where: Any) -> trio.SocketStream:
        stream = await open_tcp_stream(*where)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000_000)  # it gives what it may
        return stream

    monkeypatch.setattr(trio, "open_tcp_stream", open_roomy)


def narrow(peer: Peer) -> None:
    """And takes little from it."""
    stream: Any = peer.stream
    stream = getattr(stream, "transport_stream", stream)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("wire", WIRES)
async def test_a_ping_behind_a_long_message_is_judged_when_it_has_left(
    wire: str, tls: bool, certificates: Certificates
) -> None:
    """It takes two keep alives to leave, and nothing comes meanwhile."""
    took = 0.0

    async def script(peer: Peer) -> None:
        nonlocal took
        narrow(peer)
        await peer.accept(connack=connack(properties=None if wire == "3.1.1" else b""))
        receive = peer.stream.receive_some
        received = 0

        async def slowly(max_bytes: int | None = None) -> bytes | bytearray:
            nonlocal received
            await trio.sleep(0.1)
            data = await receive(CHUNK)
            received += len(data)
            return data

        started = trio.current_time()
        peer.stream.receive_some = slowly  # type: ignore[method-assign]
        found = await peer.expect(PUBLISH)
        took = trio.current_time() - started
        peer.stream.receive_some = receive  # type: ignore[method-assign]
        await peer.send(answer(PUBACK, found))
        await peer.serve(v5=wire != "3.1.1")

    async with open_fake_broker(script, certificates if tls else None) as broker:
        settings = Settings(
            broker=broker.url, **WIRES[wire], ca_file=certificates.ca if tls else None
        )
        with trio.fail_after(LIMIT):
            async with create_transport(settings).connect(OPTIONS) as link:
                await link.publish(Message("t", PAYLOAD))
                assert not link.ended.is_set()
    assert took > 2 * OPTIONS.keep_alive


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("wire", WIRES)
async def test_a_peer_that_takes_no_more_is_found_dead(wire: str) -> None:
    stopped = trio.Event()

    async def script(peer: Peer) -> None:
        narrow(peer)
        await peer.accept(connack=connack(properties=None if wire == "3.1.1" else b""))
        for _ in range(4):
            await trio.sleep(0.1)
            await peer.stream.receive_some(CHUNK)
        stopped.set()
        await trio.sleep_forever()

    async with open_fake_broker(script) as broker:
        settings = Settings(broker=broker.url, **WIRES[wire])
        with trio.fail_after(LIMIT):
            async with create_transport(settings).connect(OPTIONS) as link:
                link.publish_nowait(Message("t", PAYLOAD), lambda _: None)
                await stopped.wait()
                with trio.fail_after(3 * OPTIONS.keep_alive), pytest.raises(ConnectionLost):
                    await link.receive()
