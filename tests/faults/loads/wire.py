"""MQTT as bytes, for those who send much and are sent much: no codec, no queue, one task each way.

The trap: a client that is slower than the device would be what is measured. So packets are joined
before they are sent, and of what comes only what is asked for is looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

import trio

READ = 256 * 1024  # bytes at once
SEND = 64 * 1024  # bytes that are joined
CONNECT_LIMIT = 10.0  # seconds
PUBACK_LIMIT = 60.0  # seconds without any
WINDOW = 1000  # messages without PUBACK; a broker of MQTT 5 says 20 (mosquitto's default)
WINDOW_V5 = 20

_CONNACK, _PUBLISH, _PUBACK, _SUBACK = 0x20, 0x30, 0x40, 0x90

OnMessage = Callable[[str, bytes], object]


def text(value: str) -> bytes:
    """A text with its length: MQTT 5.0, section 1.5.4."""
    data = value.encode()
    return len(data).to_bytes(2) + data


def packet(first: int, body: bytes) -> bytes:
    """A packet with its Remaining Length: section 1.5.5."""
    head = bytearray([first])
    size = len(body)
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + body


def response_topic(topic: str, *user: tuple[str, str]) -> bytes:
    """The properties of a PUBLISH that say where to answer, and user properties: 3.3.2.3."""
    found = b"\x08" + text(topic) if topic else b""
    return found + b"".join(b"\x26" + text(name) + text(value) for name, value in user)


class Wire:
    """One connection, with a clean session.

    Args:
        stream: connected.
        v5: whether it is MQTT 5.

    Attributes:
        on_message: called with each message that comes.
        sent: messages of ours.
        unacknowledged: of these at QoS 1, without PUBACK.
    """

    def __init__(self, stream: trio.SocketStream, *, v5: bool = False) -> None:
        self._stream = stream
        self.v5 = v5
        self.on_message: OnMessage = lambda _topic, _payload: None
        self.sent = 0
        self.unacknowledged = 0
        self._ids = itertools.cycle(range(1, 65_536))
        self._answers: dict[int, trio.Event] = {_CONNACK: trio.Event(), _SUBACK: trio.Event()}
        self._puback = trio.Event()
        self._sending = trio.Lock()

    async def send(self, data: bytes) -> None:
        """Send whole packets."""
        async with self._sending:
            await self._stream.send_all(data)

    async def connect(self, client_id: str) -> None:
        """Wait for CONNACK."""
        head = text("MQTT") + bytes([5 if self.v5 else 4, 2, 0, 0]) + (b"\x00" if self.v5 else b"")
        await self.send(packet(0x10, head + text(client_id)))
        with trio.fail_after(CONNECT_LIMIT):
            await self._answers[_CONNACK].wait()

    async def subscribe(self, *topics: str, qos: int = 0) -> None:
        """Wait for SUBACK."""
        self._answers[_SUBACK] = trio.Event()
        body = next(self._ids).to_bytes(2) + (b"\x00" if self.v5 else b"")
        body += b"".join(text(topic) + bytes([qos]) for topic in topics)
        await self.send(packet(0x82, body))
        with trio.fail_after(CONNECT_LIMIT):
            await self._answers[_SUBACK].wait()

    def publish(self, topic: str, payload: bytes, qos: int = 1, properties: bytes = b"") -> bytes:
        """A PUBLISH, to be sent."""
        self.sent += 1
        body = text(topic)
        if qos:
            self.unacknowledged += 1
            body += next(self._ids).to_bytes(2)
        if self.v5:
            body += packet(0, properties)[1:]
        return packet(_PUBLISH | qos << 1, body + payload)

    async def flood(
        self,
        messages: Iterable[tuple[str, bytes]],
        qos: int,
        *,
        properties: bytes = b"",
        rate: float = 0.0,
        window: int = WINDOW,
    ) -> None:
        """Send many: as fast as it goes, or so many a second.

        At QoS 1 with at most `window` without PUBACK. Returns when all have theirs.
        """
        window = min(window, WINDOW_V5) if self.v5 else window
        began = trio.current_time()
        out = bytearray()
        for number, (topic, payload) in enumerate(messages, 1):
            out += self.publish(topic, payload, qos, properties)
            ahead = rate and number / rate - (trio.current_time() - began)
            if len(out) >= SEND or self.unacknowledged >= window or ahead > 0.005:
                await self.send(bytes(out))
                out.clear()
                if ahead > 0:
                    await trio.sleep(ahead)
                await self._wait_below(window)
        await self.send(bytes(out))
        await self._wait_below(1)

    async def _wait_below(self, window: int) -> None:
        while self.unacknowledged >= window:
            with trio.fail_after(PUBACK_LIMIT):
                self._puback = trio.Event()
                await self._puback.wait()

    async def read(self) -> None:
        """Until cancelled, or the broker ends it."""
        data = bytearray()
        while True:
            more = await self._stream.receive_some(READ)
            if not more:
                raise trio.BrokenResourceError("the broker has ended the connection")
            data += more
            acks = self._parse(data)
            if acks:
                await self.send(bytes(acks))

    def _parse(self, data: bytearray) -> bytearray:
        acks = bytearray()
        start = pubacks = 0
        while (found := _body(data, start)) is not None:
            begin, end = found
            kind = data[start]
            if kind & 0xF0 == _PUBLISH:
                at = begin + 2 + int.from_bytes(data[begin : begin + 2])
                topic = data[begin + 2 : at].decode()
                if kind & 6:
                    acks += b"\x40\x02" + data[at : at + 2]
                    at += 2
                if self.v5:
                    properties = _body(data, at - 1)
                    assert properties is not None
                    at = properties[1]
                self.on_message(topic, bytes(data[at:end]))
            elif kind == _PUBACK:
                pubacks += 1
            elif kind in self._answers:
                self._answers[kind].set()
            start = end
        del data[:start]
        if pubacks:
            self.unacknowledged -= pubacks
            self._puback.set()
        return acks


def _body(data: bytearray, start: int) -> tuple[int, int] | None:
    """Where a packet's body begins and ends; None while it has not come whole."""
    size = shift = 0
    at = start + 1
    while at < len(data):
        size |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return (at, at + size) if at + size <= len(data) else None
    return None


@asynccontextmanager
async def open_wire(
    port: int, client_id: str, on_message: OnMessage | None = None, *, v5: bool = False
) -> AsyncGenerator[Wire]:
    """Connect to a broker on loopback, and read while the block runs."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        wire = Wire(stream, v5=v5)
        if on_message is not None:
            wire.on_message = on_message
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.read)
            await wire.connect(client_id)
            yield wire
            nursery.cancel_scope.cancel()
