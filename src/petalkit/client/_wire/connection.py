"""One link at a time: connected, subscribed to what is needed, and made anew when it is lost.

The rule: calls outlive links, as commands do. What was sent over a link that is gone is sent again
under the same `messageId`, and a device runs that once. The first link is another matter: who opens
a client is told at once what is wrong.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from ..._values.errors import ConfigError, ConnectFailed, ConnectionLost, TransportError
from ..._values.settings.settings import Settings
from ...transports import ConnectOptions, Delivery, Link, Transport
from .interests import Interests
from .outgoing import Outgoing
from .statistics import Counters

logger = logging.getLogger("petalkit.client")


@attrs.frozen
class Hooks:
    """Whom a connection tells.

    Attributes:
        on_delivery: with each message that comes; must not raise.
        on_link: there is a link, and not the first: what was sent over the last one may be lost.
        on_end: there will be no link any more, and why.
    """

    on_delivery: Callable[[Delivery], object]
    on_link: Callable[[], object]
    on_end: Callable[[Exception], object]


class Connection:
    """See the module. `run` is its one task.

    Args:
        settings: the waits between attempts.
        transport: makes links.
        options: of CONNECT.
        counters: links are counted.
        hooks: whom it tells.
        reconnect: whether a lost link is made anew.

    Attributes:
        interests: what it is subscribed to.
        outgoing: what it is to publish.
        last_error: why there is no link; None while there is one.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        options: ConnectOptions,
        counters: Counters,
        hooks: Hooks,
        *,
        reconnect: bool,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._options = options
        self._counters = counters
        self._hooks = hooks
        self._reconnect = reconnect
        self._decided = trio.Event()  # the first link is there, or will never be
        self.interests = Interests()
        self.outgoing = Outgoing()
        self.last_error: Exception | None = None

    @property
    def is_up(self) -> bool:
        """Whether there is a link now."""
        return self.outgoing.link is not None

    async def wait_first(self) -> None:
        """Wait for the first link. The transport's own limits bound it.

        Raises:
            ConfigError, TransportError: there is none.
        """
        await self._decided.wait()
        if not self.is_up and self.last_error is not None:
            raise self.last_error

    async def run(self) -> None:
        """Hold a link until cancelled, or until the first is lost where it is not made anew."""
        failures = 0
        async with self._transport.open():
            while True:
                ready = self._counters.links
                self.last_error = error = await self._one_link()
                if self._counters.links > ready:
                    failures = 0
                    self._counters.links_lost += 1
                if not self._decided.is_set() or not self._reconnect:
                    self._hooks.on_end(error)
                    self._decided.set()
                    return
                logger.info("the link of the client is gone, another is made: %s", error)
                failures += 1
                await trio.sleep(self._wait(failures))

    def _wait(self, failures: int) -> float:
        # Full jitter, as devices do: clients must not come back all at once either.
        bound = self._settings.reconnect_delay_min * 2.0 ** min(failures - 1, 16)
        return random.random() * min(bound, self._settings.reconnect_delay_max)

    async def _one_link(self) -> Exception:
        """Connect once, and serve until the link is lost; why it is."""
        try:
            async with self._transport.connect(self._options) as link:
                return await self._serve(link)
        except ConfigError as error:
            return ConnectFailed(str(error)) if self._decided.is_set() else error
        except TransportError as error:
            return error

    async def _serve(self, link: Link) -> Exception:
        lost: list[Exception] = []

        async def guard(run: Callable[[Link], Awaitable[None]]) -> None:
            try:
                await run(link)
            except TransportError as error:
                lost.append(error)
                nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                # Reading comes first: a SUBACK may stand behind a thousand retained messages.
                nursery.start_soon(guard, self._receive, name="client: receiving")
                nursery.start_soon(guard, self._begin, name="client: subscriptions")
                nursery.start_soon(guard, self.outgoing.keep, name="client: window")
        finally:
            self.outgoing.detach()
        return lost[0] if lost else ConnectionLost("the link ended")

    async def _receive(self, link: Link) -> None:
        on_delivery = self._hooks.on_delivery

        def take(deliveries: Sequence[Delivery]) -> bool:
            for delivery in deliveries:
                delivery.ack()
                on_delivery(delivery)
            return True

        await link.deliver(take)

    async def _begin(self, link: Link) -> None:
        await self.interests.restore(link)
        first = not self._counters.links
        self._counters.links += 1
        self.last_error = None
        if not first:  # before anything leaves: what was sent is what went over the last link
            self._hooks.on_link()
        self.outgoing.attach(link)
        self._decided.set()
        await self.interests.keep(link)
