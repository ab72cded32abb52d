"""The one nursery of jobs and streams, beside the workers of commands and dead before them."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Awaitable, Callable

import trio

from .leases import Leases
from .reading.subscriptions import Subscriptions


class Tasks:
    """See the module.

    Args:
        subscriptions: their turns are taken here too.
        leases: looked after here.

    Attributes:
        leases: as given.
        closing: set when all are cancelled, and nobody waits for threads any more.
    """

    def __init__(self, subscriptions: Subscriptions, leases: Leases) -> None:
        self.leases = leases
        self._subscriptions = subscriptions
        self._nursery: trio.Nursery | None = None
        self._all: trio.Nursery | None = None  # the same, also while its tasks are cancelled
        self.closing = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own them until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = self._all = nursery
            self._context = contextvars.copy_context()
            self._token = trio.lowlevel.current_trio_token()
            task_status.started()
            try:
                async with trio.open_nursery() as own:  # not of those that a stop waits for
                    own.start_soon(self.leases.run, name="leases")
                    await self._subscriptions.run()
            finally:
                self._nursery = None
                self.closing.set()

    def names(self) -> list[str]:
        """The names of all that has not ended."""
        return [] if self._all is None else sorted(one.name for one in self._all.child_tasks)

    @property
    def open(self) -> bool:
        """Whether something can be started."""
        return self._nursery is not None

    def spawn(self, function: Callable[..., Awaitable[object]], *args: object, name: str) -> None:
        """Start a task, which inherits nothing of whoever starts it.

        Raises:
            RuntimeError: it is too late for that.
        """
        if self._nursery is None:
            raise RuntimeError("the runtime is stopping")
        self._context.copy().run(
            functools.partial(self._nursery.start_soon, function, *args, name=name)
        )

    def soon(self, function: Callable[[], object]) -> None:
        """Call it in our Trio thread: now, or soon if this is another; then once for many calls.

        Never, when Trio has ended: a thread may outlive it.
        """
        if trio.lowlevel.in_trio_run() and trio.lowlevel.current_trio_token() is self._token:
            function()
            return
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function, idempotent=True)
