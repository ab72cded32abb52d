"""autojump_clock and threads: the clock stands still while a thread is under way."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import Petal, command
from petalkit.testing import _threads, open_harness

pytestmark = pytest.mark.trio


class Slow(Petal):
    name = "slow"

    def __init__(self) -> None:
        self.release = threading.Event()

    def _work(self) -> str:
        time.sleep(0.05)  # as long as a device takes: the clock is to wait for it
        return "done"

    @command("thread", thread=True, timeout=10.0)
    def thread(self) -> str:
        return self._work()

    @command("to-thread", timeout=10.0)
    async def to_thread(self) -> str:
        return await trio.to_thread.run_sync(self._work)

    @command("hang", thread=True, timeout=10.0)
    def hang(self) -> None:
        self.release.wait(30)

    @command("asks", thread=True, timeout=10.0)
    def asks(self) -> str:
        trio.from_thread.run(trio.sleep, 3)
        return "slept"


@pytest.mark.parametrize("name", ["thread", "to-thread"])
async def test_a_command_in_a_thread_is_not_timed_out_after_no_time(
    name: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Slow()) as harness:
        for _ in range(2):
            assert (await harness.call(f"slow/{name}"))["result"] == "done"
        assert trio.current_time() == 0.0
        assert autojump_clock.autojump_threshold == 0.0  # it jumps again
    assert "the clock went on" not in caplog.text


@pytest.mark.parametrize(("name", "answer"), [("hang", "TIMEOUT"), ("asks", None)])
async def test_a_clock_that_goes_on_beside_a_thread_says_so(
    name: str,
    answer: str | None,
    autojump_clock: object,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_threads, "HOLD", 0.1)
    petal = Slow()
    async with open_harness(petal) as harness:
        assert (await harness.call(f"slow/{name}")).error_code == answer
        petal.release.set()
    assert "the clock went on while a thread was under way" in caplog.text
    assert "take mock_clock" in caplog.text


async def test_a_mock_clock_is_left_alone(mock_clock: Any) -> None:
    async with open_harness(Slow()) as harness:
        assert (await harness.call("slow/thread"))["result"] == "done"
        assert mock_clock.autojump_threshold == float("inf")


class Reading(Petal):
    """A petal with a thread that lives as long as it does."""

    name = "reading"

    def __init__(self) -> None:
        self.end = threading.Event()

    def read(self) -> None:
        self.end.wait(30)

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.nursery.start_soon(
            functools.partial(trio.to_thread.run_sync, self.read, abandon_on_cancel=True)
        )
        try:
            yield
        finally:
            self.end.set()

    @command("nap")
    async def nap(self) -> None:
        await trio.sleep(1)


async def test_a_thread_that_lives_with_its_petal_does_not_cost_that_time_at_each_jump(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_threads, "HOLD", 0.1)
    async with open_harness(Reading(), Slow()) as harness:
        for _ in range(50):
            await harness.call("reading/nap")
        assert [record.name for record in caplog.records].count("petalkit.testing") == 1
        # For another thread it is.
        assert (await harness.call("slow/to-thread"))["result"] == "done"


async def test_a_clock_that_the_test_sets_itself_is_held_all_the_same(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Slow()
    async with open_harness(petal) as harness:
        harness.send("slow/hang")
        await trio.testing.wait_all_tasks_blocked()
        await harness.advance(1)
        assert autojump_clock.autojump_threshold == _threads.HOLD
        petal.release.set()
    assert "the clock went on" not in caplog.text


async def test_the_clock_waits_for_a_device_that_is_opened_and_closed_in_a_thread(
    autojump_clock: object,
) -> None:
    class Opens(Petal):
        name = "opens"

        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            await trio.to_thread.run_sync(time.sleep, 0.05)
            yield
            await trio.to_thread.run_sync(time.sleep, 0.05)

        @command("ping")
        async def ping(self) -> None: ...

    async with open_harness(Opens()):
        assert trio.current_time() == 0.0
    assert trio.current_time() == 0.0


async def test_two_harnesses_leave_the_clock_as_it_was(
    autojump_clock: trio.testing.MockClock,
) -> None:
    petal = Slow()
    async with open_harness(petal) as harness:
        harness.send("slow/hang")
        await trio.testing.wait_all_tasks_blocked()
        async with open_harness(Reading()):
            pass
        assert autojump_clock.autojump_threshold == _threads.HOLD
        petal.release.set()
        await trio.sleep(1)
        assert autojump_clock.autojump_threshold == 0.0
