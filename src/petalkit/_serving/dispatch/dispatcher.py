"""The dispatcher: a bounded memory channel in, handlers called in order, outcomes out.

The rule it keeps: commands of one petal *start* in the order in which they arrived. The trap: Trio
shuffles the tasks of one tick, so values handed to workers that sleep in `receive()` start out of
order. Here a worker sleeps in a parking lot, takes its command when it is awake, and calls the
handler in the same step.

A worker that starts a command wakes one other worker if more could start. While handlers do not
block, one worker runs the whole backlog and at most one more is woken for nothing; when one
blocks, the next is already scheduled.
"""

from __future__ import annotations

import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import trio

from ..._authoring.context import log_scope
from ..._authoring.registry import CommandTable
from ..._values.errors import ErrorCode
from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ..failures import showable
from ..ledger.contract import Ledger
from ..sending.responses import Responses
from .calling import Answer, call_handler, timed_out
from .execution import NO_LINE, Execution
from .finalization import Finalization
from .left_open import close_nurseries, innermost, tell_left_open
from .queue import Backlog
from .redelivered import SafeUrgent, wait_acknowledged
from .scheduler import Scheduler

logger = logging.getLogger("petalkit.dispatcher")

DEADLINE_SLACK = 0.001  # seconds by which a deadline may come early
CHECKPOINT_INTERVAL = 16  # commands that a worker may finish without a checkpoint


class Dispatcher:
    """Holds accepted commands, starts them within the limits, and answers them.

    Args:
        settings: limits.
        table: the commands; lookups see its changes.
        petals: names of the petals; each always has one slot of its own.
        ledger: told of every start.
        answers: encodes responses, and counts.
        finalization: gives each command its final state.
    """

    def __init__(
        self,
        settings: Settings,
        table: CommandTable,
        petals: Iterable[str],
        ledger: Ledger[Execution],
        answers: Responses,
        finalization: Finalization,
    ) -> None:
        self._settings = settings
        self._table = table
        self._ledger = ledger
        self._answers = answers
        self._finalization = finalization
        self.acknowledgements = finalization.acknowledgements
        self._counters = answers.counters
        self._held_until: dict[str, Collection[str]] = {}
        # Called when a command has left the backlog, if somebody waits for that.
        self.on_room: Callable[[], None] | None = None
        self.backlog = Backlog(settings, petals)
        for spec in table:
            self.backlog.serve(spec)
        self._running: dict[Execution, None] = {}
        self._running_urgent = 0
        self._idle = trio.lowlevel.ParkingLot()
        self._workers = 0
        self._waking = 0
        self._nursery: trio.Nursery | None = None
        self.thread_limiter = trio.CapacityLimiter(
            settings.concurrency + settings.urgent_concurrency + len(self.backlog.petals)
        )
        self._scheduler = Scheduler(self.backlog, self._admit, ledger)
        self._scheduler.on_ready = self._pass_on
        self._scheduler.acknowledge = self._acknowledge_first
        self._safe_urgent = SafeUrgent(settings.urgent_redelivery_wait)

    # -- petals that are not ready at once

    def hold_petal(self, petal: str, *, until: Collection[str] = ()) -> None:
        """Let the commands of a petal wait until `open_petal`, of it or of all in `until`.

        One that has failed is not waited for.
        """
        self.backlog.petals[petal].ready = False
        if until:
            self._held_until[petal] = until

    def open_petal(self, petal: str) -> None:
        """Let them start."""
        self.backlog.open(petal, self._table.lookup)
        self._open_followers()
        self._pass_on()

    def _open_followers(self) -> None:
        petals = self.backlog.petals
        for petal, until in list(self._held_until.items()):
            if all(petals[one].ready or petals[one].failed for one in until):
                del self._held_until[petal]
                self.backlog.open(petal, self._table.lookup)

    # -- intake's side

    @property
    def running(self) -> int:
        """Commands whose handler runs, abandoned threads included."""
        return len(self._running)

    def accept(self, execution: Execution) -> None:
        """Take a command into the backlog. There must be room, and a place for its response."""
        self._counters.accepted += 1
        self.backlog.put(execution)
        self._scheduler.begin()
        if not self._waking:
            self._pass_on()

    def take_up(self, execution: Execution) -> None:
        """The same with a command that was accepted before, and waited in the ledger only."""
        self._ledger.take_up(execution)
        self.backlog.put(execution)
        self._scheduler.begin()
        self._pass_on()

    def start_urgent(self, execution: Execution) -> bool:
        """Start a command at once, past every limit but the one on urgent ones themselves.

        One that may have been delivered before, and may have killed the process, waits a little;
        see `redelivered`.
        """
        if self._running_urgent >= self._settings.urgent_concurrency or self._nursery is None:
            return False
        self._counters.accepted += 1
        self._running_urgent += 1
        self._running[execution] = None
        execution.entered = execution.again is None
        then = None
        if execution.again is not None:
            self._safe_urgent.expect(execution)
            then = self._safe_urgent.written
        # Not waited for: an emergency stop is worth more than its running once.
        self._ledger.start(execution, then)
        self._spawn(self._run_urgent, execution, name=f"urgent {execution.spec.name}")
        return True

    def hold_up(self, heavy: bool) -> None:
        """Start nothing but urgent commands, or go on: an answer may be as long as a payload.

        Else a thousand commands that were accepted when the outbox was empty would fill it up to
        their number, and not to `outbox_bytes`.
        """
        self.backlog.held_up = heavy
        if not heavy:
            self._scheduler.begin()
            self._pass_on()

    def drop_oldest(self) -> bool:
        """Answer the oldest waiting command `DROPPED`; False when none waits."""
        oldest = self.backlog.take_oldest()
        if oldest is None:
            return False
        self._refuse(oldest, ErrorCode.DROPPED, "a newer command came, and too many were waiting")
        return True

    # -- starting

    def _admit(self, execution: Execution) -> bool:
        """Decide at the start: count it as running, or answer why not."""
        spec = execution.spec
        if execution.line.petal.failed:
            text = f"petal {spec.petal!r} is not available"
            self._refuse(execution, ErrorCode.UNAVAILABLE, text)
            return False
        wishes = execution.wishes
        if wishes is not None:
            wall, now = self._answers.timestamps.now(), trio.current_time()
            objection = wishes.objection(wall, now, "it expired before it could start")
            if objection is not None:
                self._refuse(execution, objection.code, objection.text)
                return False
        if spec.exclusive is not None:
            holder = self.backlog.groups.setdefault(spec.exclusive, execution)
            if holder is not execution:
                text = f"{holder.spec.name} is running; {spec.exclusive} takes one at a time"
                running = {"command": holder.spec.name, "messageId": holder.command.message_id}
                self._refuse(execution, ErrorCode.BUSY, text, details={"running": running})
                return False
        self._running[execution] = None
        execution.entered = True
        self.backlog.enter(execution)
        if self.on_room is not None:
            self.on_room()
        return True

    def _is_unwanted(self, execution: Execution) -> bool:
        """Whether one that has its slots is not to be called after all: a ledger can take long."""
        wishes = execution.wishes
        may_wait = self._ledger.may_wait or execution.again is not None
        if wishes is not None and may_wait and execution.cancelled_as is None:
            wall, now = self._answers.timestamps.now(), trio.current_time()
            objection = wishes.objection(wall, now, "it expired while its start was recorded")
            if objection is not None:
                execution.cancelled_as = (objection.code, objection.text)
        return execution.cancelled_as is not None

    def _refuse(
        self,
        execution: Execution,
        code: ErrorCode,
        text: str,
        *,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Answer a command that was taken out of the backlog and will not start."""
        execution.reason = text
        response = self._answers.failure(execution.command.message_id, code, text, details=details)
        self._finalization.leave_to_others(execution)
        self._finalization.finish(execution, response, code, trio.current_time())
        if self.on_room is not None:
            self.on_room()

    def _leave(self, execution: Execution) -> None:
        """The handler, or its thread, has really ended: free its slot and group."""
        del self._running[execution]
        if execution.line is NO_LINE:  # it was started past all lines, as urgent
            self._running_urgent -= 1
            return
        self.backlog.leave(execution)
        if execution.spec.exclusive is not None:
            del self.backlog.groups[execution.spec.exclusive]

    def _acknowledge_first(self, execution: Execution) -> None:
        """Of one that may have been delivered before: it is called when that has left."""

        async def wait() -> None:
            # The limit after which the link counts as dead, if it is ours that is not taken.
            await wait_acknowledged(execution, self._settings.publish_timeout)
            self._scheduler.acknowledged(execution)

        if self._nursery is not None:  # else nothing is called any more
            self._spawn(wait, name=f"acknowledge {execution.spec.name}")

    # -- workers

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the workers until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._context = contextvars.copy_context()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None  # what the journal still tells starts nothing

    def _spawn(self, function: Callable[..., Awaitable[object]], *args: object, name: str) -> None:
        # Trio gives a task the context variables of whoever starts it, which may be a link's task.
        assert self._nursery is not None
        self._context.copy().run(
            functools.partial(self._nursery.start_soon, function, *args, name=name)
        )

    def _pass_on(self) -> None:
        """Wake one worker if there is something that could start, and none is on its way."""
        if not self._waking and self._scheduler.may_have_next:
            self._wake_worker()

    def _wake_worker(self) -> None:
        if self._waking or self._nursery is None:
            return
        if self._idle:
            self._waking += 1
            self._idle.unpark()
        elif self._workers < self._settings.concurrency + len(self.backlog.petals):
            self._waking += 1
            self._workers += 1
            self._spawn(self._work, name=f"worker {self._workers}")

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
                self._end_cancelled(serving.execution)
                serving.execution = None
            # Back here when the scope is used up, or a handler left context variables behind,
            # which are its own business and not the next command's. A task's context counts
            # from its next step on.
            task.context = pristine.copy()
            self._pass_on()
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
        budget = CHECKPOINT_INTERVAL
        now = clock.current_time()
        while True:
            execution = self._scheduler.next() if budget else None
            if execution is None:
                if trio.current_effective_deadline() != deadline:
                    return  # a handler has left a cancel scope open, or all is cancelled
                if budget:
                    log_scope.set(None)
                    await self._idle.park()
                    self._waking -= 1
                else:
                    self._pass_on()
                    await trio.lowlevel.checkpoint()
                budget = CHECKPOINT_INTERVAL
                now = clock.current_time()
                if now >= deadline:
                    return
                continue
            if not self._waking:
                self._pass_on()
            if self._is_unwanted(execution):  # since its start was put down
                execution.entered = False
                self._end_cancelled(execution)
                continue
            serving.execution = execution
            latest = now + execution.spec.timeout
            if not latest - DEADLINE_SLACK <= deadline <= latest:
                scope.deadline = deadline = latest
            execution.deadline = deadline
            execution.scope = scope
            log_scope.set(execution)
            before = contextvars.copy_context()
            answer = await call_handler(
                execution, self._answers, self._counters, self.thread_limiter, self._thread_ended
            )
            serving.execution = None
            now = clock.current_time()
            if innermost(task) is not status:
                serving.told = True
                tell_left_open(execution)
                self._end(execution, answer, now)
                return
            self._end(execution, answer, now)
            if now >= deadline or execution.cancelled_as is not None or _is_changed(before):
                return
            budget -= 1

    def _thread_ended(self, execution: Execution) -> None:
        self._leave(execution)
        self._pass_on()

    async def _run_urgent(self, execution: Execution) -> None:
        try:
            with trio.CancelScope() as scope:
                execution.scope = scope
                if execution.again is not None and not await self._may_be_called(execution):
                    return
                if execution.cancelled_as is not None:  # before this task had its first turn
                    execution.entered = False
                    self._end_cancelled(execution)
                    return
                scope.deadline = execution.deadline = trio.current_time() + execution.spec.timeout
                log_scope.set(execution)
                answer = await call_handler(
                    execution,
                    self._answers,
                    self._counters,
                    self.thread_limiter,
                    self._thread_ended,
                )
                self._end(execution, answer, trio.current_time())
        except Exception as error:
            tell_left_open(execution, showable(error))
        finally:
            task = trio.lowlevel.current_task()
            if task.child_nurseries:
                await close_nurseries(task)
        if not execution.finished:
            self._end_cancelled(execution)

    async def _may_be_called(self, execution: Execution) -> bool:
        """Wait until an urgent one that came again may be called; False if it is unwanted then."""
        if not await self._safe_urgent.wait(execution):
            logger.warning(
                "%s came again, and is called before that is safe: its record or its "
                "acknowledgement took longer than urgent_redelivery_wait",
                execution.spec.name,
                extra=execution.log_fields(),
            )
        if self._is_unwanted(execution):
            self._end_cancelled(execution)
            return False
        execution.entered = True
        return True

    # -- endings

    def _end(self, execution: Execution, answer: Answer, now: float) -> None:
        execution.scope = None
        try:
            self._finalization.finish(execution, *answer, now)
        finally:  # whatever goes wrong with an answer, its slot is free
            if not execution.in_thread:
                self._leave(execution)

    def _end_cancelled(self, execution: Execution) -> None:
        code, text = execution.cancelled_as or timed_out(execution)
        execution.reason = text
        response = self._answers.failure(
            execution.command.message_id, code, text, remembered=execution.entered
        )
        self._finalization.leave_to_others(execution)
        self._end(execution, (response, code), trio.current_time())

    # -- what cannot be recorded

    def take_back(self, numbers: Collection[int], code: ErrorCode, text: str) -> None:
        """The ledger fails: of what is not safe in it yet, refuse what has not been called.

        What has been, because it waits for no disk, goes on without a record.
        """

        def is_meant(execution: Execution) -> bool:
            return execution.number in numbers

        for execution in self.backlog.take(is_meant):
            execution.recorded = False
            self._refuse(execution, code, text)
        for execution in list(filter(is_meant, self._running)):
            execution.recorded = False
            if execution.starting and execution.line is not NO_LINE:
                self._call_off(execution, code, text)
                continue
            self.acknowledgements.unrecorded(execution)
            self._safe_urgent.written(execution)
        self._scheduler.fail()
        self._pass_on()

    def _call_off(self, execution: Execution, code: ErrorCode, text: str) -> None:
        """Answer one that has its slots and waits to be called."""
        self._scheduler.take_back(execution)
        execution.entered = False
        execution.reason = text
        response = self._answers.failure(execution.command.message_id, code, text)
        self._finalization.leave_to_others(execution)
        self._end(execution, (response, code), trio.current_time())

    # -- stopping

    def cancel_petal(
        self, petal: str, code: ErrorCode, text: str, *, restarts: bool = False
    ) -> None:
        """A petal failed: end what runs, and answer what waits.

        Args:
            petal: its name.
            code: for both.
            text: the same.
            restarts: whether it is to be started again. Then what is in the journal waits for that,
                as it would for the next start of the process.
        """
        state = self.backlog.petals[petal]
        state.failed, state.awaited = True, restarts
        self._open_followers()
        for execution in self.backlog.take(
            lambda one: one.spec.petal == petal and not (restarts and one.recorded)
        ):
            self._refuse(execution, code, text)
        self.cancel_running(code, text, which=lambda execution: execution.spec.petal == petal)
        self._pass_on()

    def restore_petal(self, petal: str) -> None:
        """It is in service again; what has waited for that starts, if it is still served."""
        for execution in self.backlog.restore(petal, self._table.lookup):
            text = f"petal {petal!r} was started again, and serves {execution.spec.name} no longer"
            self._refuse(execution, ErrorCode.UNKNOWN_COMMAND, text)
        self._pass_on()

    def refuse_waiting(self, *, keep: Callable[[Execution], bool]) -> None:
        """Answer everything that waits `SHUTTING_DOWN`, but what `keep` says comes again."""
        for execution in self.backlog.take(keep):
            self._finalization.give_back(execution)
        for execution in self.backlog.take(lambda _: True):
            self._refuse(execution, ErrorCode.SHUTTING_DOWN, "the device is shutting down")
        for execution in list(filter(_waits_for_acknowledgement, self._running)):
            assert execution.again is not None
            if keep(execution) and execution.again.hold_back():
                self._scheduler.take_back(execution)
                self._finalization.give_back(execution)
                self._leave(execution)

    def session_ends(self) -> None:
        """Nothing comes again, and so nobody is to wait for an acknowledgement."""
        waiting = (*self.backlog, *self._running)
        # What is not safe yet is acknowledged when it is.
        self.acknowledgements.settle_all(one for one in waiting if one.on_disk or not one.recorded)

    def end_identity(self, identity: Identity, code: ErrorCode, text: str) -> None:
        """The device is another now, and has waited long enough: end what is left of this one."""
        for execution in self.backlog.take(lambda one: one.identity == identity):
            self._refuse(execution, code, text)
        self.cancel_running(code, text, which=lambda execution: execution.identity == identity)
        self._pass_on()

    async def wait_quiet(self, *, petal: str | None = None) -> None:
        """Wait until every started command (of a petal) has its answer. The caller bounds it.

        Threads that were answered for are not waited for: nobody can stop them.
        """
        while not self.is_quiet(petal=petal):
            await self._finalization.wait_next()

    def is_quiet(self, *, petal: str | None = None) -> bool:
        """Whether every started command (of a petal) has its answer."""
        return all(
            execution.finished or petal not in (None, execution.spec.petal)
            for execution in self._running
        )

    def cancel_running(
        self,
        code: ErrorCode,
        text: str,
        *,
        which: Callable[[Execution], bool] = lambda _: True,
    ) -> None:
        """Cancel handlers; each is answered with `code` when it has ended."""
        for execution in list(filter(which, self._running)):
            if _waits_for_acknowledgement(execution):  # nothing wakes it for a minute
                self._call_off(execution, code, text)
            else:
                execution.cancel(code, text)

    def answer_stuck(self) -> list[str]:
        """Answer for handlers that do not end although they are cancelled; their names."""
        stuck = [execution for execution in self._running if not execution.finished]
        for execution in stuck:
            self._finalization.finish(
                execution,
                self._answers.failure(
                    execution.command.message_id,
                    ErrorCode.CANCELLED,
                    "it was cancelled",
                    remembered=execution.entered,
                ),
                ErrorCode.CANCELLED,
                trio.current_time(),
            )
        # One that waits for the disk was never called.
        return [execution.spec.name for execution in stuck if not execution.starting]


def _waits_for_acknowledgement(execution: Execution) -> bool:
    """Whether it has its slots, and is called when its acknowledgement has left."""
    waits = execution.starting and execution.line is not NO_LINE
    return waits and execution.again is not None and not execution.recorded


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
