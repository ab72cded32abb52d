"""MQTT 3.1.1: its packets are those of MQTT 5 without properties, and are read as such.

The rule: what comes is given the empty properties that MQTT 5 has in their places, and read by the
codec of MQTT 5; so there is one reader, and what is wrong is found in one place. What differs
otherwise is checked here: an acknowledgement has no reason code, a subscription no options.
"""

from __future__ import annotations

from typing import Any

import mqtt5

from ..._receiving.violations import MALFORMED_PACKET, Violation
from ..core.values import FAILURE, Packet
from .header import (
    CONNECT,
    DISCONNECT,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    ack,
    measure,
    varint,
)
from .v5 import V5

# Reason codes of MQTT 5 -> return codes of a CONNACK: MQTT 3.1.1, section 3.2.2.3.
_RETURN_CODES = {0x84: 1, 0x85: 2, 0x86: 4, 0x87: 5}
_UNAVAILABLE = 3
_WILL, _PASSWORD, _USER_NAME = 0x04, 0x40, 0x80  # flags of a CONNECT


class V311:
    """See the module; the methods are those of `V5`."""

    name = "3.1.1"

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._v5 = V5(limit + 8)  # what is put in

    def read(self, view: memoryview) -> tuple[mqtt5.Packet, int] | None:
        """See `V5.read`."""
        header, size = measure(view, self._limit)
        if size == 0 or len(view) < size:
            return None
        first, body = view[0], bytes(view[header:size])
        kind = first >> 4
        if kind == PUBLISH:
            places: tuple[int, ...] = (_after_head(first, body),)
        elif kind in (SUBSCRIBE, UNSUBSCRIBE):
            places = (2,)
        elif kind == CONNECT:
            return self._read_connect(first, body), size
        else:
            if PUBACK <= kind <= PUBCOMP and len(body) != 2:
                raise Violation(MALFORMED_PACKET, "an acknowledgement of more than its identifier")
            if kind == DISCONNECT and body:
                raise Violation(MALFORMED_PACKET, "a DISCONNECT that is not empty")
            places = ()
        packet = self._read(first, body, *places)
        if isinstance(packet, mqtt5.SubscribePacket):
            for one in packet.topic_filters:
                if one.no_local or one.retain_as_published or int(one.retain_handling):
                    raise Violation(MALFORMED_PACKET, "a subscription with reserved bits")
        return packet, size

    def _read(self, first: int, body: bytes, *places: int) -> mqtt5.Packet:
        """Read it with empty properties in some places."""
        for place in reversed(places):
            if place > len(body):
                raise Violation(MALFORMED_PACKET, "a packet that is shorter than what it holds")
            body = body[:place] + b"\0" + body[place:]
        data = b"".join((bytes((first,)), varint(len(body)), body))
        found = self._v5.read(memoryview(data))
        assert found is not None
        return found[0]

    def _read_connect(self, first: int, body: bytes) -> mqtt5.Packet:
        if len(body) < 12:
            raise Violation(MALFORMED_PACKET, "a CONNECT that is cut off")
        flags = body[7]
        if flags & _PASSWORD and not flags & _USER_NAME:
            raise Violation(MALFORMED_PACKET, "a password without a user name")
        places = [10]
        if flags & _WILL:
            places.append(12 + int.from_bytes(body[10:12]))
        return self._read(first, body[:6] + b"\5" + body[7:], *places)

    def publish(self, packet: Packet, now: float) -> bytes:
        """See `V5.publish`."""
        del now
        publication = packet.publication
        topic = publication.topic.encode()
        first = 0x30 | packet.dup << 3 | packet.qos << 1 | packet.retain
        head = len(topic).to_bytes(2) + topic
        if packet.qos:
            head += packet.packet_id.to_bytes(2)
        payload = publication.payload
        return b"".join((bytes((first,)), varint(len(head) + len(payload)), head, payload))

    def ack(self, kind: int, packet_id: int, reason_code: int) -> bytes:
        """See `V5.ack`; this version cannot say no."""
        del reason_code
        return ack(kind, packet_id)

    def suback(self, packet_id: int, codes: list[int]) -> bytes:
        """See `V5.suback`."""
        codes = [min(code, FAILURE) for code in codes]
        return b"".join(
            (bytes((SUBACK << 4,)), varint(2 + len(codes)), packet_id.to_bytes(2), bytes(codes))
        )

    def unsuback(self, packet_id: int, codes: list[int]) -> bytes:
        """See `V5.unsuback`."""
        del codes
        return bytes((UNSUBACK << 4, 2)) + packet_id.to_bytes(2)

    def connack(self, *, present: bool, reason_code: int, properties: dict[str, Any]) -> bytes:
        """See `V5.connack`."""
        del properties
        code = _RETURN_CODES.get(reason_code, _UNAVAILABLE) if reason_code else 0
        return bytes((0x20, 2, present, code))

    def disconnect(self, reason_code: int, text: str) -> bytes:
        """See `V5.disconnect`: here a server just closes."""
        del reason_code, text
        return b""


def _after_head(first: int, body: bytes) -> int:
    """Where topic and packet identifier end."""
    return 2 + int.from_bytes(body[:2]) + (2 if first & 0x06 else 0)
