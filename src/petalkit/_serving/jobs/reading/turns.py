"""One reader of jobs or streams, and when its turns are.

The rule: of the entries in the heap one counts for each turn, the last that was put down. What
counts no more (rates change, readers come and go) is cleared up before it is the greater part.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Protocol

import attrs

from ...._values.messages import Identity

_SMALL = 64  # entries that are not worth clearing up


class Source(Protocol):
    """What somebody can be told of."""

    @property
    def says_last(self) -> bool:
        """Whether it changes no more, and what it says now is the last."""
        ...

    def tell(self, subscription: Subscription) -> bool:
        """Publish how it stands now to one reader; False when that cannot be done now."""
        ...


@attrs.define(eq=False)
class Subscription:
    """One reader of one topic of sources.

    Attributes:
        topic: of what: a kind of job, or a stream.
        stream_id: how the reader calls it.
        rate: messages per second of one source, at most.
        identity: under which it subscribed.
        renewed_at: when, on Trio's clock.
        job_id: the only job of that kind it is told of; None for all.
        plain: whether it wants plain events, and no envelope like that of a command.
    """

    topic: str
    stream_id: str
    rate: float
    identity: Identity
    renewed_at: float
    job_id: str | None = None
    plain: bool = False
    turns: dict[Source, Turn] = attrs.field(factory=dict, init=False)


@attrs.define(eq=False)
class Turn:
    """The turns of one source with one reader.

    Attributes:
        last: when the last one was due.
        at: when the next is, once it is put down; else None.
        number: which entry of the heap that is; others of it count no more.
    """

    subscription: Subscription
    source: Source
    last: float = -math.inf
    at: float | None = None
    number: int = -1

    @property
    def earliest(self) -> float:
        """When the next may be."""
        return self.last + 1 / self.subscription.rate


class Turns:
    """All turns that are put down, the earliest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Turn]] = []
        self._numbers = itertools.count()
        self._most = _SMALL

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_at(self) -> float:
        """When the earliest may be; `math.inf` when there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def put_down(self, turn: Turn, at: float) -> bool:
        """Let it be then, and not when it was to be; whether it is the next of all now."""
        if turn.at == at:
            return False
        turn.at, turn.number = at, next(self._numbers)
        heapq.heappush(self._heap, (at, turn.number, turn))
        if len(self._heap) > self._most:
            self._heap = [one for one in self._heap if _counts(one)]
            heapq.heapify(self._heap)
            self._most = max(_SMALL, 2 * len(self._heap))
        return self._heap[0][2] is turn

    def take(self) -> tuple[Turn, float] | None:
        """Take out the earliest, and when it was due; None if that counts no more."""
        entry = heapq.heappop(self._heap)
        at, _, turn = entry
        if not _counts(entry):
            return None
        turn.at = None
        return turn, at


def _counts(entry: tuple[float, int, Turn]) -> bool:
    _, number, turn = entry
    return number == turn.number and turn.subscription.turns.get(turn.source) is turn
