"""The end of a job is told once, and not before it is safe: after a crash it might be another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import Job, Petal, Settings, job
from petalkit._serving.jobs.notes import Notes
from petalkit._serving.jobs.record import JobRecord
from petalkit.testing import open_harness

pytestmark = pytest.mark.trio


class Works(Petal):
    name = "works"

    @job("copy")
    async def copy(self, job: Job) -> None:
        await trio.sleep(0.5)
        job.report(0.5)  # its reader has a turn at 1 s, when it is over
        await trio.sleep(0.1)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What is to follow when the ends of jobs are written: a slow disk holds it."""
    held: list[Callable[[], object]] = []
    change = Notes.change

    def slow_disk(
        notes: Notes, record: JobRecord, then: Callable[[], object] | None = None
    ) -> None:
        if record.is_over and then is not None:
            held.append(then)
            then = None
        change(notes, record, then)

    monkeypatch.setattr(Notes, "change", slow_disk)
    return held


async def test_a_turn_between_the_end_and_its_write_tells_nothing(
    autojump_clock: object, held: list[Callable[[], object]]
) -> None:
    async with open_harness(Works()) as harness:
        reader = {"subscribed_stream_id": "r", "data_rate_hz": 1}
        await harness.call("works/subscribe_copy", reader)
        with harness.events() as events:
            await harness.call("works/copy")
            await trio.sleep(10)
            (write_is_done,) = held
            assert "succeeded" not in states(events)
            write_is_done()
            await trio.sleep(10)
            assert states(events).count("succeeded") == 1


def states(events: Any) -> list[str]:
    return [one["data"]["stream_payload"]["state"] for one in events]


class Long(Petal):
    name = "long"

    @job("copy")
    async def copy(self, job: Job) -> None:
        for _ in range(100):
            await trio.sleep(1)
            job.report(0.5)


async def test_a_reader_of_a_long_job_is_told_an_end_that_a_slow_disk_holds(
    autojump_clock: object, held: list[Callable[[], object]]
) -> None:
    """Nobody has renewed it for long; it is kept until the last job's end is safe."""
    async with open_harness(Long(), settings=Settings(subscription_age=10)) as harness:
        reader = {"subscribed_stream_id": "r", "data_rate_hz": 0.7}
        await harness.call("long/subscribe_copy", reader)
        with harness.events() as events:
            await harness.call("long/copy")
            await trio.sleep(103)  # a turn came after the end, and so did the look for old readers
            (write_is_done,) = held
            write_is_done()
            await trio.sleep(5)
            assert states(events).count("succeeded") == 1
