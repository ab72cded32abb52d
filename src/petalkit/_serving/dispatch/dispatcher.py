"""The dispatcher: accepted commands in, handlers called in order, outcomes out.

The rule it keeps: commands of one petal *start* in the order in which they arrived. It puts the
parts of this folder together, and is what intake, petals and the stop know of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import trio

from ..._authoring.registry import CommandTable
from ..._values.errors import ErrorCode
from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ..ledger.contract import Ledger
from ..sending.responses import Responses
from .after_answer.second_phase import SecondPhases
from .execution import NO_LINE, Execution
from .finalization import Finalization
from .overdue import Overdue
from .queueing.queue import Backlog
from .queueing.readiness import Readiness
from .redelivered import wait_acknowledged
from .scheduler import Scheduler
from .slots import Slots
from .urgent import UrgentStarts
from .workers import Workers


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
        self.ledger = self._ledger = ledger
        self._finalization = finalization
        self.acknowledgements = finalization.acknowledgements
        self._counters = answers.counters
        standing_in = [resolver.name for resolver in table.resolvers]
        self.backlog = Backlog(settings, petals, standing_in)
        for spec in table:
            self.backlog.serve(spec)
        self._readiness = Readiness(self.backlog, table.lookup)
        served = len(self.backlog.petals)
        self.phases = SecondPhases(settings, ledger, answers, finalization)
        self.slots = Slots(self.backlog, ledger, answers, finalization, self.phases)
        self._scheduler = Scheduler(self.backlog, self.slots.admit, ledger)
        self.thread_limiter = trio.CapacityLimiter(
            settings.concurrency + settings.urgent_concurrency + served
        )
        most = settings.concurrency + served
        self._workers = Workers(most, self._scheduler, self.slots, answers, self.thread_limiter)
        self._urgent = UrgentStarts(
            settings, ledger, self.acknowledgements, self.slots, self._workers
        )
        self._scheduler.on_ready = self._workers.pass_on
        self._scheduler.acknowledge = self._acknowledge_first
        self.hold_up = self._scheduler.hold_up
        self._overdue = Overdue(self.slots, answers.counters, self.backlog, self._workers.pass_on)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the workers until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._workers.run)
            nursery.start_soon(self._overdue.watch, name="overdue handlers")
            task_status.started()

    # -- petals that are not ready at once

    def hold_petal(self, petal: str, *, until: Collection[str] = ()) -> None:
        """See `Readiness.hold`."""
        self._readiness.hold(petal, until)

    def open_petal(self, petal: str) -> None:
        """Let the commands of a petal start."""
        self._readiness.open(petal)
        self.slots.let_begin()
        self._workers.pass_on()

    # -- intake's side

    def tell_room(self, told: Callable[[], None] | None) -> None:
        """Call this when a command has left the backlog; None for nobody."""
        self.slots.on_room = told

    def accept(self, execution: Execution) -> None:
        """Take a command into the backlog. There must be room, and a place for its response."""
        self._counters.accepted += 1
        self.backlog.put(execution)
        if self._ledger.may_wait:
            self._scheduler.begin()
        self._workers.pass_on()

    def take_up(self, execution: Execution) -> None:
        """The same with a command that was accepted before, and waited in the ledger only."""
        self._ledger.take_up(execution)
        self.backlog.put(execution)
        self._scheduler.begin()
        self._workers.pass_on()

    def start_urgent(self, execution: Execution) -> bool:
        """Start a command at once, past every limit but the one on urgent ones themselves."""
        if not self._urgent.start(execution):
            return False
        self._counters.accepted += 1
        return True

    def drop_oldest(self, petal: str) -> bool:
        """Answer the oldest waiting command `DROPPED` to make room for one of a petal.

        Its own oldest, if it has no room because of itself. False when none waits.
        """
        whose = petal if self.backlog.is_over_share(petal) else None
        oldest = self.backlog.take_oldest(whose)
        if oldest is None:
            return False
        text = "a newer command came, and too many were waiting"
        self.slots.refuse(oldest, ErrorCode.DROPPED, text)
        return True

    def call_later(self, seconds: float, function: Callable[[], object], *, name: str) -> None:
        """Call a function when some time has passed, unless nothing is called any more then.

        Args:
            seconds: until then.
            function: must not raise.
            name: of the task.
        """

        async def wait() -> None:
            await trio.sleep(seconds)
            function()

        if self._workers.are_running:
            self._workers.spawn(wait, name=name)

    def _acknowledge_first(self, execution: Execution) -> None:
        """Of one that may have been delivered before: it is called when that has left."""

        async def wait() -> None:
            # The limit after which the link counts as dead, if it is ours that is not taken.
            limit = self._settings.publish_timeout
            await wait_acknowledged(self.acknowledgements, execution, limit)
            self._scheduler.acknowledged(execution)

        if self._workers.are_running:  # else nothing is called any more
            self._workers.spawn(wait, name=f"acknowledge {execution.spec.name}")

    # -- what cannot be recorded

    def take_back(self, numbers: Collection[int], code: ErrorCode, text: str) -> None:
        """The ledger fails: of what is not safe in it yet, refuse what has not been called.

        What has been, because it waits for no disk, goes on without a record.
        """

        def is_meant(execution: Execution) -> bool:
            return execution.number in numbers

        for execution in self.backlog.take(is_meant):
            execution.recorded = False
            self.slots.refuse(execution, code, text)
        for execution in list(filter(is_meant, self.slots)):
            execution.recorded = False
            if execution.starting and execution.line is not NO_LINE:
                self._call_off(execution, code, text)
                continue
            self.acknowledgements.unrecorded(execution)
            self._urgent.written(execution)
        self._scheduler.fail()
        self._workers.pass_on()

    def _call_off(self, execution: Execution, code: ErrorCode, text: str) -> None:
        """Answer one that has its slots and waits to be called."""
        self._scheduler.take_back(execution)
        execution.entered = False
        self.slots.end_uncalled(execution, code, text)

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
        state.failed, state.awaited, state.lost = True, restarts, False
        self._readiness.open_followers()
        for execution in self.backlog.take(
            lambda one: one.spec.petal == petal and not (restarts and one.recorded)
        ):
            self.slots.refuse(execution, code, text)
        self.cancel_running(code, text, which=lambda execution: execution.spec.petal == petal)
        self.slots.refuse_beside(code, text, lambda execution: execution.spec.petal == petal)
        self._workers.pass_on()

    def restore_petal(self, petal: str) -> None:
        """It is in service again; what has waited for that starts, if it is still served."""
        for execution in self.backlog.restore(petal, self._table.lookup):
            text = f"petal {petal!r} was started again, and serves {execution.spec.name} no longer"
            self.slots.refuse(execution, ErrorCode.UNKNOWN_COMMAND, text)
        self.slots.let_begin()
        self._workers.pass_on()

    def refuse_waiting(self, *, keep: Callable[[Execution], bool]) -> None:
        """Answer everything that waits `SHUTTING_DOWN`, but what `keep` says comes again."""
        for one in self.slots.beside:
            one.stop_begins()
        for execution in self.backlog.take(keep):
            self._finalization.give_back(execution)
        for execution in self.backlog.take(lambda _: True):
            self.slots.refuse(execution, ErrorCode.SHUTTING_DOWN, "the device is shutting down")
        for execution in list(filter(_waits_for_acknowledgement, self.slots)):
            assert execution.again is not None
            if keep(execution) and execution.again.hold_back():
                self._scheduler.take_back(execution)
                self.slots.give_back(execution)

    @property
    def unfinished(self) -> Sequence[Execution]:
        """What waits here, and what runs."""
        return (*self.backlog, *self.slots)

    def end_identity(self, identity: Identity, code: ErrorCode, text: str) -> None:
        """The device is another now, and has waited long enough: end what is left of this one."""
        for execution in self.backlog.take(lambda one: one.identity == identity):
            self.slots.refuse(execution, code, text)
        self.cancel_running(code, text, which=lambda execution: execution.identity == identity)
        self.slots.refuse_beside(code, text, lambda execution: execution.identity == identity)
        for one in self.slots.beside:
            one.end_identity(identity)
        self._workers.pass_on()

    def cancel_running(
        self,
        code: ErrorCode,
        text: str,
        *,
        which: Callable[[Execution], bool] = lambda _: True,
    ) -> None:
        """Cancel handlers; each is answered with `code` when it has ended."""
        for execution in list(filter(which, self.slots)):
            self._cancel(execution, code, text)
        for one in self.slots.beside:
            one.cancel_running(code, text, which)

    def cancel_command(self, execution: Execution, code: ErrorCode, text: str) -> None:
        """End one: at once if it waits, else as soon as its handler has ended."""
        for one in self.backlog.take(lambda other: other is execution):
            self.slots.refuse(one, code, text)
        if execution in self.slots:
            self._cancel(execution, code, text)
        self._workers.pass_on()

    def _cancel(self, execution: Execution, code: ErrorCode, text: str) -> None:
        if _waits_for_acknowledgement(execution):  # nothing wakes it for a minute
            self._call_off(execution, code, text)
        else:
            execution.cancel(code, text)

    # -- beside commands

    def free_group(self, group: str) -> None:
        """Whoever holds it, beside the commands, holds it no longer."""
        self.backlog.free_group(group)
        self._workers.pass_on()


def _waits_for_acknowledgement(execution: Execution) -> bool:
    """Whether it has its slots, and is called when its acknowledgement has left."""
    waits = execution.starting and execution.line is not NO_LINE
    return waits and execution.again is not None and not execution.recorded
