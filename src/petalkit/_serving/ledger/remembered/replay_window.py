"""The replay window: which `messageId`s have run a short while ago, whatever has come since.

The duplicate window forgets the oldest when many come, and whoever sends many chooses what is
forgotten. So time counts beside number: an ID in here is not forgotten before its time, and when
there is no room for more, no more are accepted. Only the ID is kept, as a hash that nobody outside
can foresee (SipHash with a key of the process), so that each takes the same room.

An urgent command is never refused for that. So its ID is kept apart, where the oldest do make room.
Nor is another caller, who has sent little, while one fills it: for those a part is left beyond
(`SpareForFew`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable

SLICES = 2  # of the window: what is in one is forgotten together, up to half a window later
URGENT_MAX = 10_000  # urgent commands; the oldest makes room
ID_BYTES = 100  # of memory that one takes
URGENT_BYTES = 160  # that an urgent one takes
SPARE_PART = 16  # a sixteenth of `count` more is left in each window to those who send little


class ReplayWindow:
    """See the module. All times are seconds on Trio's clock.

    Args:
        seconds: how long an ID is kept, at least; 0 for no such window.
        count: how many IDs of commands that are not urgent are kept before it is full.

    Attributes:
        seconds: the same.
        full_at: how many there have to be at least before `is_full` is worth a call.
        size: how many IDs are kept of commands that are not urgent.
    """

    def __init__(self, seconds: float, count: int) -> None:
        self.seconds = seconds
        self.full_at: float = count if seconds else math.inf
        self.size = 0
        self._newest: set[int] = set()
        self._older: set[int] = set()
        self._oldest: set[int] = set()
        self._slice = 0  # the number of the newest, counted from the clock's beginning
        self._next = -math.inf  # when it is over
        self._urgent: OrderedDict[int, float] = OrderedDict()

    def __contains__(self, message_id: str) -> bool:
        """Whether it may be in here: what is too old is dropped late."""
        key = hash(message_id)
        return (
            key in self._newest or key in self._older or key in self._oldest or key in self._urgent
        )

    def holds(self, message_id: str, now: float) -> bool:
        """Whether a command of that ID has finished so short a while ago, or little longer."""
        if now >= self._next:
            self._turn(now)
        if message_id not in self:
            return False
        return self._urgent.get(hash(message_id), now) >= now - self.seconds

    def is_full(self, now: float, coming: int) -> bool:
        """Whether no more may be accepted, since each of them may come in here.

        Args:
            now: the time.
            coming: how many are accepted and have not finished.
        """
        if now >= self._next:
            self._turn(now)
        return self.size + coming >= self.full_at

    def add(self, message_id: str, at: float, urgent: bool = False) -> None:
        """A command is let go that finished at some time."""
        if urgent:
            self._add_urgent(hash(message_id), at)
            return
        if at >= self._next:
            self._turn(at)
        self._newest.add(hash(message_id))
        self.size += 1

    def _add_urgent(self, key: int, at: float) -> None:
        self._urgent.pop(key, None)
        self._urgent[key] = at
        if len(self._urgent) > URGENT_MAX:
            self._urgent.popitem(last=False)

    def _turn(self, now: float) -> None:
        """Begin another slice, and drop those that are over for the whole window."""
        if not self.seconds:
            return
        length = self.seconds / SLICES
        number = math.floor(now / length)
        for _ in range(min(number - self._slice, SLICES + 1)):
            self._newest, self._older, self._oldest = set(), self._newest, self._older
        self._slice, self._next = number, (number + 1) * length
        self.size = len(self._newest) + len(self._older) + len(self._oldest)


class SpareForFew:
    """What is accepted though the window is full: a few commands of each caller.

    Args:
        seconds: of the window.
        count: as for `ReplayWindow`.
        callers: how many are told apart; the others share what is left for one.
    """

    def __init__(self, seconds: float, count: int, callers: int) -> None:
        self._seconds = seconds
        self._callers = callers
        self._each = count // SPARE_PART // (callers + 1) if callers else 0
        self._used: dict[Hashable, int] = {}
        self._rest = 0  # used by those who are not told apart
        self._until = -math.inf

    def take(self, caller: Hashable, now: float) -> bool:
        """Whether one more of a caller's may be accepted; then it is counted."""
        if now >= self._until:
            self._until = now + self._seconds
            self._used.clear()
            self._rest = 0
        if caller in self._used or len(self._used) < self._callers:
            used = self._used[caller] = self._used.get(caller, 0) + 1
        else:
            used = self._rest = self._rest + 1
        return used <= self._each
