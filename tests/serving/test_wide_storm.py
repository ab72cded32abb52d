"""Storms over several petals: shares, callers, urgent ones, held refusals, replays, and all bounds
small, in memory and on disk.

As in `test_storm`, every story is made by its seed alone; PETALKIT_STORMS says how many there are.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio

from petalkit import Petal, Properties, Settings, command
from petalkit._values.messages import Message
from petalkit.testing import Harness, MemoryBroker, open_harness

from .on_disk import Disk
from .recorder import CLIENT_ID

pytestmark = pytest.mark.trio

STORMS = int(os.environ.get("PETALKIT_STORMS", "25"))
LIMIT = 9000.0  # seconds of the mocked clock, in which everything is long over
COMMANDS = 120
BASE = "org/acme/device/Instance-1"
PETALS = ("slow", "quick", "third")


class Stormy(Petal):
    def __init__(self, name: str) -> None:
        self.name = name
        self.started: list[tuple[str, str, int]] = []  # command, caller, number

    async def body(
        self, name: str, caller: str, number: int, seconds: float, size: int
    ) -> dict[str, Any]:
        self.started.append((name, caller, number))
        if self.name == "slow":
            seconds *= 5
        if size:
            await self.publish_message({"of": number, "text": "x" * size}, qos=1, expiry=50.0)
        if seconds:
            await trio.sleep(seconds)
        return {"number": number, "text": "y" * size}

    @command("work", timeout=math.inf)
    async def work(self, caller: str, number: int, seconds: float, size: int) -> dict[str, Any]:
        return await self.body("work", caller, number, seconds, size)

    @command("one", timeout=2.0, concurrency=1)
    async def one(self, caller: str, number: int, seconds: float, size: int) -> dict[str, Any]:
        return await self.body("one", caller, number, seconds, size)

    @command("light", timeout=math.inf, journal=False)
    async def light(self, caller: str, number: int, seconds: float, size: int) -> dict[str, Any]:
        return await self.body("light", caller, number, seconds, size)

    @command("stop", urgent=True)
    async def stop(self, caller: str, number: int, seconds: float, size: int) -> dict[str, Any]:
        return await self.body("stop", caller, number, seconds, size)


def random_settings(chance: random.Random, journal: Path | None) -> Settings:
    pick = chance.choice
    return Settings(
        journal=journal,
        journal_thread=False,
        journal_backlog=pick((0, 3, 20, 1000)),
        protocol=pick(("3.1.1", "5", "5")),
        channel_capacity=pick((1, 3, 10, 40)),
        channel_reserve=pick((0, 1, 3, 32)),
        channel_bytes=pick((1024, 1024 * 1024)),
        petal_share=pick((0.0, 0.0, 0.5, 1.0)),
        petal_overflow_wait=pick((0.0, 0.25, 3.0, math.inf)),
        callers_max=pick((0, 1, 2, 64)),
        response_capacity=pick((1, 2, 5, 100)),
        event_capacity=pick((1, 2, 5)),
        refusal_capacity=pick((1, 2, 5, 100)),
        refusal_bytes=pick((1024, 4096, 1024 * 1024)),
        outbox_bytes=pick((1024, 4096, 1024 * 1024)),
        payload_max=1024,
        overflow=pick(("wait", "wait", "wait", "reject", "drop-oldest")),
        acknowledge=pick(("accepted", "accepted", "handled")),
        publish_maximum=pick((1, 2, 4, 50)),
        receive_maximum=pick((1, 3, 20)),
        concurrency=pick((1, 2, 5)),
        petal_concurrency=pick((1, 2, 5)),
        urgent_concurrency=pick((1, 5)),
        duplicate_window=pick((3, 1000)),
        replay_window=float(LIMIT),
        replay_count=pick((10, 150_000, 150_000)),
        probe_interval=pick((0.0, 0.0, 2.0)),
        puback_margin=pick((0.0, 2.5)),
        response_expiry=pick((3600.0, 3600.0, 20.0)),
    )


TROUBLES = "drop", "swallow", "swallow many", "twice"


async def make_trouble(
    chance: random.Random, harness: Harness, sent: Sent, disk: Disk | None
) -> None:
    broker = harness.broker
    troubles = TROUBLES if disk is None else (*TROUBLES, "disk")
    for _ in range(chance.randrange(1, 6)):
        await trio.sleep(chance.random() * 8)
        trouble = chance.choice(troubles)
        if trouble == "drop":
            harness.drop_link()
        elif trouble == "disk":
            assert disk is not None
            disk.error = "no space left"
            await trio.sleep(chance.choice((0.01, 1, 5)))
            disk.error = None
        elif trouble == "twice":
            sent.twice += 2
        else:
            broker.swallow("PUBACK", chance.randrange(1, 3) if trouble == "swallow" else 30)


class Sent:
    """What was sent: the IDs, and what is expected of them."""

    def __init__(self) -> None:
        self.twice = 0  # of the next, which are given twice, as AWS IoT Core may do
        self.wanting: set[str] = set()
        self.once: set[str] = set()
        self.stops: set[str] = set()
        self.order_is_kept = False


async def send_all(chance: random.Random, harness: Harness, protocol: str, sent: Sent) -> None:
    names = ("work", "work", "work", "one", "light", "stop", "nothing")
    qos_of = chance.choice(((1,), (1, 1, 1, 0)))
    pause = chance.choice((0.1, 0.4, 0.6))
    for number in range(COMMANDS):
        name, petal = chance.choice(names), chance.choice(PETALS)
        message_id, qos, wait = f"m{number}", chance.choice(qos_of), chance.random() < 0.85
        caller = chance.choice(("loud", "loud", "loud", "quiet", f"new {number}"))
        data = {
            "caller": caller,
            "number": number,
            "seconds": chance.choice((0, 0, 0.01, 0.3, 2.0)),
            "size": chance.choice((0, 0, 300)),
        }
        properties = None
        if protocol == "5":
            topic = None
            if chance.random() < 0.3:
                topic = chance.choice(("answers/a", f"{BASE}/response"))
            properties = Properties(
                user_properties=(("caller", caller),),
                response_topic=topic,
                correlation_data=None if topic is None else b"%d" % number,
            )
        copies = 1 + (chance.random() < 0.1) + (sent.twice > 0)
        sent.twice = max(0, sent.twice - 1)
        for _ in range(copies):
            harness.send(
                f"{petal}/{name}",
                data,
                message_id=message_id,
                qos=qos,
                properties=properties,
                waitResponse=wait,
            )
        if qos and wait:
            sent.wanting.add(message_id)
        if copies == 1 and qos:
            sent.once.add(message_id)
        if name == "stop" and qos and wait:
            sent.stops.add(message_id)
        if chance.random() < pause:
            await trio.sleep(chance.choice((0, 0.01, 0.1, 0.6)))
    sent.order_is_kept = qos_of == (1,)


async def quiet(harness: Harness) -> None:
    while True:
        await trio.sleep(30)
        now = harness.statistics()
        left = now.waiting, now.held, now.running, now.outbox, now.waiting_on_disk
        if now.connected and not any(left) and not owed(harness):
            return


def owed(harness: Harness) -> list[Message]:
    """What the broker has no acknowledgement for; a probe can be on its way at any time."""
    unacknowledged = harness.broker.unacknowledged(CLIENT_ID)
    return [one for one in unacknowledged if one.topic != f"{BASE}/probe"]


def nothing_is_left(harness: Harness) -> None:
    runtime = harness.runtime
    now, outbox = harness.statistics(), runtime._outbox
    assert now.accepted == now.succeeded + sum(now.failed.values())
    assert now.unencodable == 0
    places = outbox.places
    assert (places.taken, places.events, places.refusals) == (0,) * 3
    assert (places.size, places.refusal_size, places._urgent, places._urgent_size) == (0,) * 4
    assert not places.owed_to
    intake = runtime._intake
    parked, held, backlog = intake.admission.parked, intake._held, runtime._dispatcher.backlog
    assert (parked.size, held._size, backlog.waiting_bytes) == (0, 0, 0)
    assert not parked._by_id
    for petal in backlog.petals.values():
        assert (petal.waiting, petal.waiting_bytes, petal.running) == (0, 0, 0)
        assert not petal.starting
    assert not runtime._ledger.window._live


def order_is_kept(petals: list[Stormy]) -> None:
    """Of what one caller has sent to one line."""
    for petal in petals:
        lines: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for name, caller, number in petal.started:
            line = name if name in ("one", "stop", "light") else ""
            lines[line, caller].append(number)
        for (line, _), numbers in lines.items():
            if line != "stop":
                assert numbers == sorted(numbers), (petal.name, line)


@pytest.mark.parametrize("kind", ["memory", "disk", "failing"])
@pytest.mark.parametrize("seed", range(STORMS))
async def test_a_storm_over_several_petals_leaves_nothing_behind(
    seed: int, kind: str, autojump_clock: object, tmp_path: Path, disk: Disk
) -> None:
    chance = random.Random(seed)
    settings = random_settings(chance, None if kind == "memory" else tmp_path / "journal")
    broker = MemoryBroker(window=chance.choice((1, 3, 20)))
    petals = [Stormy(name) for name in PETALS]
    broker.delay = chance.choice((0.0, 0.0, 0.05, 0.7))
    async with open_harness(*petals, settings=settings, broker=broker) as harness:
        with broker.observe(f"{BASE}/response") as usual, broker.observe("answers/#") as replies:
            troubled, sent = chance.random() < 0.5, Sent()
            async with trio.open_nursery() as nursery:
                if troubled:
                    failing = disk if kind == "failing" else None
                    trouble = make_trouble, random.Random(~seed), harness, sent, failing
                    nursery.start_soon(*trouble)
                await send_all(chance, harness, settings.protocol, sent)
            if troubled:
                harness.drop_link()  # what was swallowed comes again
            with trio.fail_after(LIMIT):
                await quiet(harness)
            nothing_is_left(harness)
            now = harness.statistics()
            started = Counter(number for petal in petals for _, _, number in petal.started)
            assert set(started.values()) <= {1}
            if sent.order_is_kept:
                order_is_kept(petals)
            results: defaultdict[str, set[bytes]] = defaultdict(set)
            outcomes: defaultdict[str, set[str]] = defaultdict(set)
            answers: Counter[str] = Counter()
            for message in (*usual, *replies):
                fields = msgspec.json.decode(message.payload)
                message_id = fields["messageId"]
                answers[message_id] += 1
                outcomes[message_id].add(fields.get("error_code", "success"))
                if fields["success"]:
                    results[message_id].add(message.payload)
            assert all(len(different) == 1 for different in results.values())
            # One that is only known to have run is told so when it comes again.
            spent = {"MESSAGE_ID_REUSED"} if troubled and settings.duplicate_window < 10 else set()
            several = {one: outcomes[one] - spent for one in sent.once if len(outcomes[one]) > 1}
            assert all(len(different) <= 1 for different in several.values()), several
            if not troubled and now.links == 1:
                assert all(answers[one] <= 2 for one in sent.once)
            for message in replies:
                assert message.properties is not None
                number = int(message.properties.correlation_data or b"-1")
                assert msgspec.json.decode(message.payload)["messageId"] == f"m{number}"
            if not (now.publish_expired or now.unanswered or now.publish_set_aside):
                assert sent.wanting <= set(answers)
                for one in sent.stops:
                    assert outcomes[one] - spent <= {"success", "BUSY"}


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("seed", range(STORMS))
async def test_what_a_storm_has_sent_is_answered_though_the_device_stops_in_it(
    seed: int, on_disk: bool, autojump_clock: object, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    journal = tmp_path / "journal" if on_disk else None
    settings = attrs.evolve(random_settings(chance, journal), grace=chance.choice((0.0, 3.0)))
    broker = MemoryBroker(window=chance.choice((1, 3, 20)))
    broker.delay = chance.choice((0.0, 0.0, 0.05))
    petals: list[Stormy] = []
    sent, lost = Sent(), 0
    with broker.observe(f"{BASE}/response") as usual, broker.observe("answers/#") as replies:
        for run in range(3):
            served = [Stormy(name) for name in PETALS]
            petals += served
            async with open_harness(*served, settings=settings, broker=broker) as harness:
                await harness.wait_connected()
                if not run:
                    await send_all(chance, harness, settings.protocol, sent)
                if run == 2:
                    with trio.fail_after(LIMIT):
                        await quiet(harness)
                else:
                    await trio.sleep(chance.random() * chance.choice((1, 20)))
                runtime = harness.runtime
            now = runtime.statistics()
            lost += now.unanswered + now.publish_expired + now.publish_set_aside
            lost += now.publish_unsent
        if on_disk:  # else nobody knows what an earlier run has started
            starts = (one for petal in petals for one in petal.started)
            started = Counter((name, number) for name, _, number in starts if name != "light")
            assert set(started.values()) <= {1}, [one for one in started if started[one] > 1]
        answered = {msgspec.json.decode(one.payload)["messageId"] for one in (*usual, *replies)}
        if not lost:
            assert sent.wanting <= answered
