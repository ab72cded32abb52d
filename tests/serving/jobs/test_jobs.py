"""Jobs: a start that is answered at once, one final state, and who is told of it."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest
import trio

from petalkit import CommandError, Job, Petal, Settings, command, job
from petalkit.testing import open_harness

from ..recorder import settle

pytestmark = pytest.mark.trio


class Flight(Petal):
    name = "flight"

    def __init__(self) -> None:
        self.go = trio.Event()
        self.cleaned: list[str] = []

    @job("fetch")
    async def fetch(self, job: Job, ids: list[str]) -> Mapping[str, Any]:
        try:
            for number, one in enumerate(ids):
                await job.progress(number / len(ids), one, done=number)
                await trio.sleep(10)
        finally:
            with job.cleanup():
                await trio.sleep(1)
                self.cleaned.append(job.id)
        return {"fetched": len(ids)}

    @job("refuse")
    async def refuse(self) -> None:
        raise CommandError("NO_CARD", "there is no card", details={"slot": 1})

    @job("queued", queue=2)
    async def queued(self, n: int) -> int:
        await self.go.wait()
        return n


async def test_a_job_goes_on_after_its_answer_and_keeps_its_result(autojump_clock: object) -> None:
    async with open_harness(Flight()) as harness:
        started = await harness.call("flight/fetch", {"ids": ["a", "b"]})
        assert started["success"] is True
        assert started["state"] == "running"
        await trio.sleep(15)
        status = await harness.call("flight/status_fetch", {"job_id": started["job_id"]})
        assert (status["state"], status["progress"], status["message"]) == ("running", 0.5, "b")
        await trio.sleep(15)
        result = await harness.call("flight/result_fetch", {"job_id": started["job_id"]})
        assert (result["state"], result["result"]) == ("succeeded", {"fetched": 2})


async def test_a_second_start_is_busy_and_says_what_runs(autojump_clock: object) -> None:
    async with open_harness(Flight()) as harness:
        first = await harness.call("flight/fetch", {"ids": ["a"]})
        second = await harness.call("flight/fetch", {"ids": ["b"]})
        assert (second["error_code"], second["retryable"]) == ("BUSY", True)
        assert second["running"][0]["job_id"] == first["job_id"]


async def test_a_cancelled_job_cleans_up_first(autojump_clock: object) -> None:
    flight = Flight()
    async with open_harness(flight) as harness:
        started = await harness.call("flight/fetch", {"ids": ["a"]})
        cancelled = await harness.call("flight/cancel_fetch")
        assert (cancelled["job_id"], cancelled["state"]) == (started["job_id"], "cancelling")
        await trio.sleep(2)
        assert flight.cleaned == [started["job_id"]]
        result = await harness.call("flight/result_fetch")
        assert (result["state"], result["job_error_code"]) == ("cancelled", "CANCELLED")


async def test_what_a_job_raises_is_its_failure(autojump_clock: object) -> None:
    async with open_harness(Flight()) as harness:
        await harness.call("flight/refuse")
        await settle()
        result = await harness.call("flight/result_refuse")
        assert result["state"] == "failed"
        assert (result["job_error_code"], result["job_error"]) == ("NO_CARD", "there is no card")
        assert result["details"] == {"slot": 1}


async def test_arguments_are_checked_before_the_start(autojump_clock: object) -> None:
    async with open_harness(Flight()) as harness:
        refused = await harness.call("flight/fetch", {"ids": "a"})
        assert refused["error_code"] == "INVALID_DATA"
        assert (await harness.call("flight/status_fetch"))["jobs"] == []


async def test_what_waits_says_its_place_and_starts_in_order(autojump_clock: object) -> None:
    flight = Flight()
    async with open_harness(flight) as harness:
        answers = [await harness.call("flight/queued", {"n": n}) for n in range(4)]
        assert [one.get("state") for one in answers] == ["running", "accepted", "accepted", None]
        assert [one.get("position") for one in answers[1:3]] == [1, 2]
        assert answers[3]["error_code"] == "BUSY"
        flight.go.set()
        await settle()
        results = [
            await harness.call("flight/result_queued", {"job_id": one["job_id"]})
            for one in answers[:3]
        ]
        assert [one["result"] for one in results] == [{"result": n} for n in range(3)]


async def test_a_reader_is_told_the_latest_at_its_own_rate_and_the_end(
    autojump_clock: object,
) -> None:
    class Busy(Petal):
        name = "busy"

        @job("count")
        async def count(self, job: Job) -> int:
            for n in range(100):
                await job.progress(n / 100)
                await trio.sleep(0.01)
            return 100

    async with open_harness(Busy()) as harness:
        await harness.call("busy/subscribe_count", {"subscribed_stream_id": "s", "data_rate_hz": 5})
        with harness.events() as events:
            await harness.call("busy/count")
            await trio.sleep(5)
            told = [event["data"]["stream_payload"] for event in events]
        assert {event["data"]["published_stream_id"] for event in events} == {"s"}
        assert 5 <= len(told) <= 8
        assert told[-1]["state"] == "succeeded"
        assert told[-1]["result"] == {"result": 100}
        fractions = [one["progress"] for one in told]
        assert fractions == sorted(fractions)


async def test_a_job_whose_time_runs_out_says_so(autojump_clock: object) -> None:
    class Slow(Petal):
        name = "slow"

        @job("wait", timeout=3)
        async def wait(self) -> None:
            await trio.sleep(math.inf)

    async with open_harness(Slow()) as harness:
        await harness.call("slow/wait")
        await trio.sleep(4)
        result = await harness.call("slow/result_wait")
        assert (result["state"], result["job_error_code"]) == ("timed_out", "TIMEOUT")


class Motor(Petal):
    name = "motor"

    def __init__(self) -> None:
        self.log: list[str] = []

    @job("spin", lease=3.0)
    async def spin(self, job: Job) -> None:
        self.log.append("on")
        try:
            await trio.sleep_forever()
        finally:
            self.log.append("off")


async def test_a_lease_that_is_renewed_holds_and_one_that_is_not_ends(
    autojump_clock: object,
) -> None:
    motor = Motor()
    async with open_harness(motor) as harness:
        ids = set()
        for _ in range(5):
            ids.add((await harness.call("motor/spin"))["job_id"])
            await trio.sleep(2)
        assert motor.log == ["on"]
        assert len(ids) == 1
        await trio.sleep(2)
        assert motor.log == ["on", "off"]
        result = await harness.call("motor/result_spin")
        assert result["state"] == "timed_out"


async def test_a_stop_ends_a_job_after_its_grace(autojump_clock: object) -> None:
    motor = Motor()
    async with open_harness(motor, settings=Settings(grace=1.0)) as harness:
        await harness.call("motor/spin")
    assert motor.log == ["on", "off"]


async def test_a_job_and_a_command_share_a_group(autojump_clock: object) -> None:
    class Arm(Petal):
        name = "arm"

        @job("sweep", exclusive="arm", queue=1)
        async def sweep(self) -> None:
            await trio.sleep(5)

        @command("point", exclusive="arm")
        async def point(self) -> None:
            await trio.sleep(5)

    async with open_harness(Arm()) as harness:
        await harness.call("arm/sweep")
        refused = await harness.call("arm/point")
        assert refused["error_code"] == "BUSY"
        await trio.sleep(6)
        harness.send("arm/point")
        await settle()
        waits = await harness.call("arm/sweep")
        assert waits["state"] == "accepted"
        await trio.sleep(6)
        status = await harness.call("arm/status_sweep")
        assert [one["state"] for one in status["jobs"]] == ["running"]


class Threaded(Petal):
    name = "threaded"

    def __init__(self) -> None:
        self.looks = threading.Event()
        self.ends = threading.Event()
        self.may_end = threading.Event()

    @job("copy", thread=True)
    def copy(self, job: Job) -> str:
        job.report(0.5, "halfway")
        try:
            job.check_cancelled()
            assert self.looks.wait(30)
            job.check_cancelled()
            return "copied"
        finally:
            self.ends.set()
            self.may_end.wait(30)


async def test_a_thread_reports_and_sees_its_cancellation_and_keeps_its_slot() -> None:
    petal = Threaded()
    async with open_harness(petal) as harness:
        status = functools.partial(harness.call, "threaded/status_copy")
        await harness.call("threaded/copy")
        with trio.fail_after(30):
            while (await status())["jobs"][0]["progress"] != 0.5:
                await settle()
            await harness.call("threaded/cancel_copy")
            petal.looks.set()
            assert await trio.to_thread.run_sync(petal.ends.wait, 30)
            assert (await status())["jobs"][0]["state"] == "cancelling"
            assert (await harness.call("threaded/copy"))["error_code"] == "BUSY"
            petal.may_end.set()
            while (result := await status())["jobs"]:
                await settle()
        assert result["last"]["state"] == "cancelled"


async def test_steps_that_run_side_by_side_add_up(autojump_clock: object) -> None:
    class Sync(Petal):
        name = "sync"

        @job("all")
        async def all(self, job: Job) -> None:
            async with job.step("download", weight=0.9) as step:
                for n in range(10):
                    await step.progress(n / 10)
                    await trio.sleep(1)

            async def upload(name: str) -> None:
                async with job.step(name, weight=0.05) as step:
                    for n in range(10):
                        await step.progress(n / 10)
                        await trio.sleep(1)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(upload, "map")
                nursery.start_soon(upload, "log")

    async with open_harness(Sync()) as harness:
        await harness.call("sync/all")
        await trio.sleep(5.5)
        status = await harness.call("sync/status_all")
        assert status["jobs"][0]["progress"] == pytest.approx(0.45)
        await trio.sleep(10)
        status = await harness.call("sync/status_all")
        assert status["jobs"][0]["progress"] == pytest.approx(0.95)
        await trio.sleep(10)
        status = await harness.call("sync/status_all")
        assert (status["jobs"], status["last"]["progress"]) == ([], 1.0)


async def test_a_petal_that_fails_ends_its_jobs_and_starts_none_that_wait(
    autojump_clock: object,
) -> None:
    class Frail(Petal):
        name = "frail"

        def __init__(self) -> None:
            self.fail = trio.Event()
            self.log: list[str] = []

        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            self.nursery.start_soon(self._fail)
            yield

        async def _fail(self) -> None:
            await self.fail.wait()
            raise RuntimeError("broken")

        @job("work", queue=1)
        async def work(self, n: int) -> None:
            self.log.append(f"on {n}")
            try:
                await trio.sleep_forever()
            finally:
                self.log.append(f"off {n}")

    frail = Frail()
    async with open_harness(frail, Flight()) as harness:
        with harness.events() as events:
            await harness.call("frail/subscribe_work", {"subscribed_stream_id": "s"})
            for n in range(2):
                await harness.call("frail/work", {"n": n})
            frail.fail.set()
            await trio.sleep(1)
        assert frail.log == ["on 0", "off 0"]
        ends = [event["data"]["stream_payload"] for event in events]
        assert [one["job_error_code"] for one in ends if one["state"] == "cancelled"] == [
            "UNAVAILABLE",
            "UNAVAILABLE",
        ]
        assert (await harness.call("flight/fetch", {"ids": []}))["success"] is True


async def test_results_are_kept_by_count_and_by_age(autojump_clock: object) -> None:
    class Quick(Petal):
        name = "quick"

        @job("one")
        async def one(self, n: int) -> int:
            return n

    settings = Settings(job_results=2, job_result_age=100)
    async with open_harness(Quick(), settings=settings) as harness:
        ids = []
        for n in range(3):
            ids.append((await harness.call("quick/one", {"n": n}))["job_id"])
            await trio.sleep(1)
        codes = [
            (await harness.call("quick/result_one", {"job_id": one})).get("error_code")
            for one in ids
        ]
        assert codes == ["UNKNOWN_JOB", None, None]
        await trio.sleep(100)
        last = await harness.call("quick/result_one", {"job_id": ids[2]})
        assert last["error_code"] == "UNKNOWN_JOB"


async def test_a_copy_of_a_start_is_answered_with_the_same_job(autojump_clock: object) -> None:
    async with open_harness(Flight()) as harness:
        first = await harness.call("flight/fetch", {"ids": ["a"]}, message_id="m")
        again = await harness.call("flight/fetch", {"ids": ["a"]}, message_id="m")
        assert again["job_id"] == first["job_id"]
        assert len((await harness.call("flight/status_fetch"))["jobs"]) == 1


async def test_what_a_background_task_of_a_job_raises_is_its_failure(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Watched(Petal):
        name = "watched"

        @job("fly")
        async def fly(self, job: Job) -> None:
            async def watch() -> None:
                await trio.sleep(1)
                raise CommandError("LOW_BATTERY", "12 %")

            job.nursery.start_soon(watch)
            await trio.sleep_forever()

    async with open_harness(Watched()) as harness:
        await harness.call("watched/fly")
        await trio.sleep(2)
        result = await harness.call("watched/result_fly")
        assert (result["state"], result["job_error_code"]) == ("failed", "LOW_BATTERY")
