"""What a broker may send to the native transport: any bytes, in any pieces.

Where the codec meets text that is not UTF-8 it panics: Rust prints that to the standard error, and
petalkit makes a Violation of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import mqtt5

from petalkit import Message, Properties, RejectedByBroker, TransportError
from petalkit.transports import ConnectOptions, Delivery
from petalkit.transports._receiving.violations import Violation
from petalkit.transports.native._events import Connected, Ended, Event, Published, Refused
from petalkit.transports.native._framing import PacketReader
from petalkit.transports.native._publishing import WindowFull
from petalkit.transports.native._session import ClientSession

from .mqtt5_packets import packet, stream
from .reader import Reader

PACKET_MAXIMUM = 1000
HEAD_MAX = 5 + 2 + 65_535 + 2 + 4  # of a PUBLISH: up to the length of its properties
# Of section 2.4: what a DISCONNECT of ours may say.
CODES = {0x81, 0x82, 0x84, 0x93, 0x94, 0x95, 0x99}


def _pieces(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Cut into pieces of these sizes in turn."""
    at = number = 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        yield data[at : at + size]
        at += size
        number += 1


def _sizes(reader: Reader) -> list[int]:
    return [1 + byte for byte in reader.take(1 + reader.byte() % 4)] or [1]


# -- packets


def framing(data: bytes) -> None:
    """How it is cut, and the bytes: the outcome is the same however they are cut."""
    reader = Reader(data)
    sizes = _sizes(reader)
    data = stream(reader)
    whole = _read([data])
    assert _read(_pieces(data, sizes)) == whole
    assert _read(_pieces(data, [1])) == whole


def _read(pieces: Sequence[bytes] | Iterator[bytes]) -> tuple[list[str], int | None]:
    """The packets, and the reason code of what ended them."""
    packets: list[str] = []
    reader = PacketReader(PACKET_MAXIMUM)
    try:
        for piece in pieces:
            packets += map(repr, reader.feed(piece))
            assert len(reader._rest) <= max(PACKET_MAXIMUM, HEAD_MAX) + len(piece)
    except Violation as violation:
        assert violation.reason_code in CODES
        assert violation.text
        return packets, violation.reason_code
    return packets, None


# -- a session


class Story:
    """A session, and what it has been told to do: every message has one end.

    Attributes:
        session: it.
        ends: of each message that was published, how often it was told of.
        deliveries: that were received and not acknowledged.
        asked: packet identifiers of what was subscribed and unsubscribed, and is not answered.
        acknowledged: how many deliveries were, at most, since something was written.
    """

    def __init__(self, *, strict: bool) -> None:
        self.session = ClientSession(strict=strict)
        self.ends: Counter[int] = Counter()
        self.published: list[int] = []
        self.deliveries: list[Delivery] = []
        self.asked: set[int] = set()
        self.acknowledged = 0
        self._numbers = 0

    def connect(self, *, clean_start: bool) -> None:
        for on_done in self.session.lose_connection():
            on_done(None)
        self.deliveries.clear()
        self.asked.clear()
        options = ConnectOptions(
            client_id="c", clean_start=clean_start, receive_maximum=3, publish_maximum=5
        )
        self.session.connect(options, packet_limit=PACKET_MAXIMUM)
        _written(self.session)

    def publish(self, qos: int, payload: bytes) -> None:
        self._numbers += 1
        number = self._numbers

        def on_done(_: TransportError | None) -> None:
            self.ends[number] += 1

        try:
            self.session.publish(Message("t", payload, qos), on_done)
        except (WindowFull, RejectedByBroker):
            return
        if qos:
            self.published.append(number)

    def ask(self, text: str, *, subscribe: bool) -> None:
        ask = self.session.subscribe if subscribe else self.session.unsubscribe
        try:
            self.asked.add(ask([text]))
        except RejectedByBroker:
            return

    def receive(self, data: bytes) -> list[Event]:
        session = self.session
        before, unsent = session.state, session.unsent
        events = session.receive_data(data)
        if before not in ("connecting", "connected"):
            assert not events
        for number, event in enumerate(events):
            match event:
                case Delivery():
                    assert len(event.payload) <= PACKET_MAXIMUM
                    assert event.qos in (0, 1)
                    assert event.fault is None or not event.payload
                    self.deliveries.append(event)
                case Published():
                    event.on_done(None)
                case Connected():
                    assert event.publish_maximum <= 5
                case Ended() | Refused():
                    assert number == len(events) - 1
                    assert session.state == "ended"
                    if isinstance(event, Ended) and not event.by_server:
                        assert event.reason_code in CODES
                case _:
                    self.asked.remove(event.packet_id)
        # What is said without being asked: answers, acknowledgements that are due, a DISCONNECT.
        assert session.unsent <= unsent + 3 * len(data) + 4 * self.acknowledged + 64
        return events

    def end(self) -> None:
        for on_done in self.session.lose_connection():
            on_done(None)
        assert all(self.ends[number] == 1 for number in self.published), self.ends
        assert self.ends.total() == len(self.published)


def _written(session: ClientSession) -> list[Any]:
    """What it writes is whole packets, as the codec reads them back."""
    view = memoryview(session.data_to_send())
    packets: list[Any] = []
    while view:
        found, size = mqtt5.read(view)
        packets.append(found)
        view = view[size:]
    assert not session.unsent
    return packets


def session(data: bytes) -> None:
    """Steps, each a byte and what it needs; most are bytes of the broker's."""
    reader = Reader(data)
    first = reader.byte()
    story = Story(strict=bool(first & 1))
    story.connect(clean_start=bool(first & 2))
    if first & 4:  # most inputs are about what comes later
        story.receive(
            mqtt5.ConnAckPacket(session_present=bool(first & 8 and not first & 2)).write()
        )
    while reader:
        step = reader.byte()
        connected = story.session.state == "connected"
        match step % 8:
            case 0 if connected:
                story.publish(step >> 3 & 3 if step >> 3 & 3 < 3 else 1, reader.sized())
            case 1 if connected:
                story.ask(reader.text() or "t", subscribe=bool(step & 8))
            case 2:
                for delivery in story.deliveries[: step >> 3]:
                    delivery.ack()
                    story.acknowledged += 1
                del story.deliveries[: step >> 3]
            case 3:
                _written(story.session)
                story.acknowledged = 0
            case 4 if step > 200:
                story.connect(clean_start=bool(step & 8))
            case 5 if connected and step > 200:
                story.session.disconnect()
            case _:
                story.receive(packet(reader))
    _written(story.session)
    story.end()


def session_in_pieces(data: bytes) -> None:
    """How the stream is cut, and the stream: what a session tells and writes is always the same."""
    reader = Reader(data)
    sizes = _sizes(reader)
    data = stream(reader)
    whole = _told([data])
    assert _told(_pieces(data, sizes)) == whole
    assert _told(_pieces(data, [1])) == whole


def _told(pieces: Sequence[bytes] | Iterator[bytes]) -> tuple[list[str], bytes]:
    session = ClientSession(strict=False)
    session.connect(ConnectOptions(client_id="c"), packet_limit=PACKET_MAXIMUM)
    session.data_to_send()
    told = [repr(event) for piece in pieces for event in session.receive_data(piece)]
    return told, session.data_to_send()


# -- properties


def properties(data: bytes) -> None:
    """Properties made of the input: refused, or the same again at the other end."""
    reader = Reader(data)
    has = reader.byte()
    try:
        said = Properties(
            response_topic=reader.text() if has & 1 else None,
            correlation_data=reader.sized() * (1 + 2 * reader.byte()) if has & 2 else None,
            message_expiry=int.from_bytes(reader.take(5)) if has & 4 else None,
            content_type=reader.text() if has & 8 else None,
            user_properties=[(reader.text(), reader.text()) for _ in range(has >> 4)],
        )
    except ValueError as error:
        assert str(error)
        return
    assert said.size >= 0
    sender = ClientSession()
    sender.connect(ConnectOptions(client_id="c"), packet_limit=PACKET_MAXIMUM)
    sender.receive_data(mqtt5.ConnAckPacket().write())
    sender.data_to_send()
    topic, payload = reader.text() or "t", reader.rest()
    try:
        sender.publish(Message(topic, payload, 1, False, said), lambda _: None)
    except RejectedByBroker as error:
        assert error.reason_code >= 0x80
        assert not sender.unsent
        return
    written = sender.data_to_send()
    receiver = ClientSession()
    receiver.connect(ConnectOptions(client_id="r"), packet_limit=10_000_000)
    receiver.receive_data(mqtt5.ConnAckPacket().write())
    [delivery] = receiver.receive_data(written)
    assert isinstance(delivery, Delivery)
    assert (delivery.topic, delivery.payload) == (topic, payload)
    assert (delivery.properties or Properties()) == said
