"""A queue that is fair to callers: each has its turn, and its own order.

One that has thousands waiting does not make another wait for them all. While all are of one caller
it is a plain queue, in order of arrival. The rules where they are of several:

* What one caller has sent is taken in order. So is what callers have sent who have one waiting
  each: whoever gives every command a name of its own keeps the order of arrival.
* Turns and age alternate: every second one that is taken is the oldest of all. So nobody waits
  more than about twice as long as by order of arrival, whatever names others invent.
* So many callers are told apart at most; the others share one line. Once that has something in
  it, whoever comes anew goes there, behind those who came before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_REST = object()  # the line of all who are not told apart


class FairQueue(Generic[T]):
    """See the module. It is true while something is in it.

    Args:
        most: how many callers are told apart.
    """

    __slots__ = ("_by_age", "_most", "_next", "_queues")

    def __init__(self, most: int) -> None:
        self._most = most
        self._queues: dict[Hashable, deque[tuple[int, T]]] = {}  # in the order of turns
        self._next = 0  # number of the next that comes
        self._by_age = False  # whether the next one is taken by age

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[T]:
        """All, in order of arrival."""
        return (
            item for _, item in sorted(pair for queue in self._queues.values() for pair in queue)
        )

    @property
    def has_several(self) -> bool:
        """Whether they are of more than one caller."""
        return len(self._queues) > 1

    def holds(self, caller: Hashable) -> bool:
        """Whether a caller has something in it, or may have."""
        return caller in self._queues or _REST in self._queues

    def may_be_passed(self, caller: Hashable) -> bool:
        """Whether a caller may go past all of it, with the order kept that is promised."""
        return not self.holds(caller) and all(len(queue) > 1 for queue in self._queues.values())

    # -- in and out

    def append(self, caller: Hashable, item: T) -> None:
        """Add one, the last of its caller."""
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._begin(caller)
        queue.append((self._next, item))
        self._next += 1

    def _begin(self, caller: Hashable) -> deque[tuple[int, T]]:
        queues = self._queues
        if _REST in queues or len(queues) >= max(self._most, 1):
            caller = _REST
        return queues.setdefault(caller, deque())

    def popleft(self) -> T:
        """Take out the next; there must be one."""
        queues = self._queues
        if len(queues) > 1:
            return self._pop(list(queues))
        (queue,) = queues.values()
        item = queue.popleft()[1]
        if not queue:
            queues.clear()
        return item

    def pop_ready(self, is_ready: Callable[[T], bool]) -> T | None:
        """Take out the next of those callers whose first is ready; None when none is."""
        ready = [caller for caller, queue in self._queues.items() if is_ready(queue[0][1])]
        return self._pop(ready) if ready else None

    def _pop(self, callers: list[Hashable]) -> T:
        queues = self._queues
        caller = min(callers, key=lambda one: queues[one][0][0]) if self._by_age else callers[0]
        self._by_age = not self._by_age
        queue = queues.pop(caller)
        item = queue.popleft()[1]
        if queue:
            queues[caller] = queue  # its next turn is after all others
        return item

    def oldest(self) -> T:
        """The oldest; there must be one."""
        return min(queue[0] for queue in self._queues.values())[1]

    def drop(self) -> T:
        """Take out the oldest of the caller who has most; there must be one."""
        queues = self._queues
        caller = max(queues, key=lambda one: len(queues[one]))
        item = queues[caller].popleft()[1]
        if not queues[caller]:
            del queues[caller]
        return item

    def remove(self, which: Callable[[T], bool]) -> list[T]:
        """Take out every one that `which` says, in order of arrival."""
        taken: list[tuple[int, T]] = []
        for caller, queue in list(self._queues.items()):
            chosen = [pair for pair in queue if which(pair[1])]
            if not chosen:
                continue
            taken += chosen
            gone = {number for number, _ in chosen}
            kept = deque(pair for pair in queue if pair[0] not in gone)
            if kept:
                self._queues[caller] = kept
            else:
                del self._queues[caller]
        return [item for _, item in sorted(taken)]
