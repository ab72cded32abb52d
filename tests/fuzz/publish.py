"""The bytes of one PUBLISH, as both transports read what they were not meant to read."""

from __future__ import annotations

import mqtt5

from petalkit.transports._receiving.publish_reader import (
    Publish,
    head_to_keep,
    read_oversized,
    read_publish,
)
from petalkit.transports._receiving.violations import Violation

from .reader import Reader

ACKNOWLEDGED = {0x80, 0x90, 0x99}  # of section 3.4.2.1: what a PUBACK of ours may say
ENDED = {0x81, 0x82, 0x94, 0x99}  # of section 3.14.2.1


def publish(data: bytes) -> None:
    """Flags, and a body: read, refused alone, or without a packet identifier to answer."""
    reader = Reader(data)
    kind = reader.byte()
    v5 = bool(kind & 0x80)
    first = 0x30 | kind & 0x0F
    body = _body(reader) if kind & 0x40 else reader.rest()
    found = _read(first, body, v5=v5)
    if found is None:
        return
    assert bool(found.packet_id) == bool(found.qos)
    if found.fault is None:
        assert body.endswith(found.payload)
        if v5:
            _same_as_codec(first, body, found)
    else:
        assert found.fault.text
        assert found.fault.reason_code in ENDED
        assert found.fault.answer in ACKNOWLEDGED
    _keeps_its_head(first, body, v5=v5)


def _read(first: int, body: bytes, *, v5: bool) -> Publish | None:
    try:
        return read_publish(first, body, v5=v5)
    except Violation as violation:
        assert violation.reason_code in ENDED
        return None


def _keeps_its_head(first: int, body: bytes, *, v5: bool) -> None:
    """What is kept of it says who is to be answered, whatever comes behind."""
    limit = 60
    whole = head_to_keep(first, body, limit, v5=v5)
    kept = read_oversized(first, body[:whole], 10_000, v5=v5)
    assert kept.fault is not None
    assert kept.payload == b""
    for there in range(0, min(whole, len(body)), 7):
        asked = head_to_keep(first, body[:there], limit, v5=v5)
        assert there < asked <= max(whole, limit) + 4  # for the length of properties that are not


def _same_as_codec(first: int, body: bytes, found: Publish) -> None:
    if len(body) > 120:
        return
    try:
        packet, _ = mqtt5.read(memoryview(bytes([first, len(body)]) + body))
    except ValueError:
        return  # it is stricter, as with an alias and no topic
    assert isinstance(packet, mqtt5.PublishPacket)
    assert (packet.topic, packet.payload) == (found.topic, found.payload)
    assert (packet.packet_id or 0, packet.topic_alias or 0) == (found.packet_id, found.topic_alias)
    if found.properties is not None:
        assert tuple(packet.user_properties) == found.properties.user_properties
        assert packet.response_topic == found.properties.response_topic
        assert packet.correlation_data == found.properties.correlation_data
        assert packet.message_expiry_interval == found.properties.message_expiry


def _body(reader: Reader) -> bytes:
    """A topic, a packet identifier that may not be meant, properties with a length that may lie."""
    topic = reader.text().encode("utf-8", "surrogatepass")[:40]
    packet_id = b"\x00\x07" if reader.byte() & 1 else b""
    parts = [
        bytes([(1, 2, 3, 8, 9, 11, 35, 38)[reader.byte() % 8]]) + reader.take(reader.byte() % 8)
        for _ in range(reader.byte() % 4)
    ]
    said = b"".join(parts)
    length = len(said) if reader.byte() < 200 else reader.byte() % 128
    return len(topic).to_bytes(2) + topic + packet_id + bytes([length]) + said + reader.rest()
