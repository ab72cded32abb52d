"""Messages to us: topic aliases, the Receive Maximum, and what is owed for QoS 1 and 2.

The rule: an acknowledgement leaves when its delivery was acknowledged, in order of arrival, and
never for a delivery of an earlier connection. For QoS 2 (which we never subscribe to, but a session
made by another program may hold) that is the PUBREC; from there on the packet identifier is
remembered, over connections, until its PUBREL: a copy that comes meanwhile is not delivered. The
trap: the quota of the Receive Maximum starts anew with each connection (section 4.9), so a PUBREL
that is still to come from an earlier one takes no place in it.
"""

from __future__ import annotations

from collections.abc import Callable

import mqtt5

from .._messages import Properties
from ._contract import AckWindow, Delivery
from ._mqtt5_framing import PROTOCOL_ERROR, TOPIC_ALIAS_INVALID, Violation

TOPIC_ALIAS_MAXIMUM = 16  # a topic has 64 KiB at most

_RECEIVE_MAXIMUM_EXCEEDED = 0x93  # MQTT 5.0, section 2.4
_EXACTLY_ONCE = mqtt5.QoS.EXACTLY_ONCE
_PUBREC_DUE = 0x1_0000  # added to a packet identifier in the window: it was QoS 2
_PUBACK = b"\x40\x02"  # and the packet identifier: a success (section 3.4)


def nobody() -> None:
    """Who asks for output need not be told of it."""


class Receiving:
    """See the module. One for each session, over all its connections.

    Args:
        outgoing: where acknowledgements are written.
        strict: whether more messages than the Receive Maximum allows are a violation.
    """

    def __init__(self, outgoing: bytearray, *, strict: bool) -> None:
        self._outgoing = outgoing
        self._strict = strict
        self._received: set[int] = set()  # QoS 2: PUBREC sent, PUBREL to come
        self._topic = ""  # the last one
        self.connect(0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to be remembered for another connection."""
        return not self._received

    def connect(self, receive_maximum: int, on_output: Callable[[], None] = nobody) -> None:
        """A connection begins; `on_output` is called when acknowledgements may leave."""
        self._receive_maximum = receive_maximum
        self.window = AckWindow(on_output)
        self._owed: set[int] = set()  # delivered with QoS 2, PUBREC owed
        self._unreleased: set[int] = set()  # those of `_received` that came on this connection
        self._aliases: dict[int, str] = {}

    def lose_connection(self) -> None:
        """It ends: what is owed on it is owed no more, and comes again."""
        for turn in self.window.take_ready():
            if turn > _PUBREC_DUE:  # whoever acknowledged it has dealt with it
                self._received.add(turn - _PUBREC_DUE)
        self.window.close()

    def forget_session(self) -> None:
        """The broker knows nothing of what it had sent."""
        self._received.clear()

    def on_publish(self, packet: mqtt5.PublishPacket) -> Delivery | None:
        """The delivery that a PUBLISH makes; None for a copy.

        Raises:
            Violation: of the alias, the packet identifier, or the Receive Maximum.
        """
        topic = packet.topic
        alias = packet.topic_alias
        if alias is not None:
            topic = self._resolve(topic, alias)
        # One string for all of a topic: thousands of deliveries may be waiting.
        if topic == self._topic:
            topic = self._topic
        else:
            self._topic = topic
        packet_id = packet.packet_id  # with QoS 1 and 2 only
        window = None
        qos = turn = 0
        if packet_id is not None:
            if packet_id == 0:
                raise Violation(PROTOCOL_ERROR, "a PUBLISH with packet identifier 0")
            exactly_once = packet.qos == _EXACTLY_ONCE
            if exactly_once and self._is_copy(packet_id):
                return None
            window = self.window
            if self._strict and len(window) + len(self._unreleased) >= self._receive_maximum:
                text = f"more than {self._receive_maximum} unacknowledged messages"
                raise Violation(_RECEIVE_MAXIMUM_EXCEEDED, text)
            qos = 1
            turn = packet_id
            if exactly_once:
                self._owed.add(packet_id)
                turn += _PUBREC_DUE
        return Delivery(
            topic,
            packet.payload,
            qos=qos,
            retain=packet.retain,
            dup=packet.duplicate,
            window=window,
            packet_id=turn,
            properties=_properties(packet),
        )

    def _is_copy(self, packet_id: int) -> bool:
        if packet_id in self._received:  # PUBREC was lost, or is on its way
            self._outgoing += mqtt5.PubRecPacket(packet_id).write()
            return True
        return packet_id in self._owed  # PUBREC leaves when the first is acknowledged

    def _resolve(self, topic: str, alias: int) -> str:
        """Topic aliases: MQTT 5.0, section 3.3.2.3.4. The codec refuses alias 0."""
        if alias > TOPIC_ALIAS_MAXIMUM:
            raise Violation(TOPIC_ALIAS_INVALID, f"topic alias {alias} was not allowed")
        if topic:
            self._aliases[alias] = topic
            return topic
        try:
            return self._aliases[alias]
        except KeyError:
            raise Violation(PROTOCOL_ERROR, f"topic alias {alias} has no topic") from None

    def write_acknowledgements(self) -> None:
        """Write those whose turn has come, in order."""
        outgoing = self._outgoing
        for turn in self.window.take_ready():
            if turn > _PUBREC_DUE:
                packet_id = turn - _PUBREC_DUE
                self._owed.discard(packet_id)
                self._received.add(packet_id)
                self._unreleased.add(packet_id)
                outgoing += mqtt5.PubRecPacket(packet_id).write()
            else:
                outgoing += _PUBACK
                outgoing += turn.to_bytes(2)

    def on_pubrel(self, packet: mqtt5.PubRelPacket) -> None:
        """The identifier is free again."""
        packet_id = packet.packet_id
        known = packet_id in self._received
        self._received.discard(packet_id)
        self._unreleased.discard(packet_id)
        code = mqtt5.PubCompReasonCode
        answer = code.SUCCESS if known else code.PACKET_ID_NOT_FOUND
        self._outgoing += mqtt5.PubCompPacket(packet_id, reason_code=answer).write()


def _properties(packet: mqtt5.PublishPacket) -> Properties | None:
    response_topic = packet.response_topic
    correlation_data = packet.correlation_data
    expiry = packet.message_expiry_interval
    content_type = packet.content_type
    user = packet.user_properties
    if (
        response_topic is None
        and correlation_data is None
        and expiry is None
        and content_type is None
        and not user
    ):
        return None
    return Properties(
        response_topic=response_topic,
        correlation_data=correlation_data,
        message_expiry=expiry,
        content_type=content_type,
        user_properties=tuple(user),
    )
