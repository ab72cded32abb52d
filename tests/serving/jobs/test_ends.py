"""Ends of jobs at odd moments: one final state each, and nobody waits for ever."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import pytest
import trio

from petalkit import CommandError, Job, Petal, Settings, Step, command, job
from petalkit.testing import open_harness

from ..recorder import settle

pytestmark = pytest.mark.trio


class Odd(Petal):
    name = "odd"

    def __init__(self) -> None:
        self.kept: Job | None = None
        self.step: Step | None = None
        self.log: list[str] = []
        self.lives = 0
        self.alive_at_start: list[int] = []
        self.alive = 0

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.lives += 1
        self.alive_at_start.append(self.alive)
        yield

    @job("at_once", queue=3)
    async def at_once(self, job: Job) -> int:
        self.log.append("ran")
        self.kept, self.step = job, job.step("all", 1.0)
        return 1

    @job("swallow", concurrency=5)
    async def swallow(self) -> int:
        with contextlib.suppress(trio.Cancelled):
            await trio.sleep_forever()
        return 2

    @job("raise_instead", concurrency=5)
    async def raise_instead(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("instead")

    @job("stubborn", concurrency=5)
    async def stubborn(self, job: Job, seconds: float) -> None:
        self.alive += 1
        try:
            await trio.sleep_forever()
        finally:
            with job.cleanup(seconds):
                await trio.sleep(seconds - 1)
            self.alive -= 1

    @job("nested", concurrency=5)
    async def nested(self, job: Job) -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(trio.sleep_forever)
            inner.start_soon(trio.sleep_forever)
            job.nursery.start_soon(trio.sleep_forever)

    @job("refuses_in_child")
    async def refuses_in_child(self, job: Job) -> None:
        async def refuse() -> None:
            raise CommandError("NO_CARD", "there is none")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            await trio.sleep_forever()

    @job("background")
    async def background(self, job: Job) -> int:
        async def count() -> None:
            try:
                await trio.sleep_forever()
            finally:
                self.log.append("child ended")

        job.nursery.start_soon(count)
        await trio.sleep(1)
        return 3

    @job("surrogate")
    async def surrogate(self, job: Job, fails: bool = False) -> str:
        await job.progress(0.5, "reading \udce4.txt")
        await trio.sleep(1)
        raise CommandError("BAD_\udce4", "no file \udce4.txt", details={"name": "\udce4"})

    @command("crash")
    async def crash(self) -> None:
        async def fail() -> None:
            raise RuntimeError("broken")

        self.nursery.start_soon(fail)


async def test_a_job_that_ends_in_its_first_step(autojump_clock: object) -> None:
    odd = Odd()
    async with open_harness(odd) as harness:
        await harness.call("odd/subscribe_at_once", {"subscribed_stream_id": "s"})
        with harness.events() as events:
            ids = [(await harness.call("odd/at_once"))["job_id"] for _ in range(3)]
            await settle()
        states = [
            (one["data"]["stream_payload"]["job_id"], one["data"]["stream_payload"]["state"])
            for one in events
        ]
        assert [one for one in states if one[1] == "succeeded"] == [
            (one, "succeeded") for one in ids
        ]


async def test_what_is_used_after_its_end_does_no_harm(autojump_clock: object) -> None:
    odd = Odd()
    async with open_harness(odd) as harness:
        await harness.call("odd/subscribe_at_once", {"subscribed_stream_id": "s"})
        await harness.call("odd/at_once")
        await settle()
        assert odd.kept is not None
        assert odd.step is not None
        with harness.events() as events:
            odd.step.report(0.2, "late")
            odd.kept.report(message="later")
            with odd.step:
                pass
            await trio.sleep(5)
        assert len(events) == 0
    odd.kept.report(message="much later")


async def test_one_that_is_cancelled_before_its_first_step_never_runs(
    autojump_clock: object,
) -> None:
    odd = Odd()
    async with open_harness(odd) as harness:
        harness.send("odd/at_once", message_id="a")
        harness.send("odd/cancel_at_once", message_id="b")
        await settle()
        result = await harness.call("odd/result_at_once")
        assert result["state"] in ("cancelled", "succeeded")
        assert (result["state"] == "succeeded") == bool(odd.log)


@pytest.mark.parametrize(
    ("name", "state"),
    [("swallow", "succeeded"), ("raise_instead", "cancelled"), ("nested", "cancelled")],
)
async def test_whatever_a_method_makes_of_its_cancellation(
    autojump_clock: object, name: str, state: str
) -> None:
    async with open_harness(Odd()) as harness:
        started = await harness.call(f"odd/{name}")
        await settle()
        await harness.call(f"odd/cancel_{name}")
        await settle()
        result = await harness.call(f"odd/result_{name}", {"job_id": started["job_id"]})
        assert result["state"] == state


async def test_one_error_of_a_nested_nursery_is_said_as_it_is(autojump_clock: object) -> None:
    async with open_harness(Odd()) as harness:
        await harness.call("odd/refuses_in_child")
        await settle()
        result = await harness.call("odd/result_refuses_in_child")
        assert (result["state"], result["job_error_code"]) == ("failed", "NO_CARD")


async def test_background_tasks_end_with_the_method(autojump_clock: object) -> None:
    odd = Odd()
    async with open_harness(odd) as harness:
        await harness.call("odd/background")
        await trio.sleep(2)
        assert odd.log == ["child ended"]
        assert (await harness.call("odd/result_background"))["state"] == "succeeded"


async def test_words_that_are_no_unicode_are_told_all_the_same(autojump_clock: object) -> None:
    async with open_harness(Odd()) as harness:
        await harness.call("odd/subscribe_surrogate", {"subscribed_stream_id": "s"})
        with harness.events() as events:
            await harness.call("odd/surrogate")
            await trio.sleep(0.5)
            assert "udce4" in (await harness.call("odd/status_surrogate"))["jobs"][0]["message"]
            await trio.sleep(5)
        result = await harness.call("odd/result_surrogate")
        assert result["state"] == "failed"
        assert events[-1]["data"]["stream_payload"]["state"] == "failed"


async def test_a_petal_is_started_again_when_its_jobs_have_cleaned_up(
    autojump_clock: object,
) -> None:
    odd = Odd()
    odd.restart_policy = "on-failure"
    async with open_harness(odd) as harness:
        await harness.call("odd/stubborn", {"seconds": 20})
        await settle()
        await harness.call("odd/crash")
        await trio.sleep(600)
        assert odd.alive_at_start == [0, 0]
        assert (await harness.call("odd/at_once"))["success"] is True


@pytest.mark.parametrize("seconds", [3.0, 30.0])
async def test_the_stop_does_not_wait_longer_for_jobs_than_for_commands(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    odd = Odd()
    began = trio.current_time()
    async with open_harness(odd, settings=Settings(grace=1, cleanup_timeout=5)) as harness:
        await harness.call("odd/stubborn", {"seconds": seconds})
        await settle()
    assert trio.current_time() - began <= max(seconds, 5) + 2
    assert ("does not end although it is cancelled" in caplog.text) == (seconds > 5)
