"""Events: in memory unless asked otherwise, only the latest of a key, stale ones told once."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit import Settings
from petalkit.testing import Harness, MemoryBroker, open_harness

from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio

WEB = "org/acme/device/Instance-1/command/web"


@pytest.fixture(params=["memory", "journal"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Without a journal, and with one."""
    if request.param == "memory":
        return Settings()
    return Settings(journal=str(tmp_path / "device.journal"))


def numbers(sink: Any) -> list[int]:
    return [message["n"] for message in sink]


def posted(harness: Harness) -> int:
    """Operations of the journal, those of events among them."""
    return harness.statistics().journal_operations


# -- durable


async def test_a_fast_loop_of_events_writes_nothing_into_the_journal(
    autojump_clock: object, tmp_path: Path
) -> None:
    petal = Recorder()
    with_journal = Settings(journal=str(tmp_path / "device.journal"))
    async with open_harness(petal, settings=with_journal) as harness:
        await trio.sleep(2)
        before = posted(harness)
        with harness.events() as events:
            for n in range(200):
                await petal.publish_message({"n": n})
                await petal.publish_debug({"n": n})
                await trio.sleep(1 / 20)
            await trio.sleep(2)
            assert len(events) == 200
        assert posted(harness) == before
        await petal.publish_message({"n": 0}, durable=True)
        await petal.publish_debug({"n": 0}, durable=True)
        await trio.sleep(2)
        assert posted(harness) == before + 4  # each of them owed, and settled


async def test_durable_at_qos_0_and_a_key_that_is_none_are_refused(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal):
        for publish in (petal.publish_message, petal.publish_debug):
            with pytest.raises(ValueError, match="durable=True needs qos=1"):
                await publish({}, qos=0, durable=True)
            for key in ("", 5):
                with pytest.raises(ValueError, match="latest must be a key"):
                    await publish({}, latest=key)  # type: ignore[arg-type]


# -- only the latest


async def test_after_an_outage_only_the_newest_of_a_key_is_sent_in_the_place_of_the_oldest(
    autojump_clock: object, settings: Settings
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings) as harness:
        with harness.events() as events:
            harness.broker.stop()
            await settle()
            for n in range(100):
                await petal.publish_message({"n": n}, latest="pose")
                if n == 50:
                    await petal.publish_message({"n": 1000})
                    await petal.publish_message({"n": 1001}, latest="battery")
            await petal.publish_debug({"n": 1002}, latest="pose")  # another topic
            statistics = harness.statistics()
            assert (statistics.outbox, statistics.events_replaced) == (4, 99)
            harness.broker.start()
            await events.wait(3)
            await settle()
            assert numbers(events) == [99, 1000, 1001]
            statistics = harness.statistics()
            assert (statistics.outbox, statistics.outbox_bytes) == (0, 0)
        assert harness.runtime._outbox._contents.latest.newest == {}


async def test_a_newer_event_waits_for_no_room_and_bytes_are_those_of_the_newest(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    bounds = Settings(event_capacity=1)
    async with open_harness(petal, settings=bounds, organization_id=None) as harness:
        await petal.publish_message({"text": "x" * 1000}, latest="pose")
        with trio.fail_after(1):
            await petal.publish_message({"text": ""}, latest="pose")
        assert harness.statistics().outbox_bytes < 50


async def test_a_newer_event_that_is_too_large_for_the_outbox_waits_like_others(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    bounds = Settings(outbox_bytes=10_000)
    async with open_harness(petal, settings=bounds, organization_id=None) as harness:
        await petal.publish_message({"n": 1}, latest="pose")
        await petal.publish_message({"text": "x" * 9_000})
        with trio.move_on_after(5) as scope:
            await petal.publish_message({"text": "x" * 9_000}, latest="pose")
        assert scope.cancelled_caught
        assert harness.statistics().outbox_bytes <= 10_000


async def test_what_has_waited_for_room_is_not_sent_behind_a_newer_one_that_has_left(
    autojump_clock: object,
) -> None:
    """One task waits with a large event; another replaces what is there with a small one."""
    petal = Recorder()
    bounds = Settings(outbox_bytes=10_000)
    async with open_harness(petal, settings=bounds) as harness:
        with harness.events() as events:
            harness.broker.stop()
            await settle()
            await petal.publish_message({"n": 1}, latest="pose")
            await petal.publish_message({"n": 2, "text": "x" * 9_000})
            async with trio.open_nursery() as nursery:
                large = {"n": 3, "text": "x" * 9_000}
                publish = functools.partial(petal.publish_message, large, latest="pose")
                nursery.start_soon(publish)
                await settle()
                await petal.publish_message({"n": 4}, latest="pose")
                harness.broker.start()
            await trio.sleep(60)
            assert numbers(events) == [4, 2]
            assert harness.statistics().events_replaced == 2
        assert harness.runtime._outbox._contents.latest.asking == {}


async def test_nor_when_it_was_published_before_the_identity_was_known(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    bounds = Settings(outbox_bytes=10_000)
    async with open_harness(petal, settings=bounds, organization_id=None) as harness:
        harness.broker.stop()
        with harness.broker.observe(WEB) as seen:
            await petal.publish_message({"n": 1}, latest="pose")
            await petal.publish_message({"n": 2, "text": "x" * 9_000})
            async with trio.open_nursery() as nursery:
                large = {"n": 3, "text": "x" * 9_000}
                nursery.start_soon(functools.partial(petal.publish_message, large, latest="pose"))
                await settle()
                await harness.set_organization("acme")
                await petal.publish_message({"n": 4}, latest="pose")
                harness.broker.start()
            await trio.sleep(60)
            assert [json.loads(message.payload)["n"] for message in seen] == [4, 2]


@pytest.mark.parametrize("seed", range(30))
async def test_the_states_of_one_key_leave_in_the_order_in_which_tasks_have_published_them(
    seed: int, autojump_clock: object
) -> None:
    """Through an outbox of a few places, which others fill too, and in sizes of all kinds."""
    chance = random.Random(seed)
    petal = Recorder()
    bounds = Settings(event_capacity=2, outbox_bytes=2_000, publish_maximum=2)
    published = itertools.count(1)

    async def publish(wait: float, key: str | None, size: int) -> None:
        await trio.sleep(wait)
        with trio.move_on_after(chance.choice((0.2, 500))):
            event = {"n": next(published), "key": key, "text": "x" * size}
            await petal.publish_message(event, latest=key)

    async with open_harness(petal, settings=bounds) as harness:
        harness.broker.delay = 0.05
        with harness.events() as events:
            async with trio.open_nursery() as nursery:
                for _ in range(60):
                    wait, key = chance.randrange(20) * 0.05, chance.choice(("a", "b", None))
                    nursery.start_soon(publish, wait, key, chance.choice((0, 500, 1_500)))
            await trio.sleep(60)
            for key in "ab":
                seen = [event["n"] for event in events if event["key"] == key]
                assert seen == sorted(seen)
        assert harness.runtime._outbox._contents.latest.asking == {}


async def test_one_in_flight_is_left_alone_and_not_sent_again_before_a_newer_one(
    autojump_clock: object, settings: Settings
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings) as harness:
        with harness.events() as events:
            harness.broker.swallow("PUBACK", 1)
            await petal.publish_message({"n": 1}, latest="pose", durable=True)
            await settle()
            harness.broker.stop()
            await petal.publish_message({"n": 2}, latest="pose", durable=True)
            await trio.sleep(10)
            harness.broker.start()
            await harness.wait_connected()
            await trio.sleep(60)
            assert numbers(events) == [1, 2]
            statistics = harness.statistics()
            assert (statistics.outbox, statistics.outbox_bytes) == (0, 0)
            assert statistics.events_replaced == 1


async def test_a_durable_event_that_was_replaced_is_not_sent_by_the_next_run(
    autojump_clock: object, tmp_path: Path
) -> None:
    bounds = Settings(journal=str(tmp_path / "device.journal"), flush_timeout=1.0)
    petal, broker = Recorder(), MemoryBroker()
    async with open_harness(petal, settings=bounds, organization_id=None):
        for n in range(5):
            await petal.publish_message({"n": n}, latest="pose", durable=True)
        await petal.publish_message({"n": 5}, latest="alarm", durable=True)
        await petal.publish_message({"n": 6}, latest="alarm")  # in memory only: it is lost
        await trio.sleep(2)
    with broker.observe(WEB) as seen:
        async with open_harness(Recorder(), settings=bounds, broker=broker):
            await settle()
    assert [b'"n":4' in message.payload for message in seen] == [True]


@pytest.mark.parametrize("seed", range(10))
async def test_with_links_that_come_and_go_each_key_ends_with_its_newest(
    seed: int, autojump_clock: object, settings: Settings
) -> None:
    """And its events never go back, but for those that are sent again unchanged."""
    chance = random.Random(seed)
    petal = Recorder()
    newest: dict[str, int] = {}
    async with open_harness(petal, settings=settings) as harness:
        with harness.events() as events:
            for n in range(300):
                match chance.randrange(12):
                    case 0:
                        harness.drop_link()
                    case 1:
                        harness.broker.stop()
                    case 2:
                        harness.broker.start()
                    case 3:
                        harness.broker.swallow("PUBACK", 1)
                    case 4:
                        await trio.sleep(chance.random() * 40)
                    case _:
                        key = chance.choice("ab")
                        newest[key] = n
                        durable = chance.random() < 0.5
                        await petal.publish_message(
                            {"n": n, "key": key}, latest=key, durable=durable
                        )
                        queued = [one.latest for one in harness.runtime._outbox._contents.queue]
                        assert len(queued) == len(set(queued))
                if chance.random() < 0.5:
                    await settle()
            with contextlib.suppress(RuntimeError):  # it was not stopped
                harness.broker.start()
            await trio.sleep(600)
            for key in newest:
                seen = [event["n"] for event in events if event["key"] == key]
                assert seen[-1] == newest[key]
                assert seen == sorted(seen)
            statistics = harness.statistics()
            assert (statistics.outbox, statistics.outbox_bytes) == (0, 0)
            assert harness.runtime._outbox._contents.latest.newest == {}
            assert harness.runtime._outbox.places.events == 0


# -- stale events


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records]
    return [text for text in texts if "too old" in text]


async def test_events_that_are_stale_after_an_outage_are_told_once(
    autojump_clock: object, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Recorder()
    caplog.set_level(logging.WARNING)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.stop()
        await settle()
        for n in range(500):
            await petal.publish_message({"n": n}, expiry=5.0)
        for n in range(20):
            await petal.publish_debug({"n": n}, expiry=5.0)
        await trio.sleep(600)
        harness.broker.start()
        await harness.wait_connected()
        await trio.sleep(60)
        assert harness.statistics().publish_expired == 520
        assert lines(caplog) == [
            f"520 events too old to send, and dropped: 500 for {WEB!r}, 20 for "
            "'org/acme/device/Instance-1/debug'"
        ]


async def test_a_long_outage_of_a_fast_loop_is_told_once_a_minute(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Recorder()
    caplog.set_level(logging.WARNING)
    bounds = Settings(event_capacity=10)
    async with open_harness(petal, settings=bounds) as harness:
        harness.broker.stop()
        await settle()
        for n in range(20 * 300):
            await petal.publish_message({"n": n}, expiry=0.4)
            await trio.sleep(1 / 20)
        assert harness.statistics().publish_expired > 5000
        assert 1 <= len(lines(caplog)) <= 5
