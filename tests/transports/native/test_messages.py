"""Messages through an MQTT 5 session: identifiers, acknowledgements, aliases, and reconnects."""

from __future__ import annotations

from collections.abc import Sequence

import mqtt5
import pytest

from petalkit import Message, Properties, RejectedByBroker, TransportError
from petalkit.transports import ConnectOptions, Delivery, OnDone
from petalkit.transports.native._events import Ended, Event, Published
from petalkit.transports.native._publishing import Publishing
from petalkit.transports.native._session import ClientSession

from ..mqtt5_bytes import done, feed, ids_of, incoming, publish_of, session_up, wrote

FOUND_NO_ID = b"\x92"
MESSAGE = Message("a", b"")
TWICE = Message("a", b"", qos=2)


def named(name: str) -> OnDone:
    def on_done(error: TransportError | None) -> None:
        raise AssertionError(f"{name}: the session calls nobody")

    on_done.__name__ = name
    return on_done


ONE, TWO, THREE = named("one"), named("two"), named("three")


def deliveries(events: Sequence[Event]) -> list[Delivery]:
    found = [event for event in events if isinstance(event, Delivery)]
    assert found  # a copy gives none, and is not what is expected here
    assert len(found) == len(events)
    return found


def ended_by(events: Sequence[Event]) -> int:
    (ended,) = events
    assert isinstance(ended, Ended)
    assert not ended.by_server
    return ended.reason_code


# -- ours


def test_a_publish_of_each_quality_as_bytes() -> None:
    session = session_up()
    session.publish(Message("a", b"0", qos=0, retain=True), ONE)
    assert session.data_to_send() == b"\x31\x05\x00\x01a\x000"
    session.publish(Message("a", b"1"), ONE)
    assert session.data_to_send() == b"\x32\x07\x00\x01a\x00\x01\x001"
    session.publish(Message("a", b"2", qos=2), TWO)
    assert session.data_to_send() == b"\x34\x07\x00\x01a\x00\x02\x002"


def test_a_publish_says_its_properties() -> None:
    session = session_up()
    properties = Properties(
        response_topic="r",
        correlation_data=b"\x00c",
        message_expiry=9,
        content_type="text/plain",
        user_properties=(("k", "v"), ("k", "w")),
    )
    session.publish(Message("a", b"", properties=properties), ONE)
    (packet,) = wrote(session)
    assert publish_of(packet).response_topic == "r"
    assert packet.correlation_data == b"\x00c"
    assert packet.message_expiry_interval == 9
    assert packet.content_type == "text/plain"
    assert packet.user_properties == [("k", "v"), ("k", "w")]


def test_puback_ends_a_message_of_qos_1() -> None:
    session = session_up()
    session.publish(MESSAGE, ONE)
    session.publish(MESSAGE, TWO)
    session.publish(MESSAGE, THREE)
    code = mqtt5.PubAckReasonCode
    events = feed(
        session,
        mqtt5.PubAckPacket(2),
        mqtt5.PubAckPacket(1, reason_code=code.QUOTA_EXCEEDED),
        mqtt5.PubAckPacket(3, reason_code=code.NOT_AUTHORIZED, reason_str="not you"),
    )
    assert events == [
        Published(TWO, 0, ""),
        Published(ONE, 0x97, "Quota exceeded"),
        Published(THREE, 0x87, "not you"),
    ]
    assert session.is_empty


def test_nobody_matching_is_a_success() -> None:
    session = session_up()
    session.publish(MESSAGE, ONE)
    assert session.receive_data(b"\x40\x03\x00\x01\x10") == [Published(ONE, 0x10, "")]


def test_qos_2_ends_with_pubcomp_and_its_pubrel_is_ours() -> None:
    session = session_up()
    session.publish(TWICE, ONE)
    session.data_to_send()
    assert session.receive_data(b"\x50\x02\x00\x01") == []
    assert session.data_to_send() == b"\x62\x02\x00\x01"
    assert not session.is_empty
    assert session.receive_data(b"\x70\x02\x00\x01") == [Published(ONE, 0, "")]
    assert session.is_empty


def test_a_pubcomp_that_knows_nothing_of_it_is_an_end_too() -> None:
    session = session_up()
    session.publish(TWICE, ONE)
    assert session.receive_data(b"\x50\x02\x00\x01\x70\x03\x00\x01\x92") == [Published(ONE, 0, "")]


def test_a_pubrec_that_refuses_is_the_end_and_frees_the_place() -> None:
    session = session_up(receive_max=1)
    session.publish(TWICE, ONE)
    session.data_to_send()
    events = session.receive_data(b"\x50\x03\x00\x01\x87")
    assert events == [Published(ONE, 0x87, "Not authorized")]
    assert not session.unsent
    assert session.publishable


def test_answers_to_what_we_do_not_know_end_nothing() -> None:
    session = session_up()
    data = b"\x40\x02\x00\x09" + b"\x70\x02\x00\x09" + b"\x50\x03\x00\x09\x87"
    assert session.receive_data(data) == []
    assert not session.unsent
    assert session.receive_data(b"\x50\x02\x00\x09") == []
    assert session.data_to_send() == b"\x62\x03\x00\x09" + FOUND_NO_ID


@pytest.mark.parametrize(
    ("message", "answers"),
    [
        (TWICE, b"\x40\x02\x00\x01"),
        (MESSAGE, b"\x50\x02\x00\x01"),
        (MESSAGE, b"\x70\x02\x00\x01"),
        (TWICE, b"\x70\x02\x00\x01"),
        (TWICE, b"\x50\x02\x00\x01\x40\x02\x00\x01"),
    ],
)
def test_an_answer_of_another_quality_is_a_protocol_error_and_nobody_is_forgotten(
    message: Message, answers: bytes
) -> None:
    session = session_up()
    session.publish(message, ONE)
    assert ended_by(session.receive_data(answers)) == 0x82
    assert session.data_to_send().endswith(b"\xe0\x01\x82")
    assert session.lose_connection() == [ONE]


@pytest.mark.parametrize("size", [2**28 - 3, 2**28])
def test_a_message_that_has_no_length_in_mqtt_is_refused(size: int) -> None:
    session = session_up()
    with pytest.raises(RejectedByBroker) as caught:
        session.publish(Message("a", bytes(size), qos=0), ONE)
    assert caught.value.reason_code == 0x95


def test_identifiers_go_round_and_step_over_those_in_use() -> None:
    session = session_up()
    session.publish(TWICE, ONE)  # has 1, and keeps it for as long as the session
    assert session.subscribe(["a"]) == 2  # free when the connection is lost
    lost(session)
    session.publish(MESSAGE, ONE)  # has 3, and keeps it
    assert session.subscribe(["a"]) == 4  # keeps it too
    assert session.subscribe(["a"]) == 5  # is answered
    session.receive_data(b"\x90\x04\x00\x05\x00\x01")
    with pytest.raises(RejectedByBroker):
        session.subscribe([])  # took 6, and gave it back
    for packet_id in [*range(7, 65_536), 2]:
        session.publish(Message("a", b""), TWO)
        assert session.receive_data(b"\x40\x02" + packet_id.to_bytes(2))
    session.data_to_send()
    for _ in range(2):
        session.publish(Message("a", b""), THREE)
    assert ids_of(session) == [5, 6]


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0b", "a" * 65_536, "\ud800"])
def test_a_topic_that_mqtt_cannot_carry_is_refused_and_takes_no_place(topic: str) -> None:
    session = session_up(receive_max=1)
    for qos in (0, 1, 2):
        with pytest.raises(RejectedByBroker) as caught:
            session.publish(Message(topic, b"", qos=qos), ONE)
        assert caught.value.reason_code == 0x90
    assert session.publishable
    assert session.is_empty
    assert not session.unsent


@pytest.mark.parametrize(
    "properties",
    [
        Properties(response_topic=""),
        Properties(response_topic="a/#"),
        Properties(response_topic="a\0"),
        Properties(content_type="\0"),
        Properties(user_properties=(("a", "b"), ("c", "\0"))),
    ],
)
def test_properties_that_end_a_connection_are_refused(properties: Properties) -> None:
    session = session_up()
    with pytest.raises(RejectedByBroker):
        session.publish(Message("a", b"", properties=properties), ONE)
    assert session.is_empty
    assert not session.unsent


# -- to us


def test_a_message_of_each_quality_with_its_flags() -> None:
    session = session_up()
    data = b"\x31\x06\x00\x02a/\x00x" + b"\x3a\x07\x00\x01a\x00\x05\x00y"
    first, second = deliveries(session.receive_data(data))
    assert (first.topic, first.payload, first.qos, first.retain) == ("a/", b"x", 0, True)
    assert (second.topic, second.payload, second.qos, second.dup) == ("a", b"y", 1, True)
    assert first.properties is None
    first.ack()
    assert not session.unsent
    second.ack()
    second.ack()
    assert session.data_to_send() == b"\x40\x02\x00\x05"


def test_properties_arrive() -> None:
    session = session_up()
    packet = incoming(
        b"",
        response_topic="r",
        correlation_data=b"\xff",
        message_expiry_interval=3,
        content_type="c",
        user_properties=[("k", "v")],
    )
    (delivery,) = deliveries(feed(session, packet))
    assert delivery.properties == Properties(
        response_topic="r",
        correlation_data=b"\xff",
        message_expiry=3,
        content_type="c",
        user_properties=(("k", "v"),),
    )


def test_acknowledgements_leave_in_order_of_arrival_whatever_the_order_of_ack() -> None:
    session = session_up()
    one, two, three, four = deliveries(
        feed(
            session,
            incoming(b"", 7),
            incoming(b"", 3, qos=2),
            incoming(b"", 9),
            incoming(b"", 1, qos=2),
        )
    )
    three.ack()
    two.ack()
    assert not session.unsent
    one.ack()
    assert session.data_to_send() == b"\x40\x02\x00\x07\x50\x02\x00\x03\x40\x02\x00\x09"
    four.ack()
    assert session.data_to_send() == b"\x50\x02\x00\x01"


@pytest.mark.parametrize("qos", [1, 2])
def test_the_receive_maximum_may_be_reached_and_not_passed(qos: int) -> None:
    session = session_up(receive_maximum=2)
    one, _ = deliveries(feed(session, incoming(b"", 1, qos), incoming(b"", 2, qos)))
    deliveries(feed(session, incoming(b"")))  # QoS 0 is not counted
    one.ack()
    session.data_to_send()
    if qos == 2:  # PUBREC frees no place, PUBCOMP does: section 4.9
        feed(session, mqtt5.PubRelPacket(1))
    deliveries(feed(session, incoming(b"", 3, qos)))
    session.data_to_send()
    assert ended_by(feed(session, incoming(b"", 4, qos))) == 0x93
    assert session.data_to_send() == b"\xe0\x01\x93"


def test_pubrec_frees_no_place() -> None:
    session = session_up(receive_maximum=1)
    (one,) = deliveries(feed(session, incoming(b"", 1, 2)))
    one.ack()
    session.data_to_send()
    assert ended_by(feed(session, incoming(b"", 2))) == 0x93


def test_who_is_not_strict_takes_more_than_the_receive_maximum() -> None:
    session = session_up(ClientSession(strict=False), receive_maximum=1)
    assert len(deliveries(feed(session, incoming(b"", 1), incoming(b"", 2), incoming(b"", 3)))) == 3


@pytest.mark.parametrize("header", [b"\x32", b"\x34"])
def test_packet_identifier_0_is_a_protocol_error(header: bytes) -> None:
    session = session_up()
    assert ended_by(session.receive_data(header + b"\x06\x00\x01a\x00\x00\x00")) == 0x82


def test_a_copy_with_qos_2_is_answered_and_not_delivered_until_it_was_released() -> None:
    session = session_up()
    (delivery,) = deliveries(feed(session, incoming(b"x", 4, 2)))
    assert feed(session, incoming(b"x", 4, 2, duplicate=True)) == []
    assert not session.unsent  # PUBREC says that it is ours now, and it is not yet
    delivery.ack()
    assert session.data_to_send() == b"\x50\x02\x00\x04"
    assert feed(session, incoming(b"x", 4, 2, duplicate=True)) == []
    assert session.data_to_send() == b"\x50\x02\x00\x04"
    assert not session.is_empty
    feed(session, mqtt5.PubRelPacket(4))
    assert session.data_to_send() == b"\x70\x02\x00\x04"
    assert session.is_empty
    deliveries(feed(session, incoming(b"new", 4, 2)))


def test_a_pubrel_of_an_unknown_identifier_is_answered_so() -> None:
    session = session_up()
    assert session.receive_data(b"\x62\x02\x00\x08") == []
    assert session.data_to_send() == b"\x70\x03\x00\x08" + FOUND_NO_ID


def test_a_copy_with_qos_2_is_known_after_a_reconnect_and_takes_no_place_there() -> None:
    session = session_up(receive_maximum=1)
    (delivery,) = deliveries(feed(session, incoming(b"x", 4, 2)))
    delivery.ack()
    session.lose_connection()  # the PUBREC never left
    session_up(session, session_present=True, receive_maximum=1)
    assert feed(session, incoming(b"x", 4, 2, duplicate=True)) == []
    assert session.data_to_send() == b"\x50\x02\x00\x04"
    deliveries(feed(session, incoming(b"y", 5)))  # the quota is new: section 4.9
    feed(session, mqtt5.PubRelPacket(4))
    assert session.data_to_send() == b"\x70\x02\x00\x04"


def test_without_a_session_the_broker_means_another_message() -> None:
    session = session_up()
    (delivery,) = deliveries(feed(session, incoming(b"x", 4, 2)))
    delivery.ack()
    session.lose_connection()
    session_up(session)
    deliveries(feed(session, incoming(b"y", 4, 2)))


def test_what_was_not_acknowledged_comes_again_and_its_old_delivery_is_void() -> None:
    session = session_up()
    old_one, old_two = deliveries(feed(session, incoming(b"", 1), incoming(b"", 2, 2)))
    session.lose_connection()
    session_up(session, session_present=True)
    new_one, new_two = deliveries(feed(session, incoming(b"", 1), incoming(b"", 2, 2)))
    old_one.ack()
    old_two.ack()
    assert not session.unsent
    new_one.ack()
    new_two.ack()
    assert session.data_to_send() == b"\x40\x02\x00\x01\x50\x02\x00\x02"


# -- topic aliases


def alias(number: int, topic: str = "") -> mqtt5.PublishPacket:
    return incoming(b"", topic=topic, topic_alias=number)


def test_an_alias_is_set_used_and_replaced() -> None:
    session = session_up()
    packets = [alias(1, "a"), alias(16, "b"), alias(1), alias(16), alias(1, "c"), alias(1)]
    events = deliveries(feed(session, *packets))
    assert [delivery.topic for delivery in events] == ["a", "b", "a", "b", "c", "c"]


@pytest.mark.parametrize(("number", "code"), [(17, 0x94), (2, 0x82)])
def test_an_alias_that_was_not_allowed_or_not_set_ends_it(number: int, code: int) -> None:
    session = session_up()
    feed(session, alias(1, "a"))
    assert ended_by(feed(session, alias(number))) == code


def test_alias_0_and_no_topic_at_all_end_it() -> None:
    assert ended_by(session_up().receive_data(b"\x30\x07\x00\x01a\x03\x23\x00\x00")) == 0x94
    assert ended_by(session_up().receive_data(b"\x30\x03\x00\x00\x00")) == 0x82


def test_aliases_are_of_one_connection() -> None:
    session = session_up()
    feed(session, alias(1, "a"))
    session.lose_connection()
    session_up(session, session_present=True)
    assert ended_by(feed(session, alias(1))) == 0x82


# -- again after a loss


def lost(session: ClientSession, *, session_present: bool = True) -> None:
    session.lose_connection()
    session_up(session, session_present=session_present)


def test_who_is_to_be_told_of_a_loss_in_the_order_sent() -> None:
    session = session_up()
    session.publish(MESSAGE, ONE)
    session.publish(TWICE, TWO)
    session.publish(Message("a", b"", qos=0), done)
    session.publish(MESSAGE, THREE)
    feed(session, mqtt5.PubAckPacket(1))
    assert session.lose_connection() == [TWO, THREE]
    assert not session.lose_connection()


def test_with_the_session_a_message_goes_again_as_the_same_packet() -> None:
    session = session_up()
    one, two = Message("a", b"1"), Message("a", b"2", qos=2)
    another = Message("a", bytes(bytearray(b"1 ")))
    for message in (one, two):
        session.publish(message, ONE)
    lost(session)
    session.publish(two, TWO)
    session.publish(another, THREE)
    session.publish(one, ONE)
    assert session.data_to_send() == (
        b"\x3c\x07\x00\x01a\x00\x02\x002"
        + b"\x32\x08\x00\x01a\x00\x03\x001 "
        + b"\x3a\x07\x00\x01a\x00\x01\x001"
    )
    assert session.receive_data(b"\x40\x02\x00\x01") == [Published(ONE, 0, "")]
    assert session.lose_connection() == [TWO, THREE]


def test_after_pubrec_it_is_the_pubrel_that_goes_again() -> None:
    session = session_up()
    session.publish(TWICE, ONE)
    session.receive_data(b"\x50\x02\x00\x01")
    lost(session)
    session.publish(TWICE, TWO)
    assert session.data_to_send() == b"\x62\x02\x00\x01"
    assert session.receive_data(b"\x70\x02\x00\x01") == [Published(TWO, 0, "")]


def test_one_message_object_twice_in_flight_goes_again_twice() -> None:
    session = session_up()
    session.publish(TWICE, ONE)
    session.publish(TWICE, TWO)
    lost(session)
    session.publish(TWICE, ONE)
    session.publish(TWICE, TWO)
    session.publish(TWICE, THREE)
    packets = wrote(session)
    assert [(packet.packet_id, packet.duplicate) for packet in packets] == [
        (1, True),
        (2, True),
        (3, False),
    ]


@pytest.mark.parametrize("message", [MESSAGE, TWICE])
def test_without_the_session_it_is_a_new_packet(message: Message) -> None:
    session = session_up()
    session.publish(message, ONE)
    lost(session, session_present=False)
    assert session.is_empty
    session.publish(message, ONE)
    (packet,) = wrote(session)
    assert (packet.packet_id, packet.duplicate) == (2, False)


def test_what_is_not_published_before_the_next_loss_is_forgotten() -> None:
    session = session_up()
    session.publish(MESSAGE, ONE)
    lost(session)
    lost(session)
    assert session.is_empty
    session.publish(MESSAGE, ONE)
    (packet,) = wrote(session)
    assert (packet.packet_id, packet.duplicate) == (2, False)


def test_with_qos_2_its_identifier_is_kept_for_as_long_as_the_session() -> None:
    session = session_up()
    session.publish(TWICE, ONE)
    lost(session)
    lost(session)
    session.publish(TWICE, ONE)
    (packet,) = wrote(session)
    assert (packet.packet_id, packet.duplicate) == (1, True)


@pytest.mark.parametrize("answer", [b"", b"\x20\x03\x00\x88\x00", b"\x20\x02\x00\x00"])
def test_a_connection_that_connack_never_opened_makes_nobody_forget(answer: bytes) -> None:
    session = session_up()
    session.publish(MESSAGE, ONE)
    assert session.lose_connection() == [ONE]
    session.connect(ConnectOptions(client_id="c"), packet_limit=1000)
    session.receive_data(answer)
    assert not session.lose_connection()
    session_up(session, session_present=True)
    session.publish(MESSAGE, TWO)
    (packet,) = wrote(session)
    assert (packet.packet_id, packet.duplicate) == (1, True)


def test_a_message_that_is_too_large_for_the_next_broker_keeps_its_identifier() -> None:
    session = session_up()
    message = Message("a", bytes(50), qos=2)
    session.publish(message, ONE)
    session.lose_connection()
    session_up(session, session_present=True, max_packet_size=20)
    with pytest.raises(RejectedByBroker, match="too large"):
        session.publish(message, ONE)
    assert not session.is_empty
    assert not session.lose_connection()


def test_a_clean_start_forgets_before_anything_is_said() -> None:
    session = session_up()
    session.publish(TWICE, ONE)
    (delivery,) = deliveries(feed(session, incoming(b"", 4, 2)))
    delivery.ack()
    session.lose_connection()
    assert not session.is_empty
    session.connect(ConnectOptions(client_id="c", clean_start=True), packet_limit=1000)
    assert session.is_empty


def test_every_packet_identifier_can_be_in_use_and_one_more_cannot() -> None:
    publishing = Publishing(bytearray())
    assert [publishing.new_question() for _ in range(65_535)] == list(range(1, 65_536))
    with pytest.raises(RejectedByBroker, match="no packet identifier is free"):
        publishing.new_question()
    for free in (7, 65_535, 1):
        publishing.answered(free)
        assert publishing.new_question() == free
