"""Who has a slot: taken at the start of a command, given back at its end.

The rule: what comes out of the backlog either has a slot, or is answered in the same step; and
whoever has a slot gives it back when its handler has really ended, whatever goes wrong with its
answer. The trap: answered is not ended. A handler in a thread is answered when its time is over,
and its thread, which nobody can stop, keeps the slot until it returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping

import trio

from ..._values.errors import ErrorCode
from ..ledger.contract import Ledger
from ..sending.responses import Responses
from .after_answer.beside import Beside
from .after_answer.second_phase import SecondPhases
from .calling import Answer, timed_out
from .execution import NO_LINE, Execution
from .finalization import Finalization
from .queueing.queue import Backlog


class Slots:
    """See the module.

    Args:
        backlog: where commands come from; counts the slots of petals and lines.
        ledger: whether it made a command wait that has its slot.
        answers: encodes responses.
        finalization: gives each command its final state.
        phases: of commands that are answered before they end.

    Attributes:
        urgent: how many urgent ones run.
        on_room: called when a command has left the backlog, if somebody waits for that.
        beside: what goes on after the answers of commands, and is ended with them.
    """

    def __init__(
        self,
        backlog: Backlog,
        ledger: Ledger[Execution],
        answers: Responses,
        finalization: Finalization,
        phases: SecondPhases,
    ) -> None:
        self._backlog = backlog
        self._ledger = ledger
        self._answers = answers
        self._finalization = finalization
        self._running: dict[Execution, None] = {}
        self.urgent = 0
        self._taken: trio.Event | None = None  # set when there is one, if somebody waits
        self.on_room: Callable[[], None] | None = None
        self.beside: list[Beside] = []
        # Awaited with the name of a petal that is entered, before it is in service.
        self.before_service: Callable[[str], Awaitable[object]] = _nothing
        self.phases = phases
        self.accept = phases.accept

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Execution]:
        return iter(self._running)

    # -- taken

    async def wait_taken(self) -> None:
        """Wait until there is one. No limit: on a device at rest there is none."""
        if self._running:
            await trio.lowlevel.checkpoint()
            return
        self._taken = trio.Event()
        await self._taken.wait()

    def admit(self, execution: Execution) -> bool:
        """Decide at the start: count it as running, or answer why not."""
        spec = execution.spec
        if execution.line.petal.failed:
            text = f"petal {spec.petal!r} is not available"
            self.refuse(execution, ErrorCode.UNAVAILABLE, text)
            return False
        wishes = execution.wishes
        if wishes is not None:
            wall, now = self._answers.timestamps.now(), trio.current_time()
            objection = wishes.objection(wall, now, "it expired before it could start")
            if objection is not None:
                self.refuse(execution, objection.code, objection.text)
                return False
        if spec.exclusive is not None:
            holder = self._backlog.groups.setdefault(spec.exclusive, execution)
            if holder is not execution:
                text = f"{holder.spec.name} is running; {spec.exclusive} takes one at a time"
                running = {"command": holder.spec.name, "messageId": holder.command.message_id}
                self.refuse(execution, ErrorCode.BUSY, text, details={"running": running})
                return False
        self._running[execution] = None
        if self._taken is not None:
            self._tell_taken()
        execution.entered = True
        self._backlog.enter(execution)
        if self.on_room is not None:
            self.on_room()
        return True

    def enter_urgent(self, execution: Execution) -> None:
        """One that passes the backlog and its limits."""
        self.urgent += 1
        self._running[execution] = None
        if self._taken is not None:
            self._tell_taken()

    def _tell_taken(self) -> None:
        assert self._taken is not None
        self._taken.set()
        self._taken = None

    def is_unwanted(self, execution: Execution) -> bool:
        """Whether one that has its slots is not to be called after all: a ledger can take long."""
        wishes = execution.wishes
        may_wait = self._ledger.may_wait or execution.again is not None
        if wishes is not None and may_wait and execution.cancelled_as is None:
            wall, now = self._answers.timestamps.now(), trio.current_time()
            objection = wishes.objection(wall, now, "it expired while its start was recorded")
            if objection is not None:
                execution.cancelled_as = (objection.code, objection.text)
        return execution.cancelled_as is not None

    def refuse(
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
        if execution.spec.exclusive is not None:
            self.let_begin()  # what waited behind it for the group

    # -- given back

    def leave(self, execution: Execution) -> None:
        """The handler, or its thread, has really ended: free its slot and group."""
        del self._running[execution]
        if execution.line is NO_LINE:  # it was started past all lines, as urgent
            self.urgent -= 1
            return
        self._backlog.leave(execution)
        if execution.spec.exclusive is not None:
            del self._backlog.groups[execution.spec.exclusive]
            self.let_begin()

    def end(self, execution: Execution, answer: Answer, now: float) -> None:
        """A handler has ended, or its thread was given up; this is its answer."""
        execution.scope = None
        response, code = answer
        try:
            if execution.goes_on:
                self.phases.finish(execution, response, code)
                self._finalization.tell_progress()
            else:
                self._finalization.finish(execution, response, code, now)
        finally:  # whatever goes wrong with an answer, its slot is free
            if not execution.in_thread:
                self.leave(execution)

    def end_cancelled(self, execution: Execution) -> None:
        """A handler was cancelled, and has ended of that."""
        self.end_uncalled(execution, *(execution.cancelled_as or timed_out(execution)))

    def end_uncalled(self, execution: Execution, code: ErrorCode, text: str) -> None:
        """One that has its slots ends without a word of its handler's."""
        execution.reason = text
        response = self._answers.failure(
            execution.command.message_id, code, text, remembered=execution.entered
        )
        self._finalization.leave_to_others(execution)
        self.end(execution, (response, code), trio.current_time())

    def give_back(self, execution: Execution) -> None:
        """One that has its slots and was not called comes again; see `Finalization.give_back`."""
        self._finalization.give_back(execution)
        self.leave(execution)

    # -- those that run

    def going_on(self, message_id: str) -> Execution | None:
        """The command of that ID that has its first answer, and has not ended."""
        return next(
            (one for one in self if one.goes_on and one.command.message_id == message_id), None
        )

    def let_begin(self) -> None:
        """What waits beside the commands for a group or a petal may begin, if it can."""
        for one in self.beside:
            one.may_begin()

    def refuse_beside(self, code: ErrorCode, text: str, which: Callable[[Execution], bool]) -> None:
        """End what waits beside the commands."""
        for one in self.beside:
            one.refuse_waiting(code, text, which)

    def work_ended(self) -> None:
        """Something beside the commands has ended."""
        self._finalization.tell_progress()

    def link_is_up(self) -> None:
        """There is a link again."""
        for one in self.beside:
            one.link_is_up()

    def link_is_gone(self) -> None:
        """There is no link any more."""
        for one in self.beside:
            one.link_is_gone()

    async def wait_quiet(self, *, petal: str | None = None) -> None:
        """Wait until every started command (of a petal) has its answer. The caller bounds it.

        Threads that were answered for are not waited for: nobody can stop them.
        """
        while not self.is_quiet(petal=petal):
            await self._finalization.wait_next()

    def is_quiet(self, *, petal: str | None = None) -> bool:
        """Whether every started command (of a petal) has its answer."""
        return all(
            (one.finished and not one.goes_on) or petal not in (None, one.spec.petal)
            for one in self._running
        ) and all(one.is_quiet(petal) for one in self.beside)

    def answer_stuck(self) -> list[str]:
        """Answer for handlers that do not end although they are cancelled.

        Returns:
            Their names, and those of jobs and streams that do not either.
        """
        stuck = [one for one in self._running if one.goes_on or not one.finished]
        for execution in stuck:
            code, text = ErrorCode.CANCELLED, "it was cancelled"
            if execution.cancelled_as is None and execution.deadline < trio.current_time():
                code, text = timed_out(execution)
            response = self._answers.failure(
                execution.command.message_id, code, text, remembered=execution.entered
            )
            if execution.goes_on:
                self.phases.finish(execution, response, code)
            else:
                self._finalization.finish(execution, response, code, trio.current_time())
        # One that waits for the disk was never called.
        names = [execution.spec.name for execution in stuck if not execution.starting]
        return [*names, *(name for one in self.beside for name in one.stuck())]


async def _nothing(_: str) -> None:
    """Nobody has anything to do before a petal is in service."""
