"""Turns of readers: bounded whatever readers do, and no last word is lost."""

from __future__ import annotations

import math

import pytest
import trio

from petalkit import Identity
from petalkit._serving.jobs.reading.subscriptions import (
    Subscription,
    Subscriptions,
    TooManySubscriptions,
)

pytestmark = pytest.mark.trio

ME, OTHER = Identity("acme", "1", base_topic="a/1"), Identity("other", "1", base_topic="o/1")


class Source:
    def __init__(self) -> None:
        self.says_last = False
        self.value = 0
        self.room = True
        self.tried = 0
        self.told: list[tuple[float, str, int]] = []

    def tell(self, subscription: Subscription) -> bool:
        self.tried += 1
        if self.room:
            self.told.append((trio.current_time(), subscription.stream_id, self.value))
        return self.room


def reader(stream_id: str = "s", rate: float = 10.0, job_id: str | None = None) -> Subscription:
    return Subscription("t", stream_id, rate, ME, trio.current_time(), job_id)


async def test_the_turns_of_readers_that_change_their_minds_are_bounded(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    subscriptions, source = Subscriptions(200, 3600), Source()
    nursery.start_soon(subscriptions.run)
    for n in range(10_000):
        subscriptions.add(reader(rate=0.0001 * (1 + n % 2)))
        subscriptions.changed("t", source)
        if n % 3 == 0:
            await trio.sleep(0.01)
        if n % 7 == 0:
            subscriptions.remove("t")
    assert len(subscriptions._turns) <= 200
    nursery.cancel_scope.cancel()


async def test_a_thousand_changes_between_two_turns_are_one_message(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    subscriptions, source = Subscriptions(200, 3600), Source()
    nursery.start_soon(subscriptions.run)
    subscriptions.add(reader(rate=1))
    for n in range(10):
        for _ in range(1000):
            source.value += 1
            subscriptions.changed("t", source)
        await trio.sleep(1 if n else 0.5)
    await trio.sleep(5)
    assert len(source.told) == 10
    assert source.told[-1][2] == 10_000
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("rate", [100.0, 0.001, 1e-320])
async def test_while_there_is_no_room_it_is_tried_at_a_rate_of_our_own(
    autojump_clock: object, nursery: trio.Nursery, rate: float
) -> None:
    subscriptions, source = Subscriptions(200, 7200), Source()
    nursery.start_soon(subscriptions.run)
    subscriptions.add(reader(rate=rate))
    source.room = False
    for _ in range(3600):
        source.value += 1
        subscriptions.changed("t", source)
        await trio.sleep(1)
    assert 3000 <= source.tried <= 2 * 3600 + 10
    source.room = True
    await trio.sleep(1)
    assert [value for _, _, value in source.told] == [3600]
    nursery.cancel_scope.cancel()


async def test_the_end_is_told_soon_though_there_was_no_room_and_the_rate_is_low(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    subscriptions, source = Subscriptions(200, 7200), Source()
    nursery.start_soon(subscriptions.run)
    subscriptions.add(reader(rate=1e-6))
    subscriptions.changed("t", source)
    await trio.sleep(1)
    source.says_last, source.room, source.value = True, False, 2
    subscriptions.ended("t", source)
    await trio.sleep(100)
    source.room = True
    await trio.sleep(1)
    assert [value for _, _, value in source.told] == [0, 2]
    nursery.cancel_scope.cancel()


async def test_readers_who_are_dismissed_are_told_why_unless_they_are_back(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    subscriptions = Subscriptions(200, 7200)
    nursery.start_soon(subscriptions.run)
    room, told = False, list[str]()

    def tell(one: Subscription) -> bool:
        if room:
            told.append(one.stream_id)
        return room

    subscriptions.add(reader("a"))
    subscriptions.add(reader("b"))
    subscriptions.dismiss("t", tell)
    assert len(subscriptions) == 0
    subscriptions.add(reader("b"))
    await trio.sleep(10)
    room = True
    await trio.sleep(1)
    assert told == ["a"]
    nursery.cancel_scope.cancel()


async def test_a_reader_that_follows_one_job_after_the_other_keeps_none_of_them(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    subscriptions = Subscriptions(200, 7200)
    nursery.start_soon(subscriptions.run)
    for n in range(100):
        subscriptions.add(reader(job_id=str(n)))
        source = Source()
        subscriptions.changed("t", source, str(n))
        await trio.sleep(1)
        subscriptions.add(reader(job_id=str(n + 1)))
        source.says_last = True
        subscriptions.ended("t", source, str(n))
    (subscription,) = subscriptions.of("t")
    assert len(subscription.turns) <= 1
    nursery.cancel_scope.cancel()


async def test_who_reads_under_an_identity_that_says_last_is_forgotten(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    subscriptions = Subscriptions(2, math.inf)
    nursery.start_soon(subscriptions.run)
    subscriptions.add(reader("a"))
    subscriptions.add(Subscription("t", "b", 1, OTHER, trio.current_time()))
    with pytest.raises(TooManySubscriptions):
        subscriptions.add(reader("c"))
    subscriptions.end_identity(ME)
    await trio.sleep(1)
    assert [one.stream_id for one in subscriptions.of("t")] == ["b"]
    nursery.cancel_scope.cancel()


async def test_a_reader_is_not_too_old_for_an_end_that_had_no_room(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    subscriptions, source = Subscriptions(200, 10), Source()
    nursery.start_soon(subscriptions.run)
    subscriptions.add(reader())
    source.says_last, source.room = True, False
    subscriptions.ended("t", source)
    await trio.sleep(100)
    source.room = True
    await trio.sleep(1)
    assert len(source.told) == 1
    await trio.sleep(10)
    assert len(subscriptions) == 0
    nursery.cancel_scope.cancel()


async def test_whoever_is_gone_is_owed_no_end() -> None:
    subscriptions, source = Subscriptions(200, 10), Source()
    settled: list[object] = []
    subscriptions.on_last = settled.append
    subscriptions.add(reader())
    source.says_last, source.room = True, False
    assert not subscriptions.ended("t", source)
    subscriptions.remove("t", "s")
    assert not subscriptions.owes("t", source)
    assert settled == [source]
