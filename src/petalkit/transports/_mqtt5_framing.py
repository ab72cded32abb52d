"""Bytes of MQTT 5 -> packets. No I/O; the codec is `mqtt5`'s.

The rule: whatever comes, the outcome is a packet, the wish for more bytes, or a `Violation` with
the reason code that MQTT has for it, the same however the bytes were split. The traps of `mqtt5`
0.8: it has no bound; it finds other faults in a packet before one can see that it is too large; and
text that is not UTF-8 makes it panic, which is no `Exception`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import mqtt5

Packet: TypeAlias = mqtt5.Packet

# Reason codes: MQTT 5.0, section 2.4.
MALFORMED_PACKET = 0x81
PROTOCOL_ERROR = 0x82
UNSUPPORTED_PROTOCOL_VERSION = 0x84
TOPIC_ALIAS_INVALID = 0x94
PACKET_TOO_LARGE = 0x95

# What the codec refuses as no more than a ValueError, though MQTT has another code for it.
_CODES = {
    "Duplicate value for unique property": PROTOCOL_ERROR,  # sections 2.2.2.2 and 3.x.2.2
    "Topic alias must be set if topic is empty": PROTOCOL_ERROR,  # section 3.3.2.3.4
    "Topic alias must be != 0": TOPIC_ALIAS_INVALID,
    "Subscription ID must be != 0": PROTOCOL_ERROR,  # section 3.3.2.3.8
    "Receive maximum must be != 0": PROTOCOL_ERROR,  # section 3.2.2.3.3
    "Maximum packet size must be != 0": PROTOCOL_ERROR,  # section 3.2.2.3.6
    "Invalid boolean": PROTOCOL_ERROR,  # sections 3.2.2.3.5 and 3.2.2.3.11 to 13
}
_CONNACK_OF_3_1_1 = b"\x20\x02"  # its length: one of MQTT 5 has at least three bytes


class Violation(Exception):
    """The peer has broken the protocol.

    Attributes:
        reason_code: for the DISCONNECT that is the answer.
        text: for the log.
    """

    def __init__(self, reason_code: int, text: str) -> None:
        super().__init__(text)
        self.reason_code = reason_code
        self.text = text


class PacketReader:
    """Cuts a stream into packets, however it was split.

    Args:
        packet_maximum: bytes; a longer packet is a violation as soon as its header is there.
    """

    def __init__(self, packet_maximum: int) -> None:
        self._packet_maximum = packet_maximum
        self._rest = bytearray()  # the beginning of a packet that is not complete
        self._awaited = 0  # bytes of it, before it is worth a look

    def feed(self, data: bytes | bytearray) -> Iterator[Packet]:
        """Read on; give every packet that is complete now. To be exhausted.

        Raises:
            Violation: after the packets that came before it.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._awaited:
                return
            data = bytes(self._rest)
            self._rest.clear()
        view = memoryview(data)
        while view:
            try:
                packet, size = mqtt5.read(view)
            except IndexError:
                self._keep(view)
                return
            except BaseException as error:
                raise self._refused(view, error) from None
            if size > self._packet_maximum:
                raise _too_large(size, self._packet_maximum)
            view = view[size:]
            yield packet

    def _keep(self, view: memoryview) -> None:
        size = self._check_size(view)
        if len(view) >= size:
            # Not seen yet, but to wait for more would be to wait for ever.
            raise Violation(MALFORMED_PACKET, "a packet that is shorter than what it holds")
        self._rest += view
        self._awaited = size

    def _refused(self, view: memoryview, error: BaseException) -> Violation:
        self._check_size(view)  # which may be what is really wrong
        return _refused_by_codec(view, _complaint(error))

    def _check_size(self, view: memoryview) -> int:
        size = packet_size(view)
        if size > self._packet_maximum:
            raise _too_large(size, self._packet_maximum)
        return size


def packet_size(view: memoryview) -> int:
    """Bytes of the packet that begins here; while its header is incomplete, bytes of the header.

    The Remaining Length is a variable byte integer: MQTT 5.0, section 1.5.5. One that never ends
    is left for the codec to refuse.
    """
    remaining = 0
    for index in range(1, 5):
        if index >= len(view):
            return index + 1
        remaining |= (view[index] & 0x7F) << 7 * (index - 1)
        if not view[index] & 0x80:
            return index + 1 + remaining
    return 0


def _complaint(error: BaseException) -> str:
    """What the codec has to say; whatever is not its own travels on."""
    if isinstance(error, ValueError | OverflowError):
        return str(error)
    if type(error).__name__ == "PanicException":
        return "text that is not UTF-8"
    raise error


def _refused_by_codec(view: memoryview, text: str) -> Violation:
    if view[:2] == _CONNACK_OF_3_1_1:
        text = "it answers as MQTT 3.1.1 does, and not as MQTT 5: use the asyncio-mqtt transport"
        return Violation(UNSUPPORTED_PROTOCOL_VERSION, text)
    for start, reason_code in _CODES.items():
        if text.startswith(start):
            return Violation(reason_code, text)
    return Violation(MALFORMED_PACKET, text)


def _too_large(size: int, maximum: int) -> Violation:
    return Violation(PACKET_TOO_LARGE, f"a packet of {size} bytes; {maximum} were allowed")
