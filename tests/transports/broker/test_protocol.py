"""What the broker says to clients, byte by byte: no socket, and a clock that is set."""

from __future__ import annotations

import gc
from typing import Any

import mqtt5
import pytest

from petalkit.transports._broker.protocol.client import TURN

from .bench import QOS, Bench, BenchClient

# Rust's panics over text that is not UTF-8.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PUBLISH = mqtt5.PublishPacket


def codes(packets: list[Any]) -> list[tuple[str, int]]:
    return [(type(one).__name__, int(one.reason_code)) for one in packets]


# -- CONNECT


def test_a_connect_is_read_however_it_is_split() -> None:
    bench = Bench()
    data = mqtt5.ConnectPacket("abc", clean_start=True).write() + b"\xc0\0"
    client = BenchClient(bench)
    for byte in data:
        client.feed(bytes((byte,)))
    assert [type(one) for one in client.take()] == [mqtt5.ConnAckPacket, mqtt5.PingRespPacket]


def test_an_mqtt_5_client_is_told_what_it_gets_of_what_it_asked() -> None:
    bench = Bench(max_session_expiry=100, receive_maximum=7, max_packet_size=5000)
    client = bench.client("", session_expiry_interval=0xFFFF_FFFF)
    (connack,) = client.take()
    assert connack.session_expiry_interval == 100
    assert connack.receive_max == 7
    assert connack.max_packet_size == 5000
    assert connack.assigned_client_id == client.link.session.client_id


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"\x10\x0c\0\6MQIsdp\3\2\0\0\0\0", b"\x20\2\0\1"),  # MQTT 3.1
        (b"\x10\x0c\0\4MQTT\6\2\0\0\0\0\0", b"\x20\3\0\x84\0"),  # a later one
        (b"\x10\x0c\0\4MQTX\4\2\0\0\0\0", b""),
        (b"GET / HTTP/1.1\r\n\r\n", b""),  # the door has looked for that before
        (b"\x30\x05\0\1tab", b""),
        (b"\x10\xff\xff\xff\xff\x01", b""),
    ],
)
def test_what_is_no_connect_of_ours_is_answered_in_its_words_or_not_at_all(
    data: bytes, answer: bytes
) -> None:
    client = BenchClient(Bench())
    client.feed(data)
    assert client.bytes() == answer
    assert client.link.lost is not None


def test_a_3_1_1_client_without_an_id_gets_no_session() -> None:
    bench = Bench()
    client = BenchClient(bench)
    client.feed(b"\x10\x0c\0\4MQTT\4\0\0\0\0\0")
    assert client.bytes() == b"\x20\2\0\2"
    client = BenchClient(bench)
    client.feed(b"\x10\x0c\0\4MQTT\4\2\0\0\0\0")
    assert client.bytes() == b"\x20\2\0\0"


def test_a_second_connect_ends_the_connection() -> None:
    client = Bench().client()
    client.take()
    assert codes(client.send(mqtt5.ConnectPacket("c"))) == [("DisconnectPacket", 0x82)]


def test_a_takeover_is_told_and_keeps_the_session() -> None:
    bench = Bench()
    old = bench.client("c", session_expiry_interval=10)
    old.subscribe("t")
    new = bench.client("c", session_expiry_interval=10, clean_start=False)
    assert codes(old.take()) == [("DisconnectPacket", 0x8E)]
    assert new.take()[0].session_present
    bench.client("other").publish("t")
    assert new.payloads() == [b"p"]


def test_more_sessions_than_there_may_be_are_refused() -> None:
    bench = Bench(max_sessions=1)
    bench.client("a", session_expiry_interval=10).send(mqtt5.DisconnectPacket())
    assert codes(bench.client("b").take()) == [("ConnAckPacket", 0x97)]
    assert codes(bench.client("a").take()) == [("ConnAckPacket", 0)]


# -- sessions and messages


def test_what_waits_for_an_absent_client_comes_in_order_with_its_expiry_counted_down() -> None:
    bench = Bench()
    device = bench.client("d", session_expiry_interval=100)
    device.subscribe("t", 1)
    device.link.end("gone")
    sender = bench.client("s")
    sender.publish("t", b"1", 1, message_expiry_interval=10)
    sender.publish("t", b"2", 1, message_expiry_interval=3)
    sender.publish("t", b"3", 1)
    sender.publish("t", b"0", 0)  # is not kept
    bench.later(4)
    device = bench.client("d", clean_start=False, session_expiry_interval=100)
    connack, *messages = device.take()
    assert connack.session_present
    assert [(one.payload, one.message_expiry_interval) for one in messages] == [
        (b"1", 6), (b"3", None),
    ]  # fmt: skip


def test_a_session_ends_when_its_time_has_passed() -> None:
    bench = Bench()
    bench.client("d", session_expiry_interval=5).link.end("gone")
    bench.later(4.9)
    assert "d" in bench.broker.sessions
    bench.later(0.2)
    assert "d" not in bench.broker.sessions


def test_what_was_not_acknowledged_comes_again_with_its_identifier_and_dup() -> None:
    bench = Bench()
    device = bench.client("d", session_expiry_interval=100)
    device.subscribe("t", 2)
    sender = bench.client("s")
    sender.publish("t", b"1", 1)
    sender.publish("t", b"2", 2, packet_id=10)
    first = [one for one in device.take() if isinstance(one, PUBLISH)]
    device.send(mqtt5.PubRecPacket(first[1].packet_id))
    device.link.end("gone")
    device = bench.client("d", clean_start=False, session_expiry_interval=100)
    _, release, again = device.take()
    assert isinstance(release, mqtt5.PubRelPacket)
    assert release.packet_id == first[1].packet_id
    assert (again.payload, again.duplicate, again.packet_id) == (b"1", True, first[0].packet_id)


def test_what_expired_while_it_was_in_flight_does_not_come_again() -> None:
    bench = Bench()
    bench.client("d", session_expiry_interval=100).subscribe("t", 1)
    bench.client("s").publish("t", b"1", 1, message_expiry_interval=3)
    bench.broker.sessions["d"].wire.end("gone")  # type: ignore[union-attr]
    bench.later(4)
    assert bench.client("d", clean_start=False).payloads() == []
    assert bench.broker.shared.queued_bytes == 0


def test_no_more_are_in_flight_than_the_receive_maximum() -> None:
    bench = Bench()
    device = bench.client("d", receive_max=2)
    device.subscribe("t", 1)
    sender = bench.client("s")
    for number in range(5):
        sender.publish("t", b"%d" % number, 1)
    first = [one for one in device.take() if isinstance(one, PUBLISH)]
    assert [one.payload for one in first] == [b"0", b"1"]
    device.feed(mqtt5.PubAckPacket(first[1].packet_id).write())
    assert device.payloads() == [b"2"]


def test_a_message_that_is_too_long_for_a_client_is_dropped_alone() -> None:
    bench = Bench()
    device = bench.client("d", max_packet_size=60)
    device.subscribe("t", 1)
    sender = bench.client("s")
    for payload in (b"1", b"2" * 100, b"3"):
        assert codes(sender.publish("t", payload, 1))[-1] == ("PubAckPacket", 0)
    assert device.payloads() == [b"1", b"3"]
    assert bench.broker.counters.dropped_too_large == 1
    session = bench.broker.sessions["d"]
    assert [one.publication.payload for one in session.inflight.values()] == [b"1", b"3"]
    for packet_id in list(session.inflight):
        device.feed(mqtt5.PubAckPacket(packet_id).write())
    assert bench.broker.shared.queued_bytes == session.held_bytes == 0


def test_a_message_of_qos_2_is_passed_on_once_however_often_it_is_sent() -> None:
    bench = Bench()
    device = bench.client("d")
    device.subscribe("t", 0)
    sender = bench.client("s")
    assert codes(sender.publish("t", b"1", 2)) == [("ConnAckPacket", 0), ("PubRecPacket", 0)]
    assert codes(sender.publish("t", b"1", 2, duplicate=True)) == [("PubRecPacket", 0)]
    assert codes(sender.send(mqtt5.PubRelPacket(9))) == [("PubCompPacket", 0)]
    assert codes(sender.send(mqtt5.PubRelPacket(9))) == [("PubCompPacket", 0x92)]
    assert device.payloads() == [b"1"]


def test_more_unreleased_messages_of_qos_2_than_allowed_end_the_connection() -> None:
    sender = Bench(receive_maximum=2).client("s")
    for packet_id in (1, 2, 3):
        answer = sender.publish("t", b"1", 2, packet_id=packet_id)
    assert codes(answer) == [("DisconnectPacket", 0x93)]


def test_overlapping_filters_get_one_copy_with_the_highest_qos_and_all_identifiers() -> None:
    bench = Bench()
    device = bench.client("d")
    device.subscribe("t/+", 0, identifier=3)
    device.subscribe("t/#", 1, identifier=4)
    device.take()
    bench.client("s").publish("t/1", b"1", 2)
    (message,) = device.take()
    assert int(message.qos) == 1
    assert sorted(message.subscription_ids) == [3, 4]


def test_no_local_holds_for_its_filter_alone() -> None:
    bench = Bench()
    client = bench.client("c")
    client.subscribe("t/#", 1, no_local=True)
    client.take()
    assert codes(client.publish("t/1", b"1", 1)) == [("PubAckPacket", 0)]
    client.subscribe("t/+", 1)
    assert [type(one).__name__ for one in client.publish("t/1", b"2", 1)] == [
        "PublishPacket", "PubAckPacket",
    ]  # fmt: skip


@pytest.mark.parametrize("keeps", [True, False])
def test_the_retain_flag_is_passed_on_if_asked_for(keeps: bool) -> None:
    bench = Bench()
    device = bench.client("d")
    device.subscribe("t", 1, retain_as_published=keeps)
    device.take()
    bench.client("s").publish("t", b"1", 0, retain=True)
    assert [one.retain for one in device.take()] == [keeps]


def test_retained_messages_come_as_the_handling_says() -> None:
    bench = Bench()
    bench.client("s").publish("t", b"1", 1, retain=True)
    handling = mqtt5.RetainHandling
    client = bench.client("d")
    client.take()
    never = client.subscribe("t", retain_handling=handling.SEND_NEVER)
    assert [type(one) for one in never] == [mqtt5.SubAckPacket]
    new = handling.SEND_IF_SUBSCRIPTION_NOT_EXISTS
    assert len(client.subscribe("t", retain_handling=new)) == 1
    assert len(client.subscribe("+", retain_handling=new)) == 2
    (_, message) = client.subscribe("t")
    assert (message.payload, message.retain) == (b"1", True)


def test_an_empty_retained_message_takes_the_last_one_away() -> None:
    bench = Bench()
    sender = bench.client("s")
    sender.publish("t", b"1", retain=True)
    sender.publish("t", b"", retain=True)
    assert len(bench.client("d").subscribe("#")) == 2  # CONNACK and SUBACK


def test_wildcards_do_not_reach_topics_that_begin_with_a_dollar() -> None:
    bench = Bench()
    device = bench.client("d")
    for pattern in ("#", "+/x"):
        device.subscribe(pattern)
    device.take()
    sender = bench.client("s")
    sender.publish("$SYS/x", retain=True)
    assert device.payloads() == []
    assert len(device.subscribe("$SYS/#")) == 2


def test_a_shared_subscription_gives_each_message_to_one_and_to_who_is_there() -> None:
    bench = Bench()
    members = [bench.client(name, session_expiry_interval=9) for name in "ab"]
    for member in members:
        member.subscribe("$share/g/t", 1)
        member.take()
    sender = bench.client("s")
    for number in range(4):
        sender.publish("t", b"%d" % number, 1)
    assert sorted(members[0].payloads() + members[1].payloads()) == [b"0", b"1", b"2", b"3"]
    members[0].link.end("gone")
    for number in range(3):
        sender.publish("t", b"%d" % number, 1)
    assert members[1].payloads() == [b"0", b"1", b"2"]


def test_a_will_is_its_clients_own_for_no_local() -> None:
    bench = Bench()
    given: dict[str, Any] = {"will": will(), "session_expiry_interval": 60}
    bench.client("d", **given).subscribe("will", no_local=True)
    bench.broker.sessions["d"].wire.end("gone")  # type: ignore[union-attr]
    assert bench.client("d", clean_start=False).payloads() == []


def test_a_topic_alias_is_for_one_connection() -> None:
    bench = Bench(topic_alias_maximum=2)
    device = bench.client("d")
    device.subscribe("t")
    device.take()
    sender = bench.client("s")
    sender.publish("t", b"1", topic_alias=2)
    sender.publish("", b"2", topic_alias=2)
    assert device.payloads() == [b"1", b"2"]
    assert codes(sender.publish("", b"3", topic_alias=1)) == [("DisconnectPacket", 0x82)]
    assert codes(bench.client("s").publish("t", b"4", topic_alias=3)) == [
        ("ConnAckPacket", 0), ("DisconnectPacket", 0x94),
    ]  # fmt: skip


def test_properties_are_passed_on_as_they_came() -> None:
    bench = Bench()
    device = bench.client("d")
    device.subscribe("t")
    device.take()
    said: dict[str, Any] = {
        "content_type": "", "response_topic": "r", "correlation_data": b"\0",
        "user_properties": [("b", "1"), ("a", ""), ("b", "1")], "payload_format_indicator": 1,
    }  # fmt: skip
    bench.client("s").publish("t", b"1", **said)
    (message,) = device.take()
    assert {name: getattr(message, name) for name in said} == said


def test_who_nobody_listens_to_is_told_so() -> None:
    assert codes(Bench().client().publish("t", b"1", 1))[-1] == ("PubAckPacket", 0x10)


# -- wills


def will(**given: Any) -> mqtt5.Will:
    return mqtt5.Will("will", payload=b"dead", qos=QOS[1], **given)


def test_a_will_is_for_who_leaves_without_a_word_or_says_so() -> None:
    bench = Bench()
    watcher = bench.client("w")
    watcher.subscribe("will")
    watcher.take()
    leave = mqtt5.DisconnectPacket
    bench.client("d", will=will()).send(leave())
    assert watcher.payloads() == []
    # With each code but Normal disconnection: MQTT 5.0, section 3.14.4.
    for name in ("DISCONNECT_WITH_WILL_MESSAGE", "UNSPECIFIED_ERROR", "PACKET_TOO_LARGE"):
        code = getattr(mqtt5.DisconnectReasonCode, name)
        bench.client("d", will=will()).send(leave(reason_code=code))
        assert watcher.payloads() == [b"dead"]
    bench.client("d", will=will()).link.end("gone")
    assert watcher.payloads() == [b"dead"]
    bench.client("d", will=will()).feed(b"\xf0\0")  # breaks the protocol
    assert watcher.payloads() == [b"dead"]


@pytest.mark.parametrize(("expiry", "delay", "after"), [(60, 5, 5), (2, 5, 2), (0, 5, 0)])
def test_a_will_waits_for_its_delay_or_the_end_of_the_session(
    expiry: int, delay: int, after: int
) -> None:
    bench = Bench()
    watcher = bench.client("w")
    watcher.subscribe("will")
    watcher.take()
    client = bench.client("d", will=will(will_delay_interval=delay), session_expiry_interval=expiry)
    client.link.end("gone")
    if after:
        bench.later(after - 0.1)
        assert watcher.payloads() == []
        bench.later(0.1)
    assert watcher.payloads() == [b"dead"]


def test_who_is_back_in_time_is_not_dead_unless_it_forgets_its_session() -> None:
    bench = Bench()
    watcher = bench.client("w")
    watcher.subscribe("will")
    watcher.take()
    given: dict[str, Any] = {
        "will": will(will_delay_interval=5), "session_expiry_interval": 60,
    }  # fmt: skip
    bench.client("d", **given).link.end("gone")
    bench.client("d", clean_start=False, **given)
    bench.later(10)
    assert watcher.payloads() == []
    bench.client("d", clean_start=True, **given)
    assert watcher.payloads() == [b"dead"]


def test_wills_of_a_client_that_comes_back_again_and_again_do_not_pile_up() -> None:
    bench = Bench()
    given: dict[str, Any] = {
        "will": will(will_delay_interval=500_000), "session_expiry_interval": 600_000,
    }  # fmt: skip
    for _ in range(500):
        bench.client("d", clean_start=False, **given).link.end("gone")
    assert len(bench.broker._wills) < 100


# -- bounds


def test_a_full_queue_drops_the_newest_and_counts() -> None:
    bench = Bench(max_queued=3)
    bench.client("d", session_expiry_interval=9).subscribe("t", 1)
    bench.broker.sessions["d"].wire.end("gone")  # type: ignore[union-attr]
    sender = bench.client("s")
    for number in range(5):
        sender.publish("t", b"%d" % number, 1)
    assert bench.broker.counters.dropped_queue_full == 2
    assert bench.client("d", clean_start=False).payloads() == [b"0", b"1", b"2"]


@pytest.mark.parametrize("bound", ["max_queued_bytes", "max_queued_bytes_total"])
def test_a_queue_is_bounded_in_bytes_too_and_room_comes_back(bound: str) -> None:
    bench = Bench(**{bound: 3000})
    device = bench.client("d")
    device.subscribe("t", 1)
    sender = bench.client("s")
    for number in range(5):
        sender.publish("t", b"%d" % number * 1000, 1)
    sent = [one for one in device.take() if isinstance(one, PUBLISH)]
    assert len(sent) == 2
    for one in sent:
        device.feed(mqtt5.PubAckPacket(one.packet_id).write())
    assert bench.broker.shared.queued_bytes == 0
    sender.publish("t", b"5", 1)
    assert device.payloads() == [b"5"]


def test_a_client_that_does_not_read_gets_no_more_than_its_bound() -> None:
    bench = Bench(max_queued_bytes=100_000, max_queued=50)
    device = bench.client("d")
    device.subscribe("t/#", 1)
    sender = bench.client("s")
    for _ in range(500):
        sender.publish("t/0", b"x" * 1000, 0)
        sender.publish("t/1", b"x" * 1000, 1)
    output = device.link.output
    assert output.size < 110_000
    assert bench.broker.sessions["d"].held_bytes <= 100_000
    counters = bench.broker.counters
    assert counters.dropped_qos0 > 300
    assert counters.dropped_queue_full > 300


def test_what_a_message_to_many_takes_is_bounded_for_all_together() -> None:
    bench = Bench(max_queued_bytes_total=100_000)
    devices = [bench.client(f"d{number}") for number in range(50)]
    for number, device in enumerate(devices):
        device.subscribe("t", number % 2)
        device.take()
    bench.client("s").publish("t", b"x" * 10_000, 1)
    assert bench.broker.shared.sending_bytes < 120_000
    assert bench.broker.shared.queued_bytes <= 100_000
    got = sum(len(device.payloads()) for device in devices)
    assert 10 <= got < 25
    assert bench.broker.shared.sending_bytes < 1000  # the sender has not read its answers
    bench.client("s").publish("t", b"1")
    assert devices[0].payloads() == [b"1"]


def test_subscriptions_and_wills_of_all_have_one_bound_and_each_client_a_share() -> None:
    bench = Bench(max_kept_bytes=30_000, max_sessions=10, max_topic_levels=100)
    greedy = bench.client("greedy", session_expiry_interval=9)
    granted = [int(greedy.subscribe(f"{n}/" * 9)[-1].reason_codes[0]) for n in range(10)]
    assert granted == [2] * 5 + [0x97] * 5
    will = mqtt5.Will(topic="w", payload=b"x" * 10_000, will_delay_interval=5)
    assert codes(bench.client("late", will=will).take()) == [("ConnAckPacket", 0x97)]
    assert int(bench.client("good").subscribe("t")[-1].reason_codes[0]) == 2
    greedy.send(mqtt5.UnsubscribePacket(1, [f"{n}/" * 9 for n in range(5)]))
    bench.broker.sessions["good"].wire.end("gone")  # type: ignore[union-attr]
    assert bench.broker.shared.kept_bytes == 0
    for number in range(20):
        given = {"session_expiry_interval": 60, "will": will, "clean_start": False}
        bench.client("greedy" if number else "other", **given).link.end("gone")
    assert 20_000 < bench.broker.shared.kept_bytes < 21_000
    bench.later(6)  # both are published
    assert bench.broker.shared.kept_bytes == 0
    bench.client("greedy", will=will).send(mqtt5.DisconnectPacket())
    assert bench.broker.shared.kept_bytes == 0


def test_wills_of_a_client_that_is_back_are_not_kept() -> None:
    bench = Bench()
    for number in range(20):
        will = mqtt5.Will(topic="w", payload=b"%d" % number * 1000, will_delay_interval=600)
        bench.client("c", session_expiry_interval=900, will=will).link.end("gone")
    gc.collect()
    assert sum(one[-1]() is not None for one in bench.broker._wills) == 1


def test_the_topics_of_all_aliases_of_a_client_have_a_bound() -> None:
    client = Bench().client("c")
    client.take()
    for alias in (1, 1, 1, 2):
        assert client.publish(f"{alias}/" + "x" * 30_000, topic_alias=alias) == []
    assert codes(client.publish("3/" + "x" * 30_000, topic_alias=3)) == [("DisconnectPacket", 0x97)]


@pytest.mark.parametrize("qos", [0, 1])
def test_what_a_few_let_pile_up_is_not_the_end_of_those_who_read(qos: int) -> None:
    """Each has a share of its own: here 10 000 bytes, of what waits and of what is under way."""
    bench = Bench(
        max_queued_bytes=100_000, max_queued_bytes_total=100_000, max_connections=10,
        max_sessions=10,
    )  # fmt: skip
    slow, good = bench.client("slow"), bench.client("good")
    slow.subscribe("s", qos)
    good.subscribe("t", qos)
    sender = bench.client("sender")
    for _ in range(200):
        sender.publish("s", b"x" * 1000, qos)
    held = bench.broker.shared.queued_bytes if qos else bench.broker.shared.sending_bytes
    assert held > 98_000
    for number in range(50):
        sender.publish("t", b"%d" % number * 1000, qos)
        (message,) = (one for one in good.take() if isinstance(one, PUBLISH))
        assert message.payload == b"%d" % number * 1000
        if qos:
            good.feed(mqtt5.PubAckPacket(message.packet_id).write())


def test_who_asks_for_much_in_a_few_bytes_has_a_turn_and_others_have_theirs() -> None:
    bench = Bench()
    sender = bench.client("sender")
    for number in range(TURN // 2):
        sender.publish(f"r/{number}", b"x", retain=True)
    client = bench.client("c")
    client.take()
    asked = mqtt5.SubscribePacket(1, [mqtt5.TopicFilter("#"), mqtt5.TopicFilter("+/#")])
    data = asked.write() * 5
    assert len(data) < 100
    client.feed(data)
    turns = [client.take()]
    while client.link.more:
        client.feed(b"")
        turns.append(client.take())
    assert max(len(turn) for turn in turns) <= TURN + 2
    # The answer comes before what is retained, and that before the next answer.
    kinds = [type(one) for turn in turns for one in turn]
    assert kinds == [mqtt5.SubAckPacket, *[PUBLISH] * TURN] * 5


def test_a_message_to_many_takes_many_steps_of_a_turn() -> None:
    bench = Bench()
    for number in range(TURN // 64):
        bench.client(f"d{number}").subscribe("t", 0)
    sender = bench.client("s")
    sender.feed(PUBLISH("t", b"").write() * 200)
    assert sender.link.more
    assert 60 < bench.broker.counters.published < 70
    while sender.link.more:
        sender.feed(b"")
    assert bench.broker.counters.published == 200


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
def test_a_packet_has_no_more_filters_than_are_done_in_a_turn(kind: str) -> None:
    bench = Bench(max_subscriptions=10)
    client = bench.client("c")
    client.take()

    def packet(count: int) -> bytes:
        names = [f"{number}" for number in range(count)]
        if kind == "unsubscribe":
            return mqtt5.UnsubscribePacket(1, names).write()
        return mqtt5.SubscribePacket(1, [mqtt5.TopicFilter(name) for name in names]).write()

    client.feed(packet(1000))
    (answer,) = client.take()
    assert len(answer.reason_codes) == 1000
    client.feed(packet(1001))
    assert codes(client.take()) == [("DisconnectPacket", 0x97)]


def test_subscriptions_retained_messages_levels_and_ids_have_bounds() -> None:
    bench = Bench(
        max_subscriptions=2, max_retained=1, max_topic_levels=3, max_client_id=5,
        max_retained_bytes=1000,
    )  # fmt: skip
    client = bench.client("c")
    client.take()
    granted = [int(client.subscribe(pattern)[0].reason_codes[0]) for pattern in ("a", "b", "c")]
    assert granted == [2, 2, 0x97]
    assert int(client.subscribe("a")[0].reason_codes[0]) == 2
    assert int(client.subscribe("a/b/c/d")[0].reason_codes[0]) == 0x8F
    assert codes(client.publish("r", b"1" * 900, 1, retain=True)) == [("PubAckPacket", 0x97)]
    client.publish("r", b"1", 1, retain=True)
    assert codes(client.publish("r/2", b"1", 1, retain=True)) == [("PubAckPacket", 0x97)]
    assert codes(client.publish("a/b/c/d", b"1", 0)) == [("DisconnectPacket", 0x90)]
    assert codes(bench.client("123456").take()) == [("ConnAckPacket", 0x85)]


def test_keep_alive_and_connect_timeout() -> None:
    bench = Bench(connect_timeout=5)
    stranger = BenchClient(bench)
    client = bench.client("c", keep_alive=10)
    client.take()
    bench.now += 5.1
    stranger.link.check_time(bench.now)
    assert stranger.link.lost is not None
    bench.now += 9.8
    client.link.check_time(bench.now)
    assert client.link.lost is None
    bench.now += 0.2
    client.link.check_time(bench.now)
    assert codes(client.take()) == [("DisconnectPacket", 0x8D)]


def test_a_connect_that_comes_byte_by_byte_has_no_more_time() -> None:
    bench = Bench(connect_timeout=5)
    client = BenchClient(bench)
    data = mqtt5.ConnectPacket("a" * 20, clean_start=True).write()
    for byte in data[:6]:
        bench.now += 1
        client.feed(bytes((byte,)))
    client.link.check_time(bench.now)
    assert client.link.lost is not None


# -- what breaks the protocol


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xf0\0", 0x81),  # AUTH
        (b"\x20\3\0\0\0", 0x82),  # CONNACK
        (b"\x38\4\0\1t\0", 0x82),  # DUP at QoS 0
        (b"\x36\6\0\1t\0\1\0", 0x81),  # QoS 3
        (b"\x32\6\0\1t\0\0\0", 0x82),  # identifier 0
        (b"\x82\7\0\0\0\0\1a\1", 0x82),
        (b"\xa2\6\0\0\0\0\1a", 0x82),
        (b"\x30\5\0\2t#\0", 0x90),
        (b"\x30\5\0\2t\0\0", 0x90),
        (b"\x30\4\0\1\xff\0", 0x81),  # not UTF-8
        (b"\x30\4\0\5t\0", 0x81),  # ends in its topic
        (b"\x30\6\0\1t\2\x0b\1", 0x82),  # a subscription identifier
        (b"\x30\xff\xff\xff\x7f", 0x95),
        (b"\xc0\xff\xff\xff\xff\x01", 0x81),
        (b"\x82\7\0\1\0\0\1#\3", 0x81),  # QoS 3 asked for
        (b"\x82\x09\0\1\0\0\3#/a\1", 0x8F),
        (b"\x82\x0e\0\1\0\0\x08$share/g\1", 0x8F),
        (b"\x82\x10\0\1\0\0\x0a$share/g/t\5", 0x82),  # shared, with no local
    ],
)
def test_a_broken_packet_gets_its_reason_code(data: bytes, code: int) -> None:
    client = Bench(max_packet_size=1000).client()
    client.take()
    client.feed(data)
    assert codes(client.take()) == [("DisconnectPacket", code)]
    client = Bench().client(v5=False)
    assert client.bytes() == b"\x20\2\0\0"


@pytest.mark.parametrize(
    "data",
    [
        b"\x40\3\0\1\0",  # a reason code
        b"\x82\6\0\1\0\1#\4",  # an option of MQTT 5
        b"\x82\6\0\0\0\1#\1",  # identifier 0
        b"\xa2\5\0\0\0\1#",
        b"\xe0\1\0",
        b"\x30\2\0\0",  # no topic
        b"\x82\2\0\1",
        b"\xa2\2\0\1",
    ],
)
def test_a_broken_packet_of_3_1_1_is_the_end_without_a_word(data: bytes) -> None:
    client = Bench().client(v5=False)
    assert client.bytes() == b"\x20\2\0\0"
    client.feed(data)
    assert client.bytes() == b""
    assert client.link.lost is not None


def test_3_1_1_and_5_exchange_messages() -> None:
    bench = Bench()
    old, new = bench.client("o", v5=False), bench.client("n")
    new.subscribe("t", 2)
    new.take()
    old.feed(b"\x82\6\0\1\0\1t\1")
    assert old.bytes() == b"\x20\2\0\0\x90\3\0\1\1"
    old.feed(b"\x33\6\0\1t\0\5x")  # retained
    (message,) = new.take()
    assert (message.payload, int(message.qos)) == (b"x", 1)
    assert old.bytes() == b"\x32\6\0\1t\0\1x\x40\2\0\5"
    old.feed(b"\x40\2\0\1\xe0\0")
    assert old.link.lost is not None
