"""What a link has been sent: PUBLISH and PUBREL, as paho cuts them from the wire, to the inbox.

The rule: all of one read is handed over together, were the inbox full before its end: what is on
the wire and not parsed may be an urgent command. When a packet breaks the protocol, the wire is
paused from inside the callback; so paho finds no further packet, and whoever drives it sees why. No
I/O and no waiting here.
"""

from __future__ import annotations

from .._receiving.bounded_inbox import BoundedInbox
from .._receiving.publish_reader import head_to_keep, read_oversized, read_publish
from .._receiving.receiving import Receiving
from .._receiving.violations import PROTOCOL_ERROR, Violation
from ._wire import Wire


class Incoming:
    """The incoming half of one link.

    Args:
        wire: paused here, and resumed by whoever reads.
        receiving: what is owed for messages that came; connected.
        inbox: where deliveries go.
        packet_limit: bytes of the longest packet that is read whole.
        v5: whether messages have properties.

    Attributes:
        accepted: whether the CONNACK has come, before which there is no message.
        over: the link is lost, and nothing is taken any more: paho may read several packets in
            one call.
        violation: what the broker has done wrong.
    """

    def __init__(
        self, wire: Wire, receiving: Receiving, inbox: BoundedInbox, packet_limit: int, *, v5: bool
    ) -> None:
        self._wire = wire
        self._receiving = receiving
        self._inbox = inbox
        self._packet_limit = packet_limit
        self._v5 = v5
        self.accepted = False
        self.over = False
        self.violation: Violation | None = None

    def on_publish(self, first: int, body: bytes, size: int) -> None:
        """From the client: one PUBLISH; of one that is too large, the head."""
        if self.over:
            return
        try:
            if not self.accepted:
                raise Violation(PROTOCOL_ERROR, "PUBLISH where it cannot come")
            if size > self._packet_limit:
                keep = head_to_keep(first, body, self._packet_limit, v5=self._v5)
                publish = read_oversized(first, body[:keep], size, v5=self._v5)
            else:
                publish = read_publish(first, body, v5=self._v5)
            delivery = self._receiving.take(publish)
        except Violation as violation:
            self.violation = violation
            self.over = self._wire.paused = True
            return
        if delivery is None:  # a copy, maybe with an answer of its own
            return
        inbox = self._inbox
        inbox.deliveries.append(delivery)
        inbox.size += len(body)

    def on_pubrel(self, packet_id: int) -> None:
        """From the client: the second half of QoS 2."""
        if not self.over:
            self._receiving.on_pubrel(packet_id)
