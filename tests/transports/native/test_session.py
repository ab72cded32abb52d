"""The MQTT 5 session, byte by byte: what is written, what is told, and how it ends.

Bytes of the broker are made with the codec, or by hand where the codec would not make them.
"""

from __future__ import annotations

import mqtt5
import pytest

from petalkit import Message, RejectedByBroker
from petalkit.transports import ConnectOptions, Delivery
from petalkit.transports.native._events import (
    Connected,
    Ended,
    Published,
    Refused,
    Subscribed,
    Unsubscribed,
)
from petalkit.transports.native._session import ClientSession

from ..mqtt5_bytes import connack, done, feed, ids_of, incoming, publish_of, session_up, wrote

# -- CONNECT


def test_connect_says_every_field_at_its_place() -> None:
    will = Message("w", b"gone", qos=1, retain=True)
    options = ConnectOptions(
        client_id="cid",
        clean_start=True,
        will=will,
        keep_alive=20,
        session_expiry=3600,
        receive_maximum=100,
        packet_maximum=0x20000,
    )
    session = ClientSession()
    session.connect(options, packet_limit=0x10000, username="user", password="pä")
    assert session.state == "connecting"
    data = session.data_to_send()
    assert data == b"".join(
        [
            b"\x10\x32",  # CONNECT, and the length of the rest
            b"\x00\x04MQTT\x05",
            b"\xee",  # user name, password, will retain, will QoS 1, will, clean start
            b"\x00\x14",  # keep alive
            b"\x0d"  # no topic aliases beside a bound of packets
            + b"\x11\x00\x00\x0e\x10"
            + b"\x21\x00\x64"
            + b"\x27\x00\x02\x00\x00",
            b"\x00\x03cid",
            b"\x00\x00\x01w\x00\x04gone",  # no properties of the will; its topic, its payload
            b"\x00\x04user\x00\x03p\xc3\xa4",
        ]
    )
    assert not session.unsent
    assert not session.data_to_send()


def test_connect_without_will_and_credentials_says_nothing_of_them() -> None:
    session = ClientSession()
    session.connect(ConnectOptions(client_id="c", session_expiry=0), packet_limit=1000)
    (packet,) = wrote(session)
    assert isinstance(packet, mqtt5.ConnectPacket)
    assert not packet.clean_start
    assert (packet.will, packet.username, packet.password) == (None, None, None)
    assert packet.session_expiry_interval == 0
    assert packet.max_packet_size is None  # nobody asked for one
    assert packet.topic_alias_max == 16


def test_a_will_that_cannot_be_sent_is_refused_and_no_connection_begins() -> None:
    session = ClientSession()
    options = ConnectOptions(client_id="c", will=Message("a/#", b""))
    with pytest.raises(RejectedByBroker, match="CONNECT cannot be sent"):
        session.connect(options, packet_limit=1000)
    assert session.state == "idle"
    assert not session.unsent


def test_a_session_has_one_connection_at_a_time() -> None:
    session = session_up()
    options = ConnectOptions(client_id="c")
    with pytest.raises(RuntimeError, match="connected"):
        session.connect(options, packet_limit=1000)
    session.disconnect()
    with pytest.raises(RuntimeError, match="ended"):
        session.connect(options, packet_limit=1000)
    session.lose_connection()
    session.connect(options, packet_limit=1000)


def test_intents_need_a_connection() -> None:
    session = ClientSession()
    for intent in (
        session.ping,
        session.disconnect,
        lambda: session.subscribe(["a"]),
        lambda: session.unsubscribe(["a"]),
        lambda: session.publish(Message("a", b"", qos=0), done),
    ):
        with pytest.raises(RuntimeError, match="idle"):
            intent()
    assert session.receive_data(b"\xff\xff") == []
    assert list(session.lose_connection()) == []


# -- CONNACK


def test_connack_that_says_nothing_leaves_what_was_asked_for() -> None:
    session = ClientSession()
    options = ConnectOptions(client_id="c", keep_alive=7, session_expiry=8, publish_maximum=9)
    session.connect(options, packet_limit=1000)
    assert session.receive_data(b"\x20\x03\x00\x00\x00") == [Connected(False, 7, 9, 8)]
    assert session.state == "connected"


@pytest.mark.parametrize("keep_alive", [0, 5, 65_535])
def test_the_brokers_own_times_count(keep_alive: int) -> None:
    session = ClientSession()
    session.connect(ConnectOptions(client_id="c"), packet_limit=1000)
    answer = connack(session_present=True, server_keep_alive=keep_alive, session_expiry_interval=0)
    assert session.receive_data(answer) == [Connected(True, keep_alive, 100, 0)]


def test_the_smaller_receive_maximum_bounds_what_is_in_flight() -> None:
    session = session_up(receive_max=2)
    assert session.publish_maximum == 2
    session.publish(Message("a", b"1"), done)
    assert session.publishable
    session.publish(Message("a", b"2"), done)
    assert not session.publishable
    with pytest.raises(RuntimeError, match="in flight"):
        session.publish(Message("a", b"3"), done)
    session.publish(Message("a", b"0", qos=0), done)  # is not counted
    feed(session, mqtt5.PubAckPacket(1))
    assert session.publishable
    assert session_up(receive_max=65_535).publish_maximum == 100


def test_a_message_over_the_maximum_packet_size_is_refused_here_and_takes_no_identifier() -> None:
    session = session_up(max_packet_size=20)
    session.publish(Message("a", bytes(12)), done)
    for qos in (0, 1, 2):
        with pytest.raises(RejectedByBroker, match=r"21 bytes; the broker takes 20") as caught:
            session.publish(Message("a", bytes(13 if qos else 15), qos=qos), done)
        assert caught.value.reason_code == 0x95
    session.publish(Message("a", b"after"), done)
    first, second = wrote(session)
    assert len(first.write()) == 20
    assert publish_of(second).payload == b"after"
    assert len(session.lose_connection()) == 2


def test_quality_and_retain_that_the_broker_lacks_are_refused_here() -> None:
    session = session_up(max_qos=mqtt5.QoS.AT_MOST_ONCE, retain_available=False)
    with pytest.raises(RejectedByBroker) as caught:
        session.publish(Message("a", b""), done)
    assert caught.value.reason_code == 0x9B
    with pytest.raises(RejectedByBroker) as caught:
        session.publish(Message("a", b"", qos=0, retain=True), done)
    assert caught.value.reason_code == 0x9A
    assert not session.unsent
    session.publish(Message("a", b"", qos=0), done)
    assert session.data_to_send() == b"\x30\x04\x00\x01a\x00"


def test_limits_are_those_of_this_connection() -> None:
    session = session_up(max_packet_size=10, max_qos=mqtt5.QoS.AT_MOST_ONCE, retain_available=False)
    session.lose_connection()
    session_up(session)
    session.publish(Message("a", bytes(100), retain=True), done)


def test_a_refusal_has_its_code_and_the_brokers_words() -> None:
    session = ClientSession()
    session.connect(ConnectOptions(client_id="c"), packet_limit=1000)
    code = mqtt5.ConnAckReasonCode
    answer = connack(reason_code=code.NOT_AUTHORIZED, reason_str="go away")
    assert session.receive_data(answer) == [Refused(0x87, "go away")]
    assert session.state == "ended"
    assert session.data_to_send().startswith(b"\x10")  # no DISCONNECT after the CONNECT
    assert session.receive_data(connack()) == []
    session.lose_connection()
    session.connect(ConnectOptions(client_id="c"), packet_limit=1000)
    answer = connack(reason_code=code.USE_ANOTHER_SERVER, server_reference="b.example:1883")
    assert session.receive_data(answer + b"\xff\xff") == [
        Refused(
            0x9C, "Use another server; it names another server: b.example:1883", "b.example:1883"
        )
    ]


@pytest.mark.parametrize("answer", [b"\x20\x02\x00\x00", b"\x20\x02\x01\x00", b"\x20\x02\x00\x05"])
def test_a_connack_of_mqtt_3_1_1_is_named(answer: bytes) -> None:
    session = ClientSession()
    session.connect(ConnectOptions(client_id="c"), packet_limit=1000)
    session.data_to_send()
    (ended,) = session.receive_data(answer)
    assert isinstance(ended, Ended)
    assert ended.reason_code == 0x84
    assert "3.1.1" in ended.text
    assert not session.unsent


@pytest.mark.parametrize("again", [connack(), b"\x20\x02\x00\x00"], ids=["5", "3.1.1"])
def test_a_second_connack_is_a_protocol_error(again: bytes) -> None:
    session = session_up()
    assert ended_by(session, again) == 0x82
    assert session.data_to_send() == b"\xe0\x01\x82"


@pytest.mark.parametrize(
    "packet",
    [
        mqtt5.PingRespPacket(),
        incoming(b"early"),
        mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE]),
        mqtt5.AuthPacket(authentication_method="x"),
    ],
)
def test_nothing_comes_before_connack(packet: mqtt5.Packet) -> None:
    session = ClientSession()
    session.connect(ConnectOptions(client_id="c"), packet_limit=1000)
    session.data_to_send()
    assert ended_by(session, packet.write()) == 0x82
    assert not session.unsent


def test_a_session_after_a_clean_start_is_a_protocol_error() -> None:
    session = ClientSession()
    session.connect(ConnectOptions(client_id="c", clean_start=True), packet_limit=1000)
    assert ended_by(session, connack(session_present=True)) == 0x82


@pytest.mark.parametrize(
    "properties",
    [b"\x03\x21\x00\x00", b"\x05\x27\x00\x00\x00\x00", b"\x02\x25\x02", b"\x04\x25\x01\x25\x01"],
    ids=["receive maximum 0", "packet size 0", "retain available 2", "twice"],
)
def test_a_connack_that_says_what_it_may_not_is_a_protocol_error(properties: bytes) -> None:
    session = ClientSession()
    session.connect(ConnectOptions(client_id="c"), packet_limit=1000)
    data = b"\x20" + bytes([2 + len(properties)]) + b"\x00\x00" + properties
    assert ended_by(session, data) == 0x82


# -- questions


def test_subscribing_asks_for_qos_1_and_new_retained_messages_only() -> None:
    session = session_up()
    assert session.subscribe(["a/+", "b"]) == 1
    assert session.unsubscribe(["a/+"]) == 2
    assert session.data_to_send() == (
        b"\x82\x0d\x00\x01\x00\x00\x03a/+\x11\x00\x01b\x11" + b"\xa2\x08\x00\x02\x00\x00\x03a/+"
    )
    events = session.receive_data(b"\xb0\x04\x00\x02\x00\x11" + b"\x90\x05\x00\x01\x00\x01\x87")
    assert events == [Unsubscribed(2, [0x11]), Subscribed(1, [1, 0x87])]


@pytest.mark.parametrize(
    "answer",
    [
        b"\x90\x04\x00\x01\x00\x01",  # one code for two filters
        b"\x90\x06\x00\x01\x00\x01\x01\x01",
        b"\x90\x05\x00\x02\x00\x01\x01",  # nobody asked
        b"\xb0\x05\x00\x01\x00\x00\x00",  # the answer to another question
        b"\x90\x05\x00\x01\x00\x01\x01" * 2,
    ],
    ids=["too few", "too many", "unknown", "UNSUBACK", "twice"],
)
def test_an_answer_that_does_not_fit_its_question_is_a_protocol_error(answer: bytes) -> None:
    session = session_up()
    session.subscribe(["a", "b"])
    assert ended_by(session, answer) == 0x82


@pytest.mark.parametrize("filters", [[], ["a/#/b"], ["a" * 65_536]])
def test_filters_that_mqtt_cannot_carry_are_refused_and_leave_nothing(filters: list[str]) -> None:
    session = session_up()
    for intent in (session.subscribe, session.unsubscribe):
        with pytest.raises(RejectedByBroker):
            intent(filters)
    assert not session.unsent
    assert session.subscribe(["a"]) == 3  # they went on, and are free


def test_filters_over_the_maximum_packet_size_are_refused_here_and_leave_nothing() -> None:
    session = session_up(max_packet_size=50)
    for ask in (session.subscribe, session.unsubscribe):
        with pytest.raises(RejectedByBroker, match="50") as e:
            ask(["long/" * 10])
        assert e.value.reason_code == 0x95
    assert wrote(session) == []
    session.subscribe(["short"])
    assert len(wrote(session)) == 1


def test_the_questions_of_a_lost_connection_are_answered_no_more() -> None:
    session = session_up()
    session.subscribe(["a"])
    session.lose_connection()
    session_up(session, session_present=True)
    assert ended_by(session, b"\x90\x04\x00\x01\x00\x01") == 0x82


# -- life and end


def test_ping_and_its_answer() -> None:
    session = session_up()
    session.ping()
    assert session.data_to_send() == b"\xc0\x00"
    assert session.receive_data(b"\xd0\x00") == []


def test_disconnect_is_the_last_word() -> None:
    session = session_up()
    (delivery,) = feed(session, incoming(b"x", 1))
    session.publish(Message("a", b"", qos=0), done)
    session.disconnect()
    assert session.data_to_send() == b"\x30\x04\x00\x01a\x00" + b"\xe0\x00"
    assert isinstance(delivery, Delivery)
    delivery.ack()
    assert not session.unsent
    assert feed(session, incoming(b"y", 2)) == []
    with pytest.raises(RuntimeError, match="ended"):
        session.ping()


def test_disconnect_can_have_the_will_published() -> None:
    session = session_up()
    session.disconnect(4)
    assert session.data_to_send() == b"\xe0\x01\x04"


def test_the_brokers_disconnect_is_told_with_its_reason_and_not_answered() -> None:
    session = session_up()
    (delivery, ended) = session.receive_data(incoming(b"x", 1).write() + b"\xe0\x01\x8e")
    assert ended == Ended(0x8E, "the broker disconnected: Session taken over (0x8e)", True)
    assert isinstance(delivery, Delivery)
    delivery.ack()
    assert not session.unsent
    assert session.receive_data(b"\xe0\x01\x8e") == []


def test_the_brokers_disconnect_names_another_server() -> None:
    session = session_up()
    packet = mqtt5.DisconnectPacket(
        reason_code=mqtt5.DisconnectReasonCode.SERVER_MOVED,
        reason_str="moved",
        server_reference="other",
    )
    (ended,) = feed(session, packet)
    assert isinstance(ended, Ended)
    assert (ended.reason_code, ended.by_server) == (0x9D, True)
    assert "moved; it names another server: other" in ended.text


@pytest.mark.parametrize(
    "rest", [b"\xff\xff", b"\xd0\x01\x00", b"\xe0\x00", b"\x30\x05\x00\x01a\x00x", b"\x20\x02\0\0"]
)
def test_after_the_end_nothing_is_read(rest: bytes) -> None:
    for last in (b"\xe0\x00", b"\x00\x00"):
        session = session_up()
        assert len(session.receive_data(last + rest)) == 1
        said = session.data_to_send()
        assert said == (b"" if last[0] else b"\xe0\x01\x81")
        assert session.receive_data(rest) == []
        assert not session.unsent


def ended_by(session: ClientSession, data: bytes) -> int:
    (*_, ended) = session.receive_data(data)
    assert isinstance(ended, Ended)
    assert not ended.by_server
    assert session.state == "ended"
    return ended.reason_code


def test_identifiers_are_shared_by_questions_and_messages() -> None:
    session = session_up()
    session.publish(Message("a", b""), done)
    assert session.subscribe(["a"]) == 2
    session.publish(Message("a", b""), done)
    assert ids_of(session) == [1, 2, 3]
    assert feed(session, mqtt5.PubAckPacket(2)) == []  # of the SUBSCRIBE: means nothing
    assert isinstance(feed(session, mqtt5.PubAckPacket(3))[0], Published)


# -- reason codes that the codec has no name for


UNNAMED_PUBACK = b"\x40\x03\x00\x01\xb0"
UNNAMED_SUBACK = b"\x90\x0b\x00\x02\x05\x26\x00\x00\x00\x00\x01\xb0\x87"


def test_refusals_without_a_name_are_told_by_their_number_however_they_are_split() -> None:
    data = UNNAMED_PUBACK + UNNAMED_SUBACK + b"\xe0\x01\xb1"
    for cut in range(len(data)):
        session = session_up()
        session.publish(Message("t", b"1", qos=1), done)
        session.subscribe(["a", "b", "c"])
        events = session.receive_data(data[:cut]) + session.receive_data(data[cut:])
        assert events == [
            Published(done, 0xB0, "reason code 0xb0"),
            Subscribed(2, [1, 0xB0, 0x87]),
            Ended(0xB1, "the broker disconnected: reason code 0xb1 (0xb1)", by_server=True),
        ]


@pytest.mark.parametrize(
    "data",
    [
        b"\x40\x03\x00\x01\x7f",  # no refusal
        b"\x40\x04\x00\x01\xb0\x05",  # and what is behind it is cut off
        b"\x90\x06\x00\x01\x7f\x26\x00\xb0",  # properties that are longer than the packet
        b"\x20\x03\x00\xb0\x00",  # a CONNACK where it cannot come
    ],
)
def test_a_code_without_a_name_excuses_no_other_fault(data: bytes) -> None:
    session = session_up()
    session.publish(Message("t", b"1", qos=1), done)
    [event] = session.receive_data(data)
    assert isinstance(event, Ended)
    assert not event.by_server
