"""Packets are cut out of a stream however it was split, and read without a codec of ours."""

from __future__ import annotations

import itertools

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .packets import BadStream, Framer, Kind, Packet, clean_connect, refusing_connack

# MQTT 3.1.1, written out by hand: there is no codec for it here.
CONNECT_3 = bytes([0x10, 13, 0, 4]) + b"MQTT" + bytes([4, 0x00, 0, 20, 0, 1]) + b"c"
PUBLISH_3 = bytes([0x32, 7, 0, 1]) + b"t" + bytes([0, 9]) + b"hi"
PUBACK = bytes([0x40, 2, 0, 9])
PINGREQ = bytes([0xC0, 0])

CONNECT_5 = mqtt5.ConnectPacket(
    "device", clean_start=True, session_expiry_interval=3600, receive_max=10
).write()
PUBLISH_5 = mqtt5.PublishPacket(
    "a/topic",
    b"payload",
    qos=mqtt5.QoS.AT_LEAST_ONCE,
    packet_id=300,
    duplicate=True,
    response_topic="r",
    user_properties=[("k", "v")],
).write()
LONG = mqtt5.PublishPacket("t", b"x" * 20_000).write()  # a length of three bytes

STREAM = [CONNECT_3, PUBLISH_3, PUBACK, PINGREQ, CONNECT_5, LONG, PUBLISH_5, PINGREQ]


def only(raw: bytes) -> Packet:
    (packet,) = Framer().feed(raw)
    return packet


@given(cuts=st.lists(st.integers(0, len(b"".join(STREAM))), max_size=20))
def test_a_stream_gives_the_same_packets_however_it_was_split(cuts: list[int]) -> None:
    stream, framer = b"".join(STREAM), Framer()
    ends = [0, *sorted(cuts), len(stream)]
    found = [
        packet.raw
        for start, end in itertools.pairwise(ends)
        for packet in framer.feed(stream[start:end])
    ]
    assert found == STREAM


def test_byte_by_byte_too() -> None:
    framer = Framer()
    found = [p.raw for byte in b"".join(STREAM) for p in framer.feed(bytes([byte]))]
    assert found == STREAM


def test_what_a_publish_says() -> None:
    three, five = only(PUBLISH_3), only(PUBLISH_5)
    assert (three.kind, three.qos, three.dup, three.packet_id) == (Kind.PUBLISH, 1, False, 9)
    assert (three.topic, three.payload(4)) == ("t", b"hi")
    assert (five.kind, five.qos, five.dup, five.packet_id) == (Kind.PUBLISH, 1, True, 300)
    assert (five.topic, five.payload(5)) == ("a/topic", b"payload")
    without_id = only(LONG)
    assert (without_id.qos, without_id.packet_id) == (0, None)
    assert without_id.payload(5) == b"x" * 20_000


def test_the_dup_flag_and_nothing_else_is_changed() -> None:
    first = only(PUBLISH_3)
    second = first.with_dup(True)
    assert second.dup
    assert second.raw[1:] == first.raw[1:]
    assert second.with_dup(False) == first


def test_what_a_connect_says() -> None:
    three, five = only(CONNECT_3), only(CONNECT_5)
    assert (three.level, three.client_id, three.clean) == (4, "c", False)
    assert (five.level, five.client_id, five.clean) == (5, "device", True)


def test_the_packet_ids_of_acknowledgements() -> None:
    assert only(PUBACK).packet_id == 9
    suback = mqtt5.SubAckPacket(7, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]).write()
    assert (only(suback).kind, only(suback).packet_id) == (Kind.SUBACK, 7)
    assert only(PINGREQ).packet_id is None


def test_what_the_proxy_says_itself() -> None:
    connect = only(clean_connect("some-device"))
    assert (connect.level, connect.client_id, connect.clean) == (4, "some-device", True)
    refused, size = mqtt5.read(memoryview(refusing_connack(5)))
    assert isinstance(refused, mqtt5.ConnAckPacket)
    assert refused.reason_code is mqtt5.ConnAckReasonCode.SERVER_UNAVAILABLE
    assert size == len(refusing_connack(5))
    assert only(refusing_connack(4)).raw == b"\x20\x02\x00\x03"


@pytest.mark.parametrize(
    "junk", [b"\x00\x00", b"\x30\xff\xff\xff\x7f", b"\x30\xff\xff\xff\xff\x01"]
)
def test_what_is_no_mqtt_is_said_so(junk: bytes) -> None:
    with pytest.raises(BadStream):
        list(Framer().feed(junk))
