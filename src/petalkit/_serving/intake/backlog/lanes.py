"""The order of those that wait in the ledger: a lane for each petal, of their numbers.

What an earlier run has left comes first, and it is known of it only how many there are. So it is
sorted into the lanes little by little, and what comes meanwhile waits until that is done. Of the
next few of a lane the records are read ahead. The trap: a record can vanish, because somebody makes
the ledger forget it from outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Container, Hashable

from ...dispatch.execution import Execution
from ...fair_queue import FairQueue
from ...ledger.contract import Ledger
from ...ledger.records import CommandRecord

READ_AT_ONCE = 64  # records read by one query, and kept in all lanes together
READ_OF_SEVERAL = 8  # the same where callers have their turns: one that comes waits for these


class _Lane:
    """Of one petal."""

    __slots__ = ("chosen", "numbers", "records")

    def __init__(self, callers: int) -> None:
        self.numbers: FairQueue[int] = FairQueue(callers)
        self.chosen: list[int] = []  # the next ones, which could not be read yet
        self.records: deque[CommandRecord] = deque()  # the next ones

    def __len__(self) -> int:
        return len(self.numbers) + len(self.chosen) + len(self.records)


class Lanes:
    """See the module.

    Args:
        ledger: where they are.
        place_of: says of one that an earlier run has left whose it is: petal and caller.
        callers: how many are told apart.

    Attributes:
        count: how many wait, sorted or not.
        unsorted: how many of an earlier run are in no lane yet.
    """

    def __init__(
        self,
        ledger: Ledger[Execution],
        place_of: Callable[[CommandRecord], tuple[str, Hashable]],
        callers: int,
    ) -> None:
        self._ledger = ledger
        self._place_of = place_of
        self._callers = callers
        self._lanes: dict[str, _Lane] = {}
        self.count = 0
        self.unsorted = 0
        self._gone: set[int] = set()  # were taken out before they were sorted
        self._sorted_to = 0  # the number of the last one that is
        self._later: list[tuple[int, str, Hashable]] = []  # came before all was sorted

    def waiting(self, petal: str) -> int:
        """How many wait of a petal."""
        lane = self._lanes.get(petal)
        return 0 if lane is None else len(lane)

    def may_be_passed(self, petal: str, caller: Hashable) -> bool:
        """Whether a caller need not wait behind what waits here of a petal."""
        if self.unsorted:
            return False
        lane = self._lanes.get(petal)
        if lane is None:
            return True
        return (
            bool(lane.numbers)
            and lane.numbers.may_be_passed(caller)
            and not lane.chosen
            and all(self._place_of(record)[1] != caller for record in lane.records)
        )

    def petals(self) -> list[str]:
        """Of which some wait."""
        return list(self._lanes)

    # -- in

    def restore(self, count: int) -> None:
        """So many were left by an earlier run."""
        self.unsorted += count
        self.count += count

    def add(self, number: int, petal: str, caller: Hashable) -> None:
        """One has come."""
        self.count += 1
        if self.unsorted:
            self._later.append((number, petal, caller))
        else:
            self._append(number, petal, caller)

    def _append(self, number: int, petal: str, caller: Hashable) -> None:
        lane = self._lanes.get(petal)
        if lane is None:
            lane = self._lanes[petal] = _Lane(self._callers)
        lane.numbers.append(caller, number)

    def sort_some(self) -> None:
        """Sort some of what an earlier run has left.

        Raises:
            JournalError: it cannot be read.
        """
        if not self.unsorted:
            return
        found = self._ledger.not_started(self._sorted_to, READ_AT_ONCE)
        earlier = [record for record in found if record.number <= self._ledger.earlier_to]
        for record in earlier:
            if record.number not in self._gone:
                self._append(record.number, *self._place_of(record))
                self.unsorted -= 1
            self._sorted_to = record.number
        self.count += max(0, -self.unsorted)
        if len(earlier) < READ_AT_ONCE or self.unsorted <= 0:
            self.count -= max(0, self.unsorted)  # these are not there any more
            self.unsorted = 0
            self._gone.clear()
            for later in self._later:
                self._append(*later)
            self._later.clear()

    # -- out

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
        at_once = READ_OF_SEVERAL if lane.numbers.has_several else READ_AT_ONCE
        at_once = max(1, at_once // len(self._lanes))
        chosen = lane.chosen
        while len(chosen) < at_once:
            number = lane.numbers.pop_ready(lambda one: one not in unwritten)
            if number is None:
                break
            chosen.append(number)
        if chosen:
            found = {record.number: record for record in self._ledger.waiting(chosen)}
            lane.records.extend(found[number] for number in chosen if number in found)
            self.count -= len(chosen) - len(found)
            chosen.clear()
            self._forget_if_empty(petal, lane)

    def taken(self, petal: str) -> None:
        """The next one of a petal is taken up."""
        lane = self._lanes[petal]
        lane.records.popleft()
        self.count -= 1
        self._forget_if_empty(petal, lane)

    def remove(self, numbers: Collection[int]) -> None:
        """Take out some, which wait here."""
        before = sum(map(len, self._lanes.values())) + len(self._later)
        for petal, lane in list(self._lanes.items()):
            lane.numbers.remove(numbers.__contains__)
            lane.chosen = [one for one in lane.chosen if one not in numbers]
            lane.records = deque(one for one in lane.records if one.number not in numbers)
            self._forget_if_empty(petal, lane)
        self._later = [one for one in self._later if one[0] not in numbers]
        self.count -= before - len(self._later) - sum(map(len, self._lanes.values()))
        if self.unsorted:  # the ledger may have them still when they are sorted
            earlier = range(self._sorted_to + 1, self._ledger.earlier_to + 1)
            gone = {one for one in numbers if one in earlier} - self._gone
            self._gone |= gone
            self.unsorted -= len(gone)
            self.count -= len(gone)

    def _forget_if_empty(self, petal: str, lane: _Lane) -> None:
        if not len(lane):
            del self._lanes[petal]
