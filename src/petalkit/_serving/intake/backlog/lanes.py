"""The order of those that wait on disk: a lane for each petal, of their numbers.

What an earlier run has left comes first, and it is known of it only how many there are. So it is
sorted into the lanes little by little, and what comes meanwhile waits until that is done. A lane
has the next few of its records in memory. The trap: a record can vanish, because somebody makes the
journal forget it from outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Container

from ...ledger.journal.records import CommandRecord
from ...ledger.journal.write_ahead import Journal

READ_AT_ONCE = 64  # records read from disk by one query, and kept in all lanes together


class _Lane:
    """Of one petal."""

    __slots__ = ("numbers", "records")

    def __init__(self) -> None:
        self.numbers: deque[int] = deque()
        self.records: deque[CommandRecord] = deque()  # of the first of them


class Lanes:
    """See the module.

    Args:
        journal: where they are.
        petal_of: says to which lane one belongs that an earlier run has left.

    Attributes:
        unsorted: how many of those are in no lane yet.
    """

    def __init__(self, journal: Journal, petal_of: Callable[[CommandRecord], str]) -> None:
        self._journal = journal
        self._petal_of = petal_of
        self._lanes: dict[str, _Lane] = {}
        self._count = 0
        self.unsorted = 0
        self._sorted_to = 0  # the number of the last one that is
        self._later: list[tuple[int, str]] = []  # came before all was sorted

    @property
    def count(self) -> int:
        """How many wait, sorted or not."""
        return self._count

    def waiting(self, petal: str) -> int:
        """How many wait of a petal."""
        lane = self._lanes.get(petal)
        return 0 if lane is None else len(lane.numbers)

    def petals(self) -> list[str]:
        """Of which some wait."""
        return list(self._lanes)

    # -- in

    def restore(self, count: int) -> None:
        """So many were left by an earlier run."""
        self.unsorted += count
        self._count += count

    def add(self, number: int, petal: str) -> None:
        """One has come."""
        self._count += 1
        if self.unsorted:
            self._later.append((number, petal))
        else:
            self._append(number, petal)

    def _append(self, number: int, petal: str) -> _Lane:
        lane = self._lanes.get(petal)
        if lane is None:
            lane = self._lanes[petal] = _Lane()
        lane.numbers.append(number)
        return lane

    def sort_some(self) -> None:
        """Sort some of what an earlier run has left.

        Raises:
            JournalError: it cannot be read.
        """
        if not self.unsorted:
            return
        found = self._journal.not_started(self._sorted_to, READ_AT_ONCE)
        earlier = [record for record in found if record.number <= self._journal.earlier_to]
        for record in earlier:
            lane = self._append(record.number, self._petal_of(record))
            if len(lane.records) == len(lane.numbers) - 1 and len(lane.records) < self._at_once:
                lane.records.append(record)
            self._sorted_to = record.number
        self.unsorted -= len(earlier)
        self._count += max(0, -self.unsorted)
        if len(earlier) < READ_AT_ONCE or self.unsorted <= 0:
            self._count -= max(0, self.unsorted)  # these are not there any more
            self.unsorted = 0
            for number, petal in self._later:
                self._append(number, petal)
            self._later.clear()

    # -- out

    @property
    def _at_once(self) -> int:
        return max(1, READ_AT_ONCE // max(1, len(self._lanes)))

    def next(self, petal: str, unwritten: Container[int]) -> CommandRecord | None:
        """The next record of a petal; None where there is none, or it is not on disk yet.

        Args:
            petal: whose.
            unwritten: numbers of those that are not.

        Raises:
            JournalError: it cannot be read.
        """
        lane = self._lanes.get(petal)
        if lane is None:
            return None
        if not lane.records:
            self._read(petal, lane, unwritten)
        return lane.records[0] if lane.records else None

    def _read(self, petal: str, lane: _Lane, unwritten: Container[int]) -> None:
        numbers: list[int] = []
        while lane.numbers and len(numbers) < self._at_once and lane.numbers[0] not in unwritten:
            numbers.append(lane.numbers.popleft())
        try:
            if numbers:
                lane.records.extend(self._journal.waiting(numbers))
                self._count -= len(numbers) - len(lane.records)
                numbers = [record.number for record in lane.records]
        finally:
            lane.numbers.extendleft(reversed(numbers))
            self._forget_if_empty(petal, lane)

    def taken(self, petal: str) -> None:
        """The next one of a petal is taken up."""
        lane = self._lanes[petal]
        lane.numbers.popleft()
        lane.records.popleft()
        self._count -= 1
        self._forget_if_empty(petal, lane)

    def remove(self, numbers: Collection[int]) -> None:
        """Take out some that are not on disk."""
        for petal, lane in list(self._lanes.items()):
            before = len(lane.numbers)
            lane.numbers = deque(one for one in lane.numbers if one not in numbers)
            self._count -= before - len(lane.numbers)
            self._forget_if_empty(petal, lane)
        before = len(self._later)
        self._later = [one for one in self._later if one[0] not in numbers]
        self._count -= before - len(self._later)

    def _forget_if_empty(self, petal: str, lane: _Lane) -> None:
        if not lane.numbers:
            del self._lanes[petal]
