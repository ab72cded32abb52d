"""The thread that waits for the disk in place of the event loop, and what it is given to do."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ....waiting import wait_any


class Job:
    """A piece of work, done once, and what became of it.

    Args:
        function: does it.
        then: called with this in Trio's thread when it is done, a turn of the event loop before
            whoever waits goes on.
    """

    def __init__(
        self, function: Callable[[], Any], then: Callable[[Job], object] | None = None
    ) -> None:
        self._function = function
        self._then = then
        self._done = trio.Event()
        self._lock = threading.Lock()  # for whether it was done before it was abandoned
        self._ran = False
        self._undo: Callable[[Any], object] | None = None
        self._result: Any = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Do it, in any thread. Never raises: see `outcome`."""
        try:
            self._result = self._function()
        except Exception as error:
            self._error = error
        with self._lock:
            self._ran = True
        if self._undo is not None:
            self._call_undo(self._undo)

    def finish(self) -> None:
        """It was done: tell who waits, in Trio's thread."""
        try:
            if self._then is not None:
                self._then(self)
        except Exception as error:  # a bug; here it would end Trio itself, and not who waits
            self._error = error
        self._done.set()

    @property
    def is_done(self) -> bool:
        """Whether it was done."""
        return self._done.is_set()

    @property
    def has_failed(self) -> bool:
        """Whether it was done, and raised."""
        return self._error is not None

    async def wait(self) -> None:
        """Wait until it is done. The caller bounds it."""
        await self._done.wait()

    def outcome(self) -> Any:
        """What it returned, or what it raises."""
        if self._error is not None:
            raise self._error
        return self._result

    def abandon(self, undo: Callable[[Any], object]) -> None:
        """Nobody waits any more: call `undo` with what it returns, if it ever does."""
        with self._lock:
            if not self._ran:
                self._undo = undo
                return
        self._call_undo(undo)

    def _call_undo(self, undo: Callable[[Any], object]) -> None:
        if self._error is None:
            with contextlib.suppress(Exception):
                undo(self._result)


class Writer:
    """A thread that does one job after another.

    A thread of our own, because a wake-up of Trio's costs three times as much, and because one
    that hangs on a dead disk must not hold up the end of the process: so it is a daemon.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        threading.Thread(target=self._work, name="petalkit journal", daemon=True).start()

    def start(self, job: Job) -> None:
        """Do it in the thread, after what was started before."""
        self._jobs.put(job)

    def close(self) -> None:
        """End the thread when its work is done."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(job.finish)


class DiskWork:
    """Does work that waits for the disk: in a thread, or for tests in the event loop.

    Args:
        thread: whether it is a thread.
    """

    def __init__(self, *, thread: bool) -> None:
        self._writer = Writer() if thread else None

    @property
    def is_thread(self) -> bool:
        """Whether others go on meanwhile."""
        return self._writer is not None

    def start(
        self, function: Callable[[], Any], then: Callable[[Job], object] | None = None
    ) -> Job:
        """Begin a piece of work; the arguments are those of `Job`."""
        job = Job(function, then)
        if self._writer is None:
            job.run()
            job.finish()
        else:
            self._writer.start(job)
        return job

    async def do(self, function: Callable[[], Any]) -> Any:
        """Do a piece of work. Cancellation: it is done all the same, and nobody waits for it."""
        job = self.start(function)
        await job.wait()
        return job.outcome()

    async def do_first(
        self,
        function: Callable[[], Any],
        give_up: Callable[[], Awaitable[object]],
        undo: Callable[[Any], object],
    ) -> Any:
        """Do the first piece of work, before which there is nothing else. After an error it ends.

        Cancellation: a disk that hangs is not waited for; what it gives is undone.

        Args:
            function: does it.
            give_up: returns when it is not to be waited for any more.
            undo: called with what it returns, if nobody waits for that.

        Returns:
            What it returned; None when it was given up, and the work has ended.
        """
        job = self.start(function)
        try:
            await wait_any(job.wait, give_up)
            if job.is_done:
                return job.outcome()
        except BaseException:
            job.abandon(undo)
            self.close()
            raise
        job.abandon(undo)
        self.close()
        return None

    def close(self) -> None:
        """End the thread when its work is done; again is nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
