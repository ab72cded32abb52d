"""The thread that waits for the disk in place of the event loop."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

import trio


class Writer:
    """A thread that does one piece of work after another, for one task.

    A thread of our own, because a wake-up of Trio's costs three times as much, and because one
    that hangs on a dead disk must not hold up the end of the process: so it is a daemon.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        threading.Thread(target=self._work, name="petalkit journal", daemon=True).start()

    async def do(self, job: Callable[[], Any]) -> Any:
        """Do it in the thread. Cancellation: it is done all the same, and its outcome dropped."""
        waiting = Job(job)
        self._jobs.put(waiting)
        await waiting.done.wait()  # bounded by whoever cancels
        if waiting.error is not None:
            raise waiting.error
        return waiting.result

    def close(self) -> None:
        """End the thread when its work is done."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.result = job.function()
            except Exception as error:
                job.error = error
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(job.done.set)


class Job:
    """A piece of work and what became of it."""

    __slots__ = ("done", "error", "function", "result")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.done = trio.Event()
        self.result: Any = None
        self.error: Exception | None = None
