"""What comes to the default transport and cannot be read, is too large, or came with QoS 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import Settings
from petalkit._values.errors import ConnectionLost
from petalkit._values.messages import Properties
from petalkit.transports import ConnectOptions, Delivery, Transport
from petalkit.transports import _base_link as base_link
from petalkit.transports._receiving import bounded_inbox
from petalkit.transports.asyncio_mqtt import create
from petalkit.transports.asyncio_mqtt._link import AsyncioLink

from ..fake_broker import (
    CONNECT,
    DISCONNECT,
    PUBACK,
    Packet,
    Peer,
    connack,
    open_fake_broker,
    packet,
)
from ..links import LIMIT, OPTIONS, collect
from ..poison import POISON, publish, sized

pytestmark = pytest.mark.trio

PUBREC, PUBREL, PUBCOMP = 5, 6, 7
PROTOCOLS = pytest.mark.parametrize("v5", [False, True], ids=["3.1.1", "5"])
QOS = pytest.mark.parametrize("qos", [0, 1, 2])


def transport_to(url: str, *, v5: bool) -> Transport:
    return create(Settings(broker=url, protocol="5" if v5 else "3.1.1"))


def greeting(*, v5: bool, session_present: bool = False) -> bytes:
    return connack(session_present=session_present, properties=b"" if v5 else None)


def pubrel(packet_id: int) -> bytes:
    return packet(PUBREL, packet_id.to_bytes(2), 2)


def good(packet_id: int, *, v5: bool, qos: int = 1) -> bytes:
    empty = b"\0" if v5 else None
    return publish(empty, packet_id=packet_id, payload=b"good", qos=qos)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(LIMIT):
        while not condition():
            await trio.sleep(0.001)


class Scripts:
    """One script for each connection in turn; then the broker only listens."""

    def __init__(self, *, v5: bool) -> None:
        self.v5 = v5
        self.peers: list[Peer] = []
        self.sends: list[list[bytes]] = []
        self.present: list[bool] = []

    async def __call__(self, peer: Peer) -> None:
        number = len(self.peers)
        self.peers.append(peer)
        present = self.present[number] if number < len(self.present) else number > 0
        await peer.accept(
            *self.sends[number], connack=greeting(v5=self.v5, session_present=present)
        )
        await peer.serve(v5=self.v5)


# -- what cannot be read


async def loses(transport: Transport) -> str:
    async with transport.connect(OPTIONS) as link:
        with pytest.raises(ConnectionLost) as lost, trio.fail_after(LIMIT):
            while True:
                await link.receive()
        return str(lost.value)


@QOS
@pytest.mark.parametrize("name", POISON)
async def test_the_first_ends_the_link_and_from_then_on_each_is_refused_alone(
    name: str, qos: int
) -> None:
    """paho raises out of its own reading for some of them, and takes 0 for an alias for others."""
    properties, topic, disconnect, answer = POISON[name]
    first = publish(properties, topic=topic, qos=qos)
    other = publish(properties, topic=topic, qos=qos, packet_id=3)
    scripts = Scripts(v5=True)
    scripts.sends = [[first, good(8, v5=True)], [other, good(8, v5=True)]]
    async with open_fake_broker(scripts) as broker:
        transport = transport_to(broker.url, v5=True)
        text = await loses(transport)
        assert text.endswith(f"({disconnect:#04x})")
        assert "the next message like that is refused alone" in text
        await until(lambda: bool(scripts.peers[0].of(DISCONNECT)))
        assert scripts.peers[0].of(DISCONNECT)[0].body == bytes([disconnect])
        async with transport.connect(OPTIONS) as link:
            bad, fine = await collect(link, 2)
            assert bad.fault is not None
            assert (fine.payload, fine.fault) == (b"good", None)
            await until(lambda: bool(scripts.peers[1].of(PUBACK)))
            answers = [each for each in scripts.peers[1].received if each.kind != CONNECT]
    expected = [Packet(PUBACK, 0, b"\0\x08")]
    if qos:
        kind = PUBACK if qos == 1 else PUBREC
        expected.insert(0, Packet(kind, 0, b"\0\x03" + bytes([answer])))
    assert answers[: len(expected)] == expected


@QOS
@pytest.mark.parametrize("topic", [b"\xff", b"", b"a\xed\xa0\x80"])
async def test_with_3_1_1_the_same_without_a_reason_code(topic: bytes, qos: int) -> None:
    bad = publish(None, topic=topic, qos=qos)
    scripts = Scripts(v5=False)
    scripts.sends = [[bad], [bad, good(8, v5=False)]]
    async with open_fake_broker(scripts) as broker:
        transport = transport_to(broker.url, v5=False)
        assert "broke the protocol" in await loses(transport)
        async with transport.connect(OPTIONS) as link:
            refused, fine = await collect(link, 2)
            assert refused.fault is not None
            assert fine.payload == b"good"
            await until(lambda: bool(scripts.peers[1].of(PUBACK)))
            kinds = [each.kind for each in scripts.peers[1].received]
            assert (
                kinds[:3]
                == [
                    [CONNECT, PUBACK],
                    [CONNECT, PUBACK, PUBACK],
                    [CONNECT, PUBREC, PUBACK],
                ][qos]
            )


@PROTOCOLS
async def test_what_cannot_be_acknowledged_ends_each_link(*, v5: bool) -> None:
    scripts = Scripts(v5=v5)
    scripts.sends = [[publish(b"\0" if v5 else None, packet_id=0)], [b"\x32\x03\x00\x01t"]]
    async with open_fake_broker(scripts) as broker:
        transport = transport_to(broker.url, v5=v5)
        assert "packet identifier 0" in await loses(transport)
        assert "ends in its topic" in await loses(transport)


async def test_a_zero_width_no_break_space_is_text() -> None:
    """MQTT 5.0, section 1.5.4 allows it; paho's own reading refuses it."""
    scripts = Scripts(v5=True)
    scripts.sends = [[publish(sized(b"\x26\0\3\xef\xbb\xbf\0\1v"))]]
    async with (
        open_fake_broker(scripts) as broker,
        transport_to(broker.url, v5=True).connect(OPTIONS) as link,
    ):
        (delivery,) = await collect(link, 1)
    assert delivery.properties == Properties(user_properties=(("\ufeff", "v"),))


# -- what is too large


BIG = bytes(bounded_inbox.PACKET_BYTES_MIN)
LONG = b"\x26\0\1k\xff\xff" + b"v" * 65_535  # one user property


def long_properties(size: int) -> bytes:
    said = LONG * (size // len(LONG) + 1)
    length, left = bytearray(), len(said)
    while left:
        left, low = divmod(left, 128)
        length.append(low | (0x80 if left else 0))
    return bytes(length) + said


@QOS
@pytest.mark.parametrize("what", ["payload", "topic", "properties", "all"])
async def test_what_is_too_large_is_read_over_and_acknowledged(what: str, qos: int) -> None:
    """Whatever makes it so long; cut where the payload began to be too long, it was no command."""
    topic = b"t" * 65_535 if what in ("topic", "all") else b"t"
    properties = long_properties(len(BIG)) if what in ("properties", "all") else b"\0"
    payload = BIG if what != "properties" else b"small"
    big = publish(properties, topic=topic, payload=payload, qos=qos)
    scripts = Scripts(v5=True)
    scripts.sends = [[big, good(8, v5=True)]]
    async with (
        open_fake_broker(scripts) as broker,
        transport_to(broker.url, v5=True).connect(OPTIONS) as link,
    ):
        bad, fine = await collect(link, 2)
        await until(lambda: bool(scripts.peers[0].of(PUBACK)))
    assert bad.fault is not None
    assert bad.fault.too_large
    assert (bad.topic, bad.payload, bad.properties) == (topic.decode(), b"", None)
    assert (fine.payload, fine.fault) == (b"good", None)
    kinds = [each.kind for each in scripts.peers[0].received]
    assert kinds[1:3] == [[PUBACK, DISCONNECT], [PUBACK, PUBACK], [PUBREC, PUBACK]][qos]
    assert [each.body for each in scripts.peers[0].of(PUBREC)] == [b"\0\7"] * (qos == 2)


@PROTOCOLS
@pytest.mark.parametrize("what", ["payload", "properties"])
async def test_a_message_without_measure_takes_no_memory(what: str, *, v5: bool) -> None:
    """256 MiB, as far as its header goes, of which 4 come. Take out `keep_head_of_long`."""
    comes = 4 * len(BIG)
    length = (b"\xff\xff\xff\x3f" if what == "properties" else b"\0") if v5 else b""
    head = b"\x32\xff\xff\xff\x7f" + b"\0\1t\0\7" + length
    scripts = Scripts(v5=v5)
    scripts.sends = [[head + bytes(comes - len(head))]]
    async with (
        open_fake_broker(scripts) as broker,
        transport_to(broker.url, v5=v5).connect(OPTIONS) as link,
    ):
        assert isinstance(link, AsyncioLink)
        reading: Any = link._client._client._in_packet
        most = 0

        def is_read() -> bool:
            nonlocal most, reading
            reading = link._client._client._in_packet
            most = max(most, len(reading["packet"]))
            return bool(reading["to_process"]) and reading["to_process"] <= 0xFFF_FFFF - comes + 5

        await until(is_read)
        assert most < 100
        assert link._wire.unread <= base_link.READ_SIZE


@PROTOCOLS
async def test_another_packet_that_is_too_large_ends_the_link(*, v5: bool) -> None:
    scripts = Scripts(v5=v5)
    scripts.sends = [[b"\x90\xff\xff\xff\x7f" + bytes(1000)]]
    async with open_fake_broker(scripts) as broker:
        assert "a packet of more than" in await loses(transport_to(broker.url, v5=v5))


@pytest.mark.parametrize("size", [0, 5000])
async def test_a_bound_of_packets_is_announced_when_it_is_asked_for(size: int) -> None:
    scripts = Scripts(v5=True)
    scripts.sends = [[]]
    async with open_fake_broker(scripts) as broker:
        options = ConnectOptions(client_id="device", packet_maximum=size)
        async with transport_to(broker.url, v5=True).connect(options):
            pass
        (connect,) = scripts.peers[0].of(CONNECT)
    assert (b"\x27" + size.to_bytes(4) in connect.body) == bool(size)
    assert b"\x22\x00" not in connect.body, "no topic aliases"


# -- QoS 2


@PROTOCOLS
async def test_a_release_on_the_next_link_is_answered_and_the_command_came_once(
    *, v5: bool
) -> None:
    """Take out the session that outlives its link: the message is lost, and so is PUBCOMP."""
    scripts = Scripts(v5=v5)
    scripts.sends = [[good(7, v5=v5, qos=2)], [pubrel(7), good(7, v5=v5, qos=2)]]
    async with open_fake_broker(scripts) as broker:
        transport = transport_to(broker.url, v5=v5)
        async with transport.connect(OPTIONS) as link:
            (first,) = await collect(link, 1)
            assert (first.payload, first.qos) == (b"good", 1)
            await until(lambda: bool(scripts.peers[0].of(PUBREC)))
        async with transport.connect(OPTIONS) as link:
            # The identifier is free again after PUBCOMP: this is another message.
            assert len(await collect(link, 1)) == 1
            await until(lambda: bool(scripts.peers[1].of(PUBREC)))
        answers = [each for each in scripts.peers[1].received if each.kind in (PUBREC, PUBCOMP)]
    assert answers == [Packet(PUBCOMP, 0, b"\0\7"), Packet(PUBREC, 0, b"\0\7")]


@PROTOCOLS
async def test_a_copy_is_not_delivered_before_or_after_its_pubrec(*, v5: bool) -> None:
    empty = b"\0" if v5 else None
    copy = publish(empty, payload=b"good", qos=2, dup=True)
    scripts = Scripts(v5=v5)
    scripts.sends = [[good(7, v5=v5, qos=2), copy], [copy, pubrel(7), good(9, v5=v5)]]
    async with open_fake_broker(scripts) as broker:
        transport = transport_to(broker.url, v5=v5)
        async with transport.connect(OPTIONS) as link:
            assert len(await collect(link, 1)) == 1
            await until(lambda: bool(scripts.peers[0].of(PUBREC)))
        async with transport.connect(OPTIONS) as link:
            (other,) = await collect(link, 1)
            await until(lambda: bool(scripts.peers[1].of(PUBACK)))
        assert other.packet_id == 9
        assert [each.kind for each in scripts.peers[1].received][1:4] == [PUBREC, PUBCOMP, PUBACK]
        assert len(scripts.peers[0].of(PUBREC)) == 1


@PROTOCOLS
async def test_what_was_not_acknowledged_on_its_link_comes_again(*, v5: bool) -> None:
    copy = publish(b"\0" if v5 else None, payload=b"good", qos=2, dup=True)
    scripts = Scripts(v5=v5)
    scripts.sends = [[good(7, v5=v5, qos=2)], [copy]]
    async with open_fake_broker(scripts) as broker:
        transport = transport_to(broker.url, v5=v5)
        async with transport.connect(OPTIONS) as link:
            with trio.fail_after(LIMIT):
                (first,) = await link.receive()
        first.ack()  # too late
        async with transport.connect(OPTIONS) as link:
            (again,) = await collect(link, 1)
            assert again.dup
            await until(lambda: bool(scripts.peers[1].of(PUBREC)))
    assert not scripts.peers[0].of(PUBREC)


@PROTOCOLS
async def test_a_release_of_what_nobody_knows_is_answered(*, v5: bool) -> None:
    scripts = Scripts(v5=v5)
    scripts.sends = [[pubrel(7)]]
    async with open_fake_broker(scripts) as broker:
        async with transport_to(broker.url, v5=v5).connect(OPTIONS):
            await until(lambda: bool(scripts.peers[0].of(PUBCOMP)))
        (answer,) = scripts.peers[0].of(PUBCOMP)
    assert answer.body == (b"\0\7\x92" if v5 else b"\0\7")


@PROTOCOLS
@pytest.mark.parametrize("how", ["no session", "session_expiry 0"])
async def test_a_session_that_is_gone_is_forgotten(how: str, *, v5: bool) -> None:
    """Its identifiers are new, so what comes under one of them is no copy."""
    scripts = Scripts(v5=v5)
    scripts.sends = [[good(7, v5=v5, qos=2)], [good(7, v5=v5, qos=2)]]
    scripts.present = [False, how == "session_expiry 0"]
    expiry = 0 if how == "session_expiry 0" else 3600
    options = ConnectOptions(client_id="device", session_expiry=expiry)
    async with open_fake_broker(scripts) as broker:
        transport = transport_to(broker.url, v5=v5)
        for number in range(2):
            async with transport.connect(options) as link:
                assert len(await collect(link, 1)) == 1
                await until(lambda number=number: bool(scripts.peers[number].of(PUBREC)))  # type: ignore[misc]


@PROTOCOLS
async def test_answers_leave_in_the_order_of_arrival(*, v5: bool) -> None:
    scripts = Scripts(v5=v5)
    scripts.sends = [[good(1, v5=v5), good(2, v5=v5, qos=2), good(3, v5=v5)]]
    async with (
        open_fake_broker(scripts) as broker,
        transport_to(broker.url, v5=v5).connect(OPTIONS) as link,
    ):
        found: list[Delivery] = []
        with trio.fail_after(LIMIT):
            while len(found) < 3:
                found += await link.receive()
        for delivery in reversed(found):
            delivery.ack()
        await until(lambda: len(scripts.peers[0].of(PUBACK)) == 2)
    kinds = [(each.kind, each.body[1]) for each in scripts.peers[0].received[1:4]]
    assert kinds == [(PUBACK, 1), (PUBREC, 2), (PUBACK, 3)]
