"""What a client is to publish: in turn, over whatever link there is, as far as its window goes.

The rule: one place looks whether there is room, however many calls wait for it. If each did so by
itself, every PUBACK would wake a thousand tasks of which one can go on. What is not wanted any more
is taken out, so that nothing piles up while the link is away.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Protocol

import trio

from ..._values.errors import ConnectionLost, TransportError
from ..._values.messages import Message
from ...transports import Link


class Posting(Protocol):
    """What is to be published."""

    sent: bool

    def message(self) -> Message:
        """How it is said now."""
        ...

    def published(self, error: TransportError | None) -> None:
        """What the broker says of it; a link that is lost says nothing."""
        ...


class Outgoing:
    """See the module.

    Attributes:
        link: the present one; None while there is none.
    """

    def __init__(self) -> None:
        self.link: Link | None = None
        self._queue: OrderedDict[Posting, None] = OrderedDict()
        self._pumping = False
        self._in_flight = self._most = 0  # on the present link
        self._blocked = trio.Event()

    def put(self, posting: Posting) -> None:
        """Publish it, now or in its turn."""
        self._queue[posting] = None
        if self._in_flight < self._most:
            self._pump()

    def remove(self, posting: Posting) -> None:
        """It is not wanted any more; what has been published cannot be taken back."""
        self._queue.pop(posting, None)

    def attach(self, link: Link) -> None:
        """There is a link now."""
        self.link = link
        self._in_flight, self._most = 0, link.publish_maximum
        self._pump()

    def detach(self) -> None:
        """It is gone."""
        self.link, self._most = None, 0

    def _pump(self) -> None:
        queue, link = self._queue, self.link
        if link is None or self._pumping:
            return
        self._pumping = True
        try:
            # To ask the link each time would be to make each message twice.
            while queue and self._in_flight < self._most:
                posting = next(iter(queue))
                on_done = functools.partial(self._done, link, posting)
                link.publish_nowait(posting.message(), on_done)
                self._in_flight += 1
                posting.sent = True
                del queue[posting]
        except trio.WouldBlock:
            self._blocked.set()
        except ConnectionLost:
            pass  # who holds the link is about to hear of it
        finally:
            self._pumping = False

    def _done(self, link: Link, posting: Posting, error: TransportError | None) -> None:
        if link is self.link:
            self._in_flight -= 1
        if not isinstance(error, ConnectionLost):
            posting.published(error)
        if self._queue and link is self.link:
            self._pump()

    async def keep(self, link: Link) -> None:
        """Go on when a link has room again of which no PUBACK tells. No end.

        Raises:
            ConnectionLost: it is gone.
        """
        while True:
            await self._blocked.wait()
            self._blocked = trio.Event()
            await link.wait_publishable()
            self._pump()
