"""Refusals whose answers find no place: held unacknowledged until there is one.

The rule, where `overflow` is `wait`: what cannot be answered now is not acknowledged either, so the
broker's window fills and whoever sends junk has to wait, as with commands for which there is no
room. Nothing of a delivery is kept but its acknowledgement and the answer.

It has three bounds, beyond which a refusal is acknowledged and not answered, which is counted and
told: `refusal_bytes` of answers once more; QoS 1 only, since nothing else can be held; and
`HELD_MAX` seconds in which no place comes. The trap is behind the last: acknowledgements leave in
order, so a full window of these holds up whatever the broker has behind them, an emergency stop
too.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence

import attrs
import trio

from ..._values.messages import Message
from ..._values.settings.settings import Settings
from ...transports import Delivery, WithdrawableDelivery
from ..ledger.acknowledgement import Acknowledgements
from ..ledger.recent_refusals import Noting
from .outbox import Outbox

HELD_MAX = 5.0  # seconds without a place
OVERHEAD = 1000  # bytes that one takes beside its answer


@attrs.frozen
class Held:
    """One of them.

    Attributes:
        delivery: what was refused; without its bytes.
        messages: its answers that have no place yet.
        noting: told what becomes of them.
    """

    delivery: Delivery
    messages: Sequence[Message]
    noting: Noting

    @property
    def size(self) -> int:
        """Bytes that it keeps."""
        return OVERHEAD + sum(len(message.payload) for message in self.messages)


class HeldRefusals:
    """See the module.

    Args:
        settings: bounds and rules.
        outbox: where answers go.
        acknowledgements: told what is refused; knows what comes again.
    """

    def __init__(
        self, settings: Settings, outbox: Outbox, acknowledgements: Acknowledgements
    ) -> None:
        self._waits = settings.overflow == "wait"
        self._bytes_max = settings.refusal_bytes
        self._outbox = outbox
        self._acknowledgements = acknowledgements
        self._line: deque[Held] = deque()
        self._size = 0
        self._moved_at = 0.0  # when one came into an empty line, or left it
        self._given_up = False  # no place has come for too long
        self._some = trio.Event()

    def __len__(self) -> int:
        return len(self._line)

    def finish(self, delivery: Delivery, messages: Sequence[Message], noting: Noting) -> None:
        """Acknowledge what was refused, or hold it.

        Args:
            delivery: what was refused.
            messages: its answers for which there was no place.
            noting: told what becomes of it: said when it is acknowledged, and else unsaid.
        """
        if messages:
            held = Held(delivery, messages, noting)
            if self._may_hold(held):
                self._hold(held)
                return
            put = functools.partial(self._outbox.put_refusal, answers=None, refused=noting.key)
            lost = [one for one in messages if not put(one)]
            if lost:
                self._outbox.unanswered(len(lost))
        noting.said()
        self._acknowledgements.refused(delivery)

    def _may_hold(self, held: Held) -> bool:
        return (
            self._waits
            and not self._given_up
            and held.delivery.qos > 0
            and self._size + held.size <= self._bytes_max
        )

    def _hold(self, held: Held) -> None:
        held.delivery.let_go()
        if not self._line:
            self._moved_at = trio.current_time()
            self._outbox.hooks.on_refusal_place = self._release
            self._some.set()
        self._line.append(held)
        self._size += held.size
        held.noting.waits()
        if isinstance(held.delivery, WithdrawableDelivery):
            held.delivery.on_withdrawn = self._withdrawn
        self._acknowledgements.owe_parked(held.delivery)
        self._outbox.hooks.on_pressure()  # only a PUBACK makes a place

    def _withdrawn(self, delivery: Delivery) -> None:
        """The transport has said no to the sender itself: nothing more is to be said."""
        self._leave(lambda held: held.delivery is delivery)

    def _out(self) -> Held:
        held = self._line.popleft()
        self._size -= held.size
        return held

    def _watch_places(self) -> None:
        wants = bool(self._line) or self._given_up
        self._outbox.hooks.on_refusal_place = self._release if wants else None

    def _release(self) -> None:
        """There may be a place."""
        self._outbox.hooks.on_refusal_place = None  # what is put here may make room, told here
        if self._given_up and self._outbox.places.may_refuse(0):
            self._given_up = False
        while self._line:
            held = self._line[0]
            size = sum(len(message.payload) for message in held.messages)
            if not self._outbox.places.may_refuse(size, len(held.messages)):
                break
            self._out()
            self._moved_at = trio.current_time()
            for message in held.messages:  # all of them, as far as the bounds are
                self._outbox.put_refusal(message, None, has_place=True, refused=held.noting.key)
            held.noting.said()
            self._acknowledgements.refused(held.delivery)
        self._watch_places()

    async def watch(self) -> None:
        """Give them up when no place comes for too long. Until cancelled.

        Only where one could: not before answers leave over the link, which may have to wait for a
        whole session that is replayed.
        """
        self._moved_at = trio.current_time()
        while True:
            if not self._line:
                self._some = trio.Event()
                await self._some.wait()
            await trio.sleep_until(self._moved_at + HELD_MAX)
            now = trio.current_time()
            if not self._outbox.is_sending:
                self._moved_at = now
            elif self._line and now >= self._moved_at + HELD_MAX:
                self._given_up = True
                self._give_up_all()

    def _give_up_all(self) -> None:
        while self._line:
            held = self._out()
            self._outbox.unanswered(len(held.messages))
            held.noting.said()
            self._acknowledgements.refused(held.delivery)
        self._watch_places()

    # -- ends

    def link_gone(self) -> int:
        """Leave what the session keeps to it; how many. Nobody waits for an ack of the rest."""
        return self._leave(lambda held: self._comes_again(held.delivery))

    def _leave(self, which: Callable[[Held], bool]) -> int:
        """Let go of those that `which` says, unanswered; how many."""
        kept: list[Held] = []
        for one in self._line:
            if which(one):
                one.noting.unsaid()
            else:
                kept.append(one)
        gone = len(self._line) - len(kept)
        self._line = deque(kept)
        self._size = sum(one.size for one in kept)
        self._watch_places()
        return gone

    def _comes_again(self, delivery: Delivery) -> bool:
        return self._acknowledgements.comes_again(delivery) and not delivery.is_acked

    @property
    def deliveries(self) -> list[Delivery]:
        """Of all that are held."""
        return [held.delivery for held in self._line]

    def close(self) -> int:
        """The device stops: the session keeps them, if it can; how many. Hold none from now on."""
        self._waits = False
        gone = self.link_gone()
        self._give_up_all()
        return gone
