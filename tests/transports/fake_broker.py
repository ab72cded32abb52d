"""A broker over loopback that does exactly what a test's script says, with TLS or without.

A script is an async function of one `Peer`, run once per connection. `Peer.serve` is the polite
broker: it answers everything until the client has gone.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from ..brokers import Certificates

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 10, 11, 12, 13, 14


@attrs.frozen
class Packet:
    kind: int
    flags: int
    body: bytes

    @property
    def packet_id(self) -> int:
        """Of a PUBACK or SUBSCRIBE, where it comes first, or of a QoS 1 PUBLISH."""
        start = 0
        if self.kind == PUBLISH:
            start = 2 + int.from_bytes(self.body[:2], "big")
        return int.from_bytes(self.body[start : start + 2], "big")


def packet(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    size, length = bytearray(), len(body)
    while True:
        length, low = divmod(length, 128)
        size.append(low | (0x80 if length else 0))
        if not length:
            return bytes([kind << 4 | flags, *size]) + body


def connack(
    code: int = 0, *, session_present: bool = False, properties: bytes | None = None
) -> bytes:
    """For MQTT 5 give `properties`, without their length."""
    tail = b"" if properties is None else bytes([len(properties)]) + properties
    return packet(CONNACK, bytes([session_present, code]) + tail)


def publish(
    packet_id: int, payload: bytes = b"", topic: bytes = b"t", *, v5: bool = False
) -> bytes:
    middle = packet_id.to_bytes(2, "big") if packet_id else b""
    properties = b"\0" if v5 else b""
    body = len(topic).to_bytes(2, "big") + topic + middle + properties + payload
    return packet(PUBLISH, body, 2 if packet_id else 0)


def answer(kind: int, to: Packet, tail: bytes = b"") -> bytes:
    return packet(kind, to.packet_id.to_bytes(2, "big") + tail)


def filters_of(subscribe: Packet, *, v5: bool) -> list[bytes]:
    """Of a SUBSCRIBE whose properties, if it has any, take fewer than 128 bytes."""
    body = subscribe.body[2:]
    rest = body[1 + body[0] :] if v5 else body
    filters: list[bytes] = []
    while rest:
        size = int.from_bytes(rest[:2], "big")
        filters.append(rest[2 : 2 + size])
        rest = rest[3 + size :]  # with the options
    return filters


class Peer:
    """The broker's end of one connection."""

    def __init__(self, stream: trio.abc.HalfCloseableStream | trio.SSLStream[trio.SocketStream]):
        self.stream = stream
        self.received: list[Packet] = []
        self._buffer = bytearray()

    def kinds(self) -> list[int]:
        return [each.kind for each in self.received]

    def of(self, kind: int) -> list[Packet]:
        return [each for each in self.received if each.kind == kind]

    async def send(self, *packets: bytes) -> None:
        """All in one write, and so in one TLS record."""
        await self.stream.send_all(b"".join(packets))

    async def packet(self) -> Packet | None:
        """The next packet; None when the client has closed."""
        header = await self._take(1)
        if not header:
            return None
        length = shift = 0
        while True:
            byte = (await self._take(1))[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        found = Packet(header[0] >> 4, header[0] & 15, await self._take(length))
        self.received.append(found)
        return found

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                data = b""  # a client need not say goodbye to TLS
            if not data:
                return b""
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def accept(self, *more: bytes, connack: bytes = connack()) -> None:
        """Read CONNECT and send CONNACK, with more packets behind it at once."""
        found = await self.packet()
        assert found is not None
        assert found.kind == CONNECT
        await self.send(connack, *more)

    async def expect(self, kind: int) -> Packet:
        """The next packet of this kind; others before it are only noted."""
        while True:
            found = await self.packet()
            assert found is not None, f"the client closed; it had sent {self.kinds()}"
            if found.kind == kind:
                return found

    async def drain(self) -> None:
        """Read until the client closes, and answer nothing."""
        while await self.packet():
            pass

    async def serve(self, *, v5: bool = False, echo: bytes = b"") -> None:
        """Answer everything until the client closes; give back what is first sent to one topic.

        Args:
            v5: whether it speaks MQTT 5.
            echo: the end of that topic; empty for none.
        """
        extra = b"\0" if v5 else b""
        while (found := await self.packet()) is not None:
            match found.kind:
                case 8:
                    count = len(filters_of(found, v5=v5))
                    await self.send(answer(SUBACK, found, extra + b"\1" * count))
                case 10:
                    await self.send(answer(UNSUBACK, found, extra + b"\0" * v5))
                case 3 if found.flags & 2:
                    await self.send(answer(PUBACK, found))
                    topic = found.body[2 : 2 + int.from_bytes(found.body[:2], "big")]
                    if echo and topic.endswith(echo):
                        # From its packet identifier on it is what the client has written.
                        await self.send(packet(PUBLISH, found.body, 2))
                        echo = b""
                case 12:
                    await self.send(packet(PINGRESP))
                case 14:
                    return
                case _:
                    pass


@attrs.frozen
class FakeBroker:
    port: int
    tls: bool
    peers: list[Peer]

    @property
    def url(self) -> str:
        return f"mqtt{'s' if self.tls else ''}://127.0.0.1:{self.port}"


@asynccontextmanager
async def open_fake_broker(
    script: Callable[[Peer], Awaitable[None]], certificates: Certificates | None = None
) -> AsyncGenerator[FakeBroker]:
    """Listen on a free loopback port; leaving waits for the running scripts to end.

    A script that must not end by itself sleeps for ever and is cancelled then, with the rest.
    """
    context = certificates.server_context() if certificates else None
    peers: list[Peer] = []
    failures: list[BaseException] = []

    async def handle(stream: trio.SocketStream) -> None:
        secure = wrap(stream, context)
        peer = Peer(secure)
        peers.append(peer)
        try:
            await script(peer)
        except Exception as error:
            failures.append(error)
        finally:
            await trio.aclose_forcefully(secure)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, handle, 0)
        port: int = listeners[0].socket.getsockname()[1]
        try:
            yield FakeBroker(port, certificates is not None, peers)
        finally:
            nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]


async def polite(peer: Peer) -> None:
    """The script of a broker that takes the connection, and answers everything."""
    await peer.accept()
    await peer.serve()


def wrap(
    stream: trio.SocketStream, context: ssl.SSLContext | None
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    if context is None:
        return stream
    return trio.SSLStream(stream, context, server_side=True, https_compatible=True)
