"""Cancel scopes and nurseries that a handler entered and did not leave, told at once and by name.

The rule: what was left open is seen when the handler returns, while it is known whose it is. The
trap: Trio complains only when something around it is left, which for a worker may be at the stop,
after thousands of commands of others. It tells by the task's innermost cancel status, which Trio
does not publish; reading it costs 0.03 us, and what it publishes, the effective deadline, fifty
times that, and does not see a scope without a deadline. A Trio that has no such attribute is not
asked; then its own complaint is what is left.

A nursery is worse: a task that ends while it has one fails, whatever it catches, and takes those
beside it along. So what is in it is cancelled and awaited.
"""

from __future__ import annotations

import logging
from operator import attrgetter

import trio

from ..failures import showable
from .execution import Execution

logger = logging.getLogger("petalkit.dispatcher")

_STATUS = "_cancel_status"
_FINISH = "_nested_child_finished"  # how a nursery's own block waits for its tasks


def _unknown(_: trio.lowlevel.Task) -> object:
    return None


innermost = attrgetter(_STATUS) if hasattr(trio.lowlevel.Task, _STATUS) else _unknown


def tell_left_open(execution: Execution, error: BaseException | None = None) -> None:
    """Name the petal and the command whose handler did it.

    Args:
        execution: of the handler.
        error: what Trio says of it, if that is how it was found.
    """
    spec = execution.spec
    logger.error(
        "%s() of petal %r, for %r, left a cancel scope or a nursery open, which is cancelled: "
        "enter them by `with` or `async with`; what is to go on is started in self.nursery",
        spec.method,
        spec.petal,
        spec.name,
        exc_info=error,
        extra=execution.log_fields(),
    )


async def close_nurseries(task: trio.lowlevel.Task) -> None:
    """End what is in nurseries that were left open in this task, and the nurseries.

    Args:
        task: the current one, which has opened none itself.

    Cancellation: no limit but that of the tasks in them, which are cancelled; as for any task of a
    petal, the stop has one.
    """
    while task.child_nurseries:
        nursery = task.child_nurseries[-1]
        nursery.cancel_scope.cancel()
        finish = getattr(nursery, _FINISH, None)
        if finish is None:
            return
        error = await finish(None)  # of its tasks, if any; it is returned
        if error is not None and not _is_cancelled(error):
            logger.error("a task in a nursery that was left open failed", exc_info=showable(error))


def _is_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_cancelled, error.exceptions))
    return isinstance(error, trio.Cancelled)
