"""Slots that are lost: a handler, or its thread, that does not end when it is to.

Nobody can end a handler that swallows its cancellation or shields itself from it, nor a thread. So
it is told, once for each command, and counted. A petal has few slots, and could start nothing any
more when the last is lost: then it is out of service until one comes back. The trap:
to look costs every device something, and most have nothing to find. Here it is looked every few
seconds, and not at all while nothing runs.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import NoReturn

import trio

from ..._values.errors import ErrorCode
from ..._values.statistics import Counters
from .execution import NO_LINE, Execution
from .queueing.queue import Backlog
from .slots import Slots

logger = logging.getLogger("petalkit.dispatcher")

LOST_AFTER = 10.0  # seconds beyond its time, or its cancellation
LOOK_EVERY = 2.0  # seconds


class Overdue:
    """See the module.

    Args:
        slots: those that are taken.
        counters: where it counts.
        backlog: of the petals, and their slots.
        on_change: called when a petal has lost them all, or has one again.
    """

    def __init__(
        self,
        slots: Slots,
        counters: Counters,
        backlog: Backlog,
        on_change: Callable[[], object],
    ) -> None:
        self._slots = slots
        self._counters = counters
        self._backlog = backlog
        self._on_change = on_change
        self._told: set[Execution] = set()

    async def watch(self) -> NoReturn:
        """Look now and then, until cancelled."""
        while True:
            if not self._told:
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
        if late or self._told:
            self._judge_petals(late)
        self._told = late

    def _judge_petals(self, late: set[Execution]) -> None:
        counts = Counter(one.line.petal.name for one in late if one.line is not NO_LINE)
        none_free = counts.total() >= self._backlog.concurrency
        for name, state in self._backlog.petals.items():
            all_late = counts[name] == state.running > 0
            lost = all_late and (none_free or state.running >= state.limit)
            if lost and not state.failed:
                state.failed = state.lost = True
                logger.error(
                    "petal %r is out of service: all its slots are lost to handlers that do not "
                    "end (%d). Its commands are answered UNAVAILABLE until one ends; restart the "
                    "process, and correct what is named above",
                    name,
                    counts[name],
                    extra={"petal": name},
                )
                text = f"petal {name!r} is not available"
                for execution in self._backlog.take(lambda one, of=name: one.spec.petal == of):  # type: ignore[misc]
                    self._slots.refuse(execution, ErrorCode.UNAVAILABLE, text)
                self._on_change()
            elif state.lost and not lost:
                state.failed = state.lost = False
                logger.info("petal %r has a slot again", name, extra={"petal": name})
                self._on_change()
