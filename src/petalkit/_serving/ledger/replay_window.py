"""The replay window: which `messageId`s have run a short while ago, whatever has come since.

The duplicate window forgets the oldest when many come, and whoever sends many chooses what is
forgotten. So time counts beside number: an ID in here is not forgotten before its time, and when
there is no room for more, no more are accepted. Only the ID is kept, as a hash that nobody outside
can foresee (SipHash with a key of the process), so that each takes the same room.

An urgent command is never refused for that. So its ID is kept apart, where the oldest do make room.
"""

from __future__ import annotations

from collections import OrderedDict, deque

SLICES = 4  # of the window: what is in one is forgotten together, up to a quarter later
URGENT_MAX = 10_000  # urgent commands; the oldest makes room


class _Slice:
    __slots__ = ("ids", "last")

    def __init__(self, at: float) -> None:
        self.ids: set[int] = set()
        self.last = at  # when the newest had finished


class ReplayWindow:
    """See the module. All times are seconds on Trio's clock.

    Args:
        seconds: how long an ID is kept, at least; 0 for no such window.
        count: how many IDs of commands that are not urgent are kept before it is full.

    Attributes:
        seconds: the same.
        size: how many IDs are kept of commands that are not urgent.
    """

    def __init__(self, seconds: float, count: int) -> None:
        self.seconds = seconds
        self.size = 0
        self._count = count
        self._slices: deque[_Slice] = deque()
        self._next = 0.0  # when the newest slice is over
        self._urgent: OrderedDict[int, float] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._slices or self._urgent)

    def __contains__(self, message_id: str) -> bool:
        """Whether it may be in here: what is too old is dropped late."""
        key = hash(message_id)
        return key in self._urgent or any(key in one.ids for one in self._slices)

    def holds(self, message_id: str, now: float) -> bool:
        """Whether a command of that ID has finished so short a while ago."""
        key, since = hash(message_id), now - self.seconds
        if any(key in one.ids for one in self._slices if one.last >= since):
            return True
        at = self._urgent.get(key)
        return at is not None and at >= since

    def is_full(self, now: float, coming: int) -> bool:
        """Whether no more may be accepted, since each of them may come in here.

        Args:
            now: the time.
            coming: how many are accepted and have not finished.
        """
        if not self.seconds or self.size + coming < self._count:
            return False
        self._drop_old(now)
        return self.size + coming >= self._count

    def add(self, message_id: str, at: float, *, urgent: bool) -> None:
        """A command is let go that finished at some time, which is not before that of the last."""
        key = hash(message_id)
        if urgent:
            self._urgent.pop(key, None)
            self._urgent[key] = at
            if len(self._urgent) > URGENT_MAX:
                self._urgent.popitem(last=False)
            return
        if not self._slices or at >= self._next:
            self._drop_old(at)
            self._slices.append(_Slice(at))
            self._next = at + self.seconds / SLICES
        newest = self._slices[-1]
        newest.last = at
        before = len(newest.ids)
        newest.ids.add(key)
        self.size += len(newest.ids) - before

    def _drop_old(self, now: float) -> None:
        while self._slices and self._slices[0].last < now - self.seconds:
            self.size -= len(self._slices.popleft().ids)
