"""What a broker may not send, each with the reason code that MQTT 5 has for it.

Where the codec meets text that is not UTF-8 it panics, which it prints to the standard error, with
an exception of its own that nobody can catch.
"""

from __future__ import annotations

import tracemalloc

import mqtt5
import pytest

from petalkit import Properties
from petalkit.transports import Delivery
from petalkit.transports.native._events import Ended, Event
from petalkit.transports.native._framing import PacketReader, packet_size
from petalkit.transports.native._session import ClientSession

from ..mqtt5_bytes import PACKET_MAXIMUM, incoming, session_up

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

MALFORMED = 0x81
PROTOCOL_ERROR = 0x82

# Packets by hand; after each the name of what is wrong with it.
BROKEN = {
    "type 0": (b"\x00\x00", MALFORMED),
    "flags of PINGRESP": (b"\xd1\x00", MALFORMED),
    "flags of PUBREL": (b"\x60\x02\x00\x01", MALFORMED),
    "flags of PUBACK": (b"\x42\x02\x00\x01", MALFORMED),
    "QoS 3": (b"\x36\x06\x00\x01a\x00\x01\x00", MALFORMED),
    "remaining length too long": (b"\xd0\x02\x00\x00", MALFORMED),
    "remaining length too short": (b"\x40\x01\x00", MALFORMED),
    "remaining length of five bytes": (b"\x30\xff\xff\xff\xff\x01", MALFORMED),
    "remaining length not minimal": (b"\xd0\x80\x00", MALFORMED),
    "topic longer than its packet": (b"\x30\x04\x00\x0aab", MALFORMED),
    "no property length": (b"\x30\x03\x00\x01a", MALFORMED),
    "properties longer than their packet": (b"\x30\x06\x00\x01a\x09\x01\x01", MALFORMED),
    "property cut off": (b"\x30\x06\x00\x01a\x02\x02\x00", MALFORMED),
    "property length not minimal": (b"\x30\x06\x00\x01a\x80\x00x", MALFORMED),
    "unknown property": (b"\x30\x05\x00\x01a\x01\x7f", MALFORMED),
    "property of another packet": (b"\x30\x09\x00\x01a\x05\x11\x00\x00\x00\x01", MALFORMED),
    "property twice": (b"\x30\x08\x00\x01a\x04\x01\x00\x01\x00", PROTOCOL_ERROR),
    "subscription identifier 0": (b"\x30\x06\x00\x01a\x02\x0b\x00", PROTOCOL_ERROR),
    "topic not UTF-8": (b"\x30\x05\x00\x01\xff\x00x", MALFORMED),
    "surrogate in a topic": (b"\x30\x06\x00\x03\xed\xa0\x80\x00", MALFORMED),
    "property not UTF-8": (b"\x30\x08\x00\x01a\x04\x03\x00\x01\xff", MALFORMED),
    "reason code unknown": (b"\x40\x03\x00\x01\x05", MALFORMED),
    "CONNECT": (mqtt5.ConnectPacket("c").write(), PROTOCOL_ERROR),
    "SUBSCRIBE": (
        mqtt5.SubscribePacket(1, [mqtt5.TopicFilter("a")]).write(),
        PROTOCOL_ERROR,
    ),
    "UNSUBSCRIBE": (mqtt5.UnsubscribePacket(1, ["a"]).write(), PROTOCOL_ERROR),
    "PINGREQ": (b"\xc0\x00", PROTOCOL_ERROR),
    "AUTH": (b"\xf0\x02\x18\x00", PROTOCOL_ERROR),
}


def story(data: bytes, size: int) -> tuple[list[str], bytes]:
    """The events and the answer, when the bytes come in pieces of a size."""
    session = session_up()
    events: list[Event] = []
    for start in range(0, len(data), size):
        events += session.receive_data(data[start : start + size])
    return list(map(repr, events)), session.data_to_send()


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("behind", [b"", incoming(b"later").write() * 3], ids=["", "more"])
def test_a_broken_packet_ends_it_with_its_code_however_it_was_split(
    name: str, behind: bytes
) -> None:
    broken, code = BROKEN[name]
    session = session_up()
    events = session.receive_data(incoming(b"before").write() + broken + behind)
    before, ended = events  # what came before it still counts
    assert isinstance(before, Delivery)
    assert before.payload == b"before"
    assert isinstance(ended, Ended)
    assert (ended.reason_code, ended.by_server) == (code, False)
    assert ended.text.startswith("the broker broke the protocol: ")
    assert session.data_to_send() == b"\xe0\x01" + bytes([code])
    assert session.receive_data(incoming(b"after").write()) == []
    whole = story(broken + behind, 1000)
    for size in (1, 2, 3, 5):
        assert story(broken + behind, size) == whole


@pytest.mark.parametrize("size", [PACKET_MAXIMUM - 1, PACKET_MAXIMUM, PACKET_MAXIMUM + 1])
@pytest.mark.parametrize("split", [1, 100, 5000])
def test_the_bound_of_a_packet_counts_all_of_its_bytes(size: int, split: int) -> None:
    data = incoming(bytes(size - 7)).write()
    assert len(data) == size
    (delivery,) = deliveries(data, split)
    if size > PACKET_MAXIMUM:
        assert delivery.fault is not None
        assert delivery.fault.too_large
        assert delivery.fault.text == "a message of 1001 bytes is too large to be read"
        assert delivery.payload == b""
    else:
        assert delivery.fault is None
        assert len(delivery.payload) == size - 7


@pytest.mark.parametrize("header", [b"\x90\xff\xff\xff\x7f", b"\xb0\x80\x80\x01"])
def test_another_packet_that_is_too_large_is_refused_by_its_header_alone(header: bytes) -> None:
    session = session_up()
    assert session.receive_data(header[:-1]) == []
    (ended,) = session.receive_data(header[-1:])
    assert isinstance(ended, Ended)
    assert ended.reason_code == 0x95


@pytest.mark.parametrize("inside", [b"\x00\x01\xff\x00", b"\x00\x01t\x03\x26\x00\x01\xff"])
def test_too_large_comes_before_whatever_else_is_wrong_but_the_topic(inside: bytes) -> None:
    data = b"\x30\xe8\x07" + inside + bytes(1000 - len(inside))
    assert story(data, 2000) == story(data, 1)
    assert story(data, 2000)[1] == (b"\xe0\x01\x81" if inside[2] == 0xFF else b"")


def deliveries(data: bytes, split: int, session: ClientSession | None = None) -> list[Delivery]:
    session = session or session_up()
    found: list[Delivery] = []
    for start in range(0, len(data), split):
        for event in session.receive_data(data[start : start + split]):
            assert isinstance(event, Delivery), event
            found.append(event)
    return found


BIG = bytes(5000)
OVERSIZED = {
    "payload": incoming(BIG, 7),
    "payload, QoS 2": incoming(BIG, 7, 2),
    "payload, QoS 0": incoming(BIG),
    "properties": incoming(b"x", 7, user_properties=[("k", "v" * 4000)]),
    "properties of many": incoming(b"x", 7, 2, user_properties=[("k", "v")] * 900),
    "topic": incoming(b"x", 7, topic="t" * 65_535),
    "topic, QoS 0": incoming(BIG, topic="t" * 65_535),
    "all": incoming(BIG, 7, 2, topic="t" * 65_535, user_properties=[("k", "v" * 65_000)]),
}


@pytest.mark.parametrize("split", [1, 7, 100, 65_536, 10**6])
@pytest.mark.parametrize("name", OVERSIZED)
def test_what_is_too_large_is_read_over_and_acknowledged_however_it_was_split(
    name: str, split: int
) -> None:
    """Take out `_look_at_head`: the link ends with 0x95, and at QoS 1 it does so for ever."""
    packet = OVERSIZED[name]
    session = session_up()
    big, good = deliveries(packet.write() + incoming(b"good", 8).write(), split, session)
    assert big.fault is not None
    assert big.fault.too_large
    assert (big.topic, big.payload, big.qos) == (packet.topic, b"", min(int(packet.qos), 1))
    assert (good.payload, good.fault) == (b"good", None)
    good.ack()
    assert bool(session.data_to_send()) != bool(big.qos)  # in the order of arrival
    big.ack()
    if big.qos:
        first = b"\x50\x02\x00\x07" if int(packet.qos) == 2 else b"\x40\x02\x00\x07"
        assert session.data_to_send() == first + b"\x40\x02\x00\x08"


def test_what_says_where_to_answer_is_kept_of_a_large_message() -> None:
    packet = incoming(BIG, 7, response_topic="r", correlation_data=b"c", topic_alias=3)
    (big,) = deliveries(packet.write(), 10)
    assert big.properties == Properties(response_topic="r", correlation_data=b"c")


def test_a_topic_alias_is_learnt_from_a_message_that_is_read_over() -> None:
    session = session_up()
    data = incoming(BIG, 7, topic="long", topic_alias=3).write()
    data += incoming(b"good", 8, topic="", topic_alias=3).write()
    big, good = deliveries(data, 100, session)
    assert (big.topic, good.topic, good.payload) == ("long", "long", b"good")


@pytest.mark.parametrize("kind", ["payload", "properties"])
def test_a_message_without_measure_takes_no_memory(kind: str) -> None:
    """256 MiB, as far as its header goes; 8 MiB of it come, in pieces of 64 KiB."""
    limit = 1024 * 1024
    reader = PacketReader(limit)
    length = b"\x00" if kind == "payload" else b"\xff\xff\xff\x3f"
    head = b"\x32\xff\xff\xff\x7f" + b"\x00\x01t" + b"\x00\x07" + length
    assert list(reader.feed(head)) == []
    tracemalloc.start()
    try:
        piece = bytes(65_536)
        for _ in range(128):
            assert list(reader.feed(piece)) == []
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < limit
    assert peak < 2 * limit


def test_what_is_wrong_hangs_on_the_packet_alone_and_not_on_what_comes_behind_it() -> None:
    # Its properties would reach into the next packet, where one of them comes twice.
    broken = b"\x30\x06\x00\x01a\x04\x01\x00"
    assert story(broken + b"\x01\x00\x01\x00\xd0\x00", 100) == story(broken, 100)
    # And a topic that would: there it is not UTF-8.
    broken = b"\x30\x04\x00\x04ab"
    assert story(broken + b"\xff\xff\xff", 100) == story(broken, 100)


def test_for_a_packet_that_is_complete_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(view: memoryview) -> None:
        raise IndexError("Not enough bytes")

    session = session_up()
    monkeypatch.setattr(mqtt5, "read", read)
    assert session.receive_data(b"\x30\x05\x00\x01a\x00") == []
    (ended,) = session.receive_data(b"x")
    assert isinstance(ended, Ended)
    assert ended.reason_code == MALFORMED


def test_bytes_may_be_a_bytearray_that_changes_afterwards() -> None:
    session = session_up()
    data = bytearray(incoming(b"xyz").write())
    head, tail = data[:4], data[4:]
    assert session.receive_data(head) == []
    head.clear()
    (delivery,) = session.receive_data(tail)
    tail.clear()
    assert isinstance(delivery, Delivery)
    assert delivery.payload == b"xyz"
    assert type(delivery.payload) is bytes


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"\x30", 2),
        (b"\x30\x00", 2),
        (b"\x30\x7f", 129),
        (b"\x30\x80", 3),
        (b"\x30\x80\x01", 131),
        (b"\x30\xff\xff\xff", 5),
        (b"\x30\xff\xff\xff\x7f", 268_435_460),
        (b"\x30\xff\xff\xff\xff", 0),
    ],
)
def test_the_size_of_a_packet_or_of_its_header(data: bytes, size: int) -> None:
    assert packet_size(memoryview(data)) == size
