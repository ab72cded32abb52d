"""Slots that are lost: a handler, or its thread, that does not end when it is to.

Nobody can end a handler that swallows its cancellation or shields itself from it, nor a thread. A
petal has few slots, and serves nothing any more when the last is lost. So it is told, once for each
command, and counted. The trap: to look costs every device something, and most have nothing to find.
Here it is looked every few seconds, and not at all while nothing runs.
"""

from __future__ import annotations

import logging
from typing import NoReturn

import trio

from ..._values.statistics import Counters
from .execution import Execution
from .slots import Slots

logger = logging.getLogger("petalkit.dispatcher")

LOST_AFTER = 10.0  # seconds beyond its time, or its cancellation
LOOK_EVERY = 2.0  # seconds


class Overdue:
    """See the module.

    Args:
        slots: those that are taken.
        counters: where it counts.
    """

    def __init__(self, slots: Slots, counters: Counters) -> None:
        self._slots = slots
        self._counters = counters
        self._told: set[Execution] = set()

    async def watch(self) -> NoReturn:
        """Look now and then, until cancelled."""
        while True:
            await self._slots.wait_taken()
            await trio.sleep(LOOK_EVERY)
            self._look(trio.current_time())

    def _look(self, now: float) -> None:
        late = {
            one
            for one in self._slots
            # One that waits for the disk was not called, and `redelivered` has limits of its own.
            if one.deadline + LOST_AFTER <= now and not one.starting
        }
        for execution in late - self._told:
            self._counters.slots_lost += 1
            ago = now - execution.deadline
            what = "the thread of" if execution.in_thread else "the handler of"
            logger.warning(
                "%s %s has not ended, %.0f s after its time was over or it was cancelled: it keeps "
                "a slot of petal %r until it does",
                what,
                execution.spec.name,
                ago,
                execution.spec.petal,
                extra=execution.log_fields(),
            )
        for execution in self._told - late:
            logger.info("%s has ended after all", execution.spec.name, extra=execution.log_fields())
        self._told = late
