"""Reason codes in the broker's packets: what they say, and those that the codec has no name for.

The rule: a code of 0x80 or above is a refusal, whoever invented it, and no malformed packet. The
trap: the codec refuses the packet, so it is shown 0x80, and what stood there is told beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mqtt5
import msgspec

from .._reason_codes import FAILURE
from .._receiving.violations import PROTOCOL_ERROR, Violation

# Of the packet types below -> the codec's enumeration, and where the codes begin in the body.
_WHERE: dict[int, tuple[Any, Callable[[bytes], int]]] = {
    2: (mqtt5.ConnAckReasonCode, lambda body: 1),
    4: (mqtt5.PubAckReasonCode, lambda body: 2),
    5: (mqtt5.PubRecReasonCode, lambda body: 2),
    9: (mqtt5.SubAckReasonCode, lambda body: 2 + _length_of_properties(body, 2)),
    11: (mqtt5.UnsubAckReasonCode, lambda body: 2 + _length_of_properties(body, 2)),
    14: (mqtt5.DisconnectReasonCode, lambda body: 0),
}
_LISTS = (9, 11)  # those with a code for each filter, up to their end


class Unnamed(msgspec.Struct):
    """Such a packet.

    Attributes:
        packet: with 0x80 for each code that has no name.
        codes: as they came.
    """

    packet: Any
    codes: Sequence[int]


def is_of_reason_code(first: int, complaint: str) -> bool:
    """Whether `read_unnamed` may read what the codec complains of."""
    return first >> 4 in _WHERE and "ReasonCode value" in complaint


def read_unnamed(packet: bytes, header: int) -> Unnamed | None:
    """Read a whole packet of which the codec does not know a reason code; None if it is no refusal.

    Args:
        packet: all of it.
        header: bytes of its first byte and Remaining Length.

    Raises:
        BaseException: whatever the codec raises for another fault of it.
    """
    kind, where = _WHERE[packet[0] >> 4]
    start = header + where(packet[header:])
    end = len(packet) if packet[0] >> 4 in _LISTS else start + 1
    codes = packet[start:end]
    # 0x80 is "Unspecified error" in all of these.
    shown = bytes(FAILURE if _is_unnamed_refusal(code, kind) else code for code in codes)
    if shown == codes:
        return None
    patched = memoryview(packet[:start] + shown + packet[end:])
    return Unnamed(mqtt5.read(patched)[0], codes)


def _is_unnamed_refusal(code: int, kind: Any) -> bool:
    try:
        kind(code)
    except ValueError:
        return code >= FAILURE
    return False


def _length_of_properties(body: bytes, start: int) -> int:
    """Bytes from `start` to where the properties end, with their length (MQTT 5.0, 2.2.2)."""
    length = 0
    for index, byte in enumerate(body[start : start + 4]):
        length |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return index + 1 + length
    return len(body) - start  # the codec refuses it


def reason_name(code: int, kind: Any) -> str:
    """The name of a reason code as people write it; `kind` is the codec's enumeration."""
    try:
        return str(kind(code).name).replace("_", " ").capitalize()
    except ValueError:
        return f"reason code {code:#04x}"


def reason_text(packet: Any, code: int | None = None) -> str:
    """What the broker says, or the name of its code, which is `code` if the packet's is not."""
    code = int(packet.reason_code) if code is None else code
    return packet.reason_str or reason_name(code, type(packet.reason_code))


def unexpected(packet: object) -> Violation:
    """A packet that no broker sends, or not now."""
    name = type(packet).__name__.removesuffix("Packet").upper()
    return Violation(PROTOCOL_ERROR, f"{name} where it cannot come")
