"""Commands that wait on disk, behind a channel that is full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit.testing import open_harness

from ..backlog_stories import copies_join_what_waits
from ..on_disk import after_crash, settings
from ..recorder import Recorder, settle, unacknowledged, until

pytestmark = pytest.mark.trio


def narrow(path: Path, **others: Any) -> Any:
    return settings(path, channel_capacity=2, petal_concurrency=1, **others)


async def test_reading_goes_on_and_urgent_commands_get_through(
    autojump_clock: object, path: Path
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=narrow(path, channel_reserve=1)) as harness:
        for n in range(200):
            harness.send("rec/hold", {"n": n})
        await settle()
        assert unacknowledged(harness) == 0
        statistics = harness.statistics()
        assert (statistics.waiting, statistics.waiting_on_disk) == (2, 197)
        assert (await harness.call("rec/stop")).success
        petal.open()
        await until(lambda: len(petal.ended) == 200)
        await settle()
        statistics = harness.statistics()
        assert (statistics.waiting, statistics.waiting_on_disk, statistics.outbox) == (0, 0, 0)
        assert statistics.accepted == 201
        assert statistics.succeeded == 201
    assert [n for n in petal.started if n != "stop"] == list(range(200))


async def test_a_copy_of_one_that_waits_on_disk_joins_it(
    autojump_clock: object, path: Path
) -> None:
    await copies_join_what_waits(narrow(path))


async def test_what_waits_on_disk_outlives_a_crash(autojump_clock: object, path: Path) -> None:
    first = Recorder()
    async with open_harness(first, settings=narrow(path)) as harness:
        for n in range(100):
            harness.send("rec/hold", {"n": n})
        await settle()
        crashed = after_crash(path)
    second = Recorder()
    second.open()
    async with open_harness(second, settings=narrow(crashed)) as harness:
        for n in range(100, 110):
            harness.send("rec/hold", {"n": n}, message_id=f"new-{n}")
        await until(lambda: len(second.ended) == 109)
    assert second.started == list(range(1, 110))


async def test_beyond_its_bound_the_rule_for_overflow_holds(
    autojump_clock: object, path: Path
) -> None:
    petal = Recorder()
    bound = narrow(path, journal_backlog=3, overflow="reject")
    async with open_harness(petal, settings=bound) as harness:
        with harness.responses() as responses:
            for n in range(10):
                harness.send("rec/hold", {"n": n})
            await settle()
            assert [response["error_code"] for response in responses] == ["BUSY"] * 4
            petal.open()
            await until(lambda: len(petal.ended) == 6)
    assert petal.started == list(range(6))


async def test_the_oldest_is_dropped_when_that_is_the_rule(
    autojump_clock: object, path: Path
) -> None:
    petal = Recorder()
    bound = narrow(path, journal_backlog=3, overflow="drop-oldest")
    async with open_harness(petal, settings=bound) as harness:
        with harness.responses() as responses:
            for n in range(10):
                harness.send("rec/hold", {"n": n})
                await settle()
            assert [response["error_code"] for response in responses] == ["DROPPED"] * 4
            petal.open()
            await until(lambda: len(petal.ended) == 6)
    assert petal.started == [0, 5, 6, 7, 8, 9]


async def test_what_is_held_is_on_disk_before_the_session_of_an_old_organization_ends(
    autojump_clock: object, path: Path
) -> None:
    """It is acknowledged then, also where that is done with the answer else, and comes no more."""
    petal = Recorder()
    options = narrow(path, acknowledge="handled")
    async with open_harness(petal, settings=options) as harness:
        for n in range(5):
            harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
        await settle()
        assert harness.statistics().held > 0
        await harness.set_organization("other")
        await trio.sleep(0.1)
        assert unacknowledged(harness) == 0
        crashed = after_crash(path)
        petal.open()
    second = Recorder()
    second.open()
    async with open_harness(second, settings=narrow(crashed)):
        await until(lambda: len(second.ended) == 4)
    assert second.started == [1, 2, 3, 4]  # the first was running


async def test_one_that_expires_on_disk_is_not_run(autojump_clock: object, path: Path) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=narrow(path)) as harness:
        with harness.responses() as responses:
            until_then = (harness.now().timestamp() + 10) * 1000
            import datetime as dt

            moment = dt.datetime.fromtimestamp(until_then / 1000, dt.UTC).isoformat()
            for n in range(10):
                more = {"expiresAt": moment} if n == 9 else {}
                harness.send("rec/hold", {"n": n}, message_id=f"m{n}", **more)
            await trio.sleep(100)
            petal.open()
            await until(lambda: len(responses) == 10)
            codes = {response["messageId"]: response.get("error_code") for response in responses}
        assert codes["m9"] == "EXPIRED"
    assert petal.started == list(range(9))


async def test_what_is_taken_up_from_the_disk_has_its_line_when_it_is(
    autojump_clock: object, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def received() -> list[str]:
        lines = [one for one in caplog.records if one.getMessage() == "received"]
        return [one.__dict__["message_id"] for one in lines]

    first = Recorder()
    async with open_harness(first, settings=narrow(path)) as harness:
        for n in range(6):
            harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
        await settle()
        crashed = after_crash(path)
    caplog.clear()
    second = Recorder()
    second.open()
    with caplog.at_level("INFO", "petalkit"):
        async with open_harness(second, settings=narrow(crashed)):
            await until(lambda: len(second.ended) == 5)
    assert received() == ["m1", "m2", "m3", "m4", "m5"]
