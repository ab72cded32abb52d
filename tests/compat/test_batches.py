"""What is ready in a petal's loop runs in batches, and everybody else has a turn between two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from petalkit.compat._loop.loop import PetalLoop, open_petal_loop

pytestmark = pytest.mark.trio


@pytest.fixture
async def petal_loop() -> AsyncIterator[PetalLoop]:
    async with open_petal_loop("petal", 1.0) as loop:
        yield loop


class Steps(trio.abc.Instrument):
    """Counts how often Trio has run each task."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.of[task.name] = self.of.get(task.name, 0) + 1


async def test_many_callbacks_take_one_wake_up_of_trio(petal_loop: PetalLoop) -> None:
    ran: list[int] = []
    await trio.testing.wait_all_tasks_blocked()
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    for number in range(64):
        petal_loop.loop.call_soon(ran.append, number)
    await trio.testing.wait_all_tasks_blocked()
    trio.lowlevel.remove_instrument(steps)
    assert ran == list(range(64))
    (of_loop,) = [count for name, count in steps.of.items() if "_main_loop" in name]
    assert of_loop == 1


async def test_callbacks_without_end_keep_no_task_of_trio_from_its_turn(
    petal_loop: PetalLoop, autojump_clock: Any
) -> None:
    turns = 0

    def again() -> None:
        nonlocal turns
        turns += 1
        if turns < 1000:
            petal_loop.loop.call_soon(again)

    again()
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    assert 10 < turns < 100


async def test_a_callback_and_what_it_makes_ready_are_two_batches(petal_loop: PetalLoop) -> None:
    """As in asyncio: what was ready before runs before."""
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        petal_loop.loop.call_soon(ran.append, "made by the first")

    petal_loop.loop.call_soon(first)
    petal_loop.loop.call_soon(ran.append, "second")
    await trio.testing.wait_all_tasks_blocked()
    assert ran == ["first", "second", "made by the first"]


async def test_timers_run_in_their_order_and_cancelled_ones_do_not(
    petal_loop: PetalLoop, autojump_clock: Any
) -> None:
    loop, ran = petal_loop.loop, list[str]()
    loop.call_later(2, ran.append, "two")
    loop.call_later(1, ran.append, "one")
    last = loop.call_later(3, ran.append, "three")
    gone = loop.call_later(1.5, ran.append, "cancelled")
    loop.call_later(2, last.cancel)
    gone.cancel()
    await trio.sleep(5)
    assert ran == ["one", "two"]


async def test_an_exit_in_a_callback_keeps_none_of_its_batch_from_running(
    petal_loop: PetalLoop, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    def leave() -> None:
        raise SystemExit(3)

    petal_loop.loop.call_soon(leave)
    petal_loop.loop.call_soon(ran.append, "after it")
    await trio.testing.wait_all_tasks_blocked()
    assert ran == ["after it"]
    assert "an exit in a task or a callback" in caplog.text


async def test_a_call_that_is_cancelled_before_its_first_step_has_ended(
    petal_loop: PetalLoop, autojump_clock: Any
) -> None:
    """A petal cancels all tasks that it finds at its end, among them one that is about to run."""
    ended: list[str] = []

    async def never() -> None:
        ended.append("it ran")

    call = petal_loop.start("call", never, on_end=lambda one: ended.append(one.name))
    assert call.task is not None
    call.task.cancel()
    with trio.fail_after(1):
        await call.done.wait()
    assert ended == ["call"]
    assert call.task not in petal_loop.part.tasks
    await trio.testing.wait_all_tasks_blocked()
    assert call.task.cancelled()


async def test_work_for_threads_and_trio_goes_on_in_batches(petal_loop: PetalLoop) -> None:
    async def work() -> list[Any]:
        loop = asyncio.get_running_loop()
        waits = [loop.trio_as_future(trio.sleep, 0) for _ in range(3)]  # type: ignore[attr-defined]
        threads = [asyncio.to_thread(pow, 2, number) for number in range(3)]
        return await asyncio.gather(*waits, *threads)

    with trio.fail_after(10):
        assert await petal_loop.run("work", work) == [None, None, None, 1, 2, 4]
