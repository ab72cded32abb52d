"""Jobs, streams and their readers when the device gets another identity."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import Job, Petal, Settings, job, stream
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from .test_streams import subscribe

pytestmark = pytest.mark.trio

WEB = "org/{}/device/Instance-1/command/web"


class Survey(Petal):
    name = "survey"

    def __init__(self) -> None:
        self.cleaned = 0
        self.running = 0

    @job("map", concurrency=2)
    async def map(self, job: Job) -> None:
        try:
            for n in range(1000):
                await job.progress(n / 1000)
                await trio.sleep(1)
        finally:
            with job.cleanup():
                await trio.sleep(1)
                self.cleaned += 1

    @job("hold", lease=100.0, concurrency=2)
    async def hold(self, job: Job) -> None:
        await trio.sleep_forever()

    @stream("pose")
    async def pose(self) -> AsyncGenerator[int]:
        self.running += 1
        try:
            while True:
                yield 1
                await trio.sleep(0.1)
        finally:
            self.running -= 1


async def test_nobody_reads_for_the_organization_that_the_device_has_left(
    autojump_clock: object,
) -> None:
    survey, broker = Survey(), MemoryBroker()
    with broker.observe(WEB.format("acme")) as old, broker.observe(WEB.format("other")) as new:
        async with open_harness(survey, broker=broker, settings=Settings(grace=5)) as harness:
            await harness.call("survey/subscribe_map", subscribe("m", 10))
            await harness.call("survey/subscribe_pose", subscribe("p", 10))
            await harness.call("survey/map")
            await trio.sleep(5)
            await harness.set_organization("other")
            await trio.sleep(1)
            await harness.call("survey/subscribe_map", subscribe("m2", 10))
            await harness.call("survey/subscribe_pose", subscribe("p2", 10))
            await harness.call("survey/map")
            await trio.sleep(10)  # the grace is over
            assert survey.cleaned == 1
            assert survey.running == 1
            told = [one.payload for one in old]
            assert b'"cancelled"' in told[-1] or b'"cancelled"' in b"".join(told)
            seen, of_new = len(told), len(new)
            await trio.sleep(10)
            assert len(old) == seen
            assert len(new) > of_new + 100
            assert not [one for one in new if b'"cancelled"' in one.payload]
            last = [one.payload for one in list(new)[-30:]]
            assert any(b"m2" in one for one in last)
            assert any(b"p2" in one for one in last)


async def test_a_lease_is_renewed_only_under_the_identity_of_its_job(
    autojump_clock: object,
) -> None:
    async with open_harness(Survey(), settings=Settings(grace=20)) as harness:
        first = await harness.call("survey/hold")
        await harness.set_organization("other")
        await trio.sleep(1)
        second = await harness.call("survey/hold")
        assert second["job_id"] != first["job_id"]
        await trio.sleep(60)
        ended: Any = harness.runtime.jobs.find(first["job_id"])
        assert ended.state == "cancelled"
        assert (await harness.call("survey/hold"))["job_id"] == second["job_id"]
