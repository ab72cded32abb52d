"""What a petal reports or yields and JSON cannot say: it is the petal's own trouble alone."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import Job, Petal, Settings, job, stream
from petalkit.testing import open_harness

from ..recorder import settle

pytestmark = pytest.mark.trio

UNSAYABLE = [object(), float("nan"), {1.5: threading.Lock()}]


class Odd(Petal):
    name = "odd"

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.go = trio.Event()

    @job("report")
    async def report(self, job: Job) -> int:
        for _ in range(10):
            await job.progress(0.5, "half", value=self.value)
            await trio.sleep(1)
        return 7

    @job("count")
    async def count(self, job: Job) -> int:
        for n in range(10):
            await job.progress(n / 10)
            await trio.sleep(1)
        return 8

    @job("huge", check_result=False)
    async def huge(self, n: int = 0) -> Any:
        return {"huge": 2**70, "n": n, "value": self.value}

    @stream("values")
    async def values(self) -> AsyncGenerator[Any]:
        while True:
            yield {"value": self.value}
            await trio.sleep(0.1)

    @stream("sampled")
    def sampled(self) -> dict[str, Any]:
        return {"value": self.value}


def reader(stream_id: str, rate: float = 10) -> dict[str, Any]:
    return {"subscribed_stream_id": stream_id, "data_rate_hz": rate}


def told(events: Any, stream_id: str) -> list[Any]:
    return [
        event["data"]["stream_payload"]
        for event in events
        if event["data"]["published_stream_id"] == stream_id
    ]


@pytest.mark.parametrize("value", UNSAYABLE, ids=lambda one: type(one).__name__)
async def test_fields_of_a_report_that_json_cannot_say_are_left_out(
    autojump_clock: object, value: Any
) -> None:
    async with open_harness(Odd(value)) as harness:
        await harness.call("odd/subscribe_report", reader("r"))
        await harness.call("odd/subscribe_count", reader("c"))
        with harness.events() as events:
            await harness.call("odd/count")
            await harness.call("odd/report")
            await trio.sleep(1)
            status = await harness.call("odd/status_report")
            await trio.sleep(20)
        assert status["jobs"][0]["progress"] == 0.5
        assert told(events, "r")[0]["message"] == "half"
        assert told(events, "r")[-1]["result"] == {"result": 7}
        assert len(told(events, "c")) == 11
        assert told(events, "c")[-1]["result"] == {"result": 8}


async def test_a_report_larger_than_a_message_may_be_is_told_without_its_fields(
    autojump_clock: object,
) -> None:
    async with open_harness(Odd("x" * 5000), settings=Settings(payload_max=4096)) as harness:
        await harness.call("odd/subscribe_report", reader("r"))
        with harness.events() as events:
            await harness.call("odd/report")
            await trio.sleep(20)
        assert all(len(str(one)) < 1000 for one in told(events, "r"))
        assert told(events, "r")[-1]["result"] == {"result": 7}


@pytest.mark.parametrize("value", UNSAYABLE, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("name", ["values", "sampled"])
async def test_a_stream_that_json_cannot_say_ends_for_its_readers_alone(
    autojump_clock: object, name: str, value: Any
) -> None:
    odd = Odd(1)
    async with open_harness(odd) as harness:
        await harness.call(f"odd/subscribe_{name}", reader("s"))
        await harness.call("odd/subscribe_count", reader("c"))
        with harness.events() as events:
            await harness.call("odd/count")
            await trio.sleep(2)
            odd.value = value
            await trio.sleep(20)
        last = told(events, "s")[-1]
        assert (last["ended"], last["error_code"]) == (True, "HANDLER_ERROR")
        assert told(events, "c")[-1]["result"] == {"result": 8}
        odd.value = 2
        with harness.events() as events:
            await harness.call(f"odd/subscribe_{name}", reader("s"))
            await trio.sleep(1)
        assert told(events, "s")[-1] == {"value": 2}


async def test_numbers_of_any_size_are_kept_as_arguments_and_results(
    autojump_clock: object,
) -> None:
    odd = Odd()
    async with open_harness(odd) as harness:
        started = await harness.call("odd/huge", {"n": 5, "more": 2**70})
        assert started["success"] is True
        await settle()
        result = await harness.call("odd/result_huge")
        assert result["state"] == "succeeded"
        assert result["result"]["n"] == 5


async def test_a_result_is_what_it_was_when_the_job_ended(autojump_clock: object) -> None:
    shared: dict[str, Any] = {"n": 1}

    class Shares(Petal):
        name = "shares"

        @job("go")
        async def go(self) -> dict[str, Any]:
            return shared

    async with open_harness(Shares()) as harness:
        await harness.call("shares/go")
        await settle()
        shared["n"] = object()
        assert (await harness.call("shares/result_go"))["result"] == {"n": 1}


@pytest.mark.parametrize("error", [SystemExit(3), RuntimeError("x"), GeneratorExit()])
async def test_whatever_a_sampled_stream_raises_ends_that_stream_alone(
    autojump_clock: object, error: BaseException
) -> None:
    class Raises(Petal):
        name = "raises"

        @stream("s")
        def s(self) -> int:
            raise error

        @stream("generated")
        async def generated(self) -> AsyncGenerator[int]:
            yield 1
            raise error

    async with open_harness(Raises()) as harness:
        with harness.events() as events:
            await harness.call("raises/subscribe_s", reader("s"))
            await harness.call("raises/subscribe_generated", reader("g"))
            await trio.sleep(3)
        assert told(events, "s")[-1]["error_code"] == "HANDLER_ERROR"
        assert told(events, "g")[-1]["error_code"] == "HANDLER_ERROR"


async def test_a_generator_that_leaves_a_scope_open_ends_its_stream_alone(
    autojump_clock: object,
) -> None:
    class Leaves(Petal):
        name = "leaves"

        @stream("scope")
        async def scope(self) -> AsyncGenerator[int]:
            trio.CancelScope().__enter__()
            yield 1
            await trio.sleep(1)

        @stream("nursery")
        async def nursery_left(self) -> AsyncGenerator[int]:
            await trio.open_nursery().__aenter__()
            yield 1
            await trio.sleep(1)

    async with open_harness(Leaves()) as harness:
        with harness.events() as events:
            await harness.call("leaves/subscribe_scope", reader("a"))
            await harness.call("leaves/subscribe_nursery", reader("b"))
            await trio.sleep(5)
        for one in "ab":
            assert told(events, one)[-1]["ended"] is True


async def test_a_typed_generator_that_comes_to_its_end_says_so(autojump_clock: object) -> None:
    class Three(Petal):
        name = "three"

        @stream("count")
        async def count(self) -> AsyncGenerator[int]:
            for n in range(3):
                yield n
                await trio.sleep(1)

    async with open_harness(Three()) as harness:
        with harness.events() as events:
            await harness.call("three/subscribe_count", reader("a"))
            await trio.sleep(10)
        assert told(events, "a") == [{"result": 0}, {"result": 1}, {"result": 2}, {"ended": True}]


async def test_a_thread_may_report_after_the_runtime_is_gone() -> None:
    gone, ended = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    class Late(Petal):
        name = "late"

        @job("work", thread=True)
        def work(self, job: Job) -> None:
            gone.wait(10)
            try:
                job.report(0.5, "late")
            except BaseException as error:
                raised.append(error)
            ended.set()

    async def main() -> None:
        settings = Settings(grace=0.1, cleanup_timeout=0.1)
        async with open_harness(Late(), settings=settings) as harness:
            await harness.call("late/subscribe_work", reader("r"))
            await harness.call("late/work")

    await trio.to_thread.run_sync(trio.run, main)  # one that is over afterwards
    gone.set()
    assert await trio.to_thread.run_sync(ended.wait, 10)
    assert raised == []


async def test_a_report_from_another_trio_of_the_thread(autojump_clock: object) -> None:
    class Nested(Petal):
        name = "nested"

        @job("work", thread=True)
        def work(self, job: Job) -> str:
            async def report() -> None:
                job.report(0.5, "inside")

            trio.run(report)
            return "done"

    async with open_harness(Nested()) as harness:
        await harness.call("nested/subscribe_work", reader("r"))
        with harness.events() as events:
            await harness.call("nested/work")
            await settle()
            with trio.move_on_after(5):
                while not told(events, "r") or "result" not in told(events, "r")[-1]:
                    await events.wait(len(events) + 1)
        assert told(events, "r")[-1]["result"] == {"result": "done"}
