"""What clients send to our broker: as bytes, and as packets of several clients.

Whatever comes, nothing is raised; the same bytes have the same outcome however they are split; a
client that does nothing wrong stays connected; and what is counted and remembered of sessions is
what there is.
"""

from __future__ import annotations

from typing import Any

import mqtt5

from petalkit._values.topics import TopicError, TopicFilter
from petalkit.transports._broker.core.bounds import Bounds
from petalkit.transports._broker.core.broker import Broker
from petalkit.transports._broker.core.policy import Policy
from petalkit.transports._broker.protocol.client import ClientConnection

from .reader import Reader

_BOUNDS = Bounds(
    max_packet_size=4096, max_queued=8, max_queued_bytes=5000, max_inflight=4, max_sessions=4,
    max_subscriptions=5, max_retained=4, max_topic_levels=6, receive_maximum=3,
    topic_alias_maximum=3, max_session_expiry=1000,
)  # fmt: skip
_QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)
_HELLOS = (
    b"",
    mqtt5.ConnectPacket("x", clean_start=True).write(),
    b"\x10\x0d\0\4MQTT\4\2\0\0\0\1x",
    mqtt5.ConnectPacket("x", session_expiry_interval=50, receive_max=2, max_packet_size=99).write(),
)
_FILTERS = ("t", "t/u", "+", "#", "t/+", "$share/g/t", "$share/g/+", "t/#", "+/u", "$SYS/#")
_TOPICS = ("t", "t/u", "u", "t/u/v", "$SYS/t", "", "t/+", "a/b/c/d/e/f/g")
_PATTERNS = (*_FILTERS, "", "a/#/b", "$share/g", "a/b/c/d/e/f/g")


def raw(data: bytes) -> None:
    """Bytes of one client, after a CONNECT or not."""
    reader = Reader(data)
    hello = _HELLOS[reader.byte() % len(_HELLOS)]
    sent = hello + reader.take(len(data))
    outcomes = []
    for size in (len(sent) or 1, 1, 7):
        broker = Broker(_BOUNDS, lambda: 0.0, Policy())
        good = ClientConnection(broker, "good", _nothing)
        good.receive(mqtt5.ConnectPacket("good", clean_start=True).write())
        client = ClientConnection(broker, "fuzz", _nothing)
        for at in range(0, len(sent), size):
            if client.lost is None:
                client.receive(sent[at : at + size])
        outcomes.append((_without_ids(_taken(client)), client.lost))
        if not any(name in sent for name in (b"good",)):
            assert good.lost is None
        _check(broker)
    assert outcomes[0] == outcomes[1] == outcomes[2], outcomes


def packets(data: bytes) -> None:
    """Packets of three clients in turn, with time that passes."""
    reader = Reader(data)
    now = 0.0
    broker = Broker(_BOUNDS, lambda: now, Policy())
    clients: dict[str, ClientConnection] = {}
    for _ in range(60):
        if not reader:
            break
        name = "abcde"[reader.byte() % 5]
        client = clients.get(name)
        what = reader.byte() % 12
        if client is None or client.lost is not None or what == 0:
            client = clients[name] = ClientConnection(broker, name, _nothing)
            client.receive(_connect(reader, name))
        elif what == 1:
            client.end("gone")
        elif what == 2:
            now += reader.byte()
            broker.run_due()
        else:
            try:
                data = _packet(reader, what).write()
            except ValueError:
                continue  # the codec itself would not write it
            client.receive(data)
        for one in clients.values():
            if reader.byte() % 4:
                _taken(one)
                one.sent()
        _check(broker)
    for client in clients.values():
        client.shut_down()
    _check(broker)


def _connect(reader: Reader, name: str) -> bytes:
    flags = reader.byte()
    if flags & 1:
        return b"\x10\x0d\0\4MQTT\4" + bytes((flags & 2,)) + b"\0\0\0\1" + name.encode()
    will = None
    if flags & 4:
        will = mqtt5.Will(
            reader.choice(("t", "t/u")), payload=b"will", qos=_QOS[flags % 3],
            retain=bool(flags & 8), will_delay_interval=flags & 16,
        )  # fmt: skip
    return mqtt5.ConnectPacket(
        name, clean_start=bool(flags & 2), will=will,
        session_expiry_interval=reader.choice((0, 20, 0xFFFF_FFFF)),
        receive_max=1 + flags % 5, max_packet_size=reader.choice((None, 60)),
    ).write()  # fmt: skip


def _packet(reader: Reader, what: int) -> Any:
    packet_id = 1 + reader.byte() % 6
    match what:
        case 3 | 4:
            flags = reader.byte()
            pattern = _PATTERNS[reader.byte() % len(_PATTERNS)]
            one = mqtt5.TopicFilter(
                pattern, max_qos=_QOS[flags % 3], no_local=bool(flags & 8),
                retain_as_published=bool(flags & 16),
            )  # fmt: skip
            return mqtt5.SubscribePacket(packet_id, [one], subscription_id=flags % 4 or None)
        case 5:
            return mqtt5.UnsubscribePacket(packet_id, [reader.choice(_FILTERS)])
        case 6 | 7 | 8:
            flags = reader.byte()
            qos = _QOS[flags % 3]
            return mqtt5.PublishPacket(
                reader.choice(_TOPICS), b"p" * (flags // 3), qos=qos, retain=bool(flags & 32),
                packet_id=packet_id if int(qos) else None,
                topic_alias=flags % 5 or None,
                message_expiry_interval=flags if flags & 64 else None,
            )  # fmt: skip
        case 9:
            return mqtt5.PubAckPacket(packet_id)
        case 10:
            return mqtt5.PubRecPacket(packet_id)
    return reader.choice((mqtt5.PubRelPacket, mqtt5.PubCompPacket))(packet_id)


def _taken(client: ClientConnection) -> bytes:
    found = b""
    while client.output.size:
        found += client.output.take()
    return found


def _without_ids(data: bytes) -> bytes:
    """The same but for the client ID that was made up."""
    at = data.find(b"auto-")
    return data if at < 0 else data[:at] + data[at + 21 :]


def _check(broker: Broker) -> None:
    """What is remembered is what there is."""
    bounds = broker.bounds
    total = 0
    for session in broker.sessions.values():
        held = [*session.queue, *session.inflight.values()]
        size = sum(packet.publication.size for packet in held)
        assert session.held_bytes == size <= bounds.max_queued_bytes
        total += size
        assert len(session.queue) <= bounds.max_queued + bounds.max_inflight  # those of a lost one
        assert len(session.inflight) <= bounds.max_inflight
        assert len(session.received) <= bounds.receive_maximum
        assert len(session.subscriptions) <= bounds.max_subscriptions
    assert broker.shared.queued_bytes == total
    assert len(broker.sessions) <= bounds.max_sessions
    assert len(broker.retained.by_topic) <= bounds.max_retained
    for topic in ("t", "t/u", "$SYS/t"):
        route = broker.routes.find(topic)
        wanted = {
            session
            for session in broker.sessions.values()
            if any(one.share is None and one.matches(topic) for one in session.subscriptions)
        }
        assert {session for session, _ in route.targets} == wanted
    for pattern in _PATTERNS:
        try:
            TopicFilter(pattern)
        except TopicError:
            continue
        assert list(broker.retained.matching(TopicFilter(pattern))) == [
            one
            for topic, one in broker.retained.by_topic.items()
            if TopicFilter(pattern).matches(topic)
        ]


def _nothing() -> None:
    pass
