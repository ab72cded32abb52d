"""What waits to be read, with a bound: the oldest makes room, so nobody who is slow holds up all.

The rule: what comes last is what counts, of values as of reports: the end of a job is the newest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Buffer(Generic[T]):
    """See the module.

    Args:
        most: how many wait at most.
        on_drop: called for each that makes room.
    """

    def __init__(self, most: int, on_drop: Callable[[], object]) -> None:
        self._items: deque[T] = deque()
        self._most = most
        self._on_drop = on_drop
        self._ended = False
        self._error: Exception | None = None
        self._news = trio.Event()

    def put(self, item: T) -> None:
        """One more; after the end it is not taken."""
        if self._ended:
            return
        if len(self._items) >= self._most:
            self._items.popleft()
            self._on_drop()
        self._items.append(item)
        self._news.set()

    def end(self, error: Exception | None = None) -> None:
        """Nothing follows; the first end counts."""
        if not self._ended:
            self._ended, self._error = True, error
            self._news.set()

    async def get(self) -> T:
        """The next one. It waits without a limit: none may ever come; its reader bounds it.

        Cancellation: none is lost.

        Raises:
            StopAsyncIteration: nothing follows.
            Exception: what it was ended with; once, then it is the above.
        """
        await trio.lowlevel.checkpoint()
        while not self._items:
            if self._ended:
                error, self._error = self._error, None
                raise StopAsyncIteration if error is None else error
            self._news = trio.Event()
            await self._news.wait()
        return self._items.popleft()
