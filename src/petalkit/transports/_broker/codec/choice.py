"""Which version of MQTT a client speaks: the first bytes of its first packet.

The rule: whatever begins as no CONNECT gets no answer at all (MQTT 5.0, section 3.1.0: the first
packet), so that a stranger learns nothing; a version that is not served is told so.
"""

from __future__ import annotations

from typing import TypeAlias

from ..._receiving.violations import (
    MALFORMED_PACKET,
    PROTOCOL_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
    Violation,
)
from .header import CONNECT, measure
from .v5 import V5
from .v311 import V311

Codec: TypeAlias = V5 | V311

_NAME = b"\x00\x04MQTT"
_OLD_NAME = b"\x00\x06MQIsdp"  # MQTT 3.1


class WrongVersion(Violation):
    """A CONNECT of another version.

    Attributes:
        answer: a CONNACK that its client can read.
    """

    def __init__(self, level: int, answer: bytes) -> None:
        super().__init__(UNSUPPORTED_PROTOCOL_VERSION, f"protocol level {level}")
        self.answer = answer


def choose(view: memoryview, limit: int) -> Codec | None:
    """The codec for a client whose first packet begins here; None as long as that cannot be told.

    Raises:
        WrongVersion: neither.
        Violation: it is no CONNECT, or too long.
    """
    if view[0] != CONNECT << 4:
        raise Violation(PROTOCOL_ERROR, "the first packet is no CONNECT")
    header, size = measure(view, limit)
    if size == 0:
        return None
    there = bytes(view[header : min(size, header + 9)])
    for name in (_NAME, _OLD_NAME):
        if there.startswith(name) and len(there) > len(name):
            return _codec(there[len(name)], name == _OLD_NAME, limit)
        if name.startswith(there) and len(view) < size:
            return None
    raise Violation(MALFORMED_PACKET, "a CONNECT of another protocol")


def _codec(level: int, old: bool, limit: int) -> Codec:
    if level == 4 and not old:
        return V311(limit)
    if level == 5 and not old:
        return V5(limit)
    if level < 5:
        raise WrongVersion(level, b"\x20\x02\x00\x01")  # MQTT 3.1.1, section 3.1.2.2
    raise WrongVersion(level, b"\x20\x03\x00\x84\x00")  # MQTT 5.0, section 3.1.2.2
