"""The workers: tasks that take the next command and call its handler in the same step.

The trap: Trio shuffles the tasks of one tick, so values handed to workers that sleep in
`receive()` start out of order. Here a worker sleeps in a parking lot, takes its command when it is
awake, and calls the handler in the same step.

A worker that starts a command wakes one other worker if more could start. While handlers do not
block, one worker runs the whole backlog and at most one more is woken for nothing; when one
blocks, the next is already scheduled.
"""

from __future__ import annotations

import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable

import trio

from ..._authoring.context import log_scope
from ..failures import showable
from ..long_steps import LongSteps
from ..sending.responses import Responses
from .calling import Answer, call_handler
from .execution import Execution
from .left_open import close_nurseries, innermost, tell_left_open
from .scheduler import Scheduler
from .slots import Slots

logger = logging.getLogger("petalkit.dispatcher")

DEADLINE_SLACK = 0.001  # seconds by which a deadline may come early
CHECKPOINT_INTERVAL = 16  # commands that a worker may finish without a checkpoint


class Workers:
    """See the module.

    Args:
        most: how many at once.
        scheduler: says what is next.
        slots: of what was called.
        answers: encodes responses, and counts.
        thread_limiter: for handlers in threads; large enough never to wait.
    """

    def __init__(
        self,
        most: int,
        scheduler: Scheduler,
        slots: Slots,
        answers: Responses,
        thread_limiter: trio.CapacityLimiter,
    ) -> None:
        self._most = most
        self._scheduler = scheduler
        self._slots = slots
        self._answers = answers
        self._counters = answers.counters
        self._thread_limiter = thread_limiter
        self._long_steps = LongSteps(answers.counters)
        self._idle = trio.lowlevel.ParkingLot()
        self._count = 0
        self._waking = 0
        self._nursery: trio.Nursery | None = None

    @property
    def are_running(self) -> bool:
        """Whether anything is called any more."""
        return self._nursery is not None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the workers, and what is spawned, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._context = contextvars.copy_context()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None  # what the journal still tells starts nothing

    def spawn(self, function: Callable[..., Awaitable[object]], *args: object, name: str) -> None:
        """Start a task beside the workers, which must be running."""
        # Trio gives a task the context variables of whoever starts it, which may be a link's task.
        assert self._nursery is not None
        self._context.copy().run(
            functools.partial(self._nursery.start_soon, function, *args, name=name)
        )

    def pass_on(self) -> None:
        """Wake one worker if there is something that could start, and none is on its way."""
        if not self._waking and self._scheduler.may_have_next:
            self._wake()

    async def call(self, execution: Execution) -> Answer:
        """Call a handler; see `call_handler`."""
        return await call_handler(
            execution,
            self._answers,
            self._counters,
            self._thread_limiter,
            self._thread_ended,
            self._long_steps,
        )

    def _thread_ended(self, execution: Execution) -> None:
        self._slots.leave(execution)
        self.pass_on()

    def _wake(self) -> None:
        if self._waking or self._nursery is None:
            return
        if self._idle:
            self._waking += 1
            self._idle.unpark()
        elif self._count < self._most:
            self._waking += 1
            self._count += 1
            self.spawn(self._work, name=f"worker {self._count}")

    async def _work(self) -> None:
        self._waking -= 1
        serving = _Serving()
        task = trio.lowlevel.current_task()
        pristine = task.context.copy()
        while True:
            try:
                with trio.CancelScope() as serving.scope:
                    await self._serve(serving)
            except Exception as error:
                # Trio says so when a handler has left a cancel scope of its own open.
                if serving.execution is not None:
                    tell_left_open(serving.execution, showable(error))
                elif not serving.told:
                    logger.error("a handler left its worker in disorder", exc_info=showable(error))
            finally:
                if task.child_nurseries:
                    await close_nurseries(task)
            serving.told = False
            if serving.execution is not None:
                self._slots.end_cancelled(serving.execution)
                serving.execution = None
            # Back here when the scope is used up, or a handler left context variables behind,
            # which are its own business and not the next command's. A task's context counts
            # from its next step on.
            task.context = pristine.copy()
            self.pass_on()
            await trio.lowlevel.checkpoint()

    async def _serve(self, serving: _Serving) -> None:
        """Run one command after the other; returns when the cancel scope is used up.

        Moving a deadline costs more than all else here. So the commands of one wake-up share it,
        and it stays where it is while the worker sleeps: if it is reached then, the scope is used
        up, and that is all.
        """
        scope = serving.scope
        deadline = scope.deadline
        clock = trio.lowlevel.current_clock()  # asked for every command
        task = trio.lowlevel.current_task()
        status = innermost(task)
        slots = self._slots
        budget = CHECKPOINT_INTERVAL
        now = clock.current_time()
        while True:
            execution = self._scheduler.next() if budget else None
            if execution is None:
                if budget:
                    log_scope.set(None)
                    await self._idle.park()
                    self._waking -= 1
                else:
                    self.pass_on()
                    await trio.lowlevel.checkpoint()
                budget = CHECKPOINT_INTERVAL
                now = clock.current_time()
                if now >= deadline:
                    return
                continue
            if not self._waking:
                self.pass_on()
            if (
                execution.cancelled_as is not None or execution.wishes is not None
            ) and slots.is_unwanted(execution):  # since its start was put down
                execution.entered = False
                slots.end_cancelled(execution)
                continue
            serving.execution = execution
            latest = now + execution.spec.timeout
            if not latest - DEADLINE_SLACK <= deadline <= latest:
                scope.deadline = deadline = latest
            execution.deadline = deadline
            execution.scope = scope
            execution.accept = slots.accept
            log_scope.set(execution)
            before = contextvars.copy_context()
            answer = await call_handler(
                execution,
                self._answers,
                self._counters,
                self._thread_limiter,
                self._thread_ended,
                self._long_steps,
            )
            serving.execution = None
            now = clock.current_time()
            if innermost(task) is not status:
                serving.told = True
                tell_left_open(execution)
                slots.end(execution, answer, now)
                return
            slots.end(execution, answer, now)
            if now >= deadline or execution.cancelled_as is not None or _is_changed(before):
                return
            budget -= 1


def _is_changed(before: contextvars.Context) -> bool:
    """Whether a handler left context variables that the next command would see."""
    try:
        return contextvars.copy_context() != before
    except Exception:  # values of the petal's that cannot be compared
        return True


class _Serving:
    """What a worker is doing now, for the moment when its cancel scope was used."""

    __slots__ = ("execution", "scope", "told")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.execution: Execution | None = None
        self.told = False  # that it cannot be left in order
