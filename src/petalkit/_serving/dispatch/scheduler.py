"""Which command starts next, and what has to be on disk, or acknowledged, before it may.

A command whose start is not on disk when the power fails would be started a second time. So it
takes its slot, its start is put down, and it is called when that is written: in the order in which
the slots were taken, and together with its acceptance where a slot is free at once.

Two kinds of command are called without that wait: one that is not recorded, and one that may be
run again anyway (`idempotent`), unless it was running when an earlier run died, perhaps of it. Not
past others of its petal that do wait, though: order is order. But while the disk fails, which can
be for hours, what is not recorded passes.

What the broker may have delivered before, and what no record protects, waits in the same way until
its acknowledgement has left; see `redelivered`.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable

from ..ledger.journal.records import Started
from ..ledger.journal.write_ahead import Journal
from .execution import Execution, PetalState
from .queue import Backlog
from .redelivered import is_known_by_record


class Starts:
    """See the module; this one is without a journal.

    Args:
        backlog: where commands come from.
        admit: takes the slots of a command; False when it was answered instead.

    Attributes:
        on_ready: called when there is a next one that there was not before.
        acknowledge: acknowledges a command that came again; it calls `acknowledged` with it when
            that has left, or after its limit.
    """

    def __init__(self, backlog: Backlog, admit: Callable[[Execution], bool]) -> None:
        self._backlog = backlog
        self._admit = admit
        self._ready: deque[Execution] = deque()  # what they had to wait for is done
        self.on_ready: Callable[[], None] = lambda: None
        self.acknowledge: Callable[[Execution], object] = self.acknowledged

    @property
    def may_have_next(self) -> bool:
        """Whether `next` is worth a call."""
        return bool(self._ready) or self._backlog.may_have_next

    def begin(self) -> None:
        """A command has come: begin what has to be done before it may start."""

    def fail(self) -> None:
        """The journal cannot be written from now on."""

    def next(self) -> Execution | None:
        """The next command to be called, its slots taken; None when there is none."""
        while not self._ready:
            execution = self._next_admitted()
            if execution is None:
                return None
            again = execution.again is not None
            if not again and not execution.line.petal.starting:
                return execution
            self._line_up(execution, waits=again)
            if again:
                self.acknowledge(execution)
            # Else those before it are waited for.
        return self._ready.popleft()

    def _next_admitted(self) -> Execution | None:
        while (execution := self._backlog.next()) is not None:
            if self._admit(execution):
                return execution
        return None

    # -- those that wait

    def _line_up(self, execution: Execution, *, waits: bool) -> None:
        execution.starting = True
        execution.line.petal.starting[execution] = not waits

    def acknowledged(self, execution: Execution) -> None:
        """The acknowledgement of one that is `starting` has left; nothing else is waited for."""
        if execution.starting:
            execution.line.petal.starting[execution] = True
            if self._passes(execution):
                self._call_past_others(execution)
            self._let_go(execution.line.petal)

    def _passes(self, execution: Execution) -> bool:
        """Whether it need not keep its order."""
        return False

    def _call_past_others(self, execution: Execution) -> None:
        execution.starting = False
        del execution.line.petal.starting[execution]
        self._ready.append(execution)
        self.on_ready()

    def _let_go(self, petal: PetalState) -> None:
        """Those of a petal may be called before which none waits."""
        before = len(self._ready)
        for execution, may_be_called in list(petal.starting.items()):
            if not may_be_called:
                break
            del petal.starting[execution]
            execution.starting = False
            self._ready.append(execution)
        if len(self._ready) > before:
            self.on_ready()

    def take_back(self, execution: Execution) -> None:
        """One that is `starting` is not to be called."""
        execution.starting = False
        petal = execution.line.petal
        del petal.starting[execution]
        self._let_go(petal)


class RecordedStarts(Starts):
    """The same with a journal.

    Args:
        backlog: see `Starts`.
        admit: see `Starts`.
        journal: where starts are put down.
    """

    def __init__(
        self, backlog: Backlog, admit: Callable[[Execution], bool], journal: Journal
    ) -> None:
        super().__init__(backlog, admit)
        self._journal = journal
        self._beginning = False

    def begin(self) -> None:
        """See `Starts`."""
        if self._beginning:  # a slot that is taken makes room, and what comes then comes here
            return
        self._beginning = True
        try:
            self._begin()
        finally:
            self._beginning = False

    def _begin(self) -> None:
        while (execution := self._next_admitted()) is not None:
            recorded = execution.recorded
            waits = recorded and (execution.restarted or not execution.spec.idempotent)
            again = not recorded and execution.again is not None
            petal = execution.line.petal
            if not (waits or again) and (not petal.starting or self._passes(execution)):
                if recorded:
                    self._put_down(execution, None)
                self._ready.append(execution)
                continue
            self._line_up(execution, waits=waits or again)
            if recorded:
                self._put_down(execution, functools.partial(self._written, execution))
            elif again:
                self.acknowledge(execution)

    def _passes(self, execution: Execution) -> bool:
        """Whether it need not keep its order: for hours nothing may be written."""
        return self._journal.failing and not execution.recorded

    def fail(self) -> None:
        """See `Starts`."""
        for petal in list(self._backlog.petals.values()):
            for execution, may_be_called in list(petal.starting.items()):
                if may_be_called and self._passes(execution):
                    self._call_past_others(execution)
        self.on_ready()

    def _put_down(self, execution: Execution, then: Callable[[], None] | None) -> None:
        self._journal.add(Started(execution.number, self._journal.wall()), then)

    def _written(self, execution: Execution) -> None:
        if not execution.starting:
            return
        if execution.again is None or is_known_by_record(execution):
            self.acknowledged(execution)
        else:
            self.acknowledge(execution)  # it is on disk, and so may be acknowledged

    def next(self) -> Execution | None:
        """See `Starts`."""
        self.begin()
        return self._ready.popleft() if self._ready else None
