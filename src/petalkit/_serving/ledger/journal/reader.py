"""What is read again of the journal's file while a runtime uses it.

It has a connection of its own, so that it never waits for a transaction that is being written. It
waits for the disk all the same, but for what is in the log only, which is in memory too.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..records import NOT_STARTED, CommandRecord, Found
from .folding.overlay import accepted_in, may_wait, overlaid
from .folding.rows import COMMANDS, COMMANDS_AND_FOLDED, MESSAGES, command_record, message_record
from .forgetting.owed import Owed
from .log.layers import Layer
from .schema import explained, one

_NOT_STARTED = (
    "SELECT c.number FROM commands c LEFT JOIN results r USING (number)"
    " WHERE c.number > ? AND c.state = 0 AND r.number IS NULL ORDER BY c.number LIMIT ?"
)
_FORGOTTEN = "SELECT count(*) FROM forgotten WHERE number = ?"


class JournalReader:
    """See the module.

    Args:
        path: where the file is.
        connection: that only reads.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._reader = connection
        self._owed = Owed()
        self._unfolded: list[Layer] = []  # what is in the log, and maybe not in the database
        self._first_waiting = 0  # no command with a lower number has not started

    def newest(self) -> float | None:
        """When the last command has finished, on the wall clock; None where none has.

        Raises:
            JournalError: it cannot be read.
        """
        with explained(self.path):
            # Not the highest: one that a clock made which was years ahead would stand for ever.
            query = "SELECT finished_at FROM results ORDER BY ended DESC LIMIT 1"
            found = self._reader.execute(query).fetchone()
        return None if found is None else float(found[0])

    def load(self) -> Found:
        """All that a runtime has to know at its start, of the database.

        Raises:
            JournalError: it cannot be read.
        """
        with explained(self.path):
            execute = self._reader.execute
            last = one(
                self._reader,
                "SELECT max((SELECT coalesce(max(number), 0) FROM commands),"
                " (SELECT coalesce(max(number), 0) FROM outbox),"
                " (SELECT coalesce(max(number), 0) FROM notes))",
            )
            remembered = execute(
                "SELECT c.message_id, c.number FROM commands c LEFT JOIN results r USING (number)"
                " WHERE c.message_id IS NOT NULL AND coalesce(r.remembered, 1) ORDER BY c.number"
            ).fetchall()
            running = execute(
                f"{COMMANDS} WHERE c.state = 1 AND r.number IS NULL ORDER BY c.number"
            ).fetchall()
            not_started = one(
                self._reader,
                "SELECT count(*) FROM commands WHERE state = 0"
                " AND number NOT IN (SELECT number FROM results)",
            )
            messages = execute(MESSAGES).fetchall()
            notes = execute("SELECT number, value FROM notes ORDER BY number").fetchall()
        return Found(
            last=last,
            remembered=dict(remembered),
            running=tuple(self._command(row) for row in running),
            not_started=not_started,
            messages=tuple(message_record(row) for row in messages),
            notes={number: bytes(value) for number, value in notes},
        )

    def read(self, number: int) -> CommandRecord | None:
        """The record of one command as it is on disk; None when there is none.

        Raises:
            JournalError: it cannot be read.
        """
        found = self._records([number])
        if not found or not self._unfolded:
            return found[0] if found else None
        with explained(self.path):
            forgotten = one(self._reader, _FORGOTTEN, [number])
        return None if forgotten else found[0]

    def not_started(self, after: int, limit: int) -> list[CommandRecord]:
        """Commands that have not started, in order.

        Args:
            after: of higher numbers only.
            limit: how many at most.

        Raises:
            JournalError: it cannot be read.
        """
        after = max(after, self._first_waiting - 1)  # below it are none: nothing to search there
        ahead = sorted(number for number in may_wait(self._unfolded) if number > after)
        found: list[CommandRecord] = []
        last: float = after
        more = True
        while more and len(found) < limit:
            with explained(self.path):
                rows = self._reader.execute(_NOT_STARTED, (last, limit)).fetchall()
            more = len(rows) == limit
            end: float = rows[-1][0] if more else math.inf
            numbers = {number for (number,) in rows}
            numbers.update(number for number in ahead if last < number <= end)
            for part in _parts(sorted(numbers), limit):
                if len(found) < limit:
                    found += self.waiting(part)
            last = end
        return found[:limit]

    def waiting(self, numbers: Sequence[int]) -> list[CommandRecord]:
        """Those of some commands that have not started, in order.

        Args:
            numbers: of them; a few dozen.

        Raises:
            JournalError: it cannot be read.
        """
        return [one for one in self._records(numbers) if one.state == NOT_STARTED]

    def _records(self, numbers: Sequence[int]) -> list[CommandRecord]:
        """Those of some commands that there are, in order."""
        layers = self._unfolded
        asked = [number for number in numbers if not accepted_in(layers, number)]
        rows: dict[int, Sequence[Any]] = {}
        if asked:
            sql = f"{COMMANDS_AND_FOLDED} WHERE c.number IN ({', '.join('?' * len(asked))})"
            with explained(self.path):
                rows = {row[0]: row for row in self._reader.execute(sql, asked).fetchall()}
        found = (overlaid(layers, number, rows.get(number)) for number in sorted(numbers))
        return [self._command(row) for row in found if row is not None]

    def _command(self, row: Sequence[Any]) -> CommandRecord:
        return command_record(row, self._owed.of(row[0]))


def _parts(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
