"""Which command starts next, and what has to be on disk before it may.

A command whose start is not on disk when the power fails would be started a second time. So it
takes its slot, its start is put down, and it is called when that is written: in the order in which
the slots were taken, and together with its acceptance where a slot is free at once.

Two kinds of command are called without that wait: one that is not recorded, and one that may be
run again anyway (`idempotent`), unless it was running when an earlier run died, perhaps of it. Not
past others of its petal that do wait, though: order is order. But while the disk fails, which can
be for hours, what is not recorded passes.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable

from ..ledger.journal.records import Started
from ..ledger.journal.write_ahead import Journal
from .execution import Execution, PetalState
from .queue import Backlog


class Starts:
    """See the module; this one is without a journal.

    Args:
        backlog: where commands come from.
        admit: takes the slots of a command; False when it was answered instead.

    Attributes:
        on_ready: called when there is a next one that there was not before.
    """

    def __init__(self, backlog: Backlog, admit: Callable[[Execution], bool]) -> None:
        self._backlog = backlog
        self._admit = admit
        self.on_ready: Callable[[], None] = lambda: None

    @property
    def may_have_next(self) -> bool:
        """Whether `next` is worth a call."""
        return self._backlog.may_have_next

    def begin(self) -> None:
        """A command has come: begin what has to be done before it may start."""

    def fail(self) -> None:
        """The journal cannot be written from now on."""

    def take_back(self, execution: Execution) -> None:
        """One that is `starting` is not to be called."""

    def next(self) -> Execution | None:
        """The next command to be called, its slots taken; None when there is none."""
        while (execution := self._backlog.next()) is not None:
            if self._admit(execution):
                return execution
        return None


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
        self._ready: deque[Execution] = deque()  # their start is on disk, or need not be
        self._beginning = False

    @property
    def may_have_next(self) -> bool:
        """See `Starts`."""
        return bool(self._ready) or self._backlog.may_have_next

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
        while (execution := super().next()) is not None:
            waits = execution.recorded and (execution.restarted or not execution.spec.idempotent)
            petal = execution.line.petal
            if not waits and (not petal.starting or self._passes(execution)):
                if execution.recorded:
                    self._put_down(execution, None)
                self._ready.append(execution)
                continue
            execution.starting = True
            petal.starting[execution] = not waits
            if execution.recorded:
                self._put_down(execution, functools.partial(self._written, execution))

    def _passes(self, execution: Execution) -> bool:
        """Whether it need not keep its order: for hours nothing may be written."""
        return self._journal.failing and not execution.recorded

    def fail(self) -> None:
        """See `Starts`."""
        for execution in [one for petal in self._petals() for one in petal.starting]:
            if self._passes(execution):
                execution.starting = False
                del execution.line.petal.starting[execution]
                self._ready.append(execution)
        self.on_ready()

    def _petals(self) -> list[PetalState]:
        return list(self._backlog.petals.values())

    def _put_down(self, execution: Execution, then: Callable[[], None] | None) -> None:
        self._journal.add(Started(execution.number, self._journal.wall()), then)

    def _written(self, execution: Execution) -> None:
        if execution.starting:
            execution.line.petal.starting[execution] = True
            self._let_go(execution.line.petal)

    def _let_go(self, petal: PetalState) -> None:
        """Those of a petal may be called before which none waits for the disk."""
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
        """See `Starts`."""
        execution.starting = False
        petal = execution.line.petal
        del petal.starting[execution]
        self._let_go(petal)

    def next(self) -> Execution | None:
        """See `Starts`."""
        self.begin()
        return self._ready.popleft() if self._ready else None
