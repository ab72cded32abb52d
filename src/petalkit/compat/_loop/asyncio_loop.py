"""One asyncio loop on Trio, so hardened that no code in it can be its end, and whose each task is.

The rules: an error in a callback or a task is logged under the petal whose it is, and ends nothing;
whatever is started in the loop belongs to the petal whose code has started it, however far down,
or to nobody, and ends with that. What tells is the context that tasks and callbacks inherit: a
thread that somebody has started by hand has none, so what it starts is nobody's.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from ...transports._trio_asyncio import trio_asyncio
from .batches import run_in_batches
from .calls import Part, owner, part_of
from .hardening import keep_signals, take_all_executors

logger = logging.getLogger("petalkit.compat")


class _Task(asyncio.Task[Any]):
    """One that still knows whose it was when it is collected, with an error that nobody took."""

    petalkit_part: Part


class AsyncioLoop:
    """See the module. Made by `open_asyncio_loop`.

    Attributes:
        loop: trio-asyncio's, which has no types.
        nobodys: what is nobody's; where one petal has the loop for itself, that petal's.
        shared: whether several petals live in it.
    """

    def __init__(self, loop: Any, nobodys: Part, *, shared: bool) -> None:
        self.loop = loop
        self.nobodys = nobodys
        self.shared = shared

    def whose(self, context: contextvars.Context | None = None) -> Part:
        """Whose code runs in a context; None: in this one."""
        found = part_of.get() if context is None else context.get(part_of)
        return self.nobodys if found is None else found

    def tasks_of(self, part: Part) -> set[asyncio.Task[Any]]:
        """The tasks of a part. Those that were made by hand, without the loop, are nobody's."""
        if part is not self.nobodys:
            return set(part.tasks)
        made = asyncio.all_tasks(self.loop)
        return (made if not self.shared else set()) | part.tasks.keys()

    def make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        """Make every task of the loop, so that each has an owner."""
        context: contextvars.Context | None = options.get("context")
        part = self.whose(context)
        if part.factory is None:
            task: asyncio.Task[Any] = _Task(coroutine, loop=loop, **options)
            task.petalkit_part = part  # type: ignore[attr-defined]
        else:
            task = part.factory(loop, coroutine, **options)
        part.own(task, owner.get() if context is None else context.get(owner))
        # One callback, because each is a turn of the loop.
        task.add_done_callback(part.forget)
        return task

    def report(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what went wrong where nobody waits for it."""
        # asyncio's own text may show what a callback was called with, which is nobody's to log.
        message, _, _ = context.get("message", "unhandled error in the event loop").partition("(")
        task = context.get("task", context.get("future"))
        handle = context.get("handle")
        part = getattr(task, "petalkit_part", None)
        if part is None:
            part = self.whose(getattr(handle, "_context", None))
        error = context.get("exception")
        logger.error("petal %r: %s", part.name, message, exc_info=error, extra={"petal": part.name})

    def keep_running(self) -> None:
        """A petal that stops a loop which is not its alone leaves it, and stops nobody else."""
        stop = self.loop.stop

        def leave(waiter: Any = None) -> Any:
            part = part_of.get()
            if part is None:  # how trio-asyncio ends it
                return stop(waiter)
            part.stopped.set()
            return part.stopped

        self.loop.stop = leave

    def keep_task_factory(self) -> None:
        """A petal may make its tasks in its own way; they have their owners all the same."""
        self.loop.set_task_factory(self.make_task)

        def set_task_factory(factory: Callable[..., asyncio.Task[Any]] | None) -> None:
            self.whose().factory = factory

        self.loop.set_task_factory = set_task_factory
        self.loop.get_task_factory = lambda: self.whose().factory


@asynccontextmanager
async def open_asyncio_loop(nobodys: Part, *, shared: bool) -> AsyncGenerator[AsyncioLoop]:
    """An asyncio loop, for the length of an `async with` block. Who opens it ends its tasks.

    Args:
        nobodys: has what is nobody's in it.
        shared: whether several petals are to live in it.
    """
    async with trio_asyncio.open_loop() as loop:
        found = AsyncioLoop(loop, nobodys, shared=shared)
        loop.set_exception_handler(found.report)
        run_in_batches(found.report, loop)
        found.keep_task_factory()
        take_all_executors(found.whose, loop)
        keep_signals(found.whose, loop)
        if shared:
            found.keep_running()
        yield found


async def close_generators(loop: AsyncioLoop, part: Any, limit: float) -> None:
    """Async generators that nobody has closed; the loop would wait for them without a limit.

    Args:
        loop: whose they are.
        part: a `PetalLoop` that calls.
        limit: seconds.
    """
    generators: Any = getattr(loop.loop, "_asyncgens", None)
    if generators and loop.loop.is_running():
        with trio.move_on_after(limit, shield=True):
            await part.run("closing async generators", loop.loop.shutdown_asyncgens)
    if generators:
        generators.clear()
