"""A petal that is slow, or has not started, holds up no other: each has its share of what waits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from petalkit import Petal, Settings, command
from petalkit._serving.dispatch.queueing.queue import Backlog
from petalkit._serving.dispatch.queueing.shares import Shares
from petalkit.testing import Harness, MemoryBroker, open_harness

from ..on_disk import after_crash, settings
from ..recorder import Recorder, settle, unacknowledged, until

CAPACITY = 20  # half of it for each of two


def narrow(**others: Any) -> Settings:
    return Settings(channel_capacity=CAPACITY, petal_concurrency=1, channel_reserve=4, **others)


def narrow_disk(path: Path, **others: Any) -> Settings:
    bounds = {"channel_capacity": CAPACITY, "petal_concurrency": 1, "journal_backlog": 60}
    return settings(path, **{**bounds, **others})


async def seconds_of(harness: Harness, name: str) -> float:
    """How long a command takes, for which nobody may wait for more than a minute."""
    before = trio.current_time()
    with trio.fail_after(60):
        assert (await harness.call(name)).success
    return trio.current_time() - before


@pytest.mark.trio
async def test_a_slow_petal_in_memory_holds_up_others_for_a_moment_only(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    slow, fast = Recorder("slow"), Recorder("fast")
    async with open_harness(slow, fast, settings=narrow()) as harness:
        with harness.responses() as responses:
            for n in range(300):
                harness.send("slow/hold", {"n": n})
            assert await seconds_of(harness, "fast/note") <= 0.26
            assert await seconds_of(harness, "fast/note") == 0.0
            await settle()
            assert unacknowledged(harness) == 0
            # One runs, and ten wait, which is half of the channel.
            refused = Counter(answer.get("error_code") for answer in responses)
            assert refused == {"BUSY": 300 - 11, None: 2}
            slow.open()
            await until(lambda: len(slow.ended) == 11)
    assert slow.started == list(range(11))
    assert caplog.text.count("petal 'slow' does not keep up") == 1


@pytest.mark.trio
async def test_what_comes_for_it_again_holds_up_nobody_either(autojump_clock: object) -> None:
    slow, fast = Recorder("slow"), Recorder("fast")
    async with open_harness(slow, fast, settings=narrow()) as harness:
        for n in range(100):
            harness.send("slow/hold", {"n": n})
        await trio.sleep(0.5)
        for n in range(100):
            harness.send("slow/hold", {"n": 100 + n})
            assert await seconds_of(harness, "fast/note") == 0.0
            await trio.sleep(0.1)


@pytest.mark.trio
async def test_it_is_served_again_as_soon_as_it_keeps_up(autojump_clock: object) -> None:
    slow, fast = Recorder("slow"), Recorder("fast")
    async with open_harness(slow, fast, settings=narrow()) as harness:
        for n in range(100):
            harness.send("slow/hold", {"n": n})
        await trio.sleep(0.5)
        slow.open()
        await settle()
        with harness.responses() as responses:
            for n in range(100):
                harness.send("slow/hold", {"n": 100 + n})
            await responses.wait(100)
            # The burst after the first moments is held, and not refused.
            await trio.sleep(2)
            responses_before = len(responses)
            for n in range(100):
                harness.send("slow/hold", {"n": 200 + n})
            await responses.wait(responses_before + 100)
            assert all(answer["success"] for answer in list(responses)[responses_before:])


@pytest.mark.trio
async def test_a_burst_for_a_petal_that_keeps_up_is_not_refused(autojump_clock: object) -> None:
    petal, other = Recorder("quick"), Recorder("other")
    async with open_harness(petal, other, settings=narrow()) as harness:
        with harness.responses() as responses:
            for n in range(1000):
                harness.send("quick/note", {"n": n})
            await responses.wait(1000)
            assert all(answer["success"] for answer in responses)
    assert petal.started == list(range(1000))


class Paced(Petal):
    """Takes so long for each, 16 at once, until it stands still."""

    def __init__(self, name: str, seconds: float, stands_still_after: float = math.inf) -> None:
        self.name, self.seconds = name, seconds
        self.until = trio.current_time() + stands_still_after
        self.started: list[int] = []

    @command("go", timeout=math.inf)
    async def go(self, n: int) -> None:
        self.started.append(n)
        await trio.sleep(self.seconds if trio.current_time() < self.until else math.inf)


@pytest.mark.trio
@pytest.mark.parametrize("qos", [0, 1])
async def test_a_petal_that_moves_refuses_nothing_of_a_long_burst(
    autojump_clock: object, qos: int
) -> None:
    moving, other = Paced("moving", 0.02), Recorder("other")  # 800 a second
    broker = MemoryBroker(max_queued=20_000)
    async with open_harness(moving, other, broker=broker) as harness:
        for n in range(10_000):
            harness.send("moving/go", {"n": n}, qos=qos)
        with trio.fail_after(14):
            while harness.statistics().succeeded < 10_000:
                await trio.sleep(0.1)
        assert harness.statistics().refused == {}
    assert moving.started == list(range(10_000))


@pytest.mark.trio
async def test_a_petal_that_moves_too_slowly_gives_its_place_after_two_seconds(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    slow, fast = Paced("slow", 0.05), Recorder("fast")  # 320 a second
    async with open_harness(slow, fast, broker=MemoryBroker(max_queued=9000)) as harness:
        for n in range(5000):
            harness.send("slow/go", {"n": n})
        assert await seconds_of(harness, "fast/note") <= 2.1
        assert await seconds_of(harness, "fast/note") == 0.0
        assert harness.statistics().refused["BUSY"] > 1500
    assert "petal 'slow' does not keep up" in caplog.text


@pytest.mark.trio
async def test_a_petal_that_moved_and_stands_still_gives_its_place(autojump_clock: object) -> None:
    petal, fast = Paced("petal", 0.005, stands_still_after=2.0), Recorder("fast")
    broker = MemoryBroker(max_queued=20_000)
    async with open_harness(petal, fast, broker=broker) as harness:
        for n in range(10_000):
            harness.send("petal/go", {"n": n})
        await trio.sleep(1.9)
        assert harness.statistics().refused == {}
        assert await seconds_of(harness, "fast/note") <= 0.1 + 2 * 0.26
        assert await seconds_of(harness, "fast/note") == 0.0


@pytest.mark.trio
@pytest.mark.parametrize("looks", [0, 1, 2])  # before that
async def test_a_moment_without_a_processor_is_not_taken_for_a_petal_that_stands_still(
    mock_clock: MockClock, looks: int
) -> None:
    petal, other = Recorder("petal"), Recorder("other")
    async with open_harness(petal, other, settings=narrow()) as harness:
        for n in range(40):
            harness.send("petal/hold", {"n": n})
        for _ in range(looks):
            await settle()
            mock_clock.jump(0.07)
        await settle()
        mock_clock.jump(0.9)  # and nobody has run in it
        await settle()
        petal.open()
        await settle()
        mock_clock.jump(0.2)
        await settle()
        assert harness.statistics().refused == {}
        assert petal.started == list(range(40))


@pytest.mark.trio
async def test_seconds_in_which_nothing_ran_are_not_taken_for_a_petal_that_is_too_slow(
    mock_clock: MockClock,
) -> None:
    """Another petal blocks the event loop, or the machine sleeps."""
    moving, other = Paced("moving", 0.01), Recorder("other")  # 1600 a second
    settings = Settings(channel_capacity=CAPACITY, channel_reserve=4)
    async with open_harness(moving, other, settings=settings) as harness:
        for n in range(500):
            harness.send("moving/go", {"n": n}, qos=1)
        for blocked in (0.01, 0.01, 3.0, 0.01, 0.01, 60.0, *(0.01,) * 40):
            await settle()
            mock_clock.jump(blocked)
        await settle()
        assert harness.statistics().refused == {}
        assert moving.started == list(range(500))


@pytest.mark.trio
async def test_how_fast_a_petal_has_to_be_can_be_set(autojump_clock: object) -> None:
    slow, fast = Paced("slow", 0.2), Recorder("fast")  # 80 a second
    async with open_harness(slow, fast, settings=Settings(petal_overflow_rate=30.0)) as harness:
        for n in range(700):
            harness.send("slow/go", {"n": n})
        await until(lambda: len(slow.started) == 700, within=30)
        assert harness.statistics().refused == {}


@pytest.mark.trio
async def test_a_petal_is_looked_after_once_however_often_it_overflows(
    autojump_clock: object,
) -> None:
    """Each burst of one that keeps up begins and ends within a moment."""
    quick, other = Recorder("quick"), Recorder("other")
    async with open_harness(quick, other, settings=narrow()) as harness:
        for burst in range(20):
            for n in range(50):
                harness.send("quick/note", {"n": 50 * burst + n})
            await settle()
        assert len(quick.started) == 1000
        watching = [task for task in all_tasks() if task.name == "held for quick"]
        assert len(watching) == 1


def all_tasks() -> Iterator[trio.lowlevel.Task]:
    """All of this run."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    nurseries = list(root.child_nurseries)
    while nurseries:
        for task in nurseries.pop().child_tasks:
            yield task
            nurseries += task.child_nurseries


@pytest.mark.trio
async def test_with_a_limit_of_next_to_nothing_the_processor_rests_all_the_same(
    autojump_clock: object,
) -> None:
    slow, fast = Recorder("slow"), Recorder("fast")
    async with open_harness(slow, fast, settings=narrow(petal_overflow_wait=1e-6)) as harness:
        # What waits for the disk, say, is looked at for as long as it takes.
        harness.runtime._dispatcher.backlog.is_over_share = lambda _: False  # type: ignore[method-assign]
        looks = 0
        watch = harness.runtime._dispatcher.call_later

        def count(*args: Any, **names: Any) -> None:
            nonlocal looks
            looks += 1
            watch(*args, **names)

        harness.runtime._dispatcher.call_later = count  # type: ignore[method-assign]
        for n in range(60):
            harness.send("slow/hold", {"n": n})
        await trio.sleep(0.1)
        assert 0 < looks <= 12
        slow.open()


@pytest.mark.trio
async def test_who_refuses_nothing_can_say_so(autojump_clock: object) -> None:
    slow, fast = Recorder("slow"), Recorder("fast")
    patient = narrow(petal_overflow_wait=math.inf)
    async with open_harness(slow, fast, settings=patient) as harness:
        for n in range(200):
            harness.send("slow/hold", {"n": n})
        await trio.sleep(3600)
        assert harness.statistics().refused == {}
        slow.open()
        await until(lambda: len(slow.ended) == 200)
    assert slow.started == list(range(200))


@pytest.mark.trio
async def test_alone_a_petal_has_all_of_the_channel_and_waits_for_ever(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=narrow()) as harness:
        for n in range(100):
            harness.send("rec/hold", {"n": n})
        await trio.sleep(3600)
        statistics = harness.statistics()
        assert (statistics.waiting, statistics.refused) == (CAPACITY, {})
        petal.open()
        await until(lambda: len(petal.ended) == 100)


@pytest.mark.trio
async def test_while_it_starts_a_petal_holds_up_nobody(autojump_clock: object) -> None:
    starting, fast = Recorder("starting"), Recorder("fast")
    async with open_harness(starting, fast, settings=narrow()) as harness:
        harness.runtime._dispatcher.hold_petal("starting")
        for n in range(300):
            harness.send("starting/note", {"n": n})
        assert await seconds_of(harness, "fast/note") <= 0.26
        assert await seconds_of(harness, "fast/note") == 0.0
        harness.runtime._dispatcher.open_petal("starting")
        await settle()
    assert starting.started == list(range(10))


@pytest.mark.trio
async def test_the_oldest_that_is_dropped_is_the_petals_own(autojump_clock: object) -> None:
    slow, other = Recorder("slow"), Recorder("other")
    async with open_harness(slow, other, settings=narrow(overflow="drop-oldest")) as harness:
        with harness.responses() as responses:
            for n in range(5):
                harness.send("other/hold", {"n": n}, message_id=f"other-{n}")
            for n in range(30):
                harness.send("slow/hold", {"n": n}, message_id=f"slow-{n}")
                await settle()
            dropped = [answer["messageId"] for answer in responses]
            assert dropped == [f"slow-{n}" for n in range(1, 20)]
            slow.open()
            other.open()
            await responses.wait(35)
    assert other.started == list(range(5))
    assert slow.started == [0, *range(20, 30)]


@pytest.mark.trio
async def test_one_petal_that_fills_its_share_refuses_only_its_own(autojump_clock: object) -> None:
    slow, other = Recorder("slow"), Recorder("other")
    async with open_harness(slow, other, settings=narrow(overflow="reject")) as harness:
        for n in range(30):
            harness.send("slow/hold", {"n": n})
            await settle()
        for n in range(11):
            harness.send("other/hold", {"n": n})
            await settle()
        assert harness.statistics().refused == {"BUSY": 19}
        slow.open()
        other.open()
        await until(lambda: len(other.ended) == 11)
    assert other.started == list(range(11))


# -- on disk


@pytest.mark.trio
async def test_a_slow_petal_on_disk_holds_up_nobody_at_all(
    autojump_clock: object, path: Path
) -> None:
    slow, fast = Recorder("slow"), Recorder("fast")
    async with open_harness(slow, fast, settings=narrow_disk(path)) as harness:
        for n in range(40):
            harness.send("slow/hold", {"n": n})
        await settle()
        assert harness.statistics().waiting_on_disk == 29
        assert await seconds_of(harness, "fast/note") < 0.01
        assert await seconds_of(harness, "fast/note") < 0.01
        assert harness.statistics().waiting_on_disk == 29
        slow.open()
        await until(lambda: len(slow.ended) == 40)
    assert slow.started == list(range(40))


@pytest.mark.trio
async def test_beyond_its_share_of_the_disk_it_is_refused_and_others_are_not(
    autojump_clock: object, path: Path
) -> None:
    slow, fast = Recorder("slow"), Recorder("fast")
    async with open_harness(slow, fast, settings=narrow_disk(path)) as harness:
        for n in range(100):
            harness.send("slow/hold", {"n": n})
        assert await seconds_of(harness, "fast/note") < 0.3
        assert await seconds_of(harness, "fast/note") < 0.01
        assert harness.statistics().refused == {"BUSY": 100 - 1 - 10 - 30}
        for n in range(41):
            harness.send("fast/hold", {"n": n})
        await trio.sleep(1)
        assert harness.statistics().refused == {"BUSY": 59}
        slow.open()
        fast.open()
        await until(lambda: len(slow.ended) + len(fast.ended) == 82)
    assert slow.started == list(range(41))
    assert fast.started[2:] == list(range(41))


@pytest.mark.trio
async def test_what_an_earlier_run_has_left_of_a_slow_petal_holds_up_nobody(
    autojump_clock: object, path: Path
) -> None:
    slow, fast = Recorder("slow"), Recorder("fast")
    wide = {"journal_backlog": 2000}
    async with open_harness(slow, fast, settings=narrow_disk(path, **wide)) as harness:
        for n in range(400):
            harness.send("slow/hold", {"n": n})
        for n in range(20):
            harness.send("fast/hold", {"n": n})
        await settle()
        crashed = after_crash(path)
    slow, fast = Recorder("slow"), Recorder("fast")
    async with open_harness(slow, fast, settings=narrow_disk(crashed, **wide)) as harness:
        harness.send("fast/hold", {"n": 20})
        harness.send("slow/hold", {"n": 400})
        fast.open()
        await until(lambda: len(fast.ended) == 20, within=1)
        assert slow.started == [1]
        slow.open()
        await until(lambda: len(slow.ended) == 400)
        await settle()
        assert harness.statistics().waiting_on_disk == 0
    # The first of each was running when the process died.
    assert fast.started == list(range(1, 21))
    assert slow.started == list(range(1, 401))


# -- how much it is


def test_shares_are_equal_parts_unless_it_is_set() -> None:
    whole = Settings(channel_capacity=1000, channel_bytes=3000, journal_backlog=50_000)
    alone = Shares(whole, 1, 1)
    assert (alone.most, alone.most_bytes, alone.most_on_disk) == (1000, 3000, 50_000)
    assert not alone.are_several
    third = Shares(whole, 3, 3)
    assert (third.most, third.most_bytes, third.most_on_disk) == (333, 1000, 16_666)
    assert third.all == 999
    half = Shares(Settings(channel_capacity=1000, petal_share=0.5), 3, 3)
    assert (half.most, half.all) == (500, 1000)


def test_each_petal_has_room_for_one_also_where_there_is_less() -> None:
    shares = Shares(Settings(channel_capacity=2, journal_backlog=0), 5, 5)
    assert (shares.most, shares.all, shares.most_on_disk) == (1, 5, 0)


def test_what_only_stands_for_others_takes_nothing_from_one_petal() -> None:
    shares = Shares(Settings(channel_capacity=1000), 1, 2)
    assert (shares.most, shares.all) == (1000, 1000)


@pytest.mark.trio
async def test_a_petal_that_cannot_say_who_serves_a_name_ends_nobody_else(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again when there is room, by whichever command has made that."""
    petal = Recorder()
    settings = Settings(channel_capacity=1, petal_concurrency=1)
    async with open_harness(petal, settings=settings) as harness:
        for n in range(4):
            harness.send("rec/hold", {"n": n})
        await settle()
        admission = harness.runtime._intake.admission
        assert len(admission.parked) == 2
        for parked in admission.parked:
            parked.spec = attrs.evolve(parked.spec, guessed=True)

        class Broken:
            def lookup(self, name: str) -> None:
                raise RuntimeError("a petal's own code")

        monkeypatch.setattr(admission, "_table", Broken())
        petal.open()
        await until(lambda: len(petal.ended) == 4)
    assert petal.started == list(range(4))


def test_a_share_of_bytes_is_full_for_its_petal_alone() -> None:
    backlog = Backlog(Settings(channel_bytes=1_000_000), ["a", "b"])
    petal = backlog.petals["a"]
    for size, full in ((499_999, False), (500_000, True)):
        petal.waiting_bytes = backlog.waiting_bytes = size
        assert (backlog.is_full("a"), backlog.is_full("b")) == (full, False)
    backlog.waiting_bytes = 1_000_000
    assert backlog.is_full("b")
