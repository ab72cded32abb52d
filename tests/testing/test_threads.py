"""autojump_clock and threads: the clock stands still while a thread is under way."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import Petal, command
from petalkit.testing import Harness, _threads, open_harness

pytestmark = pytest.mark.trio


class Slow(Petal):
    name = "slow"

    def __init__(self) -> None:
        self.release = threading.Event()
        self.finish = threading.Event()

    def _work(self) -> str:
        assert self.finish.wait(30)
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


async def when_blocked(event: threading.Event) -> None:
    """Let a thread go on when the event loop has nothing to do: a clock would have jumped."""
    await trio.testing.wait_all_tasks_blocked(0.01)
    event.set()


async def call(harness: Harness, petal: Slow, name: str) -> object:
    """The result of a command whose thread takes its time."""
    petal.finish.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(when_blocked, petal.finish)
        return (await harness.call(name))["result"]


@pytest.mark.parametrize("name", ["thread", "to-thread"])
async def test_a_command_in_a_thread_is_not_timed_out_after_no_time(
    name: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Slow()
    async with open_harness(petal) as harness:
        for _ in range(2):
            assert await call(harness, petal, f"slow/{name}") == "done"
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
    petal = Slow()
    async with open_harness(petal) as harness:
        assert await call(harness, petal, "slow/thread") == "done"
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
    petal = Slow()
    async with open_harness(Reading(), petal) as harness:
        for _ in range(50):
            await harness.call("reading/nap")
        assert [record.name for record in caplog.records].count("petalkit.testing") == 1
        # For another thread it is.
        assert await call(harness, petal, "slow/to-thread") == "done"


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
            await self._in_thread()
            yield
            await self._in_thread()

        async def _in_thread(self) -> None:
            done = threading.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(when_blocked, done)
                assert await trio.to_thread.run_sync(done.wait, 30)

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
