"""What one sender, or one broker, can put into a PUBLISH that nobody should have to read."""

from __future__ import annotations


def _packet(body: bytes, qos: int, *, dup: bool = False) -> bytes:
    size, length = bytearray(), len(body)
    while True:
        length, low = divmod(length, 128)
        size.append(low | (0x80 if length else 0))
        if not length:
            return bytes([0x30 | qos << 1 | dup << 3, *size]) + body


def publish(
    properties: bytes | None,
    *,
    packet_id: int = 7,
    qos: int = 1,
    topic: bytes = b"t",
    payload: bytes = b"poison",
    dup: bool = False,
) -> bytes:
    """A PUBLISH by hand; `properties` with their length, or None for MQTT 3.1.1."""
    middle = packet_id.to_bytes(2) if qos else b""
    body = len(topic).to_bytes(2) + topic + middle + (properties or b"") + payload
    return _packet(body, qos, dup=dup)


def sized(properties: bytes) -> bytes:
    assert len(properties) < 128
    return bytes([len(properties)]) + properties


# name -> (properties, topic, reason code of the DISCONNECT, of the PUBACK or PUBREC)
POISON: dict[str, tuple[bytes, bytes, int, int]] = {
    "payload format indicator 2": (sized(b"\x01\x02"), b"t", 0x99, 0x99),
    "payload format indicator twice": (sized(b"\x01\x00\x01\x00"), b"t", 0x82, 0x80),
    "user property not UTF-8": (sized(b"\x26\x00\x01\xff\x00\x01v"), b"t", 0x81, 0x80),
    "user property's value not UTF-8": (sized(b"\x26\x00\x01k\x00\x02\xc3\x28"), b"t", 0x81, 0x80),
    "user property cut off": (sized(b"\x26\x00\x01k\x00\x09v"), b"t", 0x81, 0x80),
    "content type not UTF-8": (sized(b"\x03\x00\x01\x80"), b"t", 0x81, 0x80),
    "content type twice": (sized(b"\x03\x00\x01a" * 2), b"t", 0x82, 0x80),
    "content type a surrogate": (sized(b"\x03\x00\x03\xed\xa0\x80"), b"t", 0x81, 0x80),
    "response topic not UTF-8": (sized(b"\x08\x00\x01\xfe"), b"t", 0x81, 0x80),
    "response topic twice": (sized(b"\x08\x00\x01a" * 2), b"t", 0x82, 0x80),
    "correlation data cut off": (sized(b"\x09\x00\x09c"), b"t", 0x81, 0x80),
    "correlation data twice": (sized(b"\x09\x00\x01c" * 2), b"t", 0x82, 0x80),
    "expiry twice": (sized(b"\x02\x00\x00\x00\x09" * 2), b"t", 0x82, 0x80),
    "subscription identifier 0": (sized(b"\x0b\x00"), b"t", 0x82, 0x80),
    "subscription identifier not minimal": (sized(b"\x0b\x81\x00"), b"t", 0x81, 0x80),
    "topic alias 0": (sized(b"\x23\x00\x00"), b"t", 0x94, 0x80),
    "a property of CONNECT": (sized(b"\x11\x00\x00\x00\x01"), b"t", 0x81, 0x80),
    "a property of a will": (sized(b"\x18\x00\x00\x00\x01"), b"t", 0x81, 0x80),
    "an unknown property": (sized(b"\x7f"), b"t", 0x81, 0x80),
    "properties longer than their packet": (b"\x7f\x26", b"t", 0x81, 0x80),
    "length of the properties not minimal": (b"\x80\x00", b"t", 0x81, 0x80),
    "length of the properties without end": (b"\xff\xff\xff\xff", b"t", 0x81, 0x80),
    "topic not UTF-8": (b"\x00", b"t\xff", 0x81, 0x90),
    "topic a surrogate": (b"\x00", b"\xed\xa0\x80", 0x81, 0x90),
    "neither topic nor alias": (b"\x00", b"", 0x82, 0x80),
}
