"""MQTT control packets as bytes: cut out of a stream, and known as far as a proxy needs it.

Works for 3.1.1 and 5, which share the fixed header (MQTT 5.0, section 2.1) and the places of all
that is read here. No codec of the project is used: what is tested must not be its own judge.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import attrs

PACKET_MAX = 1024 * 1024  # bytes; a longer one is a fault of the test


class Kind(enum.IntEnum):
    """The control packet types: MQTT 5.0, section 2.1.2."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class Direction(enum.Enum):
    """Which way a packet goes."""

    UP = "up"  # from the device to the broker
    DOWN = "down"


_WITH_ID = {
    Kind.PUBACK,
    Kind.PUBREC,
    Kind.PUBREL,
    Kind.PUBCOMP,
    Kind.SUBSCRIBE,
    Kind.SUBACK,
    Kind.UNSUBSCRIBE,
    Kind.UNSUBACK,
}
_DUP = 0x08
_CLEAN = 0x02  # of the connect flags


class BadStream(Exception):
    """These bytes are no MQTT."""


@attrs.frozen
class Packet:
    """One whole packet.

    Attributes:
        raw: all its bytes.
        start: where its variable header begins.
    """

    raw: bytes
    start: int

    @property
    def kind(self) -> Kind:
        return Kind(self.raw[0] >> 4)

    @property
    def qos(self) -> int:
        """Of a PUBLISH."""
        return self.raw[0] >> 1 & 3

    @property
    def dup(self) -> bool:
        """Of a PUBLISH."""
        return bool(self.raw[0] & _DUP)

    @property
    def packet_id(self) -> int | None:
        """None where there is none."""
        if self.kind in _WITH_ID:
            return self._number(self.start)
        if self.kind is Kind.PUBLISH and self.qos:
            return self._number(self.start + 2 + self._number(self.start))
        return None

    def _number(self, at: int) -> int:
        return int.from_bytes(self.raw[at : at + 2], "big")

    def with_dup(self, dup: bool) -> Packet:
        """A PUBLISH that says, or does not say, that it may have come before."""
        first = self.raw[0] | _DUP if dup else self.raw[0] & ~_DUP
        return attrs.evolve(self, raw=bytes([first]) + self.raw[1:])

    # -- of a CONNECT: MQTT 5.0, section 3.1.2

    @property
    def level(self) -> int:
        """4 for MQTT 3.1.1, 5 for 5."""
        return self.raw[self._flags_at - 1]

    @property
    def clean(self) -> bool:
        return bool(self.raw[self._flags_at] & _CLEAN)

    @property
    def client_id(self) -> str:
        at = self._flags_at + 3
        if self.level >= 5:
            at = self._after_properties(at)
        return self.raw[at + 2 : at + 2 + self._number(at)].decode()

    @property
    def _flags_at(self) -> int:
        return self.start + 2 + self._number(self.start) + 1

    # -- of a PUBLISH: MQTT 5.0, section 3.3

    @property
    def topic(self) -> str:
        return self.raw[self.start + 2 : self.start + 2 + self._number(self.start)].decode()

    def payload(self, level: int) -> bytes:
        """What it carries.

        Args:
            level: that of its connection's CONNECT: from 5 on it has properties.
        """
        at = self.start + 2 + self._number(self.start) + (2 if self.qos else 0)
        if level >= 5:
            at = self._after_properties(at)
        return self.raw[at:]

    def _after_properties(self, at: int) -> int:
        size, at = _variable(self.raw, at) or (0, at)
        return at + size


def _variable(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """The variable byte integer there (section 1.5.5) and where it ends; None if it is cut off."""
    value = 0
    for index in range(4):
        if at + index >= len(data):
            return None
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, at + index + 1
    raise BadStream("a length of more than four bytes")


class Framer:
    """Cuts a stream into packets, however it was split. Holds less than one packet."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Read on; give every packet that is complete now. To be exhausted.

        Raises:
            BadStream: that is no MQTT.
        """
        rest = self._rest
        rest += data
        at = 0
        while (found := _variable(rest, at + 1)) is not None:
            size, start = found
            if not rest[at] >> 4 or size > PACKET_MAX:
                raise BadStream(f"type {rest[at] >> 4} with {size} bytes")
            if start + size > len(rest):
                break
            yield Packet(bytes(rest[at : start + size]), start - at)
            at = start + size
        del rest[:at]


# -- what the proxy says itself


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def clean_connect(client_id: str) -> bytes:
    """A CONNECT of MQTT 3.1.1 that throws away what the broker keeps under this client ID.

    Without will and credentials. A session belongs to a client ID, whatever its version.
    """
    body = _text("MQTT") + bytes([4, _CLEAN, 0, 60]) + _text(client_id)
    assert len(body) < 128
    return bytes([Kind.CONNECT << 4, len(body)]) + body


def refusing_connack(level: int) -> bytes:
    """Says that the server is unavailable: MQTT 3.1.1, table 3.1; MQTT 5.0, table 3-1."""
    return b"\x20\x03\x00\x88\x00" if level >= 5 else b"\x20\x02\x00\x03"


DISCONNECT = b"\xe0\x00"
