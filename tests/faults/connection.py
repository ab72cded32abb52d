"""One connection through the proxy: two pipes, which do to packets what they are told.

Each pipe holds one packet that is not complete, one batch that is to be written, and nothing more:
who does not read holds up who sends.
"""

from __future__ import annotations

import math
import socket
import struct
from typing import TYPE_CHECKING

import trio

from .faults import (
    DOWN,
    UP,
    Cut,
    Delay,
    Duplicate,
    Fault,
    ForgetSession,
    Glue,
    HalfOpen,
    Refuse,
    Split,
    Swallow,
)
from .packets import Direction, Framer, Kind, Packet

if TYPE_CHECKING:
    from .proxy import FaultProxy

READ = 65_536  # bytes at once
TICK = 0.1  # seconds between two pieces on a slow line
LINGER = 1.0  # seconds for one direction when the other has ended


class Connection:
    """A device, the broker, and two pipes between them."""

    def __init__(
        self, proxy: FaultProxy, number: int, device: trio.abc.Stream, broker: trio.abc.Stream
    ) -> None:
        self.proxy = proxy
        self.number = number
        self._streams = (device, broker)
        self._scope = trio.CancelScope()
        self.silent = False
        self.done = trio.Event()
        self.doubled: dict[int, bool] = {}  # packet IDs; whether there was a PUBACK already

    async def run(self) -> None:
        device, broker = self._streams
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Pipe(self, UP, device, broker).run)
                nursery.start_soon(Pipe(self, DOWN, broker, device).run)

    def end(self, *, reset: bool = False) -> None:
        if reset:
            for stream in self._streams:
                reset_on_close(stream)
        self._scope.cancel()

    def end_after(self, seconds: float) -> None:
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + seconds)

    def fall_silent(self, seconds: float) -> None:
        self.silent = True
        self._scope.deadline = trio.current_time() + seconds

    def too_much(self, packet: Packet) -> bool:
        """Whether that is the second PUBACK of a PUBLISH that only the proxy has doubled."""
        packet_id = packet.packet_id
        if packet.kind is not Kind.PUBACK or packet_id not in self.doubled:
            return False
        if self.doubled[packet_id]:
            del self.doubled[packet_id]
            return True
        self.doubled[packet_id] = True
        return False


class Pipe:
    """One direction of one connection."""

    def __init__(
        self,
        connection: Connection,
        direction: Direction,
        source: trio.abc.Stream,
        target: trio.abc.Stream,
    ) -> None:
        self._connection = connection
        self._proxy = connection.proxy
        self._direction = direction
        self._source = source
        self._target = target
        self._out = bytearray()
        self._split: Split | None = None
        self._split_left = 0
        self._glue_left = 0
        self._glue_until = 0.0
        line = self._proxy.line
        self._rate = math.inf if line is None else line.up if direction is UP else line.down
        # What was read has left the device, in the eyes of its kernel: no more than can go on.
        self._piece = READ if line is None else max(1, int(self._rate * TICK))

    async def run(self) -> None:
        framer = Framer()
        try:
            while data := await self._receive():
                for packet in framer.feed(bytes(data)):
                    await self._take(packet)
                if not self._glue_left:
                    await self._flush()
            await self._flush()
            if self._connection.silent:
                return
            if isinstance(self._target, trio.abc.HalfCloseableStream):
                await self._target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self._connection.silent:
                return
        self._connection.end_after(LINGER)

    async def _receive(self) -> bytes | bytearray:
        while self._glue_left:
            with trio.move_on_at(self._glue_until):
                return await self._source.receive_some(self._piece)
            self._glue_left = 0
            await self._flush()
        return await self._source.receive_some(self._piece)

    async def _flush(self) -> None:
        if self._out and not self._connection.silent:
            data = bytes(self._out)
            self._out.clear()
            await self._send(data)

    async def _send(self, data: bytes) -> None:
        for start in range(0, len(data), self._piece):
            piece = data[start : start + self._piece]
            await self._target.send_all(piece)
            if self._rate < math.inf:
                await trio.sleep(len(piece) / self._rate)

    async def _take(self, packet: Packet) -> None:
        connection, proxy = self._connection, self._proxy
        proxy.on_packet(connection.number, self._direction, packet)
        if connection.silent:
            return
        if self._direction is UP and connection.too_much(packet):
            return
        if packet.kind is Kind.CONNECT and proxy.forgets:
            proxy.forgets = False
            await proxy.forget(packet.client_id)
        fault = proxy.hits(self._direction, packet)
        if fault is None:
            await self._pass(packet)
        else:
            await self._go_wrong(fault, packet)

    async def _pass(self, packet: Packet) -> None:
        if self._split is not None and self._split_left:
            self._split_left -= 1
            await self._send_in_pieces(packet.raw, self._split.most)
            return
        self._out += packet.raw
        if self._glue_left:
            self._glue_left -= 1
            if not self._glue_left:
                await self._flush()
        elif len(self._out) >= READ:
            await self._flush()

    async def _send_in_pieces(self, data: bytes, most: int) -> None:
        await self._flush()
        at = 0
        while at < len(data):
            size = self._proxy.chance.randint(1, most)
            await self._send(data[at : at + size])
            at += size

    async def _go_wrong(self, fault: Fault, packet: Packet) -> None:
        connection, action = self._connection, fault.action
        match action:
            case Cut():
                await self._cut(packet, action)
            case HalfOpen():
                await self._flush()
                connection.fall_silent(action.seconds)
            case Delay():
                await self._flush()
                await trio.sleep(action.seconds)
                await self._pass(packet)
            case Duplicate():
                await self._pass(packet)
                if packet.packet_id is not None:
                    connection.doubled[packet.packet_id] = False
                    packet = packet.with_dup(action.dup)
                await self._pass(packet)
            case Swallow():
                pass
            case Split():
                self._split, self._split_left = action, action.packets
                await self._pass(packet)
            case Glue():
                await self._flush()
                self._glue_left = action.packets
                self._glue_until = trio.current_time() + action.seconds
                await self._pass(packet)
            case ForgetSession():
                self._proxy.forgets = True
                await self._cut(packet, Cut())
            case Refuse():
                self._proxy.refuse_next.extend([action.how] * action.connections)
                await self._cut(packet, Cut())

    async def _cut(self, packet: Packet, cut: Cut) -> None:
        size = {"before": 0, "middle": len(packet.raw) // 2, "after": len(packet.raw)}[cut.place]
        self._out += packet.raw[:size]
        self._glue_left = 0
        await self._flush()
        self._connection.end(reset=cut.reset)
        await trio.lowlevel.checkpoint()


def reset_on_close(stream: trio.abc.Stream) -> None:
    """With a linger time of zero, closing a socket sends RST: socket(7)."""
    if isinstance(stream, trio.SocketStream):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
