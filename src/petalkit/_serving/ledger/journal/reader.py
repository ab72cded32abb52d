"""What is read again of the journal's file while a runtime uses it.

It has a connection of its own, so that it never waits for a transaction that is being written. It
waits for the disk all the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..records import CommandRecord, Found
from .forgetting.pruning import Owed
from .rows import COMMANDS, MESSAGES, command_record, message_record
from .schema import explained, one


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
        """All that a runtime has to know at its start. Before anything is written.

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
        with explained(self.path):
            rows = self._reader.execute(f"{COMMANDS} WHERE c.number = ?", (number,)).fetchall()
        return self._command(rows[0]) if rows else None

    def not_started(self, after: int, limit: int) -> list[CommandRecord]:
        """Commands that have not started, in order.

        Args:
            after: of higher numbers only.
            limit: how many at most.

        Raises:
            JournalError: it cannot be read.
        """
        after = max(after, self._first_waiting - 1)  # below it are none: nothing to search there
        with explained(self.path):
            rows = self._reader.execute(
                f"{COMMANDS} WHERE c.number > ? AND c.state = 0 AND r.number IS NULL"
                " ORDER BY c.number LIMIT ?",
                (after, limit),
            ).fetchall()
        return [self._command(row) for row in rows]

    def waiting(self, numbers: Sequence[int]) -> list[CommandRecord]:
        """Those of some commands that have not started, in order.

        Args:
            numbers: of them; a few dozen.

        Raises:
            JournalError: it cannot be read.
        """
        marks = ", ".join("?" * len(numbers))
        with explained(self.path):
            rows = self._reader.execute(
                f"{COMMANDS} WHERE c.number IN ({marks}) AND c.state = 0 AND r.number IS NULL"
                " ORDER BY c.number",
                tuple(numbers),
            ).fetchall()
        return [self._command(row) for row in rows]

    def _command(self, row: Sequence[Any]) -> CommandRecord:
        return command_record(row, self._owed.of(row[0]))
