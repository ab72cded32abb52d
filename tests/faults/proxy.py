"""The network between a device and a real broker, which goes wrong at the packet that it is told.

Without a fault it passes the bytes on as they came. It is told of faults one by one (`arm`), by a
list (`play`), or at once (`cut` and others). What it does to packets is in `connection`.
"""

from __future__ import annotations

import contextlib
import functools
import random
import socket
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Literal, TypeAlias

import attrs
import trio

from .connection import READ, Connection, reset_on_close
from .faults import Fault, Line
from .packets import (
    DISCONNECT,
    BadStream,
    Direction,
    Framer,
    Kind,
    Packet,
    clean_connect,
    refusing_connack,
)

PATIENCE = 5.0  # seconds for the proxy's own questions
SMALL = 2304  # bytes that a kernel takes before a slow line, about

OpenStream: TypeAlias = Callable[[], Awaitable[trio.abc.Stream]]
How: TypeAlias = Literal["reset", "close", "connack"]


@attrs.define(eq=False)
class Armed:
    """A fault that waits for its packet.

    Attributes:
        fault: what it is.
        left: packets until it happens, that one included.
        happened: set when it has.
    """

    fault: Fault
    left: int
    happened: trio.Event = attrs.field(factory=trio.Event)


class FaultProxy:
    """See the module.

    Args:
        broker: its loopback port, or a function that opens a stream to it.
        seed: of the sizes of random pieces.
        line: how slow each connection is; None for as fast as it goes.

    Attributes:
        port: where devices connect, once `run` has started.
        on_packet: called with the number of the connection and every packet that is read, before
            anything happens to it.
        on_session_lost: called when the broker has forgotten the session.
        passed: packets that were read, by direction and kind.
        played: faults that have happened, by name.
        connections: accepted so far, refused ones included.
        refused: of these.
    """

    def __init__(
        self, broker: int | OpenStream, *, seed: int = 0, line: Line | None = None
    ) -> None:
        self.line = line
        self._open_broker: OpenStream = (
            functools.partial(trio.open_tcp_stream, "127.0.0.1", broker)
            if isinstance(broker, int)
            else broker
        )
        self.chance = random.Random(seed)
        self._armed: list[Armed] = []
        self._schedule: Iterator[Fault] = iter(())
        self._head: Armed | None = None  # of the schedule
        self.refuse_next: deque[How] = deque()  # how, of the connections that come next
        self._away: How | None = None
        self.forgets = False  # before the next CONNECT
        self._live: dict[Connection, None] = {}
        self.port = 0
        self.on_packet: Callable[[int, Direction, Packet], object] = lambda *_: None
        self.on_session_lost: Callable[[], object] = lambda: None
        self.passed: Counter[tuple[Direction, Kind]] = Counter()
        self.played: Counter[str] = Counter()
        self.connections = 0
        self.refused = 0

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def exhausted(self) -> bool:
        """Whether every fault of the schedule has happened."""
        return self._head is None

    # -- what is to go wrong

    def play(self, faults: Iterable[Fault]) -> None:
        """Let them happen, one after the other. In place of an earlier schedule."""
        self._schedule = iter(faults)
        self._arm_next()

    def arm(self, fault: Fault) -> Armed:
        """Let one happen, beside the schedule."""
        armed = Armed(fault, fault.nth)
        self._armed.append(armed)
        return armed

    def heal(self) -> None:
        """Let nothing more go wrong, and cut: what was swallowed until now comes again then."""
        self._armed.clear()
        self._schedule, self._head = iter(()), None
        self.refuse_next.clear()
        self.forgets = False
        self._away = None
        self.cut()

    def cut(self, *, reset: bool = False) -> None:
        """Cut every connection now, half-open ones too."""
        for connection in list(self._live):
            connection.end(reset=reset)

    async def wait_drained(self, seconds: float = PATIENCE) -> None:
        """Wait until all that a dead device had sent is at the broker, and cut what is left.

        To be called when it is known to be dead. The way through a half-open connection is lost.
        """
        with trio.move_on_after(seconds):
            for connection in [each for each in self._live if not each.silent]:
                await connection.done.wait()
        self.cut()
        for connection in list(self._live):
            await connection.done.wait()

    def half_open(self, seconds: float) -> None:
        """Swallow everything on every connection, and cut it after so many seconds."""
        for connection in list(self._live):
            connection.fall_silent(seconds)

    def go_away(self, how: How = "close") -> None:
        """Cut what is connected, and refuse whatever comes."""
        self._away = how
        self.cut()

    def come_back(self) -> None:
        """Let connections through again."""
        self._away = None

    def forget_session(self) -> None:
        """Cut, and let the broker forget the session before the next CONNECT."""
        self.forgets = True
        self.cut()

    async def flap(self, seconds: float) -> None:
        """Cut every so many seconds, until cancelled."""
        while True:
            await trio.sleep(seconds)
            if self._live:
                self.played["flap"] += 1
                self.cut()

    def _arm_next(self) -> None:
        fault = next(self._schedule, None)
        self._head = None if fault is None else Armed(fault, fault.nth)

    def hits(self, direction: Direction, packet: Packet) -> Fault | None:
        """Count a packet; the fault that happens at it, if one does. For connections."""
        self.passed[direction, packet.kind] += 1
        candidates = [*self._armed] if self._head is None else [self._head, *self._armed]
        for armed in candidates:
            fault = armed.fault
            if fault.direction is direction and fault.kind is packet.kind:
                armed.left -= 1
                # A second one for the same packet takes the next.
                if armed.left <= 0:
                    self._happen(armed)
                    return fault
        return None

    def _happen(self, armed: Armed) -> None:
        self.played[armed.fault.name] += 1
        armed.happened.set()
        if armed is self._head:
            self._arm_next()
        else:
            self._armed.remove(armed)

    # -- connections

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve on a free port of loopback until cancelled."""
        async with trio.open_nursery() as nursery:
            serve = functools.partial(trio.serve_tcp, self.serve, 0, host="127.0.0.1")
            listeners: list[trio.SocketListener] = await nursery.start(serve)
            self.port = listeners[0].socket.getsockname()[1]
            if self.line is not None:  # the queue before a slow line is the device's own
                listeners[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            task_status.started()

    async def serve(self, device: trio.abc.Stream) -> None:
        """One connection of a device, from beginning to end; closes the stream."""
        self.connections += 1
        how = self._away or (self.refuse_next.popleft() if self.refuse_next else None)
        async with device:
            if how is not None:
                self.refused += 1
                await self._refuse(device, how)
                return
            try:
                broker = await self._open_broker()
            except OSError:  # it is being restarted
                return
            async with broker:
                connection = Connection(self, self.connections, device, broker)
                self._live[connection] = None
                try:
                    await connection.run()
                finally:
                    del self._live[connection]
                    connection.done.set()

    async def _refuse(self, device: trio.abc.Stream, how: How) -> None:
        if how == "reset":
            reset_on_close(device)
        elif how == "connack":
            with trio.move_on_after(PATIENCE):
                connect = await _first_packet(device)
                if connect is not None:
                    await device.send_all(refusing_connack(connect.level))

    async def forget(self, client_id: str) -> None:
        """Take the session over with a clean one, and leave that. For connections."""
        with trio.fail_after(PATIENCE):
            async with await self._open_broker() as broker:
                await broker.send_all(clean_connect(client_id))
                await broker.receive_some(READ)  # CONNACK
                await broker.send_all(DISCONNECT)
                with contextlib.suppress(trio.BrokenResourceError):
                    await broker.receive_some(READ)  # the end; from now on there is no session
        self.on_session_lost()


async def _first_packet(stream: trio.abc.Stream) -> Packet | None:
    framer = Framer()
    with contextlib.suppress(trio.BrokenResourceError, BadStream):
        while data := await stream.receive_some(READ):
            for packet in framer.feed(bytes(data)):
                return packet
    return None
