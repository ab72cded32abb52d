"""What has come on a link, until whoever receives takes it.

The rule: nothing that came before the loss of the link is lost with it; the loss is told after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from ..._values.errors import ConnectionLost
from .._delivery import Delivery


class Inbox:
    """See the module. Without a bound of its own; see `BoundedInbox`.

    Args:
        loss: why nothing more comes, as a new exception; None while something may.

    Attributes:
        deliveries: what is here; add to it, then call `hand_over` once.
        size: bytes of them, topics and properties included, as far as they were added to it.
    """

    def __init__(self, loss: Callable[[], ConnectionLost | None]) -> None:
        self._loss = loss
        self.deliveries: list[Delivery] = []
        self.size = 0
        self._receiver = trio.lowlevel.ParkingLot()
        self._sink: Callable[[Sequence[Delivery]], bool] | None = None

    def hand_over(self) -> None:
        """Give what is here to whoever waits for it, if somebody does."""
        if not (self.deliveries and self._receiver):
            return
        if self._sink is None:
            self._receiver.unpark()
        elif not self._give(self._sink):
            self._sink = None
            self._receiver.unpark()

    def tell_loss(self) -> None:
        """Let whoever waits see that the link is lost."""
        self._receiver.unpark_all()

    def _take(self) -> list[Delivery]:
        batch, self.deliveries, self.size = self.deliveries, [], 0
        return batch

    def _give(self, sink: Callable[[Sequence[Delivery]], bool]) -> bool:
        return sink(self._take())

    async def receive(self) -> Sequence[Delivery]:
        """See `Link.receive`."""
        if self._receiver:
            raise trio.BusyResourceError("another task receives from this link already")
        self._go_on()
        if self.deliveries:
            await trio.lowlevel.checkpoint()
        while not self.deliveries:
            await self._park()
        return self._take()

    async def deliver(self, sink: Callable[[Sequence[Delivery]], bool]) -> None:
        """See `Link.deliver`."""
        if self._receiver:
            raise trio.BusyResourceError("another task receives from this link already")
        await trio.lowlevel.checkpoint()
        self._go_on()
        # From the first on in the step in which they are read: when it says no, whoever reads must
        # not be waiting for more already.
        self._sink = sink
        try:
            while self._sink is not None:
                if self.deliveries:  # came with the loss, or while nobody was parked
                    if not self._give(sink):
                        return
                else:
                    await self._park()
        finally:
            self._sink = None

    def _go_on(self) -> None:
        """Somebody receives again."""

    async def _park(self) -> None:
        loss = self._loss()
        if loss is not None:
            raise loss
        await self._receiver.park()
