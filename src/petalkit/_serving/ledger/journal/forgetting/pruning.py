# ruff: noqa: S608 - the SQL is put together from parts of our own
"""Which finished commands the journal lets go, when it has too many, too old or too large ones.

What is owed stays: a command whose answer is not settled is never let go. Of the rest, the one
that finished first goes first, not the one that came first: a copy of a command that ran for an
hour must still find its answer.

What has finished within the replay window stays too, so that no copy of it runs, however many have
come since. To make room it can lose its payload and its response.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import islice

from ....._values.basics.clocks import CLOCK_SET_SINCE
from ..schema import one, transaction

_THOSE = "WHERE number IN (SELECT value FROM json_each(?))"
# One row for all, since each row takes a step, and each step lets the GIL go.
_OLD = (
    "SELECT json_array(json_group_array(number) FILTER (WHERE finished_at < ?),"
    " min(finished_at) FILTER (WHERE finished_at >= ?))"
    f" FROM results {_THOSE} AND finished_at >= ?"
)
LOOK_AGAIN = 60.0  # seconds until records are looked at again whose age is not known
_NAMES = f"SELECT json_group_array(json_array(number, message_id)) FROM commands {_THOSE}"
_EMPTY_RESULTS = f"UPDATE results SET response = x'' {_THOSE}"
_EMPTY_COMMANDS = f"UPDATE commands SET payload = x'', extras = NULL {_THOSE}"
_DELETE_RESULTS = f"DELETE FROM results {_THOSE}"
_DELETE_COMMANDS = f"DELETE FROM commands {_THOSE}"


class FinishedCommands:
    """The finished commands of a file, in the order in which they finished.

    Args:
        connection: that writes.
        window: seconds within which those stay whose copies are duplicates.
        clock: a monotonic one.
    """

    def __init__(
        self, connection: sqlite3.Connection, window: float, clock: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._window = window
        self._clock = clock
        # What nobody asks for again, and those whose copies are duplicates: until when they stay.
        self._others: dict[int, float] = {}
        self._remembered: dict[int, float] = {}
        self._emptied: set[int] = set()  # those without payload and response
        # The ages are not asked for at each call: for which moment they were, and what is next.
        self._looked_at = self._next_look = 0.0

    def load(self) -> None:
        """Read them from the file."""
        # Nobody knows how long the power was off: so all have finished just now.
        query = "SELECT number, remembered FROM results ORDER BY ended"
        self.add(self._connection.execute(query).fetchall())
        if self._window:
            query = "SELECT json_group_array(number) FROM commands WHERE length(payload) = 0"
            self._emptied = set(json.loads(one(self._connection, query)))

    def add(self, finished: Iterable[tuple[int, bool]]) -> None:
        """These have finished now: number, and whether their copies are duplicates."""
        until = self._clock() + self._window if self._window else 0.0
        for number, remembered in finished:
            if remembered:
                self._remembered[number] = until
            else:
                self._others[number] = 0.0

    @property
    def staying(self) -> bool:
        """Whether there are any that may not be let go yet."""
        return bool(self._window and self._remembered) and (
            next(reversed(self._remembered.values())) > self._clock()
        )

    def __len__(self) -> int:
        """How many whose copies are duplicates."""
        return len(self._remembered)

    def prune(
        self,
        *,
        count: int,
        before: float | None,
        surplus: float,
        limit: int,
        owed: Container[int],
    ) -> list[tuple[int, str | None]]:
        """Delete as `Database.prune` says, in one transaction.

        Args:
            count: as there.
            before: the same.
            surplus: which share of the file is too much.
            limit: as there.
            owed: those that stay.

        Raises:
            sqlite3.Error: nothing is deleted.
        """
        excess = math.ceil((len(self._others) + len(self._remembered)) * surplus)
        doomed = self._too_many(count, excess, limit, owed)
        large = min(limit, excess) - len(doomed)
        if before is not None and len(doomed) < limit:
            doomed += self._too_old(before, doomed, limit - len(doomed), owed)
        deleted = self._delete(doomed)
        if large > 0 and self._window:
            self._empty(large, owed)
        return deleted

    def _too_many(self, count: int, excess: int, limit: int, owed: Container[int]) -> list[int]:
        """By number of records, and by size: as if all were of one size."""
        doomed: list[int] = []
        now = self._clock()
        for line in (self._others, self._remembered):
            # Of those beyond the count, what is owed stays without taking the place of another.
            too_many = islice(_over(line, now), max(0, len(line) - count))
            beyond = _oldest(too_many, limit - len(doomed), owed)
            wanted = min(limit, excess) - len(doomed)
            doomed += beyond if len(beyond) >= wanted else _oldest(_over(line, now), wanted, owed)
        return doomed

    def _too_old(
        self, before: float, doomed: Iterable[int], limit: int, owed: Container[int]
    ) -> list[int]:
        if self._looked_at <= before < self._next_look:
            return []
        known = set(doomed)
        found: list[int] = []
        due = [before + LOOK_AGAIN]
        for line in (self._others, self._remembered):
            rest = (number for number in _over(line, self._clock()) if number not in known)
            oldest = json.dumps(_oldest(rest, limit - len(found), owed))
            parameters = (before, before, oldest, CLOCK_SET_SINCE)
            old, next_due = json.loads(one(self._connection, _OLD, parameters))
            found += old
            due += [] if next_due is None else [next_due]
        self._looked_at, self._next_look = before, before if found else min(due)
        return found

    def _empty(self, wanted: int, owed: Container[int]) -> None:
        """Of the oldest that stay, keep only that they ran."""
        rest = (number for number in self._remembered if number not in self._emptied)
        numbers = _oldest(rest, wanted, owed)
        if numbers:
            those = (json.dumps(numbers),)
            with transaction(self._connection):
                self._connection.execute(_EMPTY_RESULTS, those)
                self._connection.execute(_EMPTY_COMMANDS, those)
            self._emptied.update(numbers)

    def _delete(self, numbers: list[int]) -> list[tuple[int, str | None]]:
        if not numbers:
            return []
        those = (json.dumps(numbers),)
        with transaction(self._connection):
            names: str = one(self._connection, _NAMES, those)
            self._connection.execute(_DELETE_RESULTS, those)
            self._connection.execute(_DELETE_COMMANDS, those)
        for number in numbers:
            self._others.pop(number, None)
            self._remembered.pop(number, None)
            self._emptied.discard(number)
        return [(number, message_id) for number, message_id in json.loads(names)]


def _over(line: Mapping[int, float], now: float) -> Iterator[int]:
    """Those of a line that need not stay any more; it is in the order of their times."""
    for number, until in line.items():
        if until > now:
            return
        yield number


def _oldest(line: Iterable[int], wanted: int, owed: Container[int]) -> list[int]:
    return list(islice((number for number in line if number not in owed), max(0, wanted)))
