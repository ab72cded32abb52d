"""One reader of PUBLISH for what the codec refuses, and for all of the default transport."""

from __future__ import annotations

import mqtt5
import pytest

from petalkit import Properties
from petalkit.transports._receiving.publish_reader import (
    head_to_keep,
    read_oversized,
    read_publish,
)
from petalkit.transports._receiving.violations import Violation

from .. import poison
from ..mqtt5_bytes import incoming


def body_of(packet: bytes) -> bytes:
    assert packet[1] < 0x80
    return packet[2:]


ALL = Properties(
    response_topic="r/ü",
    correlation_data=b"\0\xff",
    message_expiry=77,
    content_type="",
    user_properties=(("k", "v"), ("", "\ufeff"), ("k", "w")),
)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_it_reads_what_the_codec_writes(qos: int) -> None:
    packet = incoming(
        b"xyz",
        0x1234 if qos else None,
        qos,
        topic="a/ü",
        retain=True,
        payload_format_indicator=1,
        message_expiry_interval=77,
        content_type="",
        response_topic="r/ü",
        correlation_data=b"\0\xff",
        topic_alias=9,
        user_properties=[("k", "v"), ("", "\ufeff"), ("k", "w")],
    ).write()
    publish = read_publish(packet[0], body_of(packet), v5=True)
    assert (publish.topic, publish.payload, publish.qos) == ("a/ü", b"xyz", qos)
    assert (publish.retain, publish.dup, publish.topic_alias) == (True, False, 9)
    assert publish.packet_id == (0x1234 if qos else 0)
    assert publish.properties == ALL
    assert publish.fault is None


def test_subscription_identifiers_may_repeat_and_are_nobodys() -> None:
    packet = poison.publish(poison.sized(b"\x0b\x01\x0b\xff\x7f\x01\x01"), dup=True)
    publish = read_publish(packet[0], body_of(packet), v5=True)
    assert (publish.fault, publish.properties, publish.dup) == (None, None, True)


@pytest.mark.parametrize("name", poison.POISON)
def test_every_poison_is_a_fault_of_its_message_alone(name: str) -> None:
    properties, topic, reason_code, answer = poison.POISON[name]
    packet = poison.publish(properties, topic=topic)
    publish = read_publish(packet[0], body_of(packet), v5=True)
    assert publish.fault is not None
    assert publish.packet_id == 7
    assert (publish.fault.reason_code, publish.fault.answer) == (reason_code, answer)
    assert "poison" not in publish.fault.text


def test_3_1_1_has_no_properties() -> None:
    packet = poison.publish(None, payload=b"\x02\x01\x02")
    publish = read_publish(packet[0], body_of(packet), v5=False)
    assert (publish.payload, publish.fault) == (b"\x02\x01\x02", None)
    packet = poison.publish(None, topic=b"")
    empty = read_publish(packet[0], body_of(packet), v5=False)
    assert empty.fault is not None
    assert empty.fault.answer == 0x90


@pytest.mark.parametrize("v5", [True, False])
def test_every_beginning_of_a_publish_is_a_fault_or_a_violation(*, v5: bool) -> None:
    packet = incoming(b"", 7, user_properties=[("k", "v")]).write()
    body = body_of(packet)
    for end in range(len(body) - 1):
        try:
            publish = read_publish(packet[0], body[:end], v5=v5)
        except Violation:
            assert end < 5
        else:
            assert end >= 5
            assert (publish.fault is None) == (not v5)


def test_how_much_of_a_large_one_is_kept() -> None:
    packet = incoming(b"", 7, topic="abc", user_properties=[("k", "v" * 30)]).write()
    body = body_of(packet)
    for end in range(len(body)):
        asked = head_to_keep(packet[0], body[:end], 1000, v5=True)
        assert end < asked <= len(body)
    assert head_to_keep(packet[0], body + bytes(99), 1000, v5=True) == len(body)
    assert head_to_keep(packet[0], body + bytes(99), 20, v5=True) == 7, "without its properties"
    assert head_to_keep(packet[0], body, 1000, v5=False) == 7
    kept = read_oversized(packet[0], body, 5000, v5=True)
    assert kept.properties is not None
    less = read_oversized(packet[0], body[:7], 5000, v5=True)
    assert (less.topic, less.packet_id, less.properties) == ("abc", 7, None)
    assert less.fault is not None
    assert less.fault.too_large


def test_a_property_must_not_reach_into_the_payload() -> None:
    """The codec lets it: it delivers a payload without its beginning, which is no command then."""
    packet = poison.publish(poison.sized(b"\x02\x00\x00"))
    publish = read_publish(packet[0], body_of(packet), v5=True)
    assert publish.fault is not None
    codec, _ = mqtt5.read(memoryview(packet))
    assert isinstance(codec, mqtt5.PublishPacket)
    assert codec.payload == b"ison"


def test_what_the_codec_refuses_the_reader_refuses() -> None:
    """All sorts of properties of three bytes."""
    known = (0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x11, 0x23, 0x26, 0x7F)
    values = (0, 1, 2, 0x7F, 0x80)
    for first in known:
        for second in values:
            for third in values:
                packet = poison.publish(poison.sized(bytes([first, second, third])))
                publish = read_publish(packet[0], body_of(packet), v5=True)
                try:
                    mqtt5.read(memoryview(packet))
                except ValueError:
                    assert publish.fault is not None, packet
