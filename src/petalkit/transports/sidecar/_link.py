"""The link over the sidecar: where what it sent us waits until somebody takes it.

The rule: each delivery has an answer of its own, so acknowledgements have no order here. Until it
is acknowledged it is the sidecar's, and can be taken back (`withdraw`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import trio

from ..._values.errors import ConnectionLost, RejectedByBroker
from ..._values.messages import Message
from ..._values.settings.settings import Settings
from ..._values.topics import TopicFilter
from .._contract import ConnectOptions, Link, OnDone
from .._delivery import AckWindow, Delivery, WithdrawableDelivery
from .._receiving.inbox import Inbox
from ._answers import SidecarError
from ._canary import Canary
from ._client import SidecarClient
from ._health import Health
from ._publisher import RETRY_MAX, RETRY_MIN, Publisher

logger = logging.getLogger("petalkit.transport")


class Offer:
    """One message of the sidecar, and whether anybody has taken it."""

    __slots__ = ("_answered", "_link", "accepted", "delivery", "over", "window")

    def __init__(self, link: SidecarLink, topic: str, payload: bytes) -> None:
        self._link = link
        self._answered: trio.Event | None = None
        self.accepted = False
        self.over = False  # it never will be: taken back, or the link has ended
        self.window = AckWindow(self._on_ack)
        # Always owed: the sidecar waits for an answer whatever the QoS was.
        self.delivery = WithdrawableDelivery(topic, payload, qos=1, window=self.window)
        self.delivery.on_withdrawn = None

    def _on_ack(self) -> None:
        self.accepted = True
        self._link.settled(self)
        self.end()

    async def wait(self) -> None:
        """Wait until it is accepted or over. Has to be bounded by the caller."""
        if not (self.accepted or self.over):
            self._answered = trio.Event()
            await self._answered.wait()

    def end(self) -> None:
        """Nothing more becomes of it; a later `ack()` does nothing."""
        self.over = True
        self.window.close()
        if self._answered is not None:
            self._answered.set()


class SidecarLink(Link):
    """See the module. Made by `SidecarTransport.connect`.

    Args:
        client: asks for health and subscriptions.
        make_publisher: gets what to call when a request breaks.
        make_canary: gets what to call when the sidecar may have died.
        options: limits of the link.
        settings: limits of the sidecar.
        callback_url: where the sidecar is to send messages.
        on_subscribed: called when it has been told so for all that was asked.
    """

    def __init__(
        self,
        client: SidecarClient,
        make_publisher: Callable[[Callable[[], object]], Publisher],
        make_canary: Callable[[Callable[[], object]], Canary],
        options: ConnectOptions,
        settings: Settings,
        callback_url: str,
        on_subscribed: Callable[[], object] = lambda: None,
    ) -> None:
        self._health = Health(client, settings, callback_url, self._lose)
        self._publisher = make_publisher(self._health.suspect)
        self._canary = make_canary(self._health.suspect)
        self._on_subscribed = on_subscribed
        self._options = options
        self._settings = settings
        self._scope = trio.CancelScope()
        self._lost: ConnectionLost | None = None
        self._leaving = False
        self._ended = trio.Event()
        self._inbox = Inbox(self._loss)
        self._offers: dict[Offer, None] = {}

    # -- life

    async def run(self) -> None:
        """The tasks of the link, until it is lost or closed; cancellation from outside is not for
        them, since a cancelled block still has something to say.
        """
        try:
            with self._scope:
                self._scope.shield = True
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._health.run, name="petalkit sidecar health")
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
        self._end_offers()
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
        self._end_offers()
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
        if len(self._offers) >= self._settings.callback_connections:
            return None
        self._health.heard(topic)
        offer = Offer(self, topic, payload)
        self._offers[offer] = None
        self._inbox.deliveries.append(offer.delivery)
        self._inbox.hand_over()
        return offer

    def settled(self, offer: Offer) -> None:
        """An offer was accepted."""
        self._offers.pop(offer, None)

    def withdraw(self, offer: Offer) -> None:
        """Take an offer back: the sidecar has been told no, or is about to be.

        A command that has been accepted and is not acknowledged yet (`acknowledge="handled"`) goes
        on; the same message again finds it by its messageId.
        """
        self._offers.pop(offer, None)
        offer.end()
        delivery = offer.delivery
        if delivery in self._inbox.deliveries:
            self._inbox.deliveries.remove(delivery)
        if delivery.on_withdrawn is not None:
            delivery.on_withdrawn(delivery)

    def _end_offers(self) -> None:
        """Everything that waits is answered no."""
        offers, self._offers = self._offers, {}
        self._inbox.deliveries.clear()
        for offer in offers:
            offer.end()

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
