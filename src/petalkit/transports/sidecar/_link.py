"""The link over the sidecar: what a link promises, in the words of HTTP.

The rule: only `_health` ends it from inside. The trap: HTTP has no sessions and grants nothing, so
whatever MQTT would say of them is said here as it is: not known.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import trio

from ..._values.errors import ConnectionLost, RejectedByBroker
from ..._values.messages import Message
from ..._values.topics import TopicFilter
from .._contract import ConnectOptions, Link, OnDone
from .._delivery import Delivery
from .._receiving.inbox import Inbox
from ._answers import SidecarError
from ._canary import Canary
from ._health import Health
from ._offers import Offer, Offers
from ._publishing.publisher import RETRY_MAX, RETRY_MIN, Publisher

logger = logging.getLogger("petalkit.transport")


class SidecarLink(Link):
    """See the module. Made by `SidecarTransport.connect`.

    Args:
        health: whether the sidecar is well, and subscribed.
        publisher: sends our messages; both it and `canary` ask `health` when something breaks.
        canary: whether the sidecar calls back.
        options: limits of the link.
        offers_max: messages of the sidecar that may wait for their answer.
        on_subscribed: called when it has been told where to send all that was asked.
    """

    def __init__(
        self,
        health: Health,
        publisher: Publisher,
        canary: Canary,
        options: ConnectOptions,
        offers_max: int,
        on_subscribed: Callable[[], object] = lambda: None,
    ) -> None:
        self._health = health
        self._publisher = publisher
        self._canary = canary
        self._on_subscribed = on_subscribed
        self._options = options
        self._scope = trio.CancelScope()
        self._lost: ConnectionLost | None = None
        self._leaving = False
        self._ended = trio.Event()
        self._inbox = Inbox(self._loss)
        self._offers = Offers(self._inbox, offers_max)

    # -- life

    async def run(self) -> None:
        """The tasks of the link, until it is lost or closed; cancellation from outside is not for
        them, since a cancelled block still has something to say.
        """
        try:
            with self._scope:
                self._scope.shield = True
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._health.run, self._lose, name="petalkit sidecar health")
                    nursery.start_soon(self._publisher.run, name="petalkit sidecar publisher")
                    nursery.start_soon(self._canary.run, name="petalkit sidecar canary")
        except Exception as error:  # our bug, or a library's; the supervisor will connect again
            logger.exception("a link has failed")
            self._lose(f"the link failed: {error!r}")
        finally:
            self.close()

    async def leave(self) -> None:
        """Send what waits and unsubscribe. Has to be bounded by the caller, and shielded."""
        if self._lost is not None:
            return
        self._leaving = True
        self._offers.end_all()
        await self._publisher.wait_empty()
        for topic in self._health.topics():
            if self._lost is not None:
                return
            try:
                await self._health.unsubscribe(topic)
            except (SidecarError, RejectedByBroker) as error:
                logger.warning("could not unsubscribe from %r: %s", topic, error)

    def close(self) -> None:
        """End the tasks; `run` returns soon."""
        self._lose("the link was left")

    def _lose(self, reason: str) -> None:
        """End the link; the first reason stands."""
        if self._lost is not None:
            return
        self._lost = ConnectionLost("the link was left" if self._leaving else reason)
        self._ended.set()
        self._scope.cancel()
        self._offers.end_all()
        self._inbox.tell_loss()
        self._publisher.fail_all(self._gone)

    def _gone(self) -> ConnectionLost:
        # A new one each time: an exception that is raised twice mixes up its tracebacks.
        return ConnectionLost(str(self._lost))

    def _loss(self) -> ConnectionLost | None:
        return None if self._lost is None else self._gone()

    def _check_up(self) -> None:
        if self._lost is not None:
            raise self._gone()
        if self._leaving:
            raise ConnectionLost("the link is being left")

    @property
    def session_present(self) -> bool:
        """See `Link.session_present`. HTTP knows no sessions."""
        return False

    @property
    def session_expiry(self) -> int:
        """See `Link.session_expiry`. What is not taken is the client's to send again, for ever."""
        return 0xFFFF_FFFF

    @property
    def retries_by_itself(self) -> bool:
        """See `Link.retries_by_itself`. A message has its own request, and its own answer."""
        return True

    @property
    def ended(self) -> trio.Event:
        """See `Link.ended`."""
        return self._ended

    # -- what the sidecar sends

    @property
    def waiting(self) -> int:
        """Messages of the sidecar that have no answer yet."""
        return len(self._offers)

    @property
    def subscriptions(self) -> int:
        """Topic filters that the sidecar has been asked for."""
        return len(self._health.topics())

    def offer(self, topic: str, payload: bytes) -> Offer | None:
        """Hand over a message; None when too many wait already, or the link is gone."""
        if self._lost is not None or self._leaving:
            return None
        if self._offers.is_full:
            return None
        self._health.heard(topic)
        return self._offers.add(topic, payload)

    def withdraw(self, offer: Offer) -> None:
        """Take an offer back; see `Offers.withdraw`."""
        self._offers.withdraw(offer)

    async def receive(self) -> Sequence[Delivery]:
        """See `Link.receive`."""
        return await self._inbox.receive()

    async def deliver(self, sink: Callable[[Sequence[Delivery]], bool]) -> None:
        """See `Link.deliver`. `sink` is called in the task that answers the sidecar."""
        await self._inbox.deliver(sink)

    # -- publishing

    @property
    def publish_maximum(self) -> int:
        """See `Link.publish_maximum`."""
        return self._options.publish_maximum

    def publish_nowait(self, message: Message, on_done: OnDone) -> None:
        """See `Link.publish_nowait`. Neither retained nor with properties: the API has no words
        for them.
        """
        self._check_up()
        if not self._publisher.has_room:
            raise trio.WouldBlock
        self._publisher.put(message, on_done)

    async def wait_publishable(self) -> None:
        """See `Link.wait_publishable`."""
        self._check_up()
        await trio.lowlevel.checkpoint()
        while True:
            self._check_up()
            if self._publisher.has_room:
                return
            await self._publisher.wait_room()

    # -- subscribing

    async def subscribe(self, filters: Sequence[TopicFilter]) -> Sequence[int]:
        """See `Link.subscribe`. Asks again until the sidecar accepts, for `subscribe_timeout`.

        What its broker grants, it does not tell.
        """
        await trio.lowlevel.checkpoint()
        for each in filters:
            await self._insist(each.text, self._health.subscribe, "subscribe to")
        self._on_subscribed()
        return [1] * len(filters)

    async def unsubscribe(self, filters: Sequence[TopicFilter]) -> None:
        """See `Link.unsubscribe`."""
        await trio.lowlevel.checkpoint()
        for each in filters:
            await self._insist(each.text, self._health.unsubscribe, "unsubscribe from")

    async def _insist(self, topic: str, ask: Callable[[str], Awaitable[None]], what: str) -> None:
        delay = RETRY_MIN
        problem: Exception | None = None
        with trio.move_on_after(self._options.subscribe_timeout):
            while True:
                self._check_up()
                try:
                    await ask(topic)
                    self._check_up()
                    return
                except (SidecarError, RejectedByBroker) as error:
                    problem = error
                with trio.move_on_after(delay):
                    await self._ended.wait()
                delay = min(2 * delay, RETRY_MAX)
        reason = "" if problem is None else f": {problem}"
        self._lose(f"could not {what} {topic!r} in time{reason}")
        raise self._gone()
