"""What the in-process broker keeps for one client: the session, and the wire while it is connected.

The rule: a QoS 1 packet is in exactly one place, `queue` (not sent yet) or `inflight` (sent, its
PUBACK owed), and leaves only by a PUBACK, by the session's end, or by a full queue, which counts.
The trap: a packet that was sent may still be read from a dead link's `pipe`, so what is sent again
is a copy with `dup` set, never the same object.

A message may expire while it is here (MQTT 5.0, section 3.3.2.3.3): whatever is put on the wire
says what is left, and what has nothing left is dropped and counted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable

import attrs
import trio

from ..._values.errors import ConnectionLost
from ..._values.messages import NO_PROPERTIES, Message, Properties
from ..._values.topics import TopicFilter

ARRIVED_MAX = 64  # packets that a link holds on its own side; the rest is "in the socket"
_MAX_PACKET_ID = 65_535


@attrs.define
class Counters:
    """What the broker has counted since it was made; see `BrokerStatistics`."""

    published: int = 0
    delivered: int = 0
    redelivered: int = 0
    dropped_queue_full: int = 0
    dropped_qos0: int = 0
    dropped_expired: int = 0


@attrs.frozen(eq=False)
class DelayedWill:
    """The will of one lost link: another of the same words is another."""

    message: Message


class Packet:
    """One PUBLISH towards a client."""

    __slots__ = ("dup", "expires_at", "message", "packet_id", "properties", "qos", "retain")

    def __init__(
        self,
        message: Message,
        qos: int,
        retain: bool,
        dup: bool = False,
        packet_id: int = 0,
        expires_at: float = math.inf,
    ) -> None:
        self.message = message
        self.qos = qos
        self.retain = retain
        self.dup = dup
        self.packet_id = packet_id
        self.expires_at = expires_at  # on Trio's clock
        self.properties: Properties | None = None  # as it was put on the wire


class Session:
    """The state that a broker keeps under a client ID, with or without a connection."""

    def __init__(self, client_id: str, max_queued: int, counters: Counters) -> None:
        self.client_id = client_id
        self.max_queued = max_queued
        self.counters = counters
        self.subscriptions: dict[TopicFilter, int] = {}  # filter -> QoS
        self.queue: deque[Packet] = deque()
        self.inflight: dict[int, Packet] = {}  # in the order of sending
        self.connection: Connection | None = None
        self.lifetime = math.inf  # seconds after the connection's end; 0 ends with it
        self.expires_at = math.inf
        self.delayed_will: DelayedWill | None = None  # of a lost link, until its delay has passed
        self._last_id = 0
        self._next_expiry = math.inf  # of what is in the queue, or earlier

    def push(
        self, message: Message, qos: int, *, retain: bool = False, expires_at: float = math.inf
    ) -> None:
        """Send it now, or keep it for later, or count it as dropped."""
        if len(self.queue) >= self.max_queued:
            self.drop_expired()
        connection = self.connection
        if qos == 0:
            # As mosquitto does by default: QoS 0 is not kept for the absent.
            if connection is None or len(connection.pipe) >= self.max_queued:
                self.counters.dropped_qos0 += 1
            else:
                connection.send(Packet(message, 0, retain, expires_at=expires_at))
        elif connection is not None and not self.queue and len(self.inflight) < connection.window:
            self._send(connection, Packet(message, 1, retain, expires_at=expires_at))
        elif len(self.queue) < self.max_queued:
            self.queue.append(Packet(message, 1, retain, expires_at=expires_at))
            self._next_expiry = min(self._next_expiry, expires_at)
        else:
            self.counters.dropped_queue_full += 1

    def drop_expired(self) -> None:
        """Count and forget what is too old to be sent."""
        if self._next_expiry == math.inf or (now := trio.current_time()) < self._next_expiry:
            return
        kept = deque(packet for packet in self.queue if packet.expires_at > now)
        self.counters.dropped_expired += len(self.queue) - len(kept)
        self.queue = kept
        self._next_expiry = min((packet.expires_at for packet in kept), default=math.inf)

    def _send(self, connection: Connection, packet: Packet) -> None:
        if not packet.packet_id:
            packet_id = self._last_id
            while True:
                packet_id = packet_id % _MAX_PACKET_ID + 1
                if packet_id not in self.inflight:
                    break
            self._last_id = packet.packet_id = packet_id
        self.inflight[packet.packet_id] = packet
        connection.send(packet)

    def pump(self) -> None:
        """Send from the queue what the window has room for."""
        connection = self.connection
        if connection is None:
            return
        self.drop_expired()
        queue = self.queue
        while queue and len(self.inflight) < connection.window:
            self._send(connection, queue.popleft())

    def acknowledge(self, packet_ids: Iterable[int]) -> None:
        """PUBACKs came."""
        for packet_id in packet_ids:
            self.inflight.pop(packet_id, None)
        if self.queue:
            self.pump()

    def attach(self, connection: Connection) -> None:
        """A link is up: send what is unacknowledged again, in order, then what had waited."""
        self.connection = connection
        self.delayed_will = None  # back in time
        self.expires_at = math.inf
        now = trio.current_time()
        again = [
            # MQTT 5.0, section 4.4: with the original packet identifiers.
            Packet(
                packet.message,
                1,
                packet.retain,
                dup=True,
                packet_id=packet.packet_id,
                expires_at=packet.expires_at,
            )
            for packet in self.inflight.values()
            if packet.expires_at > now
        ]
        self.counters.redelivered += len(again)
        self.counters.dropped_expired += len(self.inflight) - len(again)
        self.inflight.clear()
        self.queue.extendleft(reversed(again))
        for packet in again:
            self._next_expiry = min(self._next_expiry, packet.expires_at)
        self.pump()


class Connection:
    """The broker's end of one link, and the wire between: what was sent and not yet read.

    The link hangs its own functions into `on_arrival` (the pipe was empty and is not any more),
    `on_lost` and `on_late` (start a task that runs `deliver_late`). All are called synchronously.
    """

    __slots__ = (
        "delay",
        "late",
        "late_running",
        "lost",
        "on_arrival",
        "on_late",
        "on_lost",
        "pipe",
        "protocol",
        "session",
        "will",
        "will_delay",
        "window",
    )

    def __init__(
        self,
        session: Session,
        *,
        protocol: str,
        window: int,
        will: Message | None,
        will_delay: float,
        delay: Callable[[], float],
    ) -> None:
        self.session = session
        self.protocol = protocol
        self.window = window
        self.will = will
        self.will_delay = will_delay
        self.delay = delay
        self.pipe: deque[Packet] = deque()
        self.late: deque[tuple[float, Callable[[], None]]] = deque()
        self.late_running = False
        self.lost: ConnectionLost | None = None
        self.on_arrival: Callable[[], None] = _nothing
        self.on_late: Callable[[], None] = _nothing
        self.on_lost: Callable[[], None] = _nothing

    def send(self, packet: Packet) -> None:
        """Put a packet on the wire; with a delay it arrives later, in its order."""
        self.session.counters.delivered += 1
        properties = packet.message.properties
        # On the wire, properties that say nothing are no properties.
        if properties is not None and properties != NO_PROPERTIES and self.protocol == "5":
            if properties.message_expiry is not None:
                # Whole seconds on the wire, and a broker rounds down.
                left = math.floor(packet.expires_at - trio.current_time())
                properties = attrs.evolve(properties, message_expiry=left)
            packet.properties = properties
        if self.late or self.delay() > 0:
            self.later(lambda: self._arrive(packet))
        else:
            self._arrive(packet)

    def _arrive(self, packet: Packet) -> None:
        self.pipe.append(packet)
        if len(self.pipe) == 1:
            self.on_arrival()

    def later(self, arrive: Callable[[], None]) -> None:
        """Call `arrive` when the broker's delay has passed, after everything sent before."""
        self.late.append((trio.current_time() + self.delay(), arrive))
        if not self.late_running:
            self.late_running = True
            self.on_late()

    async def deliver_late(self) -> None:
        """Let delayed packets arrive, until there are none."""
        try:
            while self.late:
                await trio.sleep_until(self.late[0][0])
                if self.late:  # else they died with the link meanwhile
                    self.late.popleft()[1]()
        finally:
            self.late_running = False

    def close(self, error: ConnectionLost) -> None:
        """The wire is cut: what had arrived stays readable, what was under way is gone."""
        self.lost = error
        self.late.clear()
        while len(self.pipe) > ARRIVED_MAX:
            self.pipe.pop()
        self.on_lost()


def _nothing() -> None:
    """The default of the callbacks, until the link is there."""
