"""What the sidecar sent us, until it has its answer.

The rule: each delivery has an answer of its own, so acknowledgements have no order here. Until it
is acknowledged it is the sidecar's, and can be taken back (`Offers.withdraw`).
"""

from __future__ import annotations

import trio

from .._delivery import AckWindow, WithdrawableDelivery
from .._receiving.inbox import Inbox


class Offer:
    """One message of the sidecar, and whether anybody has taken it."""

    __slots__ = ("_answered", "_offers", "accepted", "delivery", "over", "window")

    def __init__(self, offers: Offers, topic: str, payload: bytes) -> None:
        self._offers = offers
        self._answered: trio.Event | None = None
        self.accepted = False
        self.over = False  # it never will be: taken back, or the link has ended
        self.window = AckWindow(self._on_ack)
        # Always owed: the sidecar waits for an answer whatever the QoS was.
        self.delivery = WithdrawableDelivery(topic, payload, qos=1, window=self.window)
        self.delivery.on_withdrawn = None

    def _on_ack(self) -> None:
        self.accepted = True
        self._offers.forget(self)
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


class Offers:
    """Those of one link that have no answer yet.

    Args:
        inbox: where their deliveries wait until they are received.
        maximum: how many there may be.
    """

    def __init__(self, inbox: Inbox, maximum: int) -> None:
        self._inbox = inbox
        self._maximum = maximum
        self._waiting: dict[Offer, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether there may be no more."""
        return len(self._waiting) >= self._maximum

    def add(self, topic: str, payload: bytes) -> Offer:
        """Hand over a message; there must be room."""
        offer = Offer(self, topic, payload)
        self._waiting[offer] = None
        self._inbox.deliveries.append(offer.delivery)
        self._inbox.hand_over()
        return offer

    def forget(self, offer: Offer) -> None:
        """It has its answer."""
        self._waiting.pop(offer, None)

    def withdraw(self, offer: Offer) -> None:
        """Take one back: the sidecar has been told no, or is about to be.

        A command that has been accepted and is not acknowledged yet (`acknowledge="handled"`) goes
        on; the same message again finds it by its messageId.
        """
        self._waiting.pop(offer, None)
        offer.end()
        delivery = offer.delivery
        if delivery in self._inbox.deliveries:
            self._inbox.deliveries.remove(delivery)
        if delivery.on_withdrawn is not None:
            delivery.on_withdrawn(delivery)

    def end_all(self) -> None:
        """Everything that waits is answered no."""
        waiting, self._waiting = self._waiting, {}
        self._inbox.deliveries.clear()
        for offer in waiting:
            offer.end()
