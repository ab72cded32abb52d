"""What waits to be sent to one page, with bounds.

The rule: an answer is never dropped. Of what is a state (how a job stands, which devices there
are) only the newest waits. Of what is one of many (values of a stream, events) the oldest makes
room, and is counted. A page that takes nothing although all that can be dropped is gone is cut off.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Hashable

import trio

NEWS_MAX = 2000  # values and events that wait
NEWS_BYTES_MAX = 4 * 1024 * 1024  # bytes of them
BYTES_MAX = 16 * 1024 * 1024  # of everything that waits
BATCH_BYTES_MAX = 1024 * 1024  # of one message to the page, or one item that is larger


class TooSlow(Exception):
    """The page does not take what it is sent."""


class Outgoing:
    """See the module. Items are JSON; they are taken in the order in which they were put.

    Attributes:
        dropped: values and events that made room.
    """

    def __init__(self) -> None:
        self._items: dict[Hashable, bytes] = {}
        self._news: deque[int] = deque()
        self._bytes = 0
        self._news_bytes = 0
        self._numbers = itertools.count()
        self._wake = trio.Event()
        self._too_slow = False
        self.dropped = 0

    def answer(self, item: bytes) -> None:
        """What the page has asked for."""
        self._put(next(self._numbers), item)
        self._bound()

    def state(self, key: tuple[str, ...], item: bytes) -> None:
        """How something stands; takes the place of what was put with the same key."""
        old = self._items.pop(key, None)
        if old is not None:
            self._bytes -= len(old)
        self._put(key, item)
        self._bound()

    def news(self, item: bytes) -> None:
        """One of many."""
        if self._too_slow:
            return
        number = next(self._numbers)
        self._news.append(number)
        self._news_bytes += len(item)
        self._put(number, item)
        while len(self._news) > NEWS_MAX or self._news_bytes > NEWS_BYTES_MAX:
            old = self._items.pop(self._news.popleft())
            self._news_bytes -= len(old)
            self._bytes -= len(old)
            self.dropped += 1
        self._bound()

    def _put(self, key: Hashable, item: bytes) -> None:
        if self._too_slow:
            return
        self._items[key] = item
        self._bytes += len(item)
        self._wake.set()

    def _bound(self) -> None:
        """Nothing of it is taken any more, so nothing of it is kept until somebody notices."""
        if self._bytes > BYTES_MAX:
            self._too_slow = True
            self._items.clear()
            self._news.clear()
            self._bytes = self._news_bytes = 0

    async def take(self) -> list[bytes]:
        """Wait for something, and take what fits into one message.

        It waits without a limit: nothing may happen for hours.

        Cancellation: nothing is taken.

        Raises:
            TooSlow: there is more than a page may let wait.
        """
        await trio.lowlevel.checkpoint()
        while not self._items and not self._too_slow:
            self._wake = trio.Event()
            await self._wake.wait()
        if self._too_slow:
            raise TooSlow
        batch: list[bytes] = []
        size = 0
        for key, item in self._items.items():
            if batch and size + len(item) > BATCH_BYTES_MAX:
                break
            batch.append(item)
            size += len(item)
            if self._news and self._news[0] == key:
                self._news.popleft()
                self._news_bytes -= len(item)
        for key in list(itertools.islice(self._items, len(batch))):
            del self._items[key]
        self._bytes -= size
        return batch
