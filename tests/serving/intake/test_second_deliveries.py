"""What is said of a refused command when the same bytes come again, and of what cannot be read.

By the packet: a scripted broker at the other end of a stream in memory, on a mocked clock.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import mqtt5
import msgspec
import pytest
import trio

from petalkit import Runtime, Settings, open_runtime

from ...transports import poison
from ...transports.mqtt5_bytes import QOS
from ...transports.scripted_peer import ACCEPTED, GRANTED, RESUMED, Network
from ..recorder import Recorder, settle, until

# Rust's panics over text that is not UTF-8.
pytestmark = [
    pytest.mark.trio,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

BASE = "org/acme/device/Instance-1"
COMMAND = f"{BASE}/command"


class Broker:
    """The broker's half, in the words of a story."""

    def __init__(self, network: Network, runtime: Runtime) -> None:
        self.network = network
        self.runtime = runtime

    async def deliver(
        self, payload: bytes, packet_id: int, *, dup: bool = False, qos: int = 1
    ) -> None:
        packet = mqtt5.PublishPacket(
            COMMAND,
            payload,
            qos=QOS[qos],
            packet_id=packet_id if qos else None,
            duplicate=dup,
        )
        await self.send(packet.write())

    async def send(self, data: bytes) -> None:
        await self.network.peer.send(data)
        await settle()

    async def next_link(self, *, session_present: bool = True) -> None:
        self.network.greet(RESUMED if session_present else ACCEPTED)
        links = self.runtime.statistics().links
        await self.network.peer.close()
        await self.connected(links + 1)

    async def connected(self, links: int) -> None:
        await until(lambda: self.runtime.statistics().links == links)
        await settle()

    def said(self, name: str) -> list[dict[str, Any]]:
        """The JSON of all links that was published on a topic."""
        return [
            msgspec.json.decode(each.payload)
            for peer in self.network.peers
            for each in peer.of(mqtt5.PublishPacket)
            if each.topic == f"{BASE}/{name}"
        ]

    def outcomes(self, message_id: str) -> list[str]:
        return [
            each.get("error_code", "success")
            for each in self.said("response")
            if each["messageId"] == message_id
        ]

    def acknowledged(self) -> list[tuple[int, int]]:
        """Packet identifiers and reason codes, on the present link."""
        return [
            (each.packet_id, int(each.reason_code))
            for each in self.network.peer.of(mqtt5.PubAckPacket)
        ]


@asynccontextmanager
async def serving(
    nursery: trio.Nursery, petal: Recorder, *, online: bool = True, **settings: Any
) -> AsyncGenerator[Broker]:
    """Until it is online; or, if not, until a session goes on and the SUBACK is awaited."""
    network = Network(nursery)
    network.polite = online
    if not online:
        network.greet(RESUMED)
    chosen = Settings(
        organization_id="acme", device_id="Instance-1", transport="native", **settings
    )
    async with open_runtime([petal], chosen, transport=network.transport) as runtime:
        broker = Broker(network, runtime)
        await (broker.connected(1) if online else settle())
        yield broker


def asks(name: str, message_id: str, n: int = 0) -> bytes:
    return msgspec.json.encode(
        {
            "command": f"rec/{name}",
            "messageId": message_id,
            "waitResponse": True,
            "data": {"n": n},
        }
    )


# -- what was refused


@pytest.mark.parametrize(
    ("link", "packet_id", "dup", "outcome"),
    [
        # What our acknowledgement has been sent for, so that nobody knows whose it is.
        ("same", 2, False, "success"),
        ("same", 9, False, "success"),
        ("same", 9, True, "BUSY"),  # ejabberd: DUP on what it never sent
        ("next", 2, False, "BUSY"),  # aedes: redelivery without DUP
        ("next", 2, True, "BUSY"),
        ("next", 9, True, "BUSY"),  # RabbitMQ: redelivery with another packet identifier
        ("next", 9, False, "success"),  # the caller's own second try
        ("later", 2, False, "BUSY"),
        ("later", 9, True, "BUSY"),
        ("new", 2, False, "success"),  # a broker that has forgotten the session
        ("new", 2, True, "success"),
    ],
)
async def test_the_same_bytes_again(
    nursery: trio.Nursery,
    autojump_clock: object,
    link: str,
    packet_id: int,
    outcome: str,
    *,
    dup: bool,
) -> None:
    """A caller is always answered, and what may be the broker's has one outcome."""
    petal = Recorder()
    async with serving(nursery, petal) as broker:
        await broker.deliver(asks("alone", "m1", 1), 1)
        await broker.deliver(asks("alone", "m2", 2), 2)
        assert broker.outcomes("m2") == ["BUSY"]
        petal.open()
        await settle()
        for _ in range({"same": 0, "next": 1, "later": 3, "new": 1}[link]):
            await broker.next_link(session_present=link != "new")
        await broker.deliver(asks("alone", "m2", 2), packet_id, dup=dup)
        assert broker.outcomes("m2") == ["BUSY", outcome]
        assert petal.started == ([1] if outcome == "BUSY" else [1, 2])
        assert broker.acknowledged()[-1] == (packet_id, 0)
        # Whatever was said, the caller's next try is judged anew.
        await broker.deliver(asks("alone", "m2", 2), 10)
        assert broker.outcomes("m2")[-1] == "success"
        assert petal.started == [1, 2]


async def test_before_the_first_online_nobody_has_seen_a_refusal_and_a_copy_gets_the_same(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    """Then the caller can try again, whatever a kept session had of an earlier process."""
    petal = Recorder()
    async with serving(nursery, petal, online=False) as broker:
        peer = broker.network.peer
        (asked,) = peer.of(mqtt5.SubscribePacket)
        await broker.deliver(asks("alone", "m1", 1), 1)
        await broker.deliver(asks("alone", "m2", 2), 2)
        petal.open()
        await settle()
        await broker.deliver(asks("alone", "m2", 2), 3)
        peer.polite = True
        await broker.send(mqtt5.SubAckPacket(asked.packet_id, [GRANTED] * 2).write())
        assert broker.outcomes("m2") == ["BUSY", "BUSY"]
        await broker.deliver(asks("alone", "m2", 2), 4)
        assert broker.outcomes("m2") == ["BUSY", "BUSY", "success"]
        assert petal.started == [1, 2]


@pytest.mark.parametrize("dup", [False, True])
async def test_what_we_never_acknowledged_comes_again_for_certain_and_is_not_answered_twice(
    nursery: trio.Nursery, autojump_clock: object, *, dup: bool
) -> None:
    petal = Recorder()
    async with serving(nursery, petal, acknowledge="handled") as broker:
        await broker.deliver(asks("alone", "m1", 1), 1)  # it holds back what is behind it
        await broker.deliver(asks("alone", "m2", 2), 2)
        assert broker.outcomes("m2") == ["BUSY"]
        assert broker.acknowledged() == []
        await broker.next_link()
        petal.open()
        await broker.deliver(asks("alone", "m2", 2), 2, dup=dup)
        assert broker.outcomes("m2") == ["BUSY"]
        assert petal.started == [1]
        assert broker.acknowledged() == [(2, 0)]
        assert broker.runtime.statistics().duplicates_answered == 1


async def test_other_bytes_under_the_same_id_are_no_second_delivery(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    petal = Recorder()
    async with serving(nursery, petal) as broker:
        await broker.deliver(asks("alone", "m1", 1), 1)
        await broker.deliver(asks("alone", "m2", 2), 2)
        petal.open()
        await settle()
        await broker.next_link()
        await broker.deliver(asks("alone", "m2", 3), 2, dup=True)
        assert broker.outcomes("m2") == ["BUSY", "success"]


async def test_what_was_refused_and_then_accepted_is_known_by_its_outcome(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    """Take out `forget`: the old refusal is said after the success."""
    petal = Recorder()
    async with serving(nursery, petal, duplicate_window=0, replay_window=0) as broker:
        await broker.deliver(asks("alone", "m1", 1), 1)
        await broker.deliver(asks("alone", "m2", 2), 2)
        petal.open()
        await settle()
        await broker.deliver(asks("alone", "m2", 2), 3)
        assert broker.outcomes("m2") == ["BUSY", "success"]
        await broker.next_link()
        await broker.deliver(asks("alone", "m2", 2), 2)
        assert broker.outcomes("m2")[2:] == ["success"]


async def test_what_was_dropped_after_it_was_accepted_counts_as_refused(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    petal = Recorder()
    bounds = {"concurrency": 1, "petal_concurrency": 1, "channel_capacity": 1}
    async with serving(nursery, petal, overflow="drop-oldest", **bounds) as broker:
        for number in (1, 2, 3):
            await broker.deliver(asks("hold", f"m{number}", number), number)
        assert broker.outcomes("m2") == ["DROPPED"]
        petal.open()
        await settle()
        await broker.next_link()
        await broker.deliver(asks("hold", "m2", 2), 2)
        assert broker.outcomes("m2") == ["DROPPED", "DROPPED"]
        assert petal.started == [1, 3]


# -- what cannot be read


@pytest.mark.parametrize("name", poison.POISON)
async def test_one_senders_poison_costs_one_link_and_the_next_command_is_answered(
    nursery: trio.Nursery,
    autojump_clock: object,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    properties, topic, code, answer = poison.POISON[name]
    topic = COMMAND.encode() if topic == b"t" else topic
    petal = Recorder()

    def bad(packet_id: int) -> bytes:
        return poison.publish(properties, topic=topic, packet_id=packet_id, payload=b"secret")

    async with serving(nursery, petal) as broker:
        broker.network.greet(RESUMED, bad(1))
        await broker.send(bad(1))
        await broker.connected(2)
        first, second = broker.network.peers
        assert [int(each.reason_code) for each in first.of(mqtt5.DisconnectPacket)] == [code]
        for number in range(2, 102):
            await broker.send(bad(number))
        await broker.deliver(asks("note", "m", 5), 200)
        await settle()
        assert broker.outcomes("m") == ["success"]
        assert broker.acknowledged() == [*((n, answer) for n in range(1, 102)), (200, 0)]
        statistics = broker.runtime.statistics()
        assert (statistics.malformed, statistics.links, statistics.links_lost) == (101, 2, 1)
        assert broker.network.peer is second
        reports = broker.said("debug")
        assert 0 < len(reports) <= 20
        assert reports[0]["error_code"] == "INVALID_COMMAND"
        assert "no message of MQTT" in reports[0]["error"]
    warnings = [
        each.getMessage()
        for each in caplog.records
        if each.name == "petalkit.intake" and each.levelno == logging.WARNING
    ]
    assert len(warnings) == 11
    assert "breaks MQTT" in warnings[0]
    assert warnings[-1] == "91 more are not shown one by one: refused, as it breaks MQTT"
    assert "secret" not in caplog.text


async def test_warnings_of_a_flood_are_short_and_few(
    nursery: trio.Nursery, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    bad = poison.publish(poison.sized(b"\x26\x00\x01\xff\x00\x01v"), topic=b"x" * 1000, qos=0)
    async with serving(nursery, Recorder()) as broker:
        await broker.send(bad)
        await broker.connected(2)
        for _ in range(30):
            await broker.send(bad)
        await trio.sleep(11)
        await broker.send(bad)
        assert broker.runtime.statistics().malformed == 31
    found = [each.getMessage() for each in caplog.records if "breaks MQTT" in each.getMessage()]
    assert len(found) == 12
    assert found[10].startswith("20 more")
    assert all(len(each) < 400 for each in found)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_command_that_is_too_large_is_refused_and_the_next_one_is_answered(
    nursery: trio.Nursery, autojump_clock: object, qos: int
) -> None:
    """1.4 MB: what ejabberd delivers, whatever Maximum Packet Size was announced to it."""
    async with serving(nursery, Recorder()) as broker:
        await broker.deliver(bytes(1_400_000), 7, qos=qos)
        await broker.deliver(asks("note", "m", 5), 8)
        assert broker.outcomes("m") == ["success"]
        assert broker.runtime.statistics().refused == {"TOO_LARGE": 1}
        assert broker.runtime.statistics().links_lost == 0
        (report,) = broker.said("debug")
        assert report["error_code"] == "TOO_LARGE"
        assert report["error"].startswith("a message of 1400")
        assert broker.acknowledged() == [(7, 0), (8, 0)][qos != 1 :]
        released = broker.network.peer.of(mqtt5.PubRecPacket)
        assert [each.packet_id for each in released] == [7] * (qos == 2)


async def test_a_command_that_is_too_large_is_answered_on_its_response_topic(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    async with serving(nursery, Recorder()) as broker:
        big = mqtt5.PublishPacket(
            COMMAND,
            bytes(1_400_000),
            qos=QOS[1],
            packet_id=7,
            response_topic=f"{BASE}/response/7",
            correlation_data=b"c",
        )
        await broker.send(big.write())
        (answer,) = broker.said("response/7")
        assert answer["error_code"] == "TOO_LARGE"
        assert broker.said("debug") == []


async def test_a_large_message_on_a_topic_that_is_not_served_is_only_counted(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    async with serving(nursery, Recorder()) as broker:
        big = mqtt5.PublishPacket("t", bytes(1_400_000), qos=QOS[1], packet_id=7)
        await broker.send(big.write())
        assert broker.acknowledged() == [(7, 0)]
        assert broker.runtime.statistics().unexpected_topic == 1
        assert broker.said("debug") == []
