"""The asyncio loop of one petal, on trio-asyncio, so hardened that only the petal can be its end.

The rules: an error in a callback or a task of the petal is logged and is nobody else's; whatever
the petal started in this loop is owned by it and ends with it; and what swallows its cancellation
is named and left behind, so that no stop waits for it. The trap is that trio-asyncio, left to
itself, ends the whole loop at the first, and waits for the last without a limit.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio

from ...transports._trio_asyncio import trio_asyncio
from .batches import run_in_batches
from .calls import Call, Owner, owner, run_call
from .hardening import keep_signals, take_all_executors

logger = logging.getLogger("petalkit.compat")

CANCEL_LIMIT = 2.0  # seconds that a cancelled call of a petal gets to end, while it is served


class PetalLoop:
    """See the module. Made by `open_petal_loop`; its methods are for Trio tasks of this thread.

    Attributes:
        name: of the petal.
        loop: trio-asyncio's, which has no types.
        cancel_limit: seconds that a cancelled call gets to end.
    """

    def __init__(self, name: str, loop: Any) -> None:
        self.name = name
        self.loop = loop
        self.cancel_limit = CANCEL_LIMIT
        # All of them, or asyncio forgets those that nobody waits for; and on whose behalf.
        self._tasks: dict[asyncio.Task[Any], Owner | None] = {}
        self._calls: dict[asyncio.Task[Any], Call] = {}
        self.factory: Callable[..., asyncio.Task[Any]] | None = None  # the petal's own

    def start(
        self,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        owner_: Owner | None = None,
        on_end: Callable[[Call], object] | None = None,
    ) -> Call:
        """Call a function of the petal, plain or asyncio-flavored, in a task of its own.

        Args:
            name: for the log.
            function: what to call.
            arguments: for it.
            owner_: of this task and those it starts; None for the petal alone.
            on_end: called once when it has ended, in the loop; must not raise.
        """
        call = Call(name, on_end)
        context = contextvars.copy_context()
        context.run(owner.set, owner_)
        context.run(trio_asyncio.current_loop.set, self.loop)  # for Trio tasks that it starts
        coroutine = run_call(call, function, arguments)
        # Not by the petal's factory: an eager one would run it here, outside the loop.
        task = asyncio.Task(coroutine, loop=self.loop, name=name, context=context)
        self._own(task, owner_)
        call.task = task
        self._calls[task] = call
        return call

    async def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """The same, and wait for what it returns. The caller bounds it.

        Cancellation: is passed on to the task, which gets `cancel_limit` to end.

        Raises:
            BaseException: what the function raised, whatever that is.
        """
        call = self.start(name, function, *arguments)
        try:
            await call.done.wait()
        except trio.Cancelled:
            await self.end([call])
            self.report_failed(call)
            raise
        if call.error is not None:
            raise call.error
        return call.value

    async def end(self, calls: Iterable[Call]) -> None:
        """Cancel calls and wait until they have ended, shielded, `cancel_limit` at most."""
        running = [call for call in calls if not call.done.is_set() and self.is_running]
        for call in running:
            if call.task is not None:
                call.cancelled = True
                call.task.cancel()
        with trio.move_on_after(self.cancel_limit, shield=True):
            for call in running:
                await call.done.wait()
        for call in running:
            if not call.done.is_set():
                self._report_stuck(call.name)

    def report_failed(self, call: Call, **extra: Any) -> None:
        """Log what a call raised that nobody else will."""
        if call.error is not None:
            extra = {"petal": self.name, **extra}
            text = "petal %r: %s failed as it was cancelled, or beside its answer"
            logger.error(text, self.name, call.name, exc_info=call.error, extra=extra)

    @property
    def is_running(self) -> bool:
        """Whether it still runs what it is given; a petal can stop its own loop."""
        running: bool = self.loop.is_running()
        return running

    # -- what the loop calls

    def make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        """Make every task of the loop, so that each has an owner."""
        task: asyncio.Task[Any] = (
            asyncio.Task(coroutine, loop=loop, **options)
            if self.factory is None
            else self.factory(loop, coroutine, **options)
        )
        context: contextvars.Context | None = options.get("context")
        self._own(task, owner.get() if context is None else context.get(owner))
        return task

    def _own(self, task: asyncio.Task[Any], on_behalf_of: Owner | None) -> None:
        self._tasks[task] = on_behalf_of
        if on_behalf_of is not None:
            on_behalf_of.tasks.add(task)
        # One callback, because trio-asyncio takes a wake-up for each.
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        on_behalf_of = self._tasks.pop(task, None)
        if on_behalf_of is not None:
            on_behalf_of.remove(task)
        call = self._calls.pop(task, None)
        if call is not None:
            call.end()  # of one that was cancelled before its first step, only this tells

    def report(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what went wrong where nobody waits for it."""
        # asyncio's own text may show what a callback was called with, which is nobody's to log.
        message, _, _ = context.get("message", "unhandled error in the event loop").partition("(")
        error = context.get("exception")
        extra = {"petal": self.name}
        logger.error("petal %r: %s", self.name, message, exc_info=error, extra=extra)

    def _report_stuck(self, name: str) -> None:
        extra = {"petal": self.name}
        text = "petal %r: %s does not end although it is cancelled"
        logger.error(text, self.name, name, extra=extra)

    # -- the end

    async def end_all(self, limit: float) -> None:
        """Cancel every task and wait until all have ended, shielded, so long at most."""
        told: set[asyncio.Task[Any]] = set()
        with trio.move_on_after(limit, shield=True):
            while self._all_tasks() and self.is_running:
                ended = trio.Event()
                for task in self._all_tasks():  # what unwinds may start more
                    if task not in told:
                        task.cancel()  # once: what it does then is not to be cancelled too
                    told.add(task)
                    task.add_done_callback(functools.partial(_set, ended))
                await ended.wait()
        for task in self._all_tasks():
            if self.is_running:
                self._report_stuck(task.get_name())
            # The loop waits for all tasks it knows of, and for this one it would wait for ever.
            asyncio._unregister_task(task)
            self._tasks.pop(task, None)
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        await self._close_generators()

    def _all_tasks(self) -> set[asyncio.Task[Any]]:
        """Those that were made by hand, without the loop, too."""
        return asyncio.all_tasks(self.loop) | self._tasks.keys()

    async def _close_generators(self) -> None:
        """Async generators that nobody has closed; the loop would wait for them without a limit."""
        generators: Any = getattr(self.loop, "_asyncgens", None)
        if generators and self.is_running:
            with trio.move_on_after(self.cancel_limit, shield=True):
                await self.run("closing async generators", self.loop.shutdown_asyncgens)
        if generators:
            generators.clear()


def _set(event: trio.Event, _: asyncio.Task[Any]) -> None:
    event.set()


def _keep_task_factory(petal_loop: PetalLoop, loop: Any) -> None:
    """A petal may make its tasks in its own way; they have their owners all the same."""
    loop.set_task_factory(petal_loop.make_task)

    def set_task_factory(factory: Callable[..., asyncio.Task[Any]] | None) -> None:
        petal_loop.factory = factory

    loop.set_task_factory = set_task_factory
    loop.get_task_factory = lambda: petal_loop.factory


@asynccontextmanager
async def open_petal_loop(name: str, limit: float) -> AsyncGenerator[PetalLoop]:
    """An asyncio loop for one petal, for the length of an `async with` block.

    Leaving cancels what still runs in it, and waits for that.

    Args:
        name: of the petal, for the log.
        limit: seconds that it waits.
    """
    async with trio_asyncio.open_loop() as loop:
        petal_loop = PetalLoop(name, loop)
        loop.set_exception_handler(petal_loop.report)
        run_in_batches(petal_loop.report, loop)
        _keep_task_factory(petal_loop, loop)
        take_all_executors(name, loop)
        keep_signals(name, loop)
        try:
            yield petal_loop
        finally:
            await petal_loop.end_all(limit)
