"""The server's end of a WebSocket on a stream in memory, which does what a test tells it.

It speaks by wsproto, as petalkit's own end does; tests against servers that do not are marked so.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio
import trio.testing
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Request

from petalkit.transports._connecting.tls import Address
from petalkit.transports._connecting.websocket import WebSocketStream
from petalkit.transports._connecting.websocket_handshake import open_websocket

HERE = Address("broker.example", 80, tls=False, resource="/mqtt")
Pair = tuple[WebSocketStream, "ServerEnd"]


class ServerEnd:
    """What arrives is kept as wsproto's events; `read` waits for more of it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.connection = WSConnection(ConnectionType.SERVER)
        self.request: Request | None = None
        self.events: list[Event] = []
        self.gone = False  # the client has closed below

    async def accept(self, *more: Event, subprotocol: str | None = "mqtt") -> None:
        """Answer the handshake, with more events behind it in the same write."""
        while self.request is None:
            for event in await self.read():
                assert isinstance(event, Request)
                self.request = event
        await self.send(AcceptConnection(subprotocol=subprotocol), *more)

    async def read(self) -> list[Event]:
        data = await self.stream.receive_some()
        if not data:
            self.gone = True
            return []
        self.connection.receive_data(bytes(data))
        events = list(self.connection.events())
        self.events += events
        return events

    async def send(self, *events: Event) -> None:
        await self.stream.send_all(b"".join(map(self.connection.send, events)))

    async def expect_bytes(self, count: int) -> bytes:
        """Read until so many bytes came in binary frames."""
        while len(self.received) < count:
            await self.read()
            assert not self.gone
        return self.received

    @property
    def received(self) -> bytes:
        return b"".join(bytes(e.data) for e in self.events if isinstance(e, BytesMessage))

    @property
    def closes(self) -> list[tuple[int, str | None]]:
        return [(e.code, e.reason) for e in self.events if isinstance(e, CloseConnection)]


def below(stream: WebSocketStream) -> trio.testing.MemorySendStream:
    """Where a client's end in memory writes, to put hooks on."""
    lower = stream.transport_stream
    assert isinstance(lower, trio.StapledStream)
    sending = lower.send_stream
    assert isinstance(sending, trio.testing.MemorySendStream)
    return sending


def hold_sending(stream: WebSocketStream) -> trio.Event:
    """Let what a client's end sends wait on its way, until the event is set."""
    lower = below(stream)
    deliver = lower.send_all_hook  # a memory stream passes on what it has by its hook
    assert deliver is not None
    gate = trio.Event()

    async def wait_and_deliver() -> None:
        await gate.wait()
        await deliver()

    lower.send_all_hook = wait_and_deliver
    return gate


async def open_pair(
    *more: Event, streams: Sequence[trio.abc.Stream] | None = None, subprotocol: str | None = "mqtt"
) -> Pair:
    """A WebSocket of petalkit's, and the server's end of it."""
    ours, theirs = streams or trio.testing.memory_stream_pair()
    server = ServerEnd(theirs)
    opened: list[WebSocketStream] = []

    async def open_ours() -> None:
        opened.append(await open_websocket(ours, HERE, []))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_ours)
        await server.accept(*more, subprotocol=subprotocol)
    return opened[0], server
