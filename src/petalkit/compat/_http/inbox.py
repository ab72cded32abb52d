"""One request on its way to the application that serves it.

The rule: nobody waits for an application that has ended, and it is told that the client has gone
however much it has not yet read. The trap is a plain memory channel: who does not read leaves the
connection's reader waiting for ever, and whoever closes it too.
"""

from __future__ import annotations

from collections import deque

import trio

from .answers import Event

EVENTS_MAX = 4  # parts of a body, or messages, that wait


class Inbox:
    """See the module.

    Attributes:
        gone: the client has, or has to.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._last: Event | None = None
        self._closed = False
        self._changed = trio.Event()

    @property
    def gone(self) -> bool:
        """Whether the client has gone."""
        return self._last is not None

    async def put(self, event: Event) -> None:
        """One more; waits while there are too many. A disconnect never waits."""
        if event["type"].endswith(".disconnect"):
            self.end(event)
            return
        while len(self._events) >= EVENTS_MAX and not (self._closed or self.gone):
            await self._changed.wait()
        if not (self._closed or self.gone):
            self._events.append(event)
            self._change()

    def end(self, event: Event) -> None:
        """Nothing comes after this one, which is given from then on."""
        if self._last is None:
            self._last = event
            self._change()

    async def get(self) -> Event:
        """The next; waits until there is one."""
        while not self._events:
            if self._last is not None:
                return self._last
            await self._changed.wait()
        event = self._events.popleft()
        self._change()
        return event

    async def wait_gone(self) -> None:
        """Wait until the client has gone. No limit: that is the life of a connection."""
        while self._last is None:
            await self._changed.wait()

    def close(self) -> None:
        """Nobody reads any more."""
        self._closed = True
        self._events.clear()
        self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()
