"""Jobs across a crash and a stop: one final state each, told, and what they left put right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from petalkit import InterruptedJob, Job, Petal, job
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from ..on_disk import after_crash, settings
from ..recorder import settle

pytestmark = pytest.mark.trio


class Works(Petal):
    name = "works"

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.interrupted: list[InterruptedJob] = []

    @job("copy", queue=5)
    async def copy(self, job: Job, n: int) -> int:
        self.log.append(f"copy {n}")
        await trio.sleep(100)
        return n

    @job("sync", resume=True)
    async def sync(self, job: Job) -> list[int]:
        begin = 0 if job.resumed is None else job.resumed["done"]
        self.log.append(f"sync from {begin}")
        for n in range(begin, 10):
            await trio.sleep(10)
            await job.checkpoint({"done": n + 1})
        return [begin, 10]

    async def on_interrupted(self, job: InterruptedJob) -> None:
        assert self.log == []  # nothing was served before
        self.interrupted.append(job)


async def states(harness: Any, ids: list[str]) -> list[str]:
    return [(await harness.call("works/result_copy", {"job_id": one}))["state"] for one in ids]


async def test_after_a_crash_what_ran_is_interrupted_and_what_waited_starts(
    autojump_clock: object, path: Path
) -> None:
    async with open_harness(Works(), settings=settings(path)) as harness:
        ids = [(await harness.call("works/copy", {"n": n}))["job_id"] for n in range(3)]
        await trio.sleep(150)
        crashed = after_crash(path)
        harness.runtime.hurry()
    works = Works()
    async with open_harness(works, settings=settings(crashed)) as harness:
        assert await states(harness, ids) == ["succeeded", "interrupted", "running"]
        assert [(one.id, one.data) for one in works.interrupted] == [(ids[1], {"n": 1})]
        assert works.log == ["copy 2"]
        first = await harness.call("works/result_copy", {"job_id": ids[0]})
        assert first["result"] == {"result": 0}
        await trio.sleep(100)
        assert await states(harness, ids) == ["succeeded", "interrupted", "succeeded"]


async def test_a_job_that_can_goes_on_from_what_it_kept(autojump_clock: object, path: Path) -> None:
    async with open_harness(Works(), settings=settings(path)) as harness:
        started = await harness.call("works/sync")
        await trio.sleep(55)
        crashed = after_crash(path)
        harness.runtime.hurry()
    works = Works()
    async with open_harness(works, settings=settings(crashed)) as harness:
        await trio.sleep(60)
        assert works.log == ["sync from 5"]
        assert works.interrupted == []
        result = await harness.call("works/result_sync", {"job_id": started["job_id"]})
        assert (result["state"], result["result"]) == ("succeeded", {"result": [5, 10]})


async def test_a_stop_leaves_to_the_next_start_what_can_go_on_and_what_waits(
    autojump_clock: object, path: Path
) -> None:
    with_grace = attrs.evolve(settings(path), grace=1.0)
    async with open_harness(Works(), settings=with_grace) as harness:
        ids = [(await harness.call("works/copy", {"n": n}))["job_id"] for n in range(2)]
        await harness.call("works/sync")
        await trio.sleep(35)
    works = Works()
    async with open_harness(works, settings=with_grace) as harness:
        await settle()
        assert await states(harness, ids) == ["cancelled", "running"]
        assert sorted(works.log) == ["copy 1", "sync from 3"]
        assert works.interrupted == []


async def test_a_reader_is_told_after_the_restart_that_its_job_was_interrupted(
    autojump_clock: object, path: Path
) -> None:
    async with open_harness(Works(), settings=settings(path)) as harness:
        await harness.call("works/subscribe_copy", {"subscribed_stream_id": "s"})
        await harness.call("works/copy", {"n": 1})
        await trio.sleep(10)
        crashed = after_crash(path)
        harness.runtime.hurry()
    broker = MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        async with open_harness(Works(), settings=settings(crashed), broker=broker):
            (message,) = await seen.wait(1)
            assert b'"state":"interrupted"' in message.payload
            assert b'"published_stream_id":"s"' in message.payload
    # And once: not at each later start.
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        async with open_harness(Works(), settings=settings(crashed), broker=broker):
            await trio.sleep(100)
            assert len(seen) == 0


async def test_a_job_that_is_not_served_any_more_is_forgotten(
    autojump_clock: object, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Other(Petal):
        name = "other"

        @job("one")
        async def one(self) -> None: ...

    async with open_harness(Works(), settings=settings(path)) as harness:
        await harness.call("works/copy", {"n": 1})
        crashed = after_crash(path)
        harness.runtime.hurry()
    async with open_harness(Other(), settings=settings(crashed)):
        assert "nobody serves the job 'works/copy'" in caplog.text
    caplog.clear()
    async with open_harness(Other(), settings=settings(crashed)):
        assert "nobody serves" not in caplog.text


async def test_results_that_are_forgotten_are_forgotten_on_disk(
    autojump_clock: object, path: Path
) -> None:
    class Quick(Petal):
        name = "quick"

        @job("one")
        async def one(self, n: int) -> int:
            return n

    few = attrs.evolve(settings(path), job_results=2)
    async with open_harness(Quick(), settings=few) as harness:
        ids = []
        for n in range(5):
            ids.append((await harness.call("quick/one", {"n": n}))["job_id"])
            await settle()
    async with open_harness(Quick(), settings=attrs.evolve(few, job_results=100)) as harness:
        found = [
            (await harness.call("quick/result_one", {"job_id": one})).get("error_code")
            for one in ids
        ]
        assert found == ["UNKNOWN_JOB"] * 3 + [None] * 2
