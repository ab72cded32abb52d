"""What holds for the MQTT 5 session whatever comes, and in whatever pieces."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import mqtt5
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from petalkit import Message, TransportError
from petalkit.transports import ConnectOptions, Delivery, OnDone
from petalkit.transports.native._events import Ended, Event, Published, Refused
from petalkit.transports.native._session import ClientSession

from ..mqtt5_bytes import PACKET_MAXIMUM, connack, done, incoming, session_up, wrote

# With text that is not UTF-8 the codec panics, with an exception of its own that nobody can catch.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

bounded = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# -- streams of packets that a broker may send, mostly

IDS = st.integers(0, 12)
TOPICS = st.sampled_from(["", "a", "a/b", "ü" * 70])
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "topic_alias": st.integers(1, 18),
        "response_topic": st.sampled_from(["r", "r/ä"]),
        "correlation_data": st.binary(max_size=4),
        "message_expiry_interval": st.integers(0, 2**32 - 1),
        "content_type": st.just("text/plain"),
        "user_properties": st.lists(st.tuples(st.just("k"), st.text("ab", max_size=3)), max_size=2),
    },
)


@st.composite
def publishes(draw: st.DrawFn) -> bytes:
    topic, properties = draw(TOPICS), draw(PROPERTIES)
    if not topic:
        properties.setdefault("topic_alias", 1)
    qos = draw(st.sampled_from([0, 1, 1, 2]))
    return incoming(
        draw(st.binary(max_size=200)),
        draw(IDS) if qos else None,
        qos,
        topic=topic,
        retain=draw(st.booleans()),
        duplicate=bool(qos) and draw(st.booleans()),
        **properties,
    ).write()


def header_and_id(packet: tuple[int, int]) -> bytes:
    return bytes([packet[0], 2]) + packet[1].to_bytes(2)


answers = st.tuples(st.sampled_from([0x40, 0x50, 0x62, 0x70]), IDS).map(header_and_id)
errors = st.tuples(st.sampled_from([0x40, 0x50]), IDS).map(
    lambda pair: bytes([pair[0], 4]) + pair[1].to_bytes(2) + b"\x87\x00"
)
rare = st.sampled_from(
    [b"\xd0\x00", b"\xe0\x00", b"\xe0\x01\x8e", b"\x90\x04\x00\x01\x00\x01", b"\xc0\x00", connack()]
)
packets = st.one_of(publishes(), publishes(), publishes(), answers, errors, rare)
streams = st.lists(packets, max_size=12).map(b"".join)


def story(data: bytes, cuts: list[int], *, up: bool = True) -> tuple[list[str], bytes]:
    """Every event, and every byte written, when each delivery is acknowledged at its end."""
    session = ClientSession()
    session.connect(ConnectOptions(client_id="c"), packet_limit=PACKET_MAXIMUM)
    if up:
        session.receive_data(connack(receive_max=5))
        for qos in (1, 2, 1, 2):
            session.publish(Message("a", b"", qos=qos), done)
    events: list[Event] = []
    edges = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    for start, end in itertools.pairwise(edges):
        events += session.receive_data(data[start:end])
    check_end(session, events, data)
    for event in events:
        if isinstance(event, Delivery):
            event.ack()
    return [full(event) for event in events], session.data_to_send()


def full(event: Event) -> str:
    if not isinstance(event, Delivery):
        return repr(event)
    return f"{event!r} {event.payload!r} {event.retain} {event.dup} {event.properties!r}"


def check_end(session: ClientSession, events: list[Event], data: bytes) -> None:
    """The end is the last event, the only one of its kind, and nothing comes after it."""
    ends = [event for event in events if isinstance(event, Ended | Refused)]
    assert ends == (events[-1:] if session.state == "ended" else [])
    assert len(events) <= len(data) // 2 + 1  # a packet has two bytes at least
    if ends:
        written = session.unsent
        assert session.receive_data(data) == []
        assert session.unsent == written


@bounded
@given(streams, st.lists(st.integers(0, 4000), max_size=8))
def test_any_split_of_a_stream_gives_the_same_events_and_answers(
    data: bytes, cuts: list[int]
) -> None:
    whole = story(data, [])
    assert story(data, cuts) == whole
    assert story(data, list(range(len(data)))) == whole


@bounded
@given(st.binary(max_size=60), st.booleans())
def test_arbitrary_bytes_end_in_nothing_else_than_events(data: bytes, up: bool) -> None:
    whole = story(data, [], up=up)
    assert story(data, list(range(len(data))), up=up) == whole


@bounded
@given(
    streams.filter(bool),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 4000),
)
def test_a_stream_with_wrong_bytes_does_so_too(
    data: bytes, changes: list[tuple[int, int]], up: bool, cut: int
) -> None:
    broken = bytearray(data if up else connack() + data)
    for index, value in changes:
        broken[index % len(broken)] = value
    whole = story(bytes(broken), [], up=up)
    assert story(bytes(broken), [cut], up=up) == whole
    assert story(bytes(broken), list(range(len(broken))), up=up) == whole


# -- our messages, with a broker that does everything right and loses connections


def on_done_for(number: int) -> OnDone:
    def on_done(error: TransportError | None) -> None:
        raise AssertionError(f"{number}: the session calls nobody")

    return on_done


@dataclass
class Broker:
    """What it knows of each packet identifier, over its connections."""

    unanswered: dict[int, int] = field(default_factory=dict[int, int])  # -> QoS
    unreleased: set[int] = field(default_factory=set[int])  # PUBREC sent, with PUBREL to come
    released: set[int] = field(default_factory=set[int])  # PUBREL came, with PUBCOMP to be sent


class PublishingModel(RuleBasedStateMachine):
    """Each `on_done` comes back once; identifiers in flight differ; the bound is kept."""

    MAXIMUM = 3

    def __init__(self) -> None:
        super().__init__()
        self.session = session_up(receive_max=self.MAXIMUM)
        self.broker = Broker()
        self.waiting: dict[OnDone, Message] = {}
        self.outbox: list[Message] = []  # lost, and to be published again
        self.sent_as: dict[int, int] = {}  # of the message object -> identifier
        self.repeated: set[int] = set()  # the message objects that have to go as the same packet
        self.by_id: dict[int, Message] = {}  # all of them, so that no two have the same id()
        self.count = 0

    def publish(self, message: Message) -> None:
        self.count += 1
        on_done = on_done_for(self.count)
        self.waiting[on_done] = message
        self.session.publish(message, on_done)
        (packet,) = wrote(self.session)
        repeats = isinstance(packet, mqtt5.PubRelPacket) or packet.duplicate
        assert repeats == (id(message) in self.repeated)
        self.repeated.discard(id(message))
        if isinstance(packet, mqtt5.PubRelPacket):
            assert packet.packet_id == self.sent_as[id(message)]
            self.broker.unreleased.discard(packet.packet_id)
            self.broker.released.add(packet.packet_id)
            return
        assert packet.packet_id is not None
        if packet.duplicate:
            assert packet.packet_id == self.sent_as[id(message)]
        else:
            assert packet.packet_id not in self.broker.unanswered
            assert packet.packet_id not in self.broker.unreleased | self.broker.released
        self.sent_as[id(message)] = packet.packet_id
        self.broker.unanswered[packet.packet_id] = message.qos

    @precondition(lambda self: self.session.publishable)
    @rule(qos=st.sampled_from([1, 2]))
    def publish_new(self, qos: int) -> None:
        message = Message("a", b"%05d" % self.count, qos=qos)  # each its own payload object
        self.by_id[id(message)] = message
        self.publish(message)

    @precondition(lambda self: self.session.publishable and self.outbox)
    @rule()
    def publish_again(self) -> None:
        self.publish(self.outbox.pop(0))

    @precondition(lambda self: not self.session.publishable)
    @rule()
    def publish_too_many(self) -> None:
        try:
            self.session.publish(Message("a", b""), done)
        except RuntimeError:
            return
        raise AssertionError("more in flight than the broker takes")

    def feed(self, packet: mqtt5.Packet, ends: bool) -> None:
        events = self.session.receive_data(packet.write())
        if not ends:
            assert events == []
            return
        (event,) = events
        assert isinstance(event, Published)
        del self.waiting[event.on_done]  # KeyError: it came twice

    @precondition(lambda self: self.broker.unanswered)
    @rule(data=st.data(), fails=st.booleans())
    def answer(self, data: st.DataObject, fails: bool) -> None:
        packet_id = data.draw(st.sampled_from(sorted(self.broker.unanswered)))
        if self.broker.unanswered.pop(packet_id) == 1:
            code = mqtt5.PubAckReasonCode
            reason = code.NOT_AUTHORIZED if fails else code.SUCCESS
            self.feed(mqtt5.PubAckPacket(packet_id, reason_code=reason), ends=True)
        elif fails:
            refused = mqtt5.PubRecReasonCode.NOT_AUTHORIZED
            self.feed(mqtt5.PubRecPacket(packet_id, reason_code=refused), ends=True)
        else:
            self.feed(mqtt5.PubRecPacket(packet_id), ends=False)
            (release,) = wrote(self.session)
            assert isinstance(release, mqtt5.PubRelPacket)
            self.broker.released.add(packet_id)

    @precondition(lambda self: self.broker.released)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        packet_id = data.draw(st.sampled_from(sorted(self.broker.released)))
        self.broker.released.remove(packet_id)
        self.feed(mqtt5.PubCompPacket(packet_id), ends=True)

    @rule(kept=st.booleans(), again=st.booleans(), refused=st.booleans())
    def reconnect(self, kept: bool, again: bool, refused: bool) -> None:
        lost = self.session.lose_connection()
        assert list(lost) == list(self.waiting)
        self.repeated = {one for one in self.repeated if self.by_id[one].qos == 2}
        self.repeated |= {id(message) for message in self.waiting.values()}
        if again:
            self.outbox = [*(self.waiting.pop(one) for one in lost), *self.outbox]
        else:
            self.outbox.clear()
            for one in lost:
                del self.waiting[one]
        assert not self.waiting
        if refused:  # an attempt between, which comes to nothing
            self.session.connect(ConnectOptions(client_id="c"), packet_limit=PACKET_MAXIMUM)
            assert not self.session.lose_connection()
        # What it had sent is sent again by us: a broker forgets a PUBLISH that it did not answer.
        self.broker.unanswered.clear()
        self.broker.unreleased |= self.broker.released
        self.broker.released.clear()
        if not kept:
            self.broker = Broker()
            self.sent_as.clear()
            self.repeated.clear()
        session_up(self.session, session_present=kept, receive_max=self.MAXIMUM)

    @invariant()
    def the_bound_is_kept(self) -> None:
        assert len(self.waiting) <= self.MAXIMUM
        assert self.session.publishable == (len(self.waiting) < self.MAXIMUM)


TestPublishingModel = PublishingModel.TestCase
TestPublishingModel.settings = settings(
    max_examples=150, stateful_step_count=30, derandomize=True, deadline=None
)
