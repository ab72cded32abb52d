"""Bytes of MQTT 5 -> packets. No I/O; the codec is `mqtt5`'s.

The rule: whatever comes, the outcome is a packet, the wish for more bytes, or a `Violation` with
the reason code that MQTT has for it, the same however the bytes were split. A PUBLISH that the
codec refuses, or that is too large, is a `Publish` with its fault, when its last byte has come; of
one that is too large only the head is kept, and the rest is read over. A refusal whose reason code
the codec does not know is an `Unnamed`.

The traps of `mqtt5` 0.8: it has no bound; it finds other faults in a packet before one can see that
it is too large; and text that is not UTF-8 makes it panic, which is no `Exception`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import mqtt5

from .._delivery import Fault
from .._receiving.publish_reader import Publish, head_to_keep, read_oversized, read_publish
from .._receiving.violations import (
    MALFORMED_PACKET,
    PACKET_TOO_LARGE,
    PROTOCOL_ERROR,
    TOPIC_ALIAS_INVALID,
    UNSUPPORTED_PROTOCOL_VERSION,
    Violation,
)
from ._reasons import Unnamed, is_of_reason_code, read_unnamed

Packet: TypeAlias = mqtt5.Packet
_Found: TypeAlias = tuple[Publish | Unnamed, int]

_PUBLISH = 3  # MQTT 5.0, section 2.1.2

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


class PacketReader:
    """Cuts a stream into packets, however it was split.

    Args:
        packet_limit: bytes of the longest packet that is read whole. A longer PUBLISH is read over;
            any other is a violation as soon as its header is there.
    """

    def __init__(self, packet_limit: int) -> None:
        self._limit = packet_limit
        self._rest = bytearray()  # the beginning of a packet that is not complete
        self._awaited = 0  # bytes of it, before it is worth a look
        self._oversized: Publish | None = None  # that is being read over
        self._left = 0  # bytes of it that are to come

    def feed(self, data: bytes | bytearray) -> Iterator[Packet | Publish | Unnamed]:
        """Read on; give every packet that is complete now. To be exhausted.

        Raises:
            Violation: after the packets that came before it.
        """
        if self._oversized is not None:
            if len(data) < self._left:
                self._left -= len(data)
                return
            publish, self._oversized = self._oversized, None
            data = data[self._left :]
            yield publish
        elif self._rest:
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
                error: BaseException | None = None
            except BaseException as refused:
                error = refused
            else:
                if size <= self._limit:
                    view = view[size:]
                    yield packet
                    continue
                error = None
            found = self._look(view, error)
            if found is None:
                return
            other, size = found
            view = view[size:]
            yield other

    def _look(self, view: memoryview, error: BaseException | None) -> _Found | None:
        """What the codec has no packet for, and its size; None as long as more is needed.

        Raises:
            Violation: it is no PUBLISH and no refusal, or a PUBLISH that nobody can acknowledge.
        """
        complaint = None if error is None else _complaint(error)
        size = packet_size(view)
        if view[0] >> 4 != _PUBLISH or size == 0:
            if size > self._limit:
                raise _too_large(size, self._limit)
            if complaint is not None:
                if size and is_of_reason_code(view[0], complaint):
                    return self._look_at_code(view, size, complaint)
                raise _refused_by_codec(view, complaint)
            if len(view) >= size:
                # Not seen yet, but to wait for more would be to wait for ever.
                raise Violation(MALFORMED_PACKET, _SHORTER)
            return self._wait(view, size)
        header = _header_size(view)
        if len(view) < header:
            return self._wait(view, header)
        if size > self._limit:
            return self._look_at_head(view, header, size)
        if len(view) < size:
            return self._wait(view, size)
        publish = read_publish(view[0], bytes(view[header:size]), v5=True)
        if publish.fault is None:
            if complaint is None:
                publish.fault = Fault(_SHORTER)
            else:
                publish.fault = Fault(complaint, reason_code=_code(complaint))
        return publish, size

    def _look_at_code(self, view: memoryview, size: int, complaint: str) -> _Found | None:
        if len(view) < size:
            return self._wait(view, size)
        try:
            unnamed = read_unnamed(bytes(view[:size]), _header_size(view))
        except IndexError:
            raise Violation(MALFORMED_PACKET, _SHORTER) from None
        except BaseException as error:
            raise _refused_by_codec(view, _complaint(error)) from None
        if unnamed is None:
            raise _refused_by_codec(view, complaint)
        return unnamed, size

    def _look_at_head(self, view: memoryview, header: int, size: int) -> _Found | None:
        first = view[0]
        there = min(len(view), size)
        head = header + head_to_keep(first, view[header:there], self._limit, v5=True)
        if head > there < size:
            return self._wait(view, min(head, size))
        publish = read_oversized(first, bytes(view[header : min(head, there)]), size, v5=True)
        if there == size:
            return publish, size
        self._oversized = publish
        self._left = size - there
        return None

    def _wait(self, view: memoryview, awaited: int) -> _Found | None:
        self._rest += view
        self._awaited = awaited
        return None


_SHORTER = "a packet that is shorter than what it holds"


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


def _header_size(view: memoryview) -> int:
    """Bytes of its first byte and Remaining Length, of which one more than there are may be due."""
    index = 1
    while index < len(view) and view[index] & 0x80:
        index += 1
    return index + 1


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
    return Violation(_code(text), text)


def _code(complaint: str) -> int:
    for start, reason_code in _CODES.items():
        if complaint.startswith(start):
            return reason_code
    return MALFORMED_PACKET


def _too_large(size: int, maximum: int) -> Violation:
    return Violation(PACKET_TOO_LARGE, f"a packet of {size} bytes; {maximum} were allowed")
