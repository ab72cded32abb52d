"""What a link owes the broker and the broker owes it: acknowledgements, and publishes in flight.

The rule: nothing is written when it is handed over. It is collected, the writing task is woken
once, and `flush` gives everything to the client when all who were awake have had their turn; so
a batch of commands is answered and acknowledged by one `send`. No I/O and no waiting here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from ..._values.errors import RejectedByBroker, TransportError
from ..._values.messages import Message
from .._base_link import OUTGOING_BYTES
from .._contract import ConnectOptions, OnDone
from .._reason_codes import FAILURE
from .._receiving.receiving import Receiving
from ._client import HardenedClient

_PUBLISH_OVERHEAD = 16  # bytes of a PUBLISH beside topic and payload, at most
_PROPERTIES_OVERHEAD = 18  # of their identifiers and lengths, at most
_PAIR_OVERHEAD = 5
_TOPIC_NAME_INVALID = 0x90  # MQTT 5.0, section 2.4
_PACKET_TOO_LARGE = 0x95


class Outgoing:
    """The outgoing half of one link.

    Args:
        options: of the link.
        receiving: what is owed for messages that came; connected.
        wake: called whenever there is something to flush.
        on_room: called whenever a PUBACK has made room for one more message.
    """

    client: HardenedClient

    def __init__(
        self,
        options: ConnectOptions,
        receiving: Receiving,
        wake: Callable[[], None],
        on_room: Callable[[], None],
    ) -> None:
        self._payload_max = options.payload_max
        self._wake = wake
        self._on_room = on_room
        self.in_flight = 0  # QoS 1, with those not written yet
        self.in_flight_max = options.publish_maximum
        self._packet_max = 0xFFFF_FFFF
        self._receiving = receiving
        self.window = receiving.window
        self._messages: deque[tuple[Message, OnDone]] = deque()
        self._messages_bytes = 0
        self._unacked: dict[int, OnDone] = {}

    def accept_limits(self, connack: Any) -> None:
        """What the broker's CONNACK allows us (MQTT 5.0, section 3.2.2.3)."""
        self.in_flight_max = min(
            self.in_flight_max, getattr(connack, "ReceiveMaximum", self.in_flight_max)
        )
        self._packet_max = getattr(connack, "MaximumPacketSize", self._packet_max)

    def pending(self) -> bool:
        """Whether `flush` has anything to do."""
        return self.window.ready or bool(self._messages) or self.client.want_write()

    def only_acks(self) -> bool:
        """Whether nothing waits but acknowledgements."""
        return self.window.ready and not self._messages

    def flush(self) -> None:
        """Put on the wire what was collected: acknowledgements in order, then publishes."""
        if self.window.ready:
            self._receiving.write_acknowledgements()
        if self.client.want_write():  # before what is published now
            self.client.loop_write()
        messages = self._messages
        while messages:
            self._write(*messages.popleft())
        self._messages_bytes = 0

    def take_owed(self) -> list[OnDone]:
        """Everybody who still waits for an answer; they are forgotten here."""
        self._receiving.lose_connection()
        owed = [*self._unacked.values(), *(on_done for _, on_done in self._messages)]
        self._unacked.clear()
        self._messages.clear()
        return owed

    # -- publishes

    def publishable(self) -> bool:
        """Whether there is room for one more message."""
        return (
            self.in_flight < self.in_flight_max
            and self._messages_bytes + self.client.unsent < OUTGOING_BYTES
        )

    def publish(self, message: Message, on_done: OnDone) -> None:
        """Take one; see `Link.publish_nowait`."""
        if not self.publishable():
            raise trio.WouldBlock
        if message.qos:
            self.in_flight += 1
        self._messages.append((message, on_done))
        self._messages_bytes += len(message.payload)
        self._wake()

    def _write(self, message: Message, on_done: OnDone) -> None:
        outcome: TransportError | None = None
        if self._too_large(message):
            outcome = RejectedByBroker(
                _PACKET_TOO_LARGE, f"Packet too large ({len(message.payload)} bytes of payload)"
            )
        else:
            try:
                packet_id = self.client.publish_nowait(message, self._unacked)
            except ValueError as error:
                outcome = RejectedByBroker(_TOPIC_NAME_INVALID, str(error))
            else:
                if message.qos:
                    self._unacked[packet_id] = on_done
                    return
        if message.qos:
            self.in_flight -= 1
        on_done(outcome)

    def _too_large(self, message: Message) -> bool:
        size = len(message.payload)
        if size > self._payload_max:
            return True
        if message.properties is not None:
            pairs = len(message.properties.user_properties)
            size += message.properties.size + _PROPERTIES_OVERHEAD + pairs * _PAIR_OVERHEAD
        return size + len(message.topic.encode()) + _PUBLISH_OVERHEAD > self._packet_max

    def on_puback(self, packet_id: int, reason: Any) -> None:
        """The broker has answered one of ours."""
        on_done = self._unacked.pop(packet_id, None)
        if on_done is None:
            return
        self.in_flight -= 1
        self._on_room()
        code: int = reason.value
        on_done(RejectedByBroker(code, reason.getName()) if code >= FAILURE else None)
