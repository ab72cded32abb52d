"""Jobs and streams in tests: an hour takes no time, and a lease runs out on demand."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit import CommandError, Job, JobState, Petal, Settings, job, stream
from petalkit.testing import open_harness

pytestmark = pytest.mark.trio


class Device(Petal):
    name = "device"

    def __init__(self) -> None:
        self.stopped = False

    @job("hour")
    async def hour(self, job: Job) -> str:
        for minute in range(60):
            await job.progress(minute / 60)
            await trio.sleep(60)
        return "done"

    @job("no")
    async def no(self) -> None:
        raise CommandError("NO", "no")

    @job("spin", lease=3)
    async def spin(self, job: Job) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with job.cleanup():
                await trio.sleep(0.1)
                self.stopped = True

    @stream("count")
    async def count(self) -> AsyncGenerator[dict[str, Any]]:
        for n in range(10_000):
            yield {"n": n}
            await trio.sleep(0.01)


@pytest.mark.parametrize("dialect", ["guide", "host-0.2"])
async def test_a_job_of_an_hour(autojump_clock: object, dialect: Any) -> None:
    async with (
        open_harness(Device(), settings=Settings(dialect=dialect)) as harness,
        harness.start_job("device/hour") as hour,
    ):
        await trio.sleep(1805)
        assert (hour.state, hour.progress) == (JobState.RUNNING, 0.5)
        end = await hour.wait()
        assert (end["state"], end["result"]) == ("succeeded", {"result": "done"})
        assert trio.current_time() >= 3600


async def test_a_job_that_fails_at_once_is_seen_to(autojump_clock: object) -> None:
    async with open_harness(Device()) as harness, harness.start_job("device/no") as no:
        assert (await no.wait())["job_error_code"] == "NO"


async def test_a_job_is_cancelled(autojump_clock: object) -> None:
    async with open_harness(Device()) as harness, harness.start_job("device/hour") as hour:
        assert (await hour.cancel()).success
        assert (await hour.wait())["state"] == "cancelled"


async def test_a_start_that_is_refused_is_said(autojump_clock: object) -> None:
    async with open_harness(Device()) as harness, harness.start_job("device/hour"):
        with pytest.raises(AssertionError, match="BUSY"):
            async with harness.start_job("device/hour"):
                pass


async def test_a_lease_runs_out(autojump_clock: object) -> None:
    device = Device()
    async with open_harness(device) as harness, harness.start_job("device/spin") as spin:
        await trio.sleep(2)
        assert not device.stopped
        await harness.expire_lease(spin)
        assert (await spin.wait(1))["state"] == "timed_out"
        assert device.stopped
        with pytest.raises(ValueError, match="no lease"):
            await harness.expire_lease(spin)


async def test_a_stream_is_read(autojump_clock: object) -> None:
    async with open_harness(Device()) as harness:
        async with harness.stream("device/count", rate=10) as values:
            assert len(await values.wait(21)) == 21
            assert 1.9 <= trio.current_time() <= 2.3
        assert [one["n"] for one in values][-1] >= 190


class Works(Petal):
    name = "works"

    @job("note")
    async def note(self) -> None:
        """Nothing."""


async def test_ids_of_a_later_run_on_one_journal_are_new(
    autojump_clock: object, tmp_path: Path
) -> None:
    settings = Settings(journal=tmp_path / "device.journal")
    jobs: set[str] = set()
    messages: set[str] = set()
    for run in range(3):
        async with open_harness(Works(), settings=settings) as harness:
            for _ in range(run):
                await harness.call("petalkit/ping")  # not recorded
            for _ in range(2):
                answer = await harness.call("works/note")
                jobs.add(answer["job_id"])
                messages.add(answer.message_id)
                await trio.sleep(1)
            assert harness.statistics().jobs_started == 2
    assert len(jobs) == len(messages) == 6
