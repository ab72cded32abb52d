"""What is ready to run in a petal's asyncio loop, run in batches: one wake-up of Trio for many.

The rule: all that was ready when a batch began runs in it, in order, and then every other task of
Trio has its turn, as asyncio has it with what it waits for. The trap: left to itself, trio-asyncio
goes through a memory channel and a cancel scope of Trio for each callback, which costs more than
most callbacks do.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import trio

from ...transports._trio_asyncio import trio_asyncio

_sniffio = trio_asyncio._base.sniffio_library  # says whose code runs, to libraries that ask
DRAIN_MAX = 1000  # batches that a loop still runs when it has been stopped
Report: TypeAlias = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]


class _Ready:
    """Handles in their order, in the place of both ends of trio-asyncio's channel.

    No bound: nobody could be made to wait, and asyncio has none. What fills it is bounded: the
    commands that run, and what the petal itself starts.
    """

    def __init__(self) -> None:
        self.handles: deque[Any] = deque()
        self._waiting: trio.lowlevel.Task | None = None

    def send_nowait(self, handle: Any) -> None:
        """One more. In Trio's thread."""
        self.handles.append(handle)
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            trio.lowlevel.reschedule(waiting)

    async def wait(self, timeout: float) -> None:
        """Wait until there is one, or so many seconds. The one task that runs them waits."""
        if timeout == math.inf:  # a scope costs as much as all else here
            await self._wait()
        else:
            with trio.move_on_after(timeout):
                await self._wait()

    async def _wait(self) -> None:
        def abort(_: Any) -> trio.lowlevel.Abort:
            self._waiting = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)


def run_in_batches(report: Report, loop: Any) -> None:
    """Let a loop run what is ready in batches.

    `sys.exit()` in a task or a callback comes through asyncio, and would end the whole loop: it is
    reported, and ends nothing.
    """
    ready, channel = _Ready(), loop._q_send
    drained = 0  # batches
    loop._q_send = loop._q_recv = ready

    def queue_handle(handle: Any) -> Any:
        if loop._closed:
            loop._check_closed()
        ready.send_nowait(handle)
        return handle

    def call_soon(callback: Any, *arguments: Any, context: Any = None) -> asyncio.Handle:
        if loop._debug:  # as asyncio has it: the check takes longer than all else here
            loop._check_callback(callback, "call_soon")
        return queue_handle(asyncio.Handle(callback, arguments, loop, context))  # type: ignore[no-any-return]

    async def one_step(no_wait: bool = False) -> None:
        nonlocal drained
        if no_wait:  # it has stopped, and runs what is left until nothing is
            drained += 1
            if drained > DRAIN_MAX:  # a task that never waits for anything is never done
                ready.handles.clear()
                raise trio.WouldBlock
        _take_due(loop, ready.handles)
        if ready.handles:
            try:
                await _run_batch(loop, ready.handles)
            except trio_asyncio._base.TrioAsyncioExit:
                raise  # how trio-asyncio stops it
            except SystemExit as error:
                text = "an exit in a task or a callback, which ends nothing here"
                report(loop, {"message": text, "exception": error})
            if ready.handles:  # else the next step waits, which lets others run as well
                await trio.lowlevel.checkpoint()
        elif no_wait:
            raise trio.WouldBlock
        else:
            await ready.wait(loop._timers[0]._when - loop.time() if loop._timers else math.inf)

    loop._queue_handle = queue_handle
    loop.call_soon = call_soon
    loop._main_loop_one = one_step
    # It waits at its channel since it was opened: one more, and its next step is ours.
    channel.send_nowait(asyncio.Handle(_nothing, (), loop))


def _nothing() -> None:
    """Wakes the loop."""


def _take_due(loop: Any, handles: deque[Any]) -> None:
    """Put the timers that are due before what is ready, in their order."""
    timers = loop._timers
    if not timers:
        return
    now, due = loop.time(), list[Any]()
    while timers and (timers[0]._when <= now or timers[0]._cancelled):
        due.append(heapq.heappop(timers))
    for timer in reversed(due):
        # Not as it is: one in the queue is one that is to be put among the timers.
        if not timer._cancelled:
            handles.appendleft(_Due(timer))


class _Due:
    """A timer whose time has come."""

    __slots__ = ("_cancelled", "_run")

    def __init__(self, timer: Any) -> None:
        self._cancelled = False
        self._run = lambda: None if timer._cancelled else timer._run()


async def _run_batch(loop: Any, handles: deque[Any]) -> None:
    """Run what is ready now. What is made ready meanwhile is for the next batch."""
    for _ in range(len(handles)):
        handle = handles.popleft()
        kind = type(handle)
        if kind is asyncio.TimerHandle:
            heapq.heappush(loop._timers, handle)
        elif kind is trio_asyncio._base.AsyncHandle:
            await _start(loop, handle)
        elif not handle._cancelled:
            outside, _sniffio.name = _sniffio.name, "asyncio"
            try:
                handle._run()
            finally:
                _sniffio.name = outside


async def _start(loop: Any, handle: Any) -> None:
    """Start a Trio task that asyncio code has asked for; it is running when this returns."""
    try:
        handle._context.run(loop._nursery.start_soon, handle._run, name=handle._callback)
    except RuntimeError:
        if loop.is_running():
            raise
        return  # it has stopped, and its tasks of Trio have ended: nobody is left to run it
    await handle._started.wait()
