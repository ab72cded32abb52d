"""SUBSCRIBE and UNSUBSCRIBE, which wait for their answers: as many codes as they have filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mqtt5

from ..._values.errors import RejectedByBroker
from .._receiving.violations import PROTOCOL_ERROR, Violation
from ._events import Subscribed, Unsubscribed
from ._publishing import Publishing
from ._reasons import reason_name, unexpected

_AT_LEAST_ONCE = mqtt5.QoS.AT_LEAST_ONCE
_IF_NEW = mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS


class Questions:
    """See the module. One for each session; what waits is of one connection.

    Args:
        outgoing: where packets are written.
        publishing: gives packet identifiers, and knows what the broker takes.
    """

    def __init__(self, outgoing: bytearray, publishing: Publishing) -> None:
        self._outgoing = outgoing
        self._publishing = publishing
        # Packet identifier -> the kind of the answer, and how many codes it has.
        self._expected: dict[int, tuple[type, int]] = {}

    def forget(self) -> None:
        """A connection begins: nothing is awaited on it."""
        self._expected = {}

    def subscribe(self, filters: Sequence[str]) -> int:
        """Subscribe with QoS 1, to retained messages for a new subscription only.

        Returns:
            The packet identifier that `Subscribed` will have.

        Raises:
            RejectedByBroker: MQTT cannot carry a filter, or the broker takes no packet as long.
        """
        expected = (mqtt5.SubAckPacket, len(filters))
        return self._ask(
            expected, lambda key: mqtt5.SubscribePacket(key, list(map(_wanted, filters))).write()
        )

    def unsubscribe(self, filters: Sequence[str]) -> int:
        """Unsubscribe; see `subscribe`."""
        expected = (mqtt5.UnsubAckPacket, len(filters))
        return self._ask(expected, lambda key: mqtt5.UnsubscribePacket(key, list(filters)).write())

    def _ask(self, expected: tuple[type, int], write: Callable[[int], bytes]) -> int:
        packet_id = self._publishing.new_question()
        try:
            data = write(packet_id)
            self._publishing.check_size(data)
        except (ValueError, OverflowError) as error:
            self._publishing.answered(packet_id)
            raise RejectedByBroker(PROTOCOL_ERROR, f"cannot be sent: {error}") from None
        except RejectedByBroker:
            self._publishing.answered(packet_id)
            raise
        self._outgoing += data
        self._expected[packet_id] = expected
        return packet_id

    def on_suback(self, packet: mqtt5.SubAckPacket) -> Subscribed:
        """The answer to a SUBSCRIBE.

        Raises:
            Violation: to none that waits for it.
        """
        return Subscribed(packet.packet_id, self._check_answer(packet))

    def on_unsuback(self, packet: mqtt5.UnsubAckPacket) -> Unsubscribed:
        """The answer to an UNSUBSCRIBE; see `on_suback`."""
        return Unsubscribed(packet.packet_id, self._check_answer(packet))

    def _check_answer(self, packet: mqtt5.SubAckPacket | mqtt5.UnsubAckPacket) -> list[int]:
        codes = packet.reason_codes
        kind, count = self._expected.pop(packet.packet_id, (None, 0))
        if kind is not type(packet):
            raise unexpected(packet)
        if count != len(codes):
            raise Violation(PROTOCOL_ERROR, f"{len(codes)} answers where {count} were due")
        self._publishing.answered(packet.packet_id)
        return list(map(int, codes))


def _wanted(text: str) -> mqtt5.TopicFilter:
    return mqtt5.TopicFilter(
        text, max_qos=_AT_LEAST_ONCE, retain_as_published=False, retain_handling=_IF_NEW
    )


def filter_reason(code: int) -> str:
    """The name of a reason code of a SUBACK."""
    return reason_name(code, mqtt5.SubAckReasonCode)
