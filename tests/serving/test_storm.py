"""Random settings, commands and faults, on a clock that jumps: what is promised holds all the same.

Every story is made by its seed alone. At its end nothing may be left over, in no line and no count.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from typing import Any

import msgspec
import pytest
import trio

from petalkit import Petal, Properties, Settings, command
from petalkit.testing import Harness, MemoryBroker, open_harness

pytestmark = pytest.mark.trio

LIMIT = 4000.0  # seconds of the mocked clock, in which everything is long over
COMMANDS = 60
BASE = "org/acme/device/Instance-1"


class Stormy(Petal):
    name = "stormy"

    def __init__(self) -> None:
        self.started: Counter[int] = Counter()

    async def body(self, number: int, seconds: float, events: int, size: int) -> dict[str, Any]:
        self.started[number] += 1
        for qos in range(events):
            await self.publish_message({"of": number, "text": "x" * size}, qos=qos % 2, expiry=50.0)
        if seconds:
            await trio.sleep(seconds)
        return {"number": number, "text": "y" * size}

    @command("work", timeout=math.inf)
    async def work(self, number: int, seconds: float, events: int, size: int) -> dict[str, Any]:
        return await self.body(number, seconds, events, size)

    @command("timed", timeout=1.0)
    async def timed(self, number: int, seconds: float, events: int, size: int) -> dict[str, Any]:
        return await self.body(number, seconds, events, size)

    @command("one", timeout=math.inf, concurrency=1)
    async def one(self, number: int, seconds: float, events: int, size: int) -> dict[str, Any]:
        return await self.body(number, seconds, events, size)

    @command("stop", urgent=True)
    async def stop(self, number: int, seconds: float, events: int, size: int) -> dict[str, Any]:
        return await self.body(number, seconds, events, size)


def random_settings(chance: random.Random) -> Settings:
    pick = chance.choice
    return Settings(
        protocol=pick(("3.1.1", "5")),
        channel_capacity=pick((1, 2, 5, 50)),
        channel_reserve=pick((0, 1, 3, 32)),
        channel_bytes=pick((1024, 1024 * 1024)),
        response_capacity=pick((1, 2, 5, 100)),
        event_capacity=pick((1, 2, 5)),
        outbox_bytes=pick((1024, 4096, 1024 * 1024)),
        payload_max=1024,
        overflow=pick(("wait", "wait", "reject", "drop-oldest")),
        acknowledge=pick(("accepted", "handled")),
        publish_maximum=pick((1, 2, 4, 50)),
        receive_maximum=pick((1, 3, 20)),
        concurrency=pick((1, 2, 5)),
        petal_concurrency=pick((1, 2, 5)),
        urgent_concurrency=pick((1, 5)),
        response_expiry=pick((3600.0, 3600.0, 20.0)),
    )


async def make_trouble(chance: random.Random, harness: Harness, broker: MemoryBroker) -> None:
    for _ in range(chance.randrange(1, 6)):
        await trio.sleep(chance.random() * 8)
        trouble = chance.choice(("drop", "swallow", "twice"))
        if trouble == "drop":
            harness.drop_link()
        elif trouble == "swallow":
            broker.swallow("PUBACK", chance.randrange(1, 3))
        else:
            broker.duplicate_next(2)


async def send_all(chance: random.Random, harness: Harness, protocol: str) -> set[str]:
    """Send the commands; the IDs of those that wanted an answer, with QoS 1."""
    wanting: set[str] = set()
    for number in range(COMMANDS):
        name = chance.choice(("work", "work", "work", "timed", "one", "stop", "nothing"))
        message_id, qos, wait = f"m{number}", chance.choice((1, 1, 1, 0)), chance.random() < 0.85
        data = {
            "number": number,
            "seconds": chance.choice((0, 0, 0.01, 0.3, 2.0)),
            "events": chance.choice((0, 0, 0, 1, 3)),
            "size": chance.choice((0, 0, 300)),
        }
        properties = None
        if protocol == "5" and chance.random() < 0.4:
            topic = chance.choice(("answers/a", "answers/b", f"{BASE}/response"))
            properties = Properties(response_topic=topic, correlation_data=b"%d" % number)
        for _ in range(1 + (chance.random() < 0.15)):
            harness.send(
                f"stormy/{name}",
                data,
                message_id=message_id,
                qos=qos,
                properties=properties,
                waitResponse=wait,
            )
        if qos and wait:
            wanting.add(message_id)
        if chance.random() < 0.6:
            await trio.sleep(chance.choice((0, 0.01, 0.1, 0.6)))
    return wanting


def changing_settings(chance: random.Random) -> Settings:
    pick = chance.choice
    return Settings(
        protocol=pick(("3.1.1", "5")),
        client_id=pick((None, None, "thing")),
        petal_concurrency=pick((1, 2, 16)),
        channel_capacity=pick((1, 2, 1000)),
        channel_reserve=pick((0, 2, 32)),
        acknowledge=pick(("accepted", "handled")),
        receive_maximum=pick((1, 3, 100)),
        reconnect_delay_min=pick((0.01, 0.5)),
    )


async def change_organization(chance: random.Random, harness: Harness) -> None:
    """To another and back within a moment, some times; the other now and then stays."""
    for _ in range(chance.randrange(1, 4)):
        await trio.sleep(chance.random() * 0.3)
        await harness.set_organization(chance.choice(("other", "third")))
        await trio.sleep(chance.random() * chance.choice((0, 0.05, 0.2, 0.6)))
        await harness.set_organization("acme")
    if chance.random() < 0.3:
        await trio.sleep(chance.random() * 0.2)
        await harness.set_organization("other")


@pytest.mark.parametrize("seed", range(40))
async def test_what_is_sent_to_an_organization_that_is_served_is_answered_though_it_changes(
    seed: int, autojump_clock: object
) -> None:
    chance = random.Random(seed)
    broker, petal = MemoryBroker(window=chance.choice((1, 3, 20))), Stormy()
    broker.delay = chance.choice((0.0, 0.01, 0.05, 0.2))
    sent: list[str] = []
    async with open_harness(petal, settings=changing_settings(chance), broker=broker) as harness:
        with broker.observe("org/+/device/+/response") as seen:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(change_organization, random.Random(~seed), harness)
                for number in range(40):
                    if harness.is_connected:
                        seconds = chance.choice((0, 0, 0.05, 1))
                        data = {"number": number, "seconds": seconds, "events": 0, "size": 0}
                        sent.append(harness.send("stormy/work", data))
                    await trio.sleep(chance.choice((0, 0.001, 0.02, 0.1)))
            await harness.wait_connected()
            nothing = {"number": -1, "seconds": 0, "events": 0, "size": 0}
            assert (await harness.call("stormy/work", nothing)).success
            await trio.sleep(100)
            answered = Counter(msgspec.json.decode(one.payload)["messageId"] for one in seen)
    assert set(sent) <= set(answered)
    assert set(answered.values()) == set(petal.started.values()) == {1}


async def quiet(harness: Harness) -> None:
    while True:
        await trio.sleep(30)
        now = harness.statistics()
        if now.connected and not (now.waiting or now.held or now.running or now.outbox):
            return


@pytest.mark.parametrize("seed", range(20))
async def test_a_storm_leaves_nothing_behind(seed: int, autojump_clock: object) -> None:
    chance = random.Random(seed)
    settings = random_settings(chance)
    broker, petal = MemoryBroker(window=chance.choice((1, 3, 20))), Stormy()
    broker.delay = chance.choice((0.0, 0.0, 0.05, 0.7))
    async with open_harness(petal, settings=settings, broker=broker) as harness:
        with broker.observe(f"{BASE}/response") as usual, broker.observe("answers/#") as replies:
            async with trio.open_nursery() as nursery:
                if chance.random() < 0.5:
                    nursery.start_soon(make_trouble, chance, harness, broker)
                wanting = await send_all(chance, harness, settings.protocol)
            harness.drop_link()  # what was swallowed comes again
            with trio.fail_after(LIMIT):
                await quiet(harness)
            now, runtime = harness.statistics(), harness.runtime
            assert now.accepted == now.succeeded + sum(now.failed.values())
            assert now.unencodable == 0
            outbox = runtime._outbox
            assert (
                outbox.places.taken,
                outbox.places.events,
                outbox.size,
            ) == (0,) * 3
            assert not outbox.places.owed_to
            assert not runtime._ledger.window._live
            assert (
                runtime._intake.admission.parked.size
                == runtime._dispatcher.backlog.waiting_bytes
                == 0
            )
            assert all(count == 1 for count in petal.started.values())
            results: defaultdict[str, set[bytes]] = defaultdict(set)
            answered: set[str] = set()
            for message in (*usual, *replies):
                fields = msgspec.json.decode(message.payload)
                answered.add(fields["messageId"])
                if fields["success"]:
                    results[fields["messageId"]].add(message.payload)
            assert all(len(different) == 1 for different in results.values())
            for message in replies:
                assert message.properties is not None
                number = int(message.properties.correlation_data or b"-1")
                assert msgspec.json.decode(message.payload)["messageId"] == f"m{number}"
            if not (now.publish_expired or now.unanswered or now.publish_set_aside):
                assert wanting <= answered
