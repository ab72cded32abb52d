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

from collections import deque
from collections.abc import Callable

from ..ledger.contract import Ledger
from .execution import Execution, PetalState
from .queueing.queue import Backlog
from .redelivered import is_known_by_record


class Scheduler:
    """See the module.

    Args:
        backlog: where commands come from.
        admit: takes the slots of a command; False when it was answered instead.
        ledger: where starts are put down.

    Attributes:
        on_ready: called when there is a next one that there was not before.
        acknowledge: acknowledges a command that came again; it calls `acknowledged` with it when
            that has left, or after its limit.
    """

    def __init__(
        self, backlog: Backlog, admit: Callable[[Execution], bool], ledger: Ledger[Execution]
    ) -> None:
        self._backlog = backlog
        self._admit = admit
        self._ledger = ledger
        self._ready: deque[Execution] = deque()  # what they had to wait for is done
        self._beginning = False
        self.on_ready: Callable[[], None] = lambda: None
        self.acknowledge: Callable[[Execution], object] = self.acknowledged

    @property
    def may_have_next(self) -> bool:
        """Whether `next` is worth a call."""
        return bool(self._ready) or self._backlog.may_have_next

    def next(self) -> Execution | None:
        """The next command to be called, its slots taken; None when there is none."""
        if self._ledger.may_wait:
            self.begin()
            return self._ready.popleft() if self._ready else None
        while not self._ready:
            execution = self._backlog.next()
            if execution is None:
                return None
            if not self._admit(execution):
                continue
            if execution.again is None and not execution.line.petal.starting:
                return execution
            self._begin_one(execution)
        return self._ready.popleft()

    # -- those that wait

    def begin(self) -> None:
        """Begin what has to be done before those may start that have come.

        At once, so that acceptance and start are safe together.
        """
        if self._beginning or not self._ledger.may_wait:
            return  # a slot that is taken makes room, and what comes then comes here
        self._beginning = True
        try:
            while (execution := self._backlog.next()) is not None:
                if self._admit(execution):
                    self._begin_one(execution)
        finally:
            self._beginning = False

    def hold_up(self, heavy: bool) -> None:
        """Start nothing but urgent commands, or go on: an answer may be as long as a payload.

        Else a thousand commands that were accepted when the outbox was empty would fill it up to
        their number, and not to `outbox_bytes`.
        """
        self._backlog.held_up = heavy
        if not heavy:
            self.begin()
            self.on_ready()

    def _begin_one(self, execution: Execution) -> None:
        recorded = execution.recorded
        waits = recorded and (execution.restarted or not execution.spec.idempotent)
        again = not recorded and execution.again is not None
        petal = execution.line.petal
        if not (waits or again) and (not petal.starting or self._passes(execution)):
            self._ledger.start(execution, None)
            self._ready.append(execution)
            return
        execution.starting = True
        petal.starting[execution] = not (waits or again)
        if recorded:
            self._ledger.start(execution, self._started)
        elif again:
            self.acknowledge(execution)

    def _started(self, execution: Execution) -> None:
        """Its start is safe."""
        if not execution.starting:
            return
        if execution.again is None or is_known_by_record(execution):
            self.acknowledged(execution)
        else:
            self.acknowledge(execution)  # it is safe, and so may be acknowledged

    def acknowledged(self, execution: Execution) -> None:
        """The acknowledgement of one that is `starting` has left; nothing else is waited for."""
        if execution.starting:
            execution.line.petal.starting[execution] = True
            if self._passes(execution):
                self._call_past_others(execution)
            self._let_go(execution.line.petal)

    def _passes(self, execution: Execution) -> bool:
        """Whether it need not keep its order: for hours nothing may be put down."""
        return self._ledger.failing and not execution.recorded

    def _call_past_others(self, execution: Execution) -> None:
        execution.starting = False
        del execution.line.petal.starting[execution]
        self._ready.append(execution)
        self.on_ready()

    def _let_go(self, petal: PetalState) -> None:
        """Those of a petal may be called before which none waits."""
        starting, free = petal.starting, list[Execution]()
        for execution, may_be_called in starting.items():
            if not may_be_called:
                break
            free.append(execution)
        for execution in free:
            del starting[execution]
            execution.starting = False
        if free:
            self._ready += free
            self.on_ready()

    # -- a ledger that fails

    def fail(self) -> None:
        """The ledger takes nothing from now on."""
        for petal in list(self._backlog.petals.values()):
            for execution, may_be_called in list(petal.starting.items()):
                if may_be_called and self._passes(execution):
                    self._call_past_others(execution)
        self.on_ready()

    def take_back(self, execution: Execution) -> None:
        """One that is `starting` is not to be called."""
        execution.starting = False
        petal = execution.line.petal
        del petal.starting[execution]
        self._let_go(petal)
