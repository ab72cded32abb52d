"""PUBACKs that are lost are noticed within 5 s; brokers that answer PINGREQ first are let be."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import mqtt5
import pytest
import trio
from trio.testing import MockClock

from petalkit import Petal, Settings, open_runtime

from ...transports.fake_broker import PUBACK, open_fake_broker
from ...transports.fake_broker import Peer as Wire
from ...transports.scripted_peer import ACCEPTED, RESUMED, Network, Peer

pytestmark = pytest.mark.trio

FIXED: dict[str, Any] = {
    "organization_id": "acme",
    "device_id": "Instance-1",
    "transport": "native",
    "reconnect_delay_min": 0.01,
}
WEB = "org/acme/device/Instance-1/command/web"

Late = Callable[[int, int], float]


class Sender(Petal):
    name = "sender"


class Broker(Network):
    """Answers everything at once, and a PUBLISH of an event after a time.

    Args:
        nursery: for the peers.
        late: of the number of the link and that of the event on it, seconds; infinity for never.

    Attributes:
        sent: when each event came, and over which link.
    """

    def __init__(self, nursery: trio.Nursery, late: Late) -> None:
        super().__init__(nursery)
        self.polite = True
        self.greetings = [[ACCEPTED], [RESUMED]]
        self.sent: list[tuple[int, float]] = []
        answer = Peer._answer
        turn = trio.Lock()

        async def polite(peer: Peer, found: mqtt5.Packet) -> None:
            async with turn:
                await answer(peer, found)

        async def respond(peer: Peer, found: mqtt5.Packet) -> None:
            if not isinstance(found, mqtt5.PublishPacket) or found.topic != WEB:
                await polite(peer, found)
                return
            link = self.peers.index(peer)
            number = sum(one == link for one, _ in self.sent)
            self.sent.append((link, trio.current_time()))
            wait = late(link, number)
            if wait == 0:
                await polite(peer, found)
            elif wait < math.inf:
                nursery.start_soon(later, peer, found, wait)

        async def later(peer: Peer, found: mqtt5.Packet, wait: float) -> None:
            await trio.sleep(wait)
            if not peer.gone.is_set():
                await polite(peer, found)

        self.respond = respond

    @property
    def pings(self) -> int:
        return sum(len(peer.of(mqtt5.PingReqPacket)) for peer in self.peers)


@asynccontextmanager
async def device(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, late: Late, **settings: Any
) -> AsyncGenerator[tuple[Any, Sender, Broker]]:
    broker = Broker(nursery, late)
    monkeypatch.setattr(Peer, "_answer", broker.respond)
    petal, wanted = Sender(), Settings(**{**FIXED, **settings})
    async with open_runtime([petal], wanted, transport=broker.transport) as runtime:
        await runtime.wait_connected()
        yield runtime, petal, broker


@pytest.mark.parametrize("events", [1, 150])
async def test_lost_pubacks_are_noticed_within_5_s_and_the_messages_sent_again(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: MockClock, events: int
) -> None:
    """As after mosquitto has lost those of a whole window."""

    def late(link: int, number: int) -> float:
        return math.inf if link == 0 else 0.0

    async with device(monkeypatch, nursery, late) as (runtime, petal, broker):
        start = trio.current_time()
        for n in range(events):
            await petal.publish_message({"n": n})
        while runtime.statistics().outbox:
            await trio.sleep(0.05)
        assert trio.current_time() - start < 5
        statistics = runtime.statistics()
        assert (statistics.links, statistics.pubacks_lost, statistics.published) == (2, 1, events)
        assert broker.pings == 2


async def test_one_lost_puback_that_later_ones_have_overtaken_is_noticed_within_5_s(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    def late(link: int, number: int) -> float:
        return math.inf if (link, number) == (0, 3) else 0.0

    async with device(monkeypatch, nursery, late) as (runtime, petal, broker):
        start = trio.current_time()
        for n in range(20):
            await petal.publish_message({"n": n})
        while runtime.statistics().outbox:
            await petal.publish_message({"more": True})
            await trio.sleep(0.05)
        assert trio.current_time() - start < 5
        statistics = runtime.statistics()
        assert (statistics.links, statistics.pubacks_lost) == (2, 1)
        assert broker.pings <= 4


async def test_links_that_work_end_more_and_more_rarely_for_what_is_overtaken(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A broker that loses some of them all the time."""

    def late(link: int, number: int) -> float:
        return math.inf if number % 50 == 3 else 0.0

    async with device(monkeypatch, nursery, late) as (runtime, petal, _):
        for n in range(6000):
            await petal.publish_message({"n": n})
            await trio.sleep(0.05)
        statistics = runtime.statistics()
        assert 2 <= statistics.links <= 4  # after 60 s, 120 s, ...
        assert statistics.pubacks_lost == statistics.links - 1


async def test_a_link_that_acknowledges_is_sent_no_ping_for_that(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async with device(monkeypatch, nursery, lambda *_: 0.9) as (runtime, petal, broker):
        for n in range(10):
            await petal.publish_message({"n": n})
            await trio.sleep(1)
        assert runtime.statistics().links == 1
        assert broker.pings == 0


async def test_a_broker_that_is_slow_by_less_than_the_margin_is_pinged_once_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async with device(monkeypatch, nursery, lambda *_: 3.0) as (runtime, petal, broker):
        start = trio.current_time()
        for n in range(100):
            await petal.publish_message({"n": n})
            await trio.sleep(0.5)
        await trio.sleep(3)
        statistics = runtime.statistics()
        assert (statistics.links, statistics.published) == (1, 100)
        assert broker.pings <= trio.current_time() - start


async def test_a_broker_that_answers_pings_long_before_pubacks_costs_two_links_and_no_more(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """One that waits 9 s for its disk: two links, until it is known how late it is."""
    async with device(monkeypatch, nursery, lambda *_: 9.0) as (runtime, petal, _broker):
        for n in range(20):
            await petal.publish_message({"n": n})
            await trio.sleep(30)
        statistics = runtime.statistics()
        assert (statistics.published, statistics.outbox) == (20, 0)
        assert statistics.pubacks_lost == 2


async def test_a_message_that_is_never_acknowledged_ends_fewer_and_fewer_links(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """As one that a broker of 3.1.1 takes and has no right to answer."""
    settings = {"publish_timeout": 60.0, "response_expiry": 100_000.0}
    async with device(monkeypatch, nursery, lambda *_: math.inf, **settings) as (
        _runtime,
        petal,
        broker,
    ):
        await petal.publish_message({})
        await trio.sleep(600)
        times = [at for _, at in broker.sent]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert gaps[0] < 5
        assert all(b > 1.5 * a for a, b in itertools.pairwise(gaps[:4]))
        assert gaps[-1] >= 55


async def test_it_can_be_turned_off(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async with device(monkeypatch, nursery, lambda *_: math.inf, puback_margin=0.0) as (
        runtime,
        petal,
        broker,
    ):
        await petal.publish_message({})
        await trio.sleep(14)
        assert (runtime.statistics().links, broker.pings) == (1, 0)


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_asyncio_mqtt_notices_them_too(protocol: Any) -> None:
    """Over loopback, in real time."""
    links: list[list[int]] = []

    async def script(peer: Wire) -> None:
        v5 = protocol == "5"
        kinds: list[int] = []
        links.append(kinds)
        await peer.accept(connack=_connack(v5))
        send = peer.send

        async def swallow(*packets: bytes) -> None:
            if len(links) > 1 or packets[0][0] >> 4 != PUBACK or PUBACK not in kinds:
                await send(*packets)
            kinds.append(packets[0][0] >> 4)

        peer.send = swallow  # type: ignore[method-assign]
        await peer.serve(v5=v5)

    async with open_fake_broker(script) as broker:
        wanted = Settings(
            **{
                **FIXED,
                "broker": broker.url,
                "transport": "asyncio-mqtt",
                "protocol": protocol,
                "flush_timeout": 0.1,
            }
        )
        petal = Sender()
        async with open_runtime([petal], wanted) as runtime:
            await runtime.wait_connected()
            start = trio.current_time()
            await petal.publish_message({})
            with trio.fail_after(10):
                while runtime.statistics().outbox:
                    await trio.sleep(0.05)
            assert trio.current_time() - start < 6
            assert runtime.statistics().pubacks_lost == 1
            assert len(links) == 2


def _connack(v5: bool) -> bytes:
    return b"\x20\x03\0\0\0" if v5 else b"\x20\x02\0\0"
