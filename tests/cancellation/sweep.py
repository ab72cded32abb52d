"""Cancel one operation at each of its moments in turn, and look at what it leaves behind.

A *moment* is a point between two steps of Trio's tasks while the operation runs: before its first
step, after each step of any task, and when time or a socket has woken somebody who has not run
yet. So each checkpoint of the operation is cancelled while it waits there, and once more when it
has been woken and the cancellation comes before it runs, which is where most mistakes are.

Each moment has a `trio.run` of its own, on a mock clock and with Trio's scheduling made
deterministic, so the moment of that number is the same one every time:

    sweep(case)              all of them
    cancel_at(case, 17)      one, to look at with a debugger

Where a whole machinery runs beside the operation, only a share of the moments is taken in which
other tasks have stepped (`Case.others`); with `PETALKIT_SWEEP=all` in the environment it is all.

What has to hold after each: `Cancelled` came out, unless none was delivered to the operation; no
task, file, socket, thread or lock is left (`leaks`); nothing was logged as an error; and what was
worked on is still usable: the case's `again` succeeds. A breach raises `Unclean`. An operation
that ends in spite of the cancellation has to have done its work: it asserts that itself, which
also finds a `Cancelled` of its own tasks that was swallowed.

How a delivery is seen: the operation runs in a coroutine of ours that passes on everything its
awaits yield to Trio. What waits brings along how to abort it, and Trio calls that with our
`Cancelled`, which is known by its `reason` (Trio 0.31). `test_sweep` would tell if Trio changed it.
"""

from __future__ import annotations

import math
import os
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any

import attrs
import outcome
import trio
import trio._core._run as trio_run
import trio.testing

from .leaks import Standing, watch_errors, watch_locks

REASON = "petalkit's sweep"
MOMENTS_MAX = 2000  # of one operation; more is no operation, but a life
SEED = 1
_ALL = os.environ.get("PETALKIT_SWEEP") == "all"

Operation = Callable[[Any], Coroutine[Any, Any, object]]


class Unclean(AssertionError):
    """What a cancelled operation has done that it must not do."""


@attrs.frozen(kw_only=True)
class Case:
    """One operation to be swept.

    Attributes:
        name: of the test.
        covers: the public functions that it calls; see `public`.
        ground: what is there before; what it yields is given to the operation.
        operation: ends by itself when it is not cancelled.
        again: shows that what was worked on is usable; None for the operation once more.
        lasting: beginnings of the names of tasks that may stay, because the ground owns them.
        errors: patterns of what may be logged as an error.
        others: of the moments in which the operation's own task neither has just stepped nor is
            the next to, one in so many is taken; 0 for none.
        real_clock: for sockets and threads, which do not mix with a clock that jumps.
        limit: seconds of the clock, for the operation and for `again`.
        patience: seconds of the clock in which what the ground owns may still come to rest.
    """

    name: str
    covers: tuple[Callable[..., Any], ...]
    ground: Callable[[], AbstractAsyncContextManager[Any]]
    operation: Operation
    again: Operation | None = None
    lasting: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    others: int = 1
    real_clock: bool = False
    limit: float = 600.0
    patience: float = 2.0


@attrs.define
class Run:
    """How one run went.

    Attributes:
        own: of each moment until it was cancelled, whether the operation's own task had just
            stepped, or was the next to.
        checkpoints: of the operation's own task.
        cancelled: whether it was cancelled; False when it had ended before.
        delivered: whether it was given the cancellation at a checkpoint.
        came_out: whether `Cancelled` came out.
    """

    own: list[bool] = attrs.field(factory=list)
    checkpoints: int = 0
    cancelled: bool = False
    delivered: bool = False
    came_out: bool = False


@attrs.define
class Report:
    """What a sweep has done.

    Attributes:
        moments: at which the operation was cancelled.
        checkpoints: of its own task, when it was not.
        came_out: in how many of them `Cancelled` came out; in the others it ended all the same.
    """

    moments: int = 0
    checkpoints: int = 0
    came_out: int = 0


def sweep(case: Case) -> Report:
    """Cancel the operation at every moment.

    Raises:
        Unclean: it left something behind at one of them.
    """
    whole = cancel_at(case)
    assert len(whole.own) < MOMENTS_MAX, f"{case.name} is a life, and no operation"
    report = Report(checkpoints=whole.checkpoints)
    others = 1 if _ALL else case.others
    for moment, own in enumerate(whole.own):
        if own or (others and moment % others == 0):
            report.moments += 1
            report.came_out += cancel_at(case, moment).came_out
    return report


def cancel_at(case: Case, moment: float = math.inf) -> Run:
    """Cancel the operation at one moment; by default at none.

    Raises:
        Unclean: see `sweep`.
    """
    run = Run()
    moments = _Moments(moment, run)
    clock = None if case.real_clock else trio.testing.MockClock(autojump_threshold=0)
    try:
        with _deterministic() if not case.real_clock else nullcontext():
            trio.run(_one, case, moments, clock=clock, instruments=[moments])
        if moments.failure is not None:
            raise moments.failure
    except Exception as error:
        raise Unclean(
            f"{case.name}, cancelled at moment {moment} (after a step of {moments.stepped}): "
            f"{_words(error)}"
        ) from error
    return run


def _words(error: BaseException) -> str:
    """What it says, without the groups that nurseries put around it."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_words, error.exceptions))
    return f"{type(error).__name__}: {error}"


async def _one(case: Case, moments: _Moments) -> None:
    with watch_errors(case.errors) as errors, watch_locks():
        async with case.ground() as ground:
            before = await _standing()
            with trio.fail_after(case.limit):
                await _operate(case.operation(ground), moments)
            await _settle(before, case)
            with trio.fail_after(case.limit):
                await (case.again or case.operation)(ground)
            await _settle(before, case)
    if errors:
        raise AssertionError(f"it logged {errors}")


async def _operate(coroutine: Coroutine[Any, Any, object], moments: _Moments) -> None:
    """Run the operation in a task of its own, and judge what comes out."""
    run = moments.run

    async def operate() -> None:
        with trio.CancelScope() as scope:
            moments.begin(scope)
            try:
                await _watched(coroutine, run)
            finally:
                moments.end()
        run.came_out = scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        nursery.start_soon(operate, name="the operation")
    if run.delivered and not run.came_out:
        raise AssertionError("it swallowed Cancelled")


@types.coroutine
def _watched(coroutine: Coroutine[Any, Any, object], run: Run) -> Generator[Any, Any, object]:
    """Pass on what the coroutine says to Trio, and the answers; see the module."""

    def watched(abort: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def called(raise_cancel: Callable[[], Any]) -> Any:
            error = outcome.capture(raise_cancel).error  # type: ignore[union-attr]
            aborted = abort(raise_cancel)  # not by a nursery that waits for its tasks
            if aborted is trio.lowlevel.Abort.SUCCEEDED and error.reason == REASON:
                run.delivered = True
            return aborted

        return called

    answer: Any = None
    try:
        while True:
            try:
                said = coroutine.send(answer)
            except StopIteration as stop:
                return stop.value
            run.checkpoints += 1
            if hasattr(said, "abort_func"):
                said = attrs.evolve(said, abort_func=watched(said.abort_func))
            answer = yield said
    finally:
        coroutine.close()


class _Moments(trio.abc.Instrument):
    """Counts them, and cancels at one."""

    def __init__(self, at: float, run: Run) -> None:
        self._at = at
        self.run = run
        self.stepped = "nobody"
        self.failure: Exception | None = None
        self._scope: trio.CancelScope | None = None
        self._task: trio.lowlevel.Task | None = None
        self._woken = False  # by time or a socket, and nobody has run since

    def begin(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self._task = trio.lowlevel.current_task()
        self._moment(own=True)

    def end(self) -> None:
        if not self.run.cancelled:
            self.run.own[-1] = True  # before its last step
        self._scope = None

    def after_io_wait(self, timeout: float) -> None:
        self._woken = True

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._woken:
            self._moment(own=task is self._task)
        self._woken = False

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._scope is not None and not self.run.cancelled:
            self.stepped = task.name
            own = task is self._task
            if own:
                self.run.own[-1] = True
            self._moment(own=own)

    def _moment(self, *, own: bool) -> None:
        if self._scope is None or self.run.cancelled:
            return
        if len(self.run.own) >= self._at:
            self.run.cancelled = True
            try:
                self._scope.cancel(reason=REASON)
            except Exception as error:  # or Trio would log it, and go on without this instrument
                self.failure = error
        self.run.own.append(own)


async def _standing() -> Standing:
    await trio.testing.wait_all_tasks_blocked()
    return Standing.now()


async def _settle(before: Standing, case: Case) -> None:
    """Wait until everything is as it was.

    Raises:
        AssertionError: it does not become so.
    """
    left: list[str] = []
    with trio.move_on_after(case.patience):
        while left := (await _standing()).since(before, lasting=case.lasting):
            await trio.sleep(0.002 if case.real_clock else case.patience / 40)
    if left:
        raise AssertionError(f"it left {', '.join(left)}")


@contextmanager
def _deterministic() -> Generator[None]:
    """Let Trio shuffle its tasks in the same way each time, as it does for Hypothesis."""
    random, before = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    state = random.getstate()
    random.seed(SEED)
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    try:
        yield
    finally:
        random.setstate(state)
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
