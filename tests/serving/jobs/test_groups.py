"""A group that jobs and commands share: whoever waits longest is next, and nobody for ever."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio

from petalkit import Job, Petal, Settings, command, job
from petalkit.testing import open_harness

from ..recorder import settle

pytestmark = pytest.mark.trio


class Arm(Petal):
    name = "arm"

    def __init__(self) -> None:
        self.order: list[str] = []
        self.running = 0
        self.most = 0

    async def _work(self, name: str, seconds: float = 1.0) -> None:
        self.order.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await trio.sleep(seconds)
        finally:
            self.running -= 1

    @job("sweep", exclusive="arm", queue=10)
    async def sweep(self, n: str) -> None:
        await self._work(n)

    @job("grip", exclusive="arm", queue=10)
    async def grip(self, n: str) -> None:
        await self._work(n)

    @command("move", exclusive="arm", when_busy="wait", timeout=math.inf)
    async def move(self, n: str) -> None:
        await self._work(n)

    @job("quick", exclusive="arm", queue=10)
    async def quick(self, n: str) -> None:
        self.order.append(n)

    @job("free", queue=5)
    async def free(self, n: str) -> None:
        await self._work(n)


async def test_jobs_of_two_kinds_and_commands_take_turns_as_they_came(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    arm = Arm()
    async with open_harness(arm) as harness:
        for name, n in [
            ("sweep", "1"), ("sweep", "2"), ("move", "3"), ("grip", "4"), ("sweep", "5"),
            ("move", "6"), ("quick", "7"), ("quick", "8"), ("move", "9"),
        ]:  # fmt: skip
            nursery.start_soon(harness.call, f"arm/{name}", {"n": n})
            await settle()
        await trio.sleep(20)
        assert (arm.order, arm.most) == (list("123456789"), 1)


async def test_a_command_is_not_starved_by_jobs_that_keep_coming(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    arm = Arm()
    async with open_harness(arm) as harness:

        async def keep_coming() -> None:
            while True:
                await harness.call("arm/sweep", {"n": "job"})
                await trio.sleep(0.3)

        nursery.start_soon(keep_coming)
        await trio.sleep(1.05)
        with trio.fail_after(10):
            assert (await harness.call("arm/move", {"n": "move"}, timeout=60))["success"] is True
        nursery.cancel_scope.cancel()


async def test_a_waiting_command_that_is_cancelled_lets_the_jobs_behind_it_begin(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    arm = Arm()
    async with open_harness(arm, settings=Settings(concurrency=1)) as harness:
        await harness.call("arm/sweep", {"n": "1"})
        nursery.start_soon(lambda: harness.call("arm/move", {"n": "2"}, message_id="m"))
        await settle()
        waiting = await harness.call("arm/grip", {"n": "3"})
        assert waiting["state"] == "accepted"
        cancelled = await harness.call("petalkit/cancel", {"messageId": "m"})
        assert cancelled["state"] == "cancelled"
        await trio.sleep(5)
        assert arm.order == ["1", "3"]


async def test_a_waiting_job_that_is_cancelled_lets_those_behind_it_begin(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    arm = Arm()
    async with open_harness(arm) as harness:
        await harness.call("arm/sweep", {"n": "1"})
        second = await harness.call("arm/sweep", {"n": "2"})
        third = await harness.call("arm/grip", {"n": "3"})
        nursery.start_soon(harness.call, "arm/move", {"n": "4"})
        await settle()
        answer = await harness.call("arm/cancel_sweep", {"job_id": second["job_id"]})
        assert answer["state"] == "cancelled"
        await trio.sleep(5)
        assert arm.order == ["1", "3", "4"]
        assert (await harness.call("arm/result_grip", {"job_id": third["job_id"]}))["state"] == (
            "succeeded"
        )


async def test_a_place_that_gets_free_among_all_jobs_is_taken(autojump_clock: object) -> None:
    arm = Arm()
    async with open_harness(arm, settings=Settings(job_concurrency=1)) as harness:
        first = await harness.call("arm/free", {"n": "1"})
        second = await harness.call("arm/sweep", {"n": "2"})
        third = await harness.call("arm/free", {"n": "3"})
        assert [one["state"] for one in (first, second, third)] == [
            "running", "accepted", "accepted",
        ]  # fmt: skip
        await trio.sleep(5)
        assert (arm.order, arm.most) == (["1", "2", "3"], 1)


async def test_all_jobs_take_turns_whatever_their_kind(autojump_clock: object) -> None:
    """Kinds that share the places of all jobs are served in the order of arrival."""
    arm = Arm()
    async with open_harness(arm, settings=Settings(job_concurrency=1)) as harness:
        names = ["free", "free", "sweep", "grip", "free", "sweep"]
        for n, name in enumerate(names):
            await harness.call(f"arm/{name}", {"n": str(n)})
        await trio.sleep(10)
        assert arm.order == list("012345")


async def test_waiting_jobs_of_a_petal_that_fails_end_and_others_begin(
    autojump_clock: object,
) -> None:
    class Other(Arm):
        name = "other"

        @command("crash")
        async def crash(self) -> None:
            async def fail() -> None:
                raise RuntimeError("broken")

            self.nursery.start_soon(fail)

    arm, other = Arm(), Other()
    async with open_harness(arm, other) as harness:
        running = await harness.call("other/sweep", {"n": "1"})
        waiting = await harness.call("other/grip", {"n": "2"})
        await harness.call("arm/sweep", {"n": "3"})
        await harness.call("other/crash")
        await trio.sleep(5)
        assert (other.order, arm.order) == (["1"], ["3"])
        jobs = [harness.runtime.jobs.find(one["job_id"]) for one in (running, waiting)]
        assert [one.state for one in jobs if one is not None] == ["cancelled", "cancelled"]


async def test_renewals_and_ends_in_one_moment(autojump_clock: object) -> None:
    """A renewal in the very moment in which the lease runs out comes too late, whoever is first."""

    class Motor(Petal):
        name = "motor"
        stops = 0

        @job("drive", lease=3.0)
        async def drive(self, job: Job, speed: int = 1) -> None:
            try:
                await trio.sleep_forever()
            finally:
                self.stops += 1

    motor = Motor()
    async with open_harness(motor) as harness:
        for _ in range(20):
            first = await harness.call("motor/drive")
            await trio.sleep(2.999)
            again = await harness.call("motor/drive", {"speed": 2})
            assert again["job_id"] == first["job_id"]
            left = harness.runtime.jobs.lease_left(first["job_id"])
            assert left is not None
            await trio.sleep(left)
            late: dict[str, Any] = dict(await harness.call("motor/drive"))
            assert late.get("job_id") != first["job_id"]
            await trio.sleep(10)
            result = await harness.call("motor/result_drive", {"job_id": first["job_id"]})
            assert result["state"] == "timed_out"
    assert motor.stops >= 20
