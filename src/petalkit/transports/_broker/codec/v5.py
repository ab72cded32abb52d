"""MQTT 5: bytes <-> packets.

The traps of `mqtt5` 0.8: text that is not UTF-8 makes it panic, which is no `Exception`; it raises
IndexError for a packet that is not complete and for one that is shorter than what it holds; and it
gives every fault as a ValueError, though MQTT has different reason codes for them.
"""

from __future__ import annotations

import math
from typing import Any

import mqtt5

from ..._receiving.violations import (
    MALFORMED_PACKET,
    PROTOCOL_ERROR,
    TOPIC_ALIAS_INVALID,
    Violation,
)
from ..core.values import Packet
from .header import SUBACK, UNSUBACK, ack, ack_with_code, measure, varint

_QUALITY = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)
# What the codec refuses as no more than a ValueError, though MQTT has another code for it.
_CODES = {
    "Duplicate value for unique property": PROTOCOL_ERROR,  # sections 2.2.2.2 and 3.x.2.2
    "Topic alias must be set if topic is empty": PROTOCOL_ERROR,  # section 3.3.2.3.4
    "Topic alias must be != 0": TOPIC_ALIAS_INVALID,
    "Subscription ID must be != 0": PROTOCOL_ERROR,  # section 3.8.2.1.2
    "Receive maximum must be != 0": PROTOCOL_ERROR,  # section 3.1.2.11.3
    "Maximum packet size must be != 0": PROTOCOL_ERROR,  # section 3.1.2.11.4
    "Invalid boolean": PROTOCOL_ERROR,  # sections 3.1.2.11.6 and 7
}


class V5:
    """See the module.

    Args:
        limit: bytes of the longest packet that is read.
    """

    name = "5"

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def read(self, view: memoryview) -> tuple[mqtt5.Packet, int] | None:
        """The packet that begins here, and its size; None as long as it is not complete.

        Raises:
            Violation: it is none.
        """
        try:
            found = mqtt5.read(view)
        except IndexError:
            _, size = measure(view, self._limit)
            if size == 0 or len(view) < size:
                return None
            text = "a packet that is shorter than what it holds"
        except BaseException as error:
            text = complaint(error)
            measure(view, self._limit)
        else:
            if found[1] > self._limit:
                measure(view, self._limit)
            return found
        raise Violation(_code(text), text)

    def publish(self, packet: Packet, now: float) -> bytes:
        """A PUBLISH to a client."""
        publication = packet.publication
        arguments: dict[str, Any] = publication.origin or {}
        if publication.expires_at < math.inf:
            left = max(math.ceil(publication.expires_at - now), 1)
            arguments = {**arguments, "message_expiry_interval": left}
        if packet.identifiers:
            arguments = {**arguments, "subscription_ids": list(packet.identifiers)}
        return mqtt5.PublishPacket(
            publication.topic,
            publication.payload,
            qos=_QUALITY[packet.qos],
            retain=packet.retain,
            packet_id=packet.packet_id or None,
            duplicate=packet.dup,
            **arguments,
        ).write()

    def ack(self, kind: int, packet_id: int, reason_code: int) -> bytes:
        """A PUBACK, PUBREC, PUBREL or PUBCOMP."""
        if reason_code:
            return ack_with_code(kind, packet_id, reason_code)
        return ack(kind, packet_id)

    def suback(self, packet_id: int, codes: list[int]) -> bytes:
        """A SUBACK."""
        return _answer(SUBACK, packet_id, codes)

    def unsuback(self, packet_id: int, codes: list[int]) -> bytes:
        """An UNSUBACK."""
        return _answer(UNSUBACK, packet_id, codes)

    def connack(self, *, present: bool, reason_code: int, properties: dict[str, Any]) -> bytes:
        """A CONNACK."""
        code = mqtt5.ConnAckReasonCode(reason_code)
        return mqtt5.ConnAckPacket(session_present=present, reason_code=code, **properties).write()

    def disconnect(self, reason_code: int, text: str) -> bytes:
        """A DISCONNECT."""
        code = mqtt5.DisconnectReasonCode(reason_code)
        return mqtt5.DisconnectPacket(reason_code=code, reason_str=text or None).write()


def _answer(kind: int, packet_id: int, codes: list[int]) -> bytes:
    return b"".join(
        (bytes((kind << 4,)), varint(3 + len(codes)), packet_id.to_bytes(2), b"\0", bytes(codes))
    )


def complaint(error: BaseException) -> str:
    """What the codec has to say; whatever is not its own travels on."""
    if isinstance(error, ValueError | OverflowError):
        return str(error)
    if type(error).__name__ == "PanicException":
        return "text that is not UTF-8"
    raise error


def _code(text: str) -> int:
    for start, reason_code in _CODES.items():
        if text.startswith(start):
            return reason_code
    return MALFORMED_PACKET
