"""Parking what cannot be accepted, and how long a petal that is slow may hold up others by that.

With `overflow="wait"` what does not fit is held unacknowledged, and the broker keeps the rest. But
a link is one line: acknowledgements leave in order of arrival, the broker's window fills with what
is held, and reading pauses, so whatever comes for other petals waits too. So whoever is held has
to move:

- A petal that stands still gives up its place after `petal_overflow_wait`, and after two seconds
  one that starts fewer than `petal_overflow_rate` a second. It counts as slow then, and what is
  too much is refused `BUSY`, until for a while nothing is too much.
- One that starts more refuses nothing: those behind it wait about as long as for the refusals.

The traps: to judge by how long something of it has been held, since of a long burst something
always is, however fast it goes; and to take a time in which nothing ran, because the process had no
processor or another petal blocked it, for a petal that stands still or is slow. Where one petal is
served it holds up nobody, and waits for ever.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable

import attrs
import trio

from ..._authoring.registry import CommandSpec
from ..._values.errors import ErrorCode
from ..._values.settings.settings import Settings
from ...transports import Delivery, WithdrawableDelivery
from ..dispatch.dispatcher import Dispatcher
from .parked import Parked, ParkedLines, limits_of
from .refusals import Refusals, Request

logger = logging.getLogger("petalkit.intake")

CALM = 1.0  # seconds without an overflow after which a petal is not slow any more
OVER = 2.0  # seconds over which its rate is taken, at least: in the first it may read a burst
LOOKS = 4  # in `petal_overflow_wait`
LOOK_MIN = 0.01  # seconds between two, which a shorter limit cannot make a busy loop of
STOOD = 2  # of these one after the other without a start: else it was the process that stood still
ROUNDING = 1e-6  # seconds
WARN_EVERY = 60.0  # seconds between two warnings of one petal
TOO_MANY = "too many commands are waiting"


def _until_look(limit: float) -> float:
    """Seconds until a petal is looked at again, with such a `petal_overflow_wait`."""
    return max((limit or CALM) / LOOKS, LOOK_MIN)


@attrs.define
class _Held:
    """What is known of one petal."""

    watched: bool = False
    stood: int = 0  # looks without a start, one after the other
    looked: float = -math.inf
    counted: float = 0.0  # seconds since `begin` in which it could go on
    moved: float = 0.0  # those until one had
    marks: deque[tuple[float, int]] = attrs.field(factory=deque)  # what had gone on, and `counted`
    refused: float = -math.inf  # something of it was, lastly, because it is slow
    told: float = -math.inf

    def begin(self, now: float, gone: int) -> None:
        """Something of it is held, and nothing was before."""
        self.looked, self.counted, self.moved, self.stood = now, 0.0, 0.0, 0
        self.marks.clear()
        self.marks.append((0.0, gone))

    def is_slow(self, now: float, moved: tuple[int, float], limit: float, rate: float) -> bool:
        """Whether none has gone on in that time, or fewer than so many a second in a longer one.

        Args:
            now: Trio's clock.
            moved: how many have gone on, and when the last.
            limit: seconds.
            rate: see `petal_overflow_rate`.
        """
        (gone, at), marks, over = moved, self.marks, max(limit, OVER)
        # That a look is late is not the petal's doing.
        counted = min(now - self.looked, _until_look(limit))
        self.looked = now
        self.counted += counted
        if gone == marks[-1][1]:
            self.stood += 1
        else:
            self.stood, self.moved = 0, self.counted - min(now - at, counted)
        marks.append((self.counted, gone))
        while marks[1][0] <= self.counted - over:
            marks.popleft()
        if self.stood >= STOOD and self.counted - self.moved >= limit - ROUNDING:
            return True
        seconds, count = self.counted - marks[0][0], gone - marks[0][1]
        return seconds >= over - ROUNDING and count < rate * seconds


class Parking:
    """See the module.

    Args:
        settings: with the limit.
        dispatcher: has the shares, and calls when the time is over.
        refusals: says no to what is held no longer.

    Attributes:
        lines: what is parked.
        on_change: called when some of it is parked no more.
    """

    def __init__(self, settings: Settings, dispatcher: Dispatcher, refusals: Refusals) -> None:
        self.lines = ParkedLines()
        self.on_change: Callable[[], object] = lambda: None
        self._limits = limits_of(settings)
        self._refusals = refusals
        self._acknowledgements = dispatcher.acknowledgements
        several = dispatcher.backlog.shares.are_several
        self._limit = settings.petal_overflow_wait if several else math.inf
        self._rate = settings.petal_overflow_rate
        self._dispatcher = dispatcher
        self._held: dict[str, _Held] = {}

    def park(self, request: Request, spec: CommandSpec, now: float) -> None:
        """Hold a command; it comes again if its link is lost first, where the session is kept."""
        if spec.petal not in self.lines and self._limit != math.inf:
            held = self._held.setdefault(spec.petal, _Held())
            held.begin(now, self.lines.gone[spec.petal][0])
            if not held.watched:
                self._watch(spec.petal, held)
        delivery = request.delivery
        again = self._acknowledgements.comes_again(delivery)
        self.lines.add(Parked.of(request, spec, comes_again=again))
        if isinstance(delivery, WithdrawableDelivery):
            delivery.on_withdrawn = self._withdrawn
        self._acknowledgements.owe_parked(delivery)

    def cancel(self, message_id: str, code: ErrorCode, text: str) -> bool:
        """Say no to one, and hold it no longer; False when it is not here."""
        if self.lines.find(message_id) is None:
            return False
        for parked in self.lines.take(lambda one: one.message_id == message_id):
            self._refusals.refuse(parked.request(self._limits), code, text)
        self.on_change()
        return True

    def _withdrawn(self, delivery: Delivery) -> None:
        """The transport has told the sender that it was not taken: it is parked no more."""
        if self.lines.take(lambda parked: parked.delivery is delivery):
            self._refusals.responses.counters.refused[str(ErrorCode.BUSY)] += 1
            self.on_change()

    def is_slow(self, petal: str, now: float) -> bool:
        """Whether a command that does not fit its petal's share is to be refused, not held."""
        if self._limit == math.inf or not self._dispatcher.backlog.is_over_share(petal):
            return False
        held = self._held.get(petal)
        if self._limit > 0 and (held is None or now - held.refused >= max(CALM, self._limit)):
            return False
        self._note(petal, now)
        return True

    def _watch(self, petal: str, held: _Held) -> None:
        def look() -> None:
            held.watched = False
            if petal not in self.lines:
                return  # that is over
            now, gone = trio.current_time(), self.lines.gone[petal]
            is_slow = held.is_slow(now, gone, self._limit, self._rate)
            # Else it waits for something else, such as the disk.
            if is_slow and self._dispatcher.backlog.is_over_share(petal):
                self._note(petal, now)
                self._give_up(petal)
            else:
                self._watch(petal, held)

        held.watched = True
        self._dispatcher.call_later(_until_look(self._limit), look, name=f"held for {petal}")

    def _give_up(self, petal: str) -> None:
        for parked in self.lines.take(lambda one: one.spec.petal == petal):
            self._refusals.refuse(parked.request(self._limits), ErrorCode.BUSY, TOO_MANY)
        self.on_change()

    def _note(self, petal: str, now: float) -> None:
        held = self._held.setdefault(petal, _Held())
        held.refused = now
        if now - held.told >= WARN_EVERY:
            held.told = now
            logger.warning(
                "petal %r does not keep up: its share of what may wait is full, and what comes is "
                "refused (BUSY), so that others are not held up; see petal_share",
                petal,
            )
