"""A command that the broker may have delivered before: it may have killed the process.

The rule: it is called only when the next death would not bring it again. That is so when its start
is on disk and the next run knows it by its `messageId`; else when its acknowledgement has left. A
command that comes for the first time waits for none of that, and most do.

So a command that kills whatever calls it kills the first time, perhaps before anything of it was
safe, and once more. The trap: acknowledgements leave in order of arrival, so one can stand behind
another command that is not handled yet. Hence each wait has a limit, and a lost link is not waited
for: a device that is often away has its commands to run. What is called so is told at WARNING.
"""

from __future__ import annotations

import logging

import trio

from ..ledger.acknowledgement import Acknowledgements
from .execution import Execution

logger = logging.getLogger("petalkit.commands")


def is_known_by_record(execution: Execution) -> bool:
    """Whether its record is enough, with which the next run does not start what comes again."""
    return execution.recorded and execution.command.message_id is not None


async def wait_acknowledged(
    acknowledgements: Acknowledgements, execution: Execution, limit: float
) -> bool:
    """Let it be acknowledged, and wait until that has left, or its link is gone.

    Args:
        acknowledgements: does it.
        execution: delivered before, perhaps.
        limit: seconds.

    Returns:
        False when the limit was reached. True when its link is gone, too; if it has not left then,
        that is logged.
    """
    delivery = execution.again
    if delivery is None:
        return True
    left = trio.Event()
    acknowledgements.before_call(delivery)
    delivery.when_left(left.set)
    if not left.is_set():
        with trio.move_on_after(limit):
            await left.wait()
    if delivery.comes_again:
        logger.warning(
            "%s came again, and is called although it will come once more: the link was lost "
            "before its acknowledgement had left",
            execution.spec.name,
            extra=execution.log_fields(),
        )
    return left.is_set()


class SafeUrgent:
    """The same for urgent commands: a task each, and one short limit for all that is waited for.

    Args:
        acknowledgements: of what came again.
        limit: seconds; then it is called all the same.
    """

    def __init__(self, acknowledgements: Acknowledgements, limit: float) -> None:
        self._acknowledgements = acknowledgements
        self._limit = limit
        self._waiting: dict[Execution, trio.Event] = {}

    def expect(self, execution: Execution) -> None:
        """One was taken that came again: it is `starting` until `wait` is over."""
        execution.starting = True
        self._waiting[execution] = trio.Event()

    def written(self, execution: Execution) -> None:
        """Its start is on disk, or never will be."""
        if (waiting := self._waiting.get(execution)) is not None:
            waiting.set()

    async def wait(self, execution: Execution) -> bool:
        """Wait until it may be called; False when the limit was reached first."""
        try:
            with trio.move_on_after(self._limit):
                if execution.recorded:
                    await self._waiting[execution].wait()
                # It may be recorded no more: the disk has failed.
                return is_known_by_record(execution) or await wait_acknowledged(
                    self._acknowledgements, execution, self._limit
                )
            return False
        finally:
            execution.starting = False
            del self._waiting[execution]
