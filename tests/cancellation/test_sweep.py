"""The sweep itself: it goes through every moment, and finds what it has to find."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import attrs
import pytest
import trio

from .sweep import Case, Operation, Unclean, cancel_at, sweep


@attrs.define
class Ground:
    nursery: trio.Nursery
    kept: list[Any] = attrs.field(factory=list)


@contextlib.asynccontextmanager
async def ground() -> AsyncGenerator[Ground]:
    async with trio.open_nursery() as nursery:
        yield Ground(nursery)
        nursery.cancel_scope.cancel()


def case(operation: Operation, **options: Any) -> Case:
    return Case(name="it", covers=(), ground=ground, operation=operation, **options)


async def _nothing(_: Ground) -> None:
    await trio.lowlevel.checkpoint()


# -- which moments there are


async def _three_waits(_: Ground) -> None:
    await trio.sleep(1)
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.cancel_shielded_checkpoint()


def test_every_wait_is_cancelled_while_it_waits_and_when_it_was_woken() -> None:
    seen: set[str] = set()

    async def operation(ground: Ground) -> None:
        for name in ("first", "second"):
            event = trio.Event()
            ground.nursery.start_soon(_set_soon, event)
            try:
                await event.wait()
            except trio.Cancelled:
                seen.add(f"{name} cancelled")
                raise
            if trio.current_effective_deadline() == -math.inf:
                seen.add(f"{name} woken")

    found = sweep(case(operation, again=_nothing))
    assert found.checkpoints == 2
    # When it was woken for the last time, nothing is left to be cancelled.
    assert 0 < found.came_out < found.moments
    assert seen == {"first cancelled", "first woken", "second cancelled", "second woken"}


async def _set_soon(event: trio.Event) -> None:
    await trio.sleep(1)
    event.set()


def test_the_steps_of_other_tasks_count_unless_only_its_own_do() -> None:
    async def operation(ground: Ground) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(_three_waits, ground)

    everybodys = sweep(case(operation, again=_nothing))
    its_own = sweep(case(operation, others=0, again=_nothing))
    assert everybodys.checkpoints == its_own.checkpoints == 1
    assert everybodys.moments > 15
    assert its_own.moments == 3  # before its first step, after it, and before the second


def test_what_is_cancelled_is_the_same_each_time() -> None:
    histories: list[list[int]] = []

    async def operation(_: Ground) -> None:
        history: list[int] = []
        histories.append(history)

        async def note(number: int) -> None:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                history.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(note, number)

    for _ in range(5):
        cancel_at(case(operation, again=_nothing), 20)
    assert len(histories[0]) > 3
    assert all(history == histories[0] for history in histories)


def test_shielded_clean_up_is_no_breach() -> None:
    async def operation(_: Ground) -> None:
        try:
            await trio.sleep(1)
        finally:
            with trio.move_on_after(5, shield=True):
                await trio.sleep_forever()

    assert sweep(case(operation, again=_nothing)).came_out == 3


def test_what_the_operation_itself_raises_comes_out_as_unclean() -> None:
    async def operation(_: Ground) -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            raise OSError("out of order") from None

    with pytest.raises(Unclean, match=r"moment 0.*OSError: out of order"):
        sweep(case(operation))


def test_one_that_hangs_is_found() -> None:
    async def operation(_: Ground) -> None:
        try:
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2_000)

    with pytest.raises(Unclean, match="TooSlowError"):
        sweep(case(operation))


# -- breaches


async def _swallows(_: Ground) -> None:
    with contextlib.suppress(trio.Cancelled):
        await trio.sleep(1)


async def _swallows_that_of_a_task(_: Ground) -> None:
    done: list[bool] = []

    async def work() -> None:
        await trio.sleep(1)
        done.append(True)

    with contextlib.suppress(BaseExceptionGroup):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
    assert done, "it ended, and has not done it"


async def _swallows_late(_: Ground) -> None:
    await trio.sleep(1)
    try:
        await trio.sleep(1)
    finally:
        return  # noqa: B012 - which is what this is about


async def _leaves_a_task(ground: Ground) -> None:
    ground.nursery.start_soon(trio.sleep_forever)
    await trio.sleep(1)
    ground.nursery.cancel_scope.cancel()


async def _leaves_a_system_task(_: Ground) -> None:
    trio.lowlevel.spawn_system_task(trio.sleep_forever, name="behind the scenes")
    await trio.sleep(1)


async def _leaves_a_file(_: Ground) -> None:
    file = open(os.devnull)  # noqa: ASYNC230, SIM115
    _KEPT.append(file)
    await trio.sleep(1)
    file.close()


async def _leaves_a_socket(_: Ground) -> None:
    left, right = socket.socketpair()
    _KEPT.extend([left, right])
    await trio.sleep(1)
    left.close()
    right.close()


async def _leaves_a_thread(_: Ground) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=[10], daemon=True, name="worker of its own")
    thread.start()
    _KEPT.append(end)
    await trio.sleep(1)
    end.set()
    thread.join()


async def _keeps_a_lock(_: Ground) -> None:
    lock = trio.Lock()
    _KEPT.append(lock)
    await lock.acquire()
    await trio.sleep(1)
    lock.release()


async def _keeps_a_token(_: Ground) -> None:
    limiter = trio.CapacityLimiter(3)
    _KEPT.append(limiter)
    await limiter.acquire_on_behalf_of("somebody")
    await trio.sleep(1)
    limiter.release_on_behalf_of("somebody")


async def _logs_an_error(_: Ground) -> None:
    try:
        await trio.sleep(1)
    except trio.Cancelled:
        logging.getLogger("somewhere").error("all is lost")
        raise


_KEPT: list[Any] = []  # what operations leave behind


@pytest.fixture(autouse=True)
def clean_up() -> Iterator[None]:
    yield
    for each in _KEPT:
        if isinstance(each, threading.Event):
            each.set()
        elif hasattr(each, "close"):
            each.close()
    _KEPT.clear()


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (_swallows, "swallowed Cancelled"),
        (_swallows_that_of_a_task, "it ended, and has not done it"),
        (_swallows_late, "swallowed Cancelled"),
        (_leaves_a_task, "the task 'trio.sleep_forever'"),
        (_leaves_a_system_task, "the task 'behind the scenes'"),
        (_leaves_a_file, "the open file /dev/null"),
        (_leaves_a_socket, "the open file socket:"),
        (_leaves_a_thread, "the thread 'worker of its own'"),
        (_keeps_a_lock, r"Lock 0x\w+, held"),
        (_keeps_a_token, r"CapacityLimiter 0x\w+, held"),
        (_logs_an_error, "it logged .*all is lost"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_breach_is_found(operation: Operation, words: str) -> None:
    with pytest.raises(Unclean, match=words) as caught:
        sweep(case(operation, again=_nothing))
    assert "cancelled at moment " in str(caught.value)


def test_what_is_not_usable_afterwards_is_found() -> None:
    async def operation(ground: Ground) -> None:
        ground.kept.append("in use")
        await trio.sleep(1)
        ground.kept.clear()

    async def again(ground: Ground) -> None:
        assert not ground.kept, "still in use"

    with pytest.raises(Unclean, match="still in use"):
        sweep(case(operation, again=again))


def test_what_the_ground_owns_may_stay_when_the_case_says_so() -> None:
    async def operation(ground: Ground) -> None:
        ground.nursery.start_soon(trio.sleep_forever, name="worker 1")
        await trio.sleep(1)

    with pytest.raises(Unclean, match="worker 1"):
        sweep(case(operation, again=_nothing))
    sweep(case(operation, again=_nothing, lasting=("worker",)))


def test_a_real_clock_will_do() -> None:
    async def operation(_: Ground) -> None:
        await trio.to_thread.run_sync(_in_thread.wait, 0.01)
        await trio.sleep(0.001)

    _in_thread = threading.Event()
    assert sweep(case(operation, real_clock=True)).came_out > 2
