"""The backlog: accepted commands that have not started, and the rule of which may start next.

Commands come through one bounded memory channel and mostly start straight from it. One that may
not start yet (its petal or its own command is at its limit, or it waits for its group) is set aside
in its line, and so is whatever waits together with others: lines keep the order, and are fair to
callers. Petals have their turns; of one petal's lines, and of those that wait for one group, the
oldest command is next. Everything here is synchronous, so a choice and the call of the handler can
be one step.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator

import trio

from ...._authoring.declared import RESERVED_PREFIX
from ...._authoring.registry import CommandSpec
from ...._values.messages import Command
from ...._values.settings.settings import Settings
from ..execution import DECODED_BYTES, Execution, Line, PetalState
from .callers import Callers
from .shares import Shares
from .turns import Turns, oldest

_number = operator.attrgetter("number")


class Backlog:
    """See the module. Counts slots too, because only they say what may start.

    Args:
        settings: the limits.
        petals: names of the petals; each always has one slot of its own.
        standing_in: those of them who only stand for others that are not known yet.
    """

    def __init__(
        self, settings: Settings, petals: Iterable[str], standing_in: Collection[str] = ()
    ) -> None:
        self.concurrency = settings.concurrency
        self.callers = Callers(settings)
        self._caller_of = self.callers.of
        limits = settings.petal_concurrency, settings.callers_max
        self.petals = {name: PetalState(name, *limits) for name in petals}
        served = self.petals.keys() - {RESERVED_PREFIX}
        known = len(served.difference(standing_in))
        self.shares = Shares(settings, len(served) if known > 1 else known, len(served))
        self._lines: dict[CommandSpec, Line] = {}
        self.groups: dict[str, Execution] = {}  # who has each `exclusive` group that is taken
        self._send, self._receive = trio.open_memory_channel[Execution](
            len(self.petals) * (self.shares.most + self.shares.reserve)
        )
        self._aside = 0  # of those that wait, how many are not in the channel
        self._whose: tuple[Line, Hashable] | None = None  # line and caller of what is in it
        self._is_mixed = False  # it is of several
        self._set_aside: dict[Line, None] = {}  # lines with commands in them
        self._look_again = False  # something changed since those lines were last looked at
        self._running = 0
        self._turns = Turns()
        self.waiting = self.waiting_bytes = 0
        self.held_up = False  # nothing may start: the outbox has all the bytes that it may have

    # -- lines

    def serve(self, spec: CommandSpec) -> None:
        """Give a command its line: its own when it may wait alone, else its petal's."""
        state = self.petals[spec.petal]
        group = spec.exclusive if spec.when_busy == "wait" else None
        own = spec.concurrency is not None or group is not None
        self._lines[spec] = (
            Line(state, spec.concurrency, self.callers.most, group) if own else state.line
        )

    def unserve(self, spec: CommandSpec) -> None:
        """Forget a command's line; what waits in it is still run."""
        self._lines.pop(spec, None)

    def line_of(self, spec: CommandSpec) -> Line:
        """The line of a command; its petal's when it was removed meanwhile."""
        return self._lines.get(spec) or self.petals[spec.petal].line

    def open(self, petal: str, find: Callable[[str], CommandSpec | None]) -> None:
        """Let the commands of a petal start, which have waited for it, in order.

        Args:
            petal: its name.
            find: who serves a name now. Of commands that somebody was only guessed to serve, it
                may be another by now: they go to the line of that one, to their place in it.
        """
        self.petals[petal].ready = True
        self._look_up(lambda one: one.spec.guessed, find)

    def restore(self, petal: str, find: Callable[[str], CommandSpec | None]) -> list[Execution]:
        """Let the commands of a petal start that have waited for its next life, in order.

        They go to what that life serves: a handler of the last one may know only what that had.

        Args:
            petal: its name.
            find: who serves a name now.

        Returns:
            Those that nobody serves any more, taken out.
        """
        self.petals[petal].failed = self.petals[petal].awaited = False
        unserved = self._look_up(lambda one: one.spec.petal == petal, find)
        return self.take(unserved.__contains__)

    def _look_up(
        self, which: Callable[[Execution], bool], find: Callable[[str], CommandSpec | None]
    ) -> set[Execution]:
        """Give those that `which` says to who serves them now; returns those whom nobody does."""
        unserved: set[Execution] = set()
        moved = self.take(which)
        for execution in moved:
            with contextlib.suppress(Exception):  # a petal's own code may be asked
                spec = find(execution.spec.name)
                if spec is None:
                    unserved.add(execution)
                else:
                    execution.spec = spec
        for execution in moved:
            execution.line = self.line_of(execution.spec)
            self._put_aside(execution)
            self._count(execution, 1)
        for line in {execution.line for execution in moved}:
            unsorted = line.waiting.remove(lambda _: True)
            self._aside -= len(unsorted)
            for execution in sorted(unsorted, key=_number):
                self._put_aside(execution)
        self._look_again = True
        return unserved

    # -- in and out

    def is_full(self, petal: str) -> bool:
        """Whether no further command of a petal can be accepted."""
        if self.waiting < self.shares.ample and self.waiting_bytes < self.shares.ample_bytes:
            return False
        return self.is_over_share(petal) or (
            self.waiting >= self.shares.all or self.waiting_bytes >= self.shares.all_bytes
        )

    def is_over_share(self, petal: str) -> bool:
        """Whether that is because of the petal itself."""
        return self.shares.are_used(self.petals[petal])

    def is_over_reserve(self, petal: str) -> bool:
        """Whether not even a command can be accepted that cannot wait on disk with the others."""
        return self.shares.are_used(self.petals[petal], self.shares.reserve)

    @property
    def may_have_next(self) -> bool:
        """Whether `next` is worth a call."""
        return not self.held_up and (
            self.waiting > self._aside or (self._look_again and bool(self._set_aside))
        )

    def put(self, execution: Execution) -> None:
        """Add a command, last. There must be room."""
        command, line = execution.command, self.line_of(execution.spec)
        execution.line = line
        whose = line, self._caller_of(command.topic, command.properties)
        if self.waiting == self._aside:  # the channel is empty
            self._whose, self._is_mixed = whose, False
        elif whose != self._whose:
            self._is_mixed = True
        if self.waiting_bytes > DECODED_BYTES:
            execution.put_it_away()
        self._send.send_nowait(execution)
        self._count(execution, 1)

    def next(self) -> Execution | None:
        """Take out the oldest command that may start now; None when there is none."""
        if self.held_up:
            return None
        if self.waiting > self._aside:
            if not (self._is_mixed or self._set_aside):  # then the oldest is next
                execution = self._receive.receive_nowait()
                if self._may_start(execution.line):
                    self._count(execution, -1)
                    return execution
                self._put_aside(execution)
            self._empty_channel()
        if self._look_again and self._set_aside:
            ready = [line for line in self._set_aside if self._may_start(line)]
            if ready:
                return self._out(self._turns.choose(ready).waiting.popleft())
        self._look_again = False
        return None

    def take_oldest(self, petal: str | None) -> Execution | None:
        """Take out the command (of a petal) that waits longest, whether it may start or not.

        Where callers are told apart, of the one who has most in its line.
        """
        self._empty_channel()
        lines = [line for line in self._set_aside if petal in (None, line.petal.name)]
        if not lines:
            return None
        return self._out(min(lines, key=oldest).waiting.drop())

    def has_spare_room(self, spec: CommandSpec, command: Command) -> bool:
        """Whether a command can be accepted though all is full: its sender has nothing waiting."""
        if self.shares.are_used(self.petals[spec.petal], self.shares.spare):
            return False
        self._empty_channel()
        caller = self._caller_of(command.topic, command.properties)
        return not self.line_of(spec).waiting.holds(caller)

    def take(self, which: Callable[[Execution], bool]) -> list[Execution]:
        """Take out every command that `which` says, in order of arrival."""
        self._empty_channel()
        taken: list[Execution] = []
        for line in list(self._set_aside):
            taken += map(self._out, line.waiting.remove(which))
        return sorted(taken, key=_number)

    def __iter__(self) -> Iterator[Execution]:
        """Everything that waits, line by line."""
        self._empty_channel()
        for line in self._set_aside:
            yield from line.waiting

    def _count(self, execution: Execution, one: int) -> None:
        """A command waits (1), or does not any more (-1)."""
        size, petal = one * len(execution.payload), execution.line.petal
        self.waiting += one
        self.waiting_bytes += size
        petal.waiting += one
        petal.waiting_bytes += size

    def _out(self, execution: Execution) -> Execution:
        """One was taken out of its line."""
        self._aside -= 1
        self._count(execution, -1)
        if not execution.line.waiting:
            self._set_aside.pop(execution.line, None)
        return execution

    def _put_aside(self, execution: Execution) -> None:
        command = execution.command
        caller = self._caller_of(command.topic, command.properties)
        execution.line.waiting.append(caller, execution)
        self._aside += 1
        self._set_aside[execution.line] = None

    def _empty_channel(self) -> None:
        """A channel gives out its first only; to see the others, set all aside."""
        for _ in range(self.waiting - self._aside):
            self._put_aside(self._receive.receive_nowait())
        self._look_again = True

    # -- slots

    def _may_start(self, line: Line) -> bool:
        """Whether one more command of a line may start; one slot is always its petal's own."""
        petal = line.petal
        if petal.running and (petal.running >= petal.limit or self._running >= self.concurrency):
            return False
        return (
            petal.ready
            and not petal.awaited
            and (line.group is None or line.group not in self.groups)
            and (line.limit is None or line.running < line.limit)
        )

    def enter(self, execution: Execution) -> None:
        """A command takes its slots."""
        line = execution.line
        self._running += 1
        line.running += 1
        line.petal.running += 1

    def leave(self, execution: Execution) -> None:
        """A command gives its slots back."""
        line = execution.line
        self._running -= 1
        line.running -= 1
        line.petal.running -= 1
        self._look_again = True

    def is_owed(self, group: str, number: int) -> bool:
        """Whether a command that came before that number waits for a group, and for no more."""
        self._empty_channel()
        waiting = (line for line in self._set_aside if line.group == group)
        return any(self._may_start(line) and oldest(line) < number for line in waiting)

    def free_group(self, group: str) -> None:
        """Nobody is in it any more."""
        del self.groups[group]
        self._look_again = True
