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
import logging
import math
from collections.abc import Callable, Iterable, Mapping

import trio

from ._answers import Answers
from ._context import log_scope
from ._duplicates import DuplicateWindow
from ._errors import ErrorCode
from ._execution import Answer, Execution, Line, PetalState, call_handler, timed_out
from ._messages import Identity, Message
from ._outbox import Outbox
from ._registry import CommandSpec, CommandTable
from ._settings import Settings
from ._statistics import Counters

logger = logging.getLogger("petalkit.dispatcher")

CHECKPOINT_INTERVAL = 16  # commands that a worker may finish without a checkpoint


class Dispatcher:
    """Holds accepted commands, starts them within the limits, and answers them.

    Args:
        settings: limits.
        table: the commands; lookups see its changes.
        petals: names of the petals; each always has one slot of its own.
        duplicates: told of every beginning and end.
        answers: encodes responses.
        outbox: takes them.
        counters: counts them.
    """

    def __init__(
        self,
        settings: Settings,
        table: CommandTable,
        petals: Iterable[str],
        duplicates: DuplicateWindow[Execution],
        answers: Answers,
        outbox: Outbox,
        counters: Counters,
    ) -> None:
        self._settings = settings
        self._duplicates = duplicates
        self._answers = answers
        self._outbox = outbox
        self._counters = counters
        # Called when a command left the line of waiting ones: the intake may go on.
        self.on_start: Callable[[], None] = lambda: None
        self._send, self._receive = trio.open_memory_channel[Execution](settings.channel_capacity)
        self._in_channel = 0
        self._set_aside: dict[Line, None] = {}  # lines with commands in them
        self._freed = False  # a slot was freed since those lines were last looked at
        self.waiting = 0
        self.waiting_bytes = 0
        self.petals = {name: PetalState(name, settings.petal_concurrency) for name in petals}
        self._lines: dict[CommandSpec, Line] = {}
        for spec in table:
            self.serve(spec)
        self._groups: dict[str, Execution] = {}
        self._running: dict[Execution, None] = {}
        self._running_ordinary = 0
        self._running_urgent = 0
        self._idle = trio.lowlevel.ParkingLot()
        self._workers = 0
        self._waking = 0
        self._nursery: trio.Nursery | None = None
        self._thread_limiter = trio.CapacityLimiter(
            settings.concurrency + settings.urgent_concurrency + len(self.petals)
        )
        self._progress: trio.Event | None = None  # set at the next ending, if somebody waits

    # -- the table

    def serve(self, spec: CommandSpec) -> None:
        """Give a command its line: its own when it has a concurrency, else its petal's."""
        state = self.petals[spec.petal]
        own = spec.concurrency is not None
        self._lines[spec] = Line(state, spec.concurrency) if own else state.line

    def unserve(self, spec: CommandSpec) -> None:
        """Forget a command's line; what waits in it is still run."""
        self._lines.pop(spec, None)

    def _line_of(self, spec: CommandSpec) -> Line:
        # A command may be removed while it is held.
        return self._lines.get(spec) or self.petals[spec.petal].line

    # -- intake's side

    @property
    def running(self) -> int:
        """Commands whose handler runs, abandoned threads included."""
        return len(self._running)

    @property
    def is_full(self) -> bool:
        """Whether no further ordinary command can be accepted."""
        return (
            self.waiting >= self._settings.channel_capacity
            or self.waiting_bytes >= self._settings.channel_bytes
        )

    def accept(self, execution: Execution) -> None:
        """Take a command into the channel. There must be room, and a place for its response."""
        execution.line = self._line_of(execution.spec)
        self.waiting += 1
        self.waiting_bytes += len(execution.payload)
        self._in_channel += 1
        self._begin(execution)
        self._send.send_nowait(execution)
        self._wake_worker()

    def start_urgent(self, execution: Execution) -> bool:
        """Start a command at once, past every limit but the one on urgent ones themselves."""
        if self._running_urgent >= self._settings.urgent_concurrency or self._nursery is None:
            return False
        execution.line = self._line_of(execution.spec)
        self._begin(execution)
        self._enter(execution)
        self._nursery.start_soon(self._run_urgent, execution, name=f"urgent {execution.spec.name}")
        return True

    def drop_oldest(self) -> bool:
        """Answer the oldest waiting command `DROPPED`; False when none waits."""
        while self._in_channel:  # the channel can only be read from, so set all aside first
            self._aside(self._from_channel())
        if not self._set_aside:
            return False
        self._freed = True
        line = min(self._set_aside, key=lambda one: one.waiting[0].number)
        self._refuse_waiting(self._take_from(line), ErrorCode.DROPPED, "a newer command came")
        return True

    def _begin(self, execution: Execution) -> None:
        self._counters.accepted += 1
        if execution.command.message_id is not None:
            self._duplicates.begin(execution.command.message_id, execution)

    # -- choosing

    def _from_channel(self) -> Execution:
        self._in_channel -= 1
        return self._receive.receive_nowait()

    def _aside(self, execution: Execution) -> None:
        execution.line.waiting.append(execution)
        self._set_aside[execution.line] = None

    def _take_from(self, line: Line) -> Execution:
        execution = line.waiting.popleft()
        if not line.waiting:
            del self._set_aside[line]
        return execution

    def _may_start(self, line: Line) -> bool:
        petal = line.petal
        return (line.limit is None or line.running < line.limit) and (
            petal.running == 0
            or (petal.running < petal.limit and self._running_ordinary < self._settings.concurrency)
        )

    def _next(self) -> Execution | None:
        """The next command that may start, counted as running; None when there is none."""
        while self._freed and self._set_aside:
            ready = [line for line in self._set_aside if self._may_start(line)]
            if not ready:
                break
            line = min(ready, key=lambda one: one.waiting[0].number)
            execution = self._take_from(line)
            if self._admit(execution):
                return execution
        self._freed = False
        while self._in_channel:
            execution = self._from_channel()
            if execution.line.waiting or not self._may_start(execution.line):
                self._aside(execution)
            elif self._admit(execution):
                return execution
        return None

    def _admit(self, execution: Execution) -> bool:
        """Decide at the start: run it, or answer why not."""
        spec = execution.spec
        petal = execution.line.petal
        if petal.failed:
            text = f"petal {petal.name!r} is not available"
            self._refuse_waiting(execution, ErrorCode.UNAVAILABLE, text)
            return False
        if execution.expires_at is not None and self._answers.timestamps.now() > (
            execution.expires_at
        ):
            self._refuse_waiting(execution, ErrorCode.EXPIRED, "it expired before it could start")
            return False
        if spec.exclusive is not None:
            holder = self._groups.get(spec.exclusive)
            if holder is not None:
                text = f"{holder.spec.name} is running; {spec.exclusive} takes one at a time"
                details = {
                    "running": {
                        "command": holder.spec.name,
                        "messageId": holder.command.message_id,
                    }
                }
                self._refuse_waiting(execution, ErrorCode.BUSY, text, details=details)
                return False
        self._left_waiting(execution)
        self._enter(execution)
        return True

    def _left_waiting(self, execution: Execution) -> None:
        self.waiting -= 1
        self.waiting_bytes -= len(execution.payload)
        self.on_start()

    def _refuse_waiting(
        self,
        execution: Execution,
        code: ErrorCode,
        text: str,
        *,
        details: Mapping[str, object] | None = None,
    ) -> None:
        response = self._answers.failure(execution.command.message_id, code, text, details=details)
        self._finish(execution, response, code)
        self._left_waiting(execution)

    def _enter(self, execution: Execution) -> None:
        self._running[execution] = None
        execution.entered = True
        if execution.spec.urgent:
            self._running_urgent += 1
            return
        self._running_ordinary += 1
        execution.line.running += 1
        execution.line.petal.running += 1
        if execution.spec.exclusive is not None:
            self._groups[execution.spec.exclusive] = execution

    def _leave(self, execution: Execution) -> None:
        """The handler, or its thread, has really ended: free its slot and group."""
        if execution not in self._running:
            return
        del self._running[execution]
        if execution.spec.urgent:
            self._running_urgent -= 1
        else:
            self._running_ordinary -= 1
            execution.line.running -= 1
            execution.line.petal.running -= 1
            if self._groups.get(execution.spec.exclusive or "") is execution:
                del self._groups[execution.spec.exclusive or ""]
            if self._set_aside:
                self._freed = True

    # -- workers

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the workers until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def _pass_on(self) -> None:
        """Wake one worker if there is something that could start."""
        if self._in_channel or (self._freed and self._set_aside):
            self._wake_worker()

    def _wake_worker(self) -> None:
        if self._waking or self._nursery is None:
            return
        if self._idle:
            self._waking += 1
            self._idle.unpark()
        elif self._workers < self._settings.concurrency + len(self.petals):
            self._waking += 1
            self._workers += 1
            self._nursery.start_soon(self._work, name=f"worker {self._workers}")

    async def _work(self) -> None:
        self._waking -= 1
        serving = _Serving()
        task = trio.lowlevel.current_task()
        pristine = task.context.copy()
        while True:
            with trio.CancelScope() as serving.scope:
                await self._serve(serving)
            if serving.execution is not None:
                self._end_cancelled(serving.execution)
                serving.execution = None
            # Back here when the scope is used up, or a handler left context variables behind,
            # which are its own business and not the next command's. A task's context counts
            # from its next step on.
            task.context = pristine.copy()
            self._pass_on()
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _serve(self, serving: _Serving) -> None:
        scope = serving.scope
        budget = CHECKPOINT_INTERVAL
        while True:
            execution = self._next()
            if execution is None:
                log_scope.set(None)
                await self._idle.park()
                self._waking -= 1
                budget = CHECKPOINT_INTERVAL
                continue
            self._pass_on()
            serving.execution = execution
            timeout = execution.spec.timeout
            if timeout != math.inf:
                scope.deadline = execution.deadline = trio.current_time() + timeout
            execution.scope = scope
            log_scope.set(execution)
            before = contextvars.copy_context()
            answer = await self._call(execution)
            scope.deadline = math.inf
            serving.execution = None
            self._end(execution, answer)
            if scope.cancel_called or contextvars.copy_context() != before:
                return
            budget -= 1
            if not budget:
                self._pass_on()
                await trio.lowlevel.checkpoint()
                budget = CHECKPOINT_INTERVAL

    async def _call(self, execution: Execution) -> Answer:
        return await call_handler(
            execution, self._answers, self._counters, self._thread_limiter, self._thread_ended
        )

    def _thread_ended(self, execution: Execution) -> None:
        self._leave(execution)
        self._pass_on()

    async def _run_urgent(self, execution: Execution) -> None:
        with trio.CancelScope() as scope:
            execution.scope = scope
            if execution.spec.timeout != math.inf:
                execution.deadline = trio.current_time() + execution.spec.timeout
                scope.deadline = execution.deadline
            log_scope.set(execution)
            self._end(execution, await self._call(execution))
            return
        self._end_cancelled(execution)

    # -- endings

    def _end(self, execution: Execution, answer: Answer) -> None:
        execution.scope = None
        self._finish(execution, *answer)
        if not execution.in_thread:
            self._leave(execution)

    def _end_cancelled(self, execution: Execution) -> None:
        code, text = execution.cancelled_as or timed_out(execution)
        self._end(
            execution, (self._answers.failure(execution.command.message_id, code, text), code)
        )

    def _finish(self, execution: Execution, response: bytes, code: str | None) -> None:
        """The one final state of a command: recorded, answered, acknowledged."""
        if execution.finished:
            return
        execution.finished = True
        if code is None:
            self._counters.succeeded += 1
        else:
            self._counters.failed[str(code)] += 1
        message_id = execution.command.message_id
        if message_id is not None:
            if execution.entered or code == ErrorCode.EXPIRED:
                self._duplicates.finish(message_id, response, trio.current_time())
            else:
                self._duplicates.forget(message_id)
        if execution.wait_response:
            self._outbox.put_response(Message(execution.response_topic, response))
        execution.log_answer(code)
        for delivery in execution.deliveries:
            delivery.ack()
        execution.deliveries = ()
        if self._progress is not None:
            self._progress.set()
            self._progress = None

    # -- stopping

    def cancel_petal(self, petal: str, code: ErrorCode, text: str) -> None:
        """A petal failed: end what runs, and answer what waits when its turn comes."""
        self.petals[petal].failed = True
        for execution in list(self._running):
            if execution.spec.petal == petal:
                execution.cancel(code, text)
        self._freed = True
        self._pass_on()

    def refuse_waiting(self, *, keep: Callable[[Execution], bool]) -> None:
        """Answer everything that waits `SHUTTING_DOWN`, but what `keep` says the broker has."""
        for execution in self._take_waiting(keep):
            self._forget(execution)
        self._refuse_where(lambda _: True, ErrorCode.SHUTTING_DOWN, "the device is shutting down")

    def _refuse_where(self, which: Callable[[Execution], bool], code: ErrorCode, text: str) -> None:
        for execution in self._take_waiting(which):
            self._refuse_waiting(execution, code, text)

    def _take_waiting(self, which: Callable[[Execution], bool]) -> list[Execution]:
        """Take out of the lines what `which` says, in order of arrival."""
        while self._in_channel:
            self._aside(self._from_channel())
        taken: list[Execution] = []
        for line in list(self._set_aside):
            chosen = [execution for execution in line.waiting if which(execution)]
            taken += chosen
            for execution in chosen:
                line.waiting.remove(execution)
            if not line.waiting:
                del self._set_aside[line]
        self._freed = True  # what was set aside here was not looked at by a worker
        return sorted(taken, key=lambda execution: execution.number)

    def _forget(self, execution: Execution) -> None:
        execution.finished = True
        if execution.command.message_id is not None:
            self._duplicates.forget(execution.command.message_id)
        if execution.wait_response:
            self._outbox.release()
        self._left_waiting(execution)

    async def wait_quiet(self, *, petal: str | None = None) -> None:
        """Wait until every started command (of a petal) has its answer. The caller bounds it.

        Threads that were answered for are not waited for: nobody can stop them.
        """
        while any(
            not execution.finished and petal in (None, execution.spec.petal)
            for execution in self._running
        ):
            if self._progress is None:
                self._progress = trio.Event()
            await self._progress.wait()

    def cancel_running(
        self,
        code: ErrorCode,
        text: str,
        *,
        which: Callable[[Execution], bool] = lambda _: True,
    ) -> None:
        """Cancel handlers; each is answered with `code` when it has ended."""
        for execution in list(self._running):
            if which(execution):
                execution.cancel(code, text)

    def end_identity(self, identity: Identity) -> None:
        """The device is another now, and has waited long enough: end what is left of this one."""
        text = f"the device left organization {identity.organization_id!r}"
        self._refuse_where(lambda one: one.identity == identity, ErrorCode.CANCELLED, text)
        self.cancel_running(
            ErrorCode.CANCELLED, text, which=lambda execution: execution.identity == identity
        )

    def answer_stuck(self) -> list[str]:
        """Answer for handlers that do not end although they are cancelled; their names."""
        stuck = [execution for execution in self._running if not execution.finished]
        for execution in stuck:
            self._finish(
                execution,
                self._answers.failure(
                    execution.command.message_id, ErrorCode.CANCELLED, "it was cancelled"
                ),
                ErrorCode.CANCELLED,
            )
        return [execution.spec.name for execution in stuck]


class _Serving:
    """What a worker is doing now, for the moment when its cancel scope was used."""

    __slots__ = ("execution", "scope")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.execution: Execution | None = None
