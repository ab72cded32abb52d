"""What a test sees of the messages on a filter, without a client."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import overload

import trio

from ..._values.messages import Message
from ..._values.topics import TopicFilter
from .._broker.core.values import Publication


class Observer:
    """Every message on a filter, from when it began to look; made by `MemoryBroker.observe`.

    Iterating, indexing and `len()` read what has come; nothing is taken away by reading, except
    that `receive` goes forward.
    """

    def __init__(self, filter_: TopicFilter, limit: int) -> None:
        self.filter = filter_
        self.dropped = 0
        """Messages that came after `limit`."""
        self._limit = limit
        self._messages: list[Message] = []
        self._read = 0
        self._lot = trio.lowlevel.ParkingLot()

    def matches(self, topic: str) -> bool:
        """Whether it looks at that topic."""
        return self.filter.matches(topic)

    def see(self, publication: Publication) -> None:
        """A message came; the broker calls this."""
        message: Message = publication.origin
        if len(self._messages) >= self._limit:
            self.dropped += 1
            return
        self._messages.append(message)
        if self._lot:
            self._lot.unpark_all()

    async def wait(self, count: int) -> list[Message]:
        """Wait until `count` messages have come in all, and return everything so far."""
        await trio.lowlevel.checkpoint()
        while len(self._messages) < count:
            await self._lot.park()
        return list(self._messages)

    async def receive(self) -> Message:
        """Wait for the next message that `receive` has not returned yet."""
        await trio.lowlevel.checkpoint()
        while len(self._messages) <= self._read:
            await self._lot.park()
        self._read += 1
        return self._messages[self._read - 1]

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        return self._messages[index]

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)


class History:
    """The last messages on any topic.

    Args:
        messages: where they are kept.
    """

    def __init__(self, messages: deque[Message]) -> None:
        self._messages = messages

    def matches(self, topic: str) -> bool:
        """All, those that begin with `$` too."""
        del topic
        return True

    def see(self, publication: Publication) -> None:
        """A message came."""
        self._messages.append(publication.origin)
