"""The background tasks of one life of a petal: a nursery of their own.

The rule: they are cancelled and awaited before the lifespan is left, because they use what it
opened; and what one of them raises is told here, and ends nobody else.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Awaitable, Callable

import trio

logger = logging.getLogger("petalkit.petals")

# The petal whose task it is, outside of commands too; its tasks inherit it.
living: contextvars.ContextVar[str | None] = contextvars.ContextVar("petalkit_living", default=None)


class Background:
    """See the module.

    Args:
        name: of the petal.
        limit: seconds that its tasks get to end when they are cancelled.
        on_error: told what a task has raised; raises on what is not the petal's.

    Attributes:
        nursery: of the tasks; None before they can be started.
    """

    def __init__(self, name: str, limit: float, on_error: Callable[[BaseException], None]) -> None:
        self._name = name
        self._limit = limit
        self._on_error = on_error
        self.nursery: trio.Nursery | None = None
        self._ended = trio.Event()
        self._ended.set()

    async def hold(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the nursery open until `end`."""
        self._ended = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                task_status.started()
                await trio.sleep_forever()  # until `end` cancels
        except BaseException as error:
            self._on_error(error)
        finally:
            self._ended.set()

    async def end(self) -> None:
        """Cancel the tasks, and wait for them; bounded."""
        if self.nursery is not None:
            self.nursery.cancel_scope.cancel()
            if not await wait_bounded(self._ended.wait, self._limit):
                logger.error("petal %r: background tasks do not end", self._name)


async def wait_bounded(wait: Callable[[], Awaitable[object]], limit: float) -> bool:
    """Wait so many seconds at most, shielded; False when that was not enough."""
    with trio.CancelScope(shield=True) as scope:
        scope.deadline = trio.current_time() + limit
        await wait()
    return not scope.cancelled_caught
