"""A whole device over a line of 8 kB/s down and 1.2 kB/s up: all is answered, on one link."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import mqtt5
import msgspec
import pytest
import trio
from trio.testing import MockClock

from petalkit import Petal, Settings, command, open_runtime
from petalkit._values.messages import Identity

from ..transports.scripted_peer import ACCEPTED, RESUMED, Peer
from ..transports.slow_line import DOWN, UP, SlowNetwork

pytestmark = pytest.mark.trio

FIXED: dict[str, Any] = {
    "organization_id": "acme",
    "device_id": "Instance-1",
    "transport": "native",
}
BASE = "org/acme/device/Instance-1"


class Size(Petal):
    """Takes much, or gives much."""

    name = "size"

    @command("take")
    async def take(self, text: str) -> dict[str, Any]:
        """How long it is."""
        return {"length": len(text)}

    @command("give")
    async def give(self, size: int) -> dict[str, Any]:
        """So much."""
        return {"text": "x" * size}


def sent(number: int, name: str, **data: Any) -> mqtt5.PublishPacket:
    envelope = {
        "command": f"size/{name}",
        "messageId": f"id-{number}",
        "waitResponse": True,
        "data": data,
    }
    return mqtt5.PublishPacket(
        f"{BASE}/command",
        msgspec.json.encode(envelope),
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        packet_id=number,
    )


def answers(network: SlowNetwork) -> dict[str, Any]:
    found = [each for peer in network.peers for each in peer.of(mqtt5.PublishPacket)]
    responses = [
        msgspec.json.decode(each.payload) for each in found if each.topic.endswith("/response")
    ]
    return {each["messageId"]: each for each in responses}


@asynccontextmanager
async def device(network: SlowNetwork, **settings: Any) -> AsyncGenerator[Any]:
    wanted = Settings(**{**FIXED, **settings})
    async with open_runtime([Size()], wanted, transport=network.transport) as runtime:
        yield runtime


async def wait_answers(network: SlowNetwork, count: int) -> dict[str, Any]:
    while len(found := answers(network)) < count:
        await trio.sleep(0.1)  # of the mock clock
    return found


def check_nothing_ended(network: SlowNetwork, runtime: Any) -> None:
    statistics = runtime.statistics()
    assert (statistics.links, statistics.links_lost, statistics.connects_failed) == (1, 0, 0)
    assert len(network.peers) == 1


@pytest.mark.parametrize(("count", "size"), [(1, 100_000), (30, 10_000)])
async def test_waiting_commands_come_over_one_link_and_are_answered(
    nursery: trio.Nursery, autojump_clock: MockClock, count: int, size: int
) -> None:
    """They stand before the SUBACK."""
    network = SlowNetwork(nursery)
    network.polite = True
    waiting = [sent(number, "take", text="x" * size) for number in range(1, count + 1)]
    network.greet(RESUMED, *waiting)
    async with device(network) as runtime:
        found = await wait_answers(network, count)
        assert trio.current_time() >= count * size / DOWN
        assert {each["length"] for each in found.values()} == {size}
        await runtime.wait_connected()
        await trio.sleep(100)
        check_nothing_ended(network, runtime)


async def test_online_is_said_behind_a_session_that_is_replayed_after_the_suback(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    network = SlowNetwork(nursery)
    network.polite = True
    waiting = [sent(number, "take", text="x" * 10_000) for number in range(1, 31)]
    polite = Peer._answer

    async def answer(peer: Peer, found: mqtt5.Packet) -> None:
        await polite(peer, found)
        if isinstance(found, mqtt5.SubscribePacket):
            await peer.send(*waiting)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Peer, "_answer", answer)
        async with device(network) as runtime:
            await runtime.wait_connected()
            assert trio.current_time() >= 300_000 / DOWN
            assert len(await wait_answers(network, 30)) == 30
            check_nothing_ended(network, runtime)


@pytest.mark.parametrize("asked", [True, False])
async def test_an_answer_of_100_kb_arrives_and_small_ones_behind_it(
    nursery: trio.Nursery, autojump_clock: MockClock, asked: bool
) -> None:
    """83 s: longer than keep alive, and than `publish_timeout`."""
    network = SlowNetwork(nursery, asked=asked)
    network.polite = True
    network.greet(ACCEPTED)
    async with device(network) as runtime:
        await runtime.wait_connected()
        await network.peer.send(sent(1, "give", size=100_000), sent(2, "take", text="x"))
        found = await wait_answers(network, 2)
        assert 100_000 / UP <= trio.current_time() <= 100_000 / UP + 10
        assert len(found["id-1"]["text"]) == 100_000
        await trio.sleep(100)
        check_nothing_ended(network, runtime)


async def test_a_broker_that_answers_pings_and_no_publish_is_left_in_the_limit(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """It lives, and the line is fast enough: so a time counts."""
    network = SlowNetwork(nursery)
    network.polite = True
    polite = Peer._answer

    async def answer(peer: Peer, found: mqtt5.Packet) -> None:
        if not (isinstance(found, mqtt5.PublishPacket) and found.topic.endswith("/response")):
            await polite(peer, found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Peer, "_answer", answer)
        async with device(network) as runtime:
            await runtime.wait_connected()
            await network.peer.send(sent(1, "take", text="x"))
            started = trio.current_time()
            while not runtime.statistics().links_lost:
                await trio.sleep(0.5)
            assert 60 <= trio.current_time() - started <= 60 + 2 * 60 / 4


async def test_a_command_that_is_on_its_way_at_a_change_of_identity_is_answered(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """12 s, and more than `grace`: its first bytes came before the UNSUBACK."""
    network = SlowNetwork(nursery)
    network.polite = True
    organization = "acme"

    def source() -> str:
        return organization

    settings = {"organization_id": None, "organization_source": source}
    polite = Peer._answer

    async def answer(peer: Peer, found: mqtt5.Packet) -> None:
        await polite(peer, found)
        if isinstance(found, mqtt5.UnsubscribePacket):  # it had begun before that
            await peer.send(sent(1, "take", text="x" * 100_000))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Peer, "_answer", answer)
        async with device(network, organization_poll_interval=1.0, **settings) as runtime:
            await runtime.wait_connected()
            organization = "other"
            found = await wait_answers(network, 1)
            assert found["id-1"]["length"] == 100_000
            assert runtime.identity == Identity("other", "Instance-1")
            assert runtime.statistics().links_lost == 0
