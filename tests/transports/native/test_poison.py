"""One message that cannot be read must not keep out those behind it, whoever sent it."""

from __future__ import annotations

import mqtt5
import pytest

from petalkit.transports import ConnectOptions, Delivery
from petalkit.transports.native._events import Ended
from petalkit.transports.native._session import ClientSession

from ..mqtt5_bytes import PACKET_MAXIMUM, connack, incoming, session_up, wrote
from ..poison import POISON, publish

# Rust's panics over text that is not UTF-8.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

KINDS = pytest.mark.parametrize("name", POISON)
GOOD = incoming(b"good", 8).write()


def again(session: ClientSession) -> ClientSession:
    """On the next connection of the same session."""
    session.lose_connection()
    return session_up(session, session_present=True)


def of(name: str, qos: int = 1, packet_id: int = 7) -> bytes:
    properties, topic, _, _ = POISON[name]
    return publish(properties, topic=topic, qos=qos, packet_id=packet_id)


@KINDS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_first_ends_the_link_and_from_then_on_each_is_refused_alone(
    name: str, qos: int
) -> None:
    """Take out `lenient`: the session ends each of its links with the same message."""
    _, topic, disconnect, answer = POISON[name]
    session = session_up()
    (ended,) = session.receive_data(of(name, qos) + GOOD)
    assert isinstance(ended, Ended)
    assert ended.reason_code == disconnect
    assert "the next message like that is refused alone" in ended.text
    assert session.data_to_send() == bytes([0xE0, 1, disconnect])

    again(session)
    # Not by its packet identifier: RabbitMQ delivers it again with another one.
    events = session.receive_data(of(name, qos, packet_id=3) + GOOD)
    poison, good = events
    assert isinstance(poison, Delivery)
    assert isinstance(good, Delivery)
    assert poison.fault is not None
    assert not poison.fault.too_large
    assert (poison.payload, poison.qos) == (b"", min(qos, 1))
    assert poison.topic == ("t" if topic == b"t" else "")
    assert (good.payload, good.fault) == (b"good", None)
    good.ack()
    poison.ack()
    expected = b"\x40\x02\x00\x08"
    if qos:
        expected = bytes([0x40 if qos == 1 else 0x50, 3, 0, 3, answer]) + expected
    assert session.data_to_send() == expected
    assert session.state == "connected"


def test_a_sender_who_does_it_again_and_again_ends_one_link() -> None:
    session = session_up()
    assert isinstance(session.receive_data(of("user property not UTF-8"))[0], Ended)
    again(session)
    for number in range(1, 1000):
        name = list(POISON)[number % len(POISON)]
        (delivery,) = session.receive_data(of(name, packet_id=number))
        assert isinstance(delivery, Delivery)
        delivery.ack()
        (answer,) = wrote(session)
        assert answer.packet_id == number


def test_it_is_remembered_when_the_broker_has_lost_the_session() -> None:
    session = session_up()
    session.receive_data(of("expiry twice"))
    session.lose_connection()
    session_up(session, session_present=False)
    (delivery,) = session.receive_data(of("expiry twice"))
    assert isinstance(delivery, Delivery)
    assert not session.is_empty


def test_an_identifier_that_was_refused_at_qos_2_is_free_again() -> None:
    session = session_up()
    session.receive_data(of("topic alias 0", 2))
    again(session)
    (poison,) = session.receive_data(of("topic alias 0", 2))
    assert isinstance(poison, Delivery)
    assert session.receive_data(of("topic alias 0", 2)) == [], "a copy, and PUBREC is still owed"
    poison.ack()
    assert session.data_to_send() == b"\x50\x03\x00\x07\x80"
    (good,) = session.receive_data(incoming(b"good", 7, 2).write())
    assert isinstance(good, Delivery)
    assert good.fault is None


@pytest.mark.parametrize("split", [1, 2, 3, 1000])
@KINDS
def test_however_it_was_split(name: str, split: int) -> None:
    session = session_up()
    session.receive_data(of("expiry twice"))
    again(session)
    events = []
    data = of(name) + GOOD
    for start in range(0, len(data), split):
        events += session.receive_data(data[start : start + split])
    poison, good = events
    assert isinstance(poison, Delivery)
    assert poison.fault is not None
    assert isinstance(good, Delivery)
    assert good.fault is None


@pytest.mark.parametrize(
    "data",
    [
        publish(b"\0", packet_id=0),
        publish(b"\0", qos=3),
        b"\x32\x03\x00\x01t",  # its packet identifier is cut off
        b"\x32\x02\x00\x09",
        b"\x30\x00",
    ],
)
def test_what_cannot_be_acknowledged_still_ends_each_link(data: bytes) -> None:
    session = session_up()
    for _ in range(3):
        (ended,) = session.receive_data(data)
        assert isinstance(ended, Ended)
        assert ended.reason_code in (0x81, 0x82)
        again(session)


def test_a_topic_alias_is_learnt_from_a_message_that_is_refused() -> None:
    session = session_up()
    session.receive_data(of("expiry twice"))
    again(session)
    poison = publish(b"\x05\x23\x00\x02\x01\x02", topic=b"long")
    events = session.receive_data(poison + incoming(b"x", 8, topic="", topic_alias=2).write())
    assert [event.topic for event in events if isinstance(event, Delivery)] == ["long", "long"]


def test_after_an_alias_that_was_never_defined_none_is_allowed_any_more() -> None:
    """mosquitto 2.1 and RabbitMQ 4 use one that they defined in what they then did not send."""
    session = session_up()
    (ended,) = session.receive_data(incoming(b"x", 8, topic="", topic_alias=2).write())
    assert isinstance(ended, Ended)
    assert ended.reason_code == 0x82
    session.lose_connection()
    session.connect(ConnectOptions(client_id="c"), packet_limit=PACKET_MAXIMUM)
    (said,) = wrote(session)
    assert isinstance(said, mqtt5.ConnectPacket)
    assert said.topic_alias_max == 0
    session.receive_data(connack(session_present=True))
    assert not session.is_empty


@pytest.mark.parametrize("topic", ["+", "a/#", "\0"])
def test_a_topic_that_none_can_be_is_delivered_and_is_nobodys(topic: str) -> None:
    session = session_up()
    data = publish(b"\0", topic=topic.encode())
    (delivery,) = session.receive_data(data)
    assert isinstance(delivery, Delivery)
    assert delivery.topic == topic
