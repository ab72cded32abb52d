"""What an earlier run has left, where this run is another: the start goes on in any case."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any

import attrs
import msgspec
import pytest
import trio

from petalkit import InterruptedJob, Job, Petal, job
from petalkit.testing import open_harness

from ..on_disk import after_crash, settings
from ..recorder import settle

pytestmark = pytest.mark.trio


class Works(Petal):
    name = "works"

    def __init__(self, error: BaseException | None = None, hangs: bool = False) -> None:
        self.error = error
        self.hangs = hangs
        self.started: list[int] = []
        self.asked = 0

    @job("copy", queue=5)
    async def copy(self, job: Job, n: int) -> int:
        self.started.append(n)
        await trio.sleep(100)
        return n

    async def on_interrupted(self, job: InterruptedJob) -> None:
        self.asked += 1
        if self.hangs:
            await trio.sleep_forever()
        if self.error is not None:
            raise self.error


class Others(Petal):
    """The next version, whose jobs take other arguments."""

    name = "works"

    @job("copy", queue=5)
    async def copy(self, job: Job, n: Annotated[str, msgspec.Meta(min_length=2)]) -> str:
        return n


async def crashed(path: Path, count: int = 3) -> tuple[Path, list[str]]:
    async with open_harness(Works(), settings=settings(path)) as harness:
        for n in range(5):
            await harness.call("works/subscribe_copy", {"subscribed_stream_id": f"s{n}"})
        ids = [(await harness.call("works/copy", {"n": n}))["job_id"] for n in range(count)]
        await settle()
        crashed = after_crash(path)
        harness.runtime.hurry()
    return crashed, ids


def states(harness: Any, ids: list[str]) -> list[str]:
    return [str(harness.runtime.jobs.find(one).state) for one in ids]


async def test_what_waited_and_takes_other_arguments_now_has_failed(
    autojump_clock: object, path: Path
) -> None:
    left, ids = await crashed(path)
    for run in range(2):
        async with open_harness(Others(), settings=settings(left)) as harness:
            await settle()
            assert states(harness, ids) == ["interrupted", "failed", "failed"]
            harness.send("works/copy", {"n": "xy"}, message_id=f"again {run}")
            await settle()
            newest = harness.runtime.jobs.kinds["works/copy"].newest_ended
            assert newest is not None
            assert newest.fields == {"result": "xy"}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x"),
        SystemExit(3),
        asyncio.CancelledError(),
        BaseExceptionGroup("g", [SystemExit(1)]),
    ],
)
async def test_a_hook_that_raises_keeps_nothing_from_being_served(
    autojump_clock: object, path: Path, error: BaseException
) -> None:
    left, ids = await crashed(path)
    works = Works(error)
    async with open_harness(works, settings=settings(left)) as harness:
        await settle()
        assert works.asked == 1
        assert states(harness, ids) == ["interrupted", "running", "accepted"]


async def test_a_hook_that_hangs_has_a_limit(autojump_clock: object, path: Path) -> None:
    left, ids = await crashed(path)
    works = Works(hangs=True)
    async with open_harness(works, settings=settings(left)) as harness:
        await settle()
        assert states(harness, ids) == ["interrupted", "running", "accepted"]


async def test_fewer_readers_are_allowed_than_there_were(
    autojump_clock: object, path: Path
) -> None:
    left, ids = await crashed(path)
    few = attrs.evolve(settings(left), subscriptions=2)
    async with open_harness(Works(), settings=few) as harness:
        await settle()
        assert states(harness, ids) == ["interrupted", "running", "accepted"]
        assert len(harness.runtime.jobs.subscriptions) == 2


async def test_jobs_of_a_petal_that_cannot_start_are_not_called(
    autojump_clock: object, path: Path
) -> None:
    class Broken(Works):
        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            raise RuntimeError("no hardware")
            yield

    class Fine(Petal):
        name = "fine"

    left, ids = await crashed(path)
    broken = Broken()
    async with open_harness(broken, Fine(), settings=settings(left)) as harness:
        await trio.sleep(300)
        assert broken.started == []
        assert harness.runtime.jobs.find(ids[1]) is not None
