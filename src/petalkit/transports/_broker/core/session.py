"""What the broker keeps for one client: the session, with or without a connection.

The rule: a QoS 1 or 2 packet is in exactly one place, `queue` (not sent yet) or `inflight` (sent,
its last acknowledgement owed), and leaves only by that, by the session's end, or by a full queue,
which counts. What is sent after a lost connection is a copy with `dup` set, never the same object:
the door of the lost one may still hold it.

A message may expire while it is here (MQTT 5.0, section 3.3.2.3.3): what has no time left is
dropped and counted.
"""

from __future__ import annotations

import math
from collections import deque

from ...._values.topics import TopicFilter
from .shared import Shared
from .values import Packet, Publication, Subscription, Will, Wire

_MAX_PACKET_ID = 65_535
# Of all that have nothing in them: made empty, these are a tenth of what an idle client takes.
_NO_QUEUE: deque[Packet] = deque(maxlen=0)
_NO_IDS: set[int] | frozenset[int] = frozenset()


class Session:
    """See the module.

    Attributes:
        number: sessions are served in this order.
        subscriptions: by filter, in the order of subscribing.
        received: packet identifiers of QoS 2 messages from the client that it has not released.
        wire: None while there is no connection.
        lifetime: seconds after the connection's end; 0 ends with it.
        delayed_will: of a lost connection, until its delay has passed.
    """

    __slots__ = (
        "_last_id",
        "_next_expiry",
        "_shared",
        "client_id",
        "delayed_will",
        "expires_at",
        "held_bytes",
        "inflight",
        "kept_bytes",
        "lifetime",
        "number",
        "queue",
        "received",
        "subscriptions",
        "will_bytes",
        "wire",
    )

    def __init__(self, client_id: str, number: int, shared: Shared) -> None:
        self.client_id = client_id
        self.number = number
        self._shared = shared
        self.subscriptions: dict[TopicFilter, Subscription] = {}
        self.queue = _NO_QUEUE
        self.inflight: dict[int, Packet] = {}  # in the order of sending
        self.received = _NO_IDS
        self.held_bytes = 0  # of both
        self.kept_bytes = 0  # of subscriptions, and of
        self.will_bytes = 0  # a will that may be published
        self.wire: Wire | None = None
        self.lifetime = math.inf
        self.expires_at = math.inf
        self.delayed_will: Will | None = None
        self._last_id = 0
        self._next_expiry = math.inf  # of what is in the queue, or earlier

    # -- towards the client

    def push(
        self,
        publication: Publication,
        qos: int,
        *,
        retain: bool = False,
        identifiers: tuple[int, ...] = (),
    ) -> None:
        """Send it now, or keep it for later, or count it as dropped."""
        wire = self.wire
        if qos == 0:
            # As mosquitto does by default: QoS 0 is not kept for the absent.
            if wire is None or not wire.takes_qos_0(publication):
                self._shared.counters.dropped_qos0 += 1
                if wire is not None:
                    self._shared.on_drop(self, "it does not read what it is sent")
            else:
                self._count_sent(wire.send(Packet(publication, 0, retain, identifiers)))
            return
        size = publication.size
        waits = (
            wire is None
            or bool(self.queue)
            or len(self.inflight) >= wire.window
            or not wire.takes(publication)
        )
        if self._is_full(size, waits):
            self.drop_expired()
            if self._is_full(size, waits):
                self._shared.counters.dropped_queue_full += 1
                self._shared.on_drop(self, "its queue is full")
                return
        packet = Packet(publication, qos, retain, identifiers)
        self._hold(size)
        if wire is None or waits:
            if self.queue is _NO_QUEUE:
                self.queue = deque()
            self.queue.append(packet)
            self._next_expiry = min(self._next_expiry, publication.expires_at)
        else:
            self._send(wire, packet)

    def _is_full(self, size: int, waits: bool) -> bool:
        bounds = self._shared.bounds
        return (
            (waits and len(self.queue) >= bounds.max_queued)
            or self.held_bytes + size > bounds.max_queued_bytes
            or (
                self._shared.queued_bytes + size > bounds.max_queued_bytes_total
                # What others have let pile up is not to be the end of those who read.
                and self.held_bytes + size > bounds.queued_share
            )
        )

    def _hold(self, size: int) -> None:
        self.held_bytes += size
        self._shared.queued_bytes += size

    def drop_expired(self) -> None:
        """Count and forget what is too old to be sent."""
        if self._next_expiry == math.inf or (now := self._shared.clock()) < self._next_expiry:
            return
        kept = deque(packet for packet in self.queue if packet.publication.expires_at > now)
        for packet in self.queue:
            if packet.publication.expires_at <= now:
                self._hold(-packet.publication.size)
        self._shared.counters.dropped_expired += len(self.queue) - len(kept)
        self.queue = kept
        self._next_expiry = min(
            (packet.publication.expires_at for packet in kept), default=math.inf
        )

    def _send(self, wire: Wire, packet: Packet) -> None:
        packet_id = packet.packet_id
        if not packet_id:
            packet_id = self._last_id
            while True:
                packet_id = packet_id % _MAX_PACKET_ID + 1
                if packet_id not in self.inflight:
                    break
            self._last_id = packet.packet_id = packet_id
        self.inflight[packet_id] = packet
        sent = wire.send(packet)
        self._count_sent(sent)
        if not sent and self.inflight.pop(packet_id, None) is not None:
            self._hold(-packet.publication.size)

    def _count_sent(self, sent: bool) -> None:
        if sent:
            self._shared.counters.delivered += 1
        else:
            self._shared.counters.dropped_too_large += 1
            self._shared.on_drop(self, "they are longer than what it takes")

    def pump(self) -> None:
        """Send from the queue what the window and the wire have room for."""
        wire = self.wire
        if wire is None:
            return
        self.drop_expired()
        queue = self.queue
        while queue and len(self.inflight) < wire.window and wire.takes(queue[0].publication):
            self._send(wire, queue.popleft())
        if not queue:
            self.queue = _NO_QUEUE

    # -- acknowledgements

    def finish(self, packet_id: int) -> None:
        """The last acknowledgement of a packet came; one that is not owed is no matter."""
        packet = self.inflight.pop(packet_id, None)
        if packet is not None:
            self._hold(-packet.publication.size)
            if self.queue:
                self.pump()

    def keep_received(self, packet_id: int) -> None:
        """A message of QoS 2 came, and is to be released."""
        if self.received is _NO_IDS:
            self.received = set()
        assert isinstance(self.received, set)
        self.received.add(packet_id)

    def release(self, packet_id: int) -> bool:
        """A PUBREL came; whether there was something to release."""
        if packet_id not in self.received:
            return False
        assert isinstance(self.received, set)
        self.received.discard(packet_id)
        return True

    def acknowledge(self, packet_id: int) -> bool:
        """A PUBACK came. False: of a message of QoS 2."""
        packet = self.inflight.get(packet_id)
        if packet is not None and packet.qos == 2:
            return False
        self.finish(packet_id)
        return True

    def receive(self, packet_id: int) -> bool | None:
        """A PUBREC came, and its PUBREL is due. False: of QoS 1; None: of nothing there is."""
        packet = self.inflight.get(packet_id)
        if packet is None:
            return None
        if packet.qos != 2:
            return False
        packet.released = True
        return True

    # -- what it keeps beside messages

    def may_keep(self, size: int) -> bool:
        """Whether there is room for so many bytes more."""
        shared, bounds = self._shared, self._shared.bounds
        return (
            shared.kept_bytes + size <= bounds.max_kept_bytes
            or self.kept_bytes + size <= bounds.kept_share
        )

    def keep(self, size: int) -> None:
        """So many bytes more are kept, or fewer."""
        self.kept_bytes += size
        self._shared.kept_bytes += size

    def keep_will(self, size: int) -> None:
        """A will of that size is kept in place of the last one; 0 for none."""
        self.keep(size - self.will_bytes)
        self.will_bytes = size

    # -- connections

    def attach(self, wire: Wire) -> None:
        """A connection is there; what it is owed is sent by `resume`."""
        self.wire = wire
        self.delayed_will = None  # back in time
        self.expires_at = math.inf

    def resume(self) -> None:
        """Send what is unacknowledged again, in order, then what had waited."""
        wire = self.wire
        assert wire is not None
        now = self._shared.clock()
        again: list[Packet] = []
        released: dict[int, Packet] = {}
        for packet_id, packet in self.inflight.items():
            if packet.released:
                released[packet_id] = packet
            elif packet.publication.expires_at > now:
                # MQTT 5.0, section 4.4: with the original packet identifiers.
                again.append(
                    Packet(
                        packet.publication,
                        packet.qos,
                        packet.retain,
                        packet.identifiers,
                        dup=True,
                        packet_id=packet_id,
                    )
                )
            else:
                self._hold(-packet.publication.size)
                self._shared.counters.dropped_expired += 1
        self._shared.counters.redelivered += len(again)
        self.inflight = released
        for packet_id in released:
            wire.release(packet_id)
        if again:
            self.queue = deque((*again, *self.queue))
        for packet in again:
            self._next_expiry = min(self._next_expiry, packet.publication.expires_at)
        self.pump()

    def discard(self) -> None:
        """The session has ended: nothing of it counts any more."""
        self._hold(-self.held_bytes)
        self.keep(-self.kept_bytes)
        self.will_bytes = 0
        self.queue = _NO_QUEUE
        self.inflight.clear()
        self.received = _NO_IDS
