"""Urgent commands: a task each, at once, past every limit but the one on urgent ones.

One that may have been delivered before, and may have killed the process, waits a little; see
`redelivered`. Nothing else is waited for: an emergency stop is worth more than its running once.
"""

from __future__ import annotations

import logging

import trio

from ..._authoring.context import log_scope
from ..._values.settings.settings import Settings
from ..failures import showable
from ..ledger.acknowledgement import Acknowledgements
from ..ledger.contract import Ledger
from .execution import Execution
from .left_open import close_nurseries, tell_left_open
from .redelivered import SafeUrgent
from .slots import Slots
from .workers import Workers

logger = logging.getLogger("petalkit.dispatcher")


class UrgentStarts:
    """See the module.

    Args:
        settings: limits.
        ledger: told of every start.
        acknowledgements: of what came again.
        slots: counts them.
        workers: beside them each has its task.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger[Execution],
        acknowledgements: Acknowledgements,
        slots: Slots,
        workers: Workers,
    ) -> None:
        self._most = settings.urgent_concurrency
        self._ledger = ledger
        self._slots = slots
        self._workers = workers
        self._safe = SafeUrgent(acknowledgements, settings.urgent_redelivery_wait)

    def start(self, execution: Execution) -> bool:
        """Start one; False when too many run already, or nothing is called any more."""
        if self._slots.urgent >= self._most or not self._workers.are_running:
            return False
        self._slots.enter_urgent(execution)
        execution.entered = execution.again is None
        then = None
        if execution.again is not None:
            self._safe.expect(execution)
            then = self._safe.written
        self._ledger.start(execution, then)
        self._workers.spawn(self._run, execution, name=f"urgent {execution.spec.name}")
        return True

    def written(self, execution: Execution) -> None:
        """Its start is on disk, or never will be."""
        self._safe.written(execution)

    async def _run(self, execution: Execution) -> None:
        try:
            with trio.CancelScope() as scope:
                execution.scope = scope
                if execution.again is not None and not await self._may_be_called(execution):
                    return
                if execution.cancelled_as is not None:  # before this task had its first turn
                    execution.entered = False
                    self._slots.end_cancelled(execution)
                    return
                scope.deadline = execution.deadline = trio.current_time() + execution.spec.timeout
                execution.accept = self._slots.accept
                log_scope.set(execution)
                answer = await self._workers.call(execution)
                self._slots.end(execution, answer, trio.current_time())
        except Exception as error:
            tell_left_open(execution, showable(error))
        finally:
            task = trio.lowlevel.current_task()
            if task.child_nurseries:
                await close_nurseries(task)
        if execution.goes_on or not execution.finished:
            self._slots.end_cancelled(execution)

    async def _may_be_called(self, execution: Execution) -> bool:
        """Wait until one that came again may be called; False if it is unwanted then."""
        if not await self._safe.wait(execution):
            logger.warning(
                "%s came again, and is called before that is safe: its record or its "
                "acknowledgement took longer than urgent_redelivery_wait",
                execution.spec.name,
                extra=execution.log_fields(),
            )
        if self._slots.is_unwanted(execution):
            self._slots.end_cancelled(execution)
            return False
        execution.entered = True
        return True
