"""What a client is subscribed to: asked for by whoever needs it, and on each link anew.

The rule: one subscription for all who need a filter, and none that nobody needs. One task alone
subscribes and unsubscribes, so the answers of the broker come in order. The trap: a filter can be
dropped while its SUBACK is awaited, and wanted again while its UNSUBACK is.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ..._values.errors import RejectedByBroker
from ..._values.topics import TopicFilter
from ...transports import Link

FILTERS_MAX = 8  # in one SUBSCRIBE: AWS IoT Core takes no more


class _Interest:
    """Of one filter: how many need it, and what the broker says of it."""

    __slots__ = ("granted", "refusal", "settled", "uses")

    def __init__(self) -> None:
        self.uses = 0
        self.granted = False
        self.refusal: RejectedByBroker | None = None
        self.settled = trio.Event()


class Interests:
    """See the module."""

    def __init__(self) -> None:
        self._wanted: dict[TopicFilter, _Interest] = {}
        self._gone: set[TopicFilter] = set()  # subscribed to, and needed no more
        self._changed = trio.Event()
        self._closed: Exception | None = None

    def want(self, *filters: TopicFilter) -> None:
        """One more needs them; `wait` says when they are there."""
        for one in filters:
            interest = self._wanted.get(one)
            if interest is None:
                interest = self._wanted[one] = _Interest()
                if one in self._gone:
                    self._gone.discard(one)
                    interest.granted = True
                    interest.settled.set()
            interest.uses += 1
        self._changed.set()

    def drop(self, *filters: TopicFilter) -> None:
        """One fewer needs them."""
        for one in filters:
            interest = self._wanted.get(one)
            if interest is None:
                continue
            interest.uses -= 1
            if not interest.uses:
                del self._wanted[one]
                if interest.granted:
                    self._gone.add(one)
        self._changed.set()

    async def wait(self, filter_: TopicFilter) -> None:
        """Wait until it is granted on a link. The caller bounds it.

        Raises:
            RejectedByBroker: the broker refused it.
            Exception: there will be no link any more; what `close` was told.
        """
        interest = self._wanted[filter_]
        while not interest.granted:
            if self._closed is not None:
                raise self._closed
            if interest.refusal is not None:
                raise interest.refusal
            await interest.settled.wait()

    def close(self, error: Exception) -> None:
        """There will be no link any more: nobody waits for one."""
        self._closed = error
        for interest in self._wanted.values():
            interest.granted = False
            interest.settled.set()

    async def restore(self, link: Link) -> None:
        """Ask for all of them on a new link.

        Raises:
            ConnectionLost: it is gone.
        """
        self._gone.clear()
        for one in self._wanted.values():
            one.granted, one.refusal = False, None
            if one.settled.is_set():
                one.settled = trio.Event()
        while todo := self._todo():
            await self._subscribe(link, todo)

    async def keep(self, link: Link) -> None:
        """Follow what is needed, for the life of a link.

        Raises:
            ConnectionLost: it is gone.
        """
        while True:
            self._changed = trio.Event()
            if todo := self._todo():
                await self._subscribe(link, todo)
            elif gone := list(self._gone)[:FILTERS_MAX]:
                self._gone.difference_update(gone)
                await link.unsubscribe(gone)
            else:
                await self._changed.wait()  # no limit: nobody may ever need more

    def _todo(self) -> list[TopicFilter]:
        waiting = (
            one
            for one, interest in self._wanted.items()
            if not interest.granted and interest.refusal is None
        )
        return [one for one, _ in zip(waiting, range(FILTERS_MAX), strict=False)]

    async def _subscribe(self, link: Link, filters: Sequence[TopicFilter]) -> None:
        try:
            await link.subscribe(filters)
        except RejectedByBroker as error:
            if len(filters) == 1:
                self._settle(filters[0], error)
                return
            for one in filters:  # one of them, and nobody says which
                await self._subscribe(link, [one])
        else:
            for one in filters:
                self._settle(one, None)

    def _settle(self, filter_: TopicFilter, refusal: RejectedByBroker | None) -> None:
        interest = self._wanted.get(filter_)
        if interest is not None:
            interest.granted, interest.refusal = refusal is None, refusal
            interest.settled.set()
        elif refusal is None:
            self._gone.add(filter_)
