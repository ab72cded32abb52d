"""Messages that the broker takes later: it has refused them, and not for good.

The rules: each waits by itself, twice as long after each refusal, and others pass it meanwhile; a
quota makes all wait, but only a little, since nobody knows whose it is. Those that were refused
at about the same time are sent again at the same time, in their order. The trap: one outage refuses
a thousand messages, so what the log says has a rate.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Iterator

from ...._values.errors import TransportError
from ...._values.statistics import Counters
from .outgoing import Entry, in_order

logger = logging.getLogger("petalkit.outbox")

DEFER_MIN = 1.0  # seconds until the next try; it doubles with each refusal
DEFER_MAX = 60.0
QUOTA_PAUSE_MIN = 0.5  # seconds in which nothing is sent; it doubles until something is taken
QUOTA_PAUSE_MAX = 10.0
SAID_EVERY = 60.0  # seconds between two lines in the log


def wait_after(tries: int, jitter: Callable[[], float]) -> float:
    """Seconds to wait after so many refusals in a row: half of a bound, or up to all of it."""
    bound = min(DEFER_MAX, DEFER_MIN * 2.0 ** min(tries - 1, 16))
    return bound * (1 + jitter()) / 2


class Deferred:
    """See the module.

    Args:
        counters: where it counts.
        jitter: a random number in [0, 1), for the waits.

    Attributes:
        paused_until: nothing at all is sent before that; on Trio's clock.
        next_due: when the next one is to be sent, pauses aside; infinity when there is none.
    """

    def __init__(self, counters: Counters, jitter: Callable[[], float]) -> None:
        self._counters = counters
        self._jitter = jitter
        self._heap: list[tuple[float, int, Entry]] = []
        self._rounds: dict[int, float] = {}  # refusals in a row -> when the next such are due
        self.paused_until = -math.inf
        self.next_due = math.inf
        self._pause = QUOTA_PAUSE_MIN
        self._taken = 0  # messages that the broker had taken at the last pause
        self._said_at = -math.inf
        self._unsaid = 0

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Entry]:
        return (entry for _, _, entry in self._heap)

    def add(self, entry: Entry, error: TransportError, now: float, *, pause: bool) -> None:
        """Keep one until its time.

        Args:
            entry: the message.
            error: what the broker said.
            now: Trio's clock.
            pause: whether nothing else may be sent either, for a little.
        """
        if pause and now >= self.paused_until:  # not once more for what was under way
            taken = self._counters.published
            if taken > self._taken:  # something, since: this quota is another
                self._pause, self._taken = QUOTA_PAUSE_MIN, taken
            self.paused_until = now + self._pause * (1 + self._jitter()) / 2
            self._pause = min(2 * self._pause, QUOTA_PAUSE_MAX)
        entry.refusals += 1
        due = self._rounds.get(entry.refusals, -math.inf)
        if due <= now:
            due = self._rounds[entry.refusals] = now + wait_after(entry.refusals, self._jitter)
        self._push(entry, min(due, entry.expires_at))
        self._say(entry, error, now)

    def _push(self, entry: Entry, due: float) -> None:
        entry.due = due
        heapq.heappush(self._heap, (due, entry.place, entry))
        self._look()

    def _look(self) -> None:
        self.next_due = self._heap[0][0] if self._heap else math.inf

    def _say(self, entry: Entry, error: TransportError, now: float) -> None:
        self._counters.publish_deferred += 1
        self._unsaid += 1
        if now >= self._said_at + SAID_EVERY:
            logger.warning(
                "the broker does not take a message for %r now: %s; it is sent again in %.1f s, "
                "and %d wait like this (refusals since the last such line: %d)",
                entry.message.topic,
                error,
                entry.due - now,
                len(self._heap),
                self._unsaid,
            )
            self._said_at = now
            self._unsaid = 0

    def take_due(self, now: float) -> list[Entry]:
        """Take out what is to be sent now, in the order in which it came."""
        found: list[Entry] = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        if not self._heap:
            self._rounds.clear()
        self._look()
        return in_order(found)

    def hurry(self) -> None:
        """Let all of them be due, and end the pause: there may be no later."""
        self.paused_until = -math.inf
        entries = list(self)
        self._heap.clear()
        self._rounds.clear()
        for entry in entries:
            self._push(entry, -math.inf)
        self._look()

    def take_expired(self, now: float) -> list[Entry]:
        """Take out what is too old to be sent."""
        expired = [entry for entry in self if entry.expires_at <= now]
        if expired:
            self._heap = [one for one in self._heap if one[2].expires_at > now]
            heapq.heapify(self._heap)
            self._look()
        return expired
