"""One petal in an asyncio loop: its calls, its tasks, and the end of all of them.

The rule: whatever the petal started is owned by it and ends with it; and what swallows its
cancellation is named and left behind, so that no stop waits for it. The trap is that trio-asyncio,
left to itself, waits for that without a limit.
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

from ..._serving.waiting import wait_any
from ...transports._trio_asyncio import trio_asyncio
from .._errors import HookFailed
from .asyncio_loop import AsyncioLoop, close_generators, open_asyncio_loop
from .calls import Call, Owner, Part, owner, part_of

logger = logging.getLogger("petalkit.compat")

CANCEL_LIMIT = 2.0  # seconds that a cancelled call of a petal gets to end, while it is served


class PetalLoop:
    """See the module. Its methods are for this thread: for Trio tasks, and for code in the loop.

    Args:
        part: what is the petal's in the loop.
        house: the loop that it lives in.

    Attributes:
        name: of the petal.
        part: as given.
        loop: trio-asyncio's, which has no types.
        cancel_limit: seconds that a cancelled call gets to end.
    """

    def __init__(self, part: Part, house: AsyncioLoop) -> None:
        self.name = part.name
        self.part = part
        self.loop = house.loop
        self.cancel_limit = CANCEL_LIMIT
        self._house = house

    @property
    def is_alone(self) -> bool:
        """Whether it has the loop for itself."""
        return self.part is self._house.nobodys

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
        context = contextvars.copy_context()
        context.run(self._enter, owner_)
        call = Call(name, function, arguments, on_end)
        # Not by the petal's factory: an eager one would run it here, outside the loop.
        task = asyncio.Task(call, loop=self.loop, name=name, context=context)
        call.run_in(self.part, task, owner_)
        return call

    def call_in(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Call a plain function here and now, so that what it starts in the loop is this part's."""
        context = contextvars.copy_context()
        context.run(self._enter, None)
        return context.run(lambda: function(**arguments))

    def _enter(self, owner_: Owner | None) -> None:
        owner.set(owner_)
        part_of.set(self.part)
        trio_asyncio.current_loop.set(self.loop)  # for Trio tasks that it starts

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

    async def run_within(
        self, limit: float, name: str, function: Callable[..., Any], *arguments: Any
    ) -> Any:
        """The same, so many seconds at most.

        Raises:
            HookFailed: it raised, whatever that is, or did not end.
        """
        with trio.move_on_after(limit):
            try:
                return await self.run(name, function, *arguments)
            except trio.Cancelled:
                raise
            except BaseException as error:  # SystemExit too: it is the petal's, not the process's
                reason = f"raised {type(error).__name__}: {error}"
                raise HookFailed(name, reason) from error
        raise HookFailed(name, f"did not end within {limit:g} s")

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
        """Whether it still runs what it is given; a petal can stop a loop that is its own."""
        running: bool = self.loop.is_running()
        return running

    async def wait_stopped(self) -> None:
        """Wait until the petal has stopped its loop. No limit: most never do."""
        await wait_any(self.part.stopped.wait, self.loop.wait_stopped)

    def _report_stuck(self, name: str) -> None:
        extra = {"petal": self.name}
        text = "petal %r: %s does not end although it is cancelled"
        logger.error(text, self.name, name, extra=extra)

    # -- the end

    async def end_all(self, limit: float) -> None:
        """Cancel every task of the petal and wait until all have ended, shielded, bounded.

        Args:
            limit: seconds.
        """
        told: set[asyncio.Task[Any]] = set()
        with trio.move_on_after(limit, shield=True):
            while self._tasks() and self.is_running:
                ended = trio.Event()
                for task in self._tasks():  # what unwinds may start more
                    if task not in told:
                        task.cancel()  # once: what it does then is not to be cancelled too
                    told.add(task)
                    task.add_done_callback(functools.partial(_set, ended))
                await ended.wait()
        for task in self._tasks():
            if self.is_running:
                self._report_stuck(task.get_name())
            # The loop waits for all tasks it knows of, and for this one it would wait for ever.
            asyncio._unregister_task(task)
            self.part.forget(task)
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        if not self._house.shared:
            await self.close_generators()

    async def close_generators(self) -> None:
        """Close the async generators of the whole loop, bounded."""
        await close_generators(self._house, self, self.cancel_limit)

    def _tasks(self) -> set[asyncio.Task[Any]]:
        return self._house.tasks_of(self.part)


def _set(event: trio.Event, _: asyncio.Task[Any]) -> None:
    event.set()


@asynccontextmanager
async def open_petal_loop(name: str, limit: float) -> AsyncGenerator[PetalLoop]:
    """An asyncio loop for one petal alone, for the length of an `async with` block.

    Leaving cancels what still runs in it, and waits for that.

    Args:
        name: of the petal, for the log.
        limit: seconds that it waits.
    """
    part = Part(name)
    async with open_asyncio_loop(part, shared=False) as house:
        petal_loop = PetalLoop(part, house)
        try:
            yield petal_loop
        finally:
            await petal_loop.end_all(limit)
