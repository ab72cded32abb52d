"""The fixed header, and the short packets that are the same in both versions of MQTT.

The trap: a length that is not complete yet must be told from one that never ends.
"""

from __future__ import annotations

import struct

from ..._receiving.violations import MALFORMED_PACKET, PACKET_TOO_LARGE, Violation

# Types: MQTT 5.0, section 2.1.2.
CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE = range(1, 9)
SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(9, 16)

PINGRESP_PACKET = b"\xd0\x00"
_ACK = struct.Struct(">BBH")
_ACK_CODE = struct.Struct(">BBHB")
_FIRST = {PUBACK: 0x40, PUBREC: 0x50, PUBREL: 0x62, PUBCOMP: 0x70}


def measure(view: memoryview, limit: int) -> tuple[int, int]:
    """Bytes of the header of the packet that begins here, and of all of it.

    Returns:
        Zeros while the header is not complete.

    Raises:
        Violation: the length never ends, or the packet is longer than `limit`.
    """
    length = 0
    for index in range(1, 5):
        if index >= len(view):
            return 0, 0
        byte = view[index]
        length |= (byte & 0x7F) << 7 * (index - 1)
        if byte < 0x80:
            size = index + 1 + length
            if size > limit:
                text = f"a packet of {size} bytes; {limit} are allowed"
                raise Violation(PACKET_TOO_LARGE, text)
            return index + 1, size
    raise Violation(MALFORMED_PACKET, "a Remaining Length of more than four bytes")


def varint(number: int) -> bytes:
    """A variable byte integer: MQTT 5.0, section 1.5.5."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def ack(kind: int, packet_id: int) -> bytes:
    """A PUBACK, PUBREC, PUBREL or PUBCOMP that says yes."""
    return _ACK.pack(_FIRST[kind], 2, packet_id)


def ack_with_code(kind: int, packet_id: int, reason_code: int) -> bytes:
    """The same of MQTT 5, with a reason code."""
    return _ACK_CODE.pack(_FIRST[kind], 3, packet_id, reason_code)
