"""The journal's file while a runtime uses it: what is written, and what is read again.

Everything here waits for the disk and knows no event loop: `write` and `prune` belong in one
thread, the readers in any one other. Readers have a connection of their own, so that they never
wait for a transaction that is being written.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .batch import Batch
from .lock import JournalLock, make_file, make_place, refuse_mounted
from .pruning import FinishedCommands, Owed
from .records import CommandRecord, Found, JournalError, Operation
from .rows import COMMANDS, MESSAGES, command_record, message_record
from .schema import (
    READ_TIMEOUT,
    STEPS,
    check_device,
    check_sqlite,
    connect,
    explained,
    one,
    prepare,
    transaction,
)

MIB = 1024 * 1024
FULL_ENOUGH = 0.8  # of the bound: from here on, old records make room
PRUNED_AT_ONCE = 1000

_LOOK_AGAIN = 1 / 128  # of the bound: how much may be written before the size is asked for again


class JournalStore:
    """The durable file. Made by `open`.

    Attributes:
        path: where it is.
        fill: used bytes as a share of the bound, as of a short while ago: above 1, nothing
            more should be accepted, and there is room to finish what is.
    """

    def __init__(
        self,
        path: Path,
        lock: JournalLock,
        writer: sqlite3.Connection,
        reader: sqlite3.Connection,
        size_max: int,
    ) -> None:
        self.path = path
        self.fill = 0.0
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self._page_size: int = one(writer, "PRAGMA page_size")
        self._size_max = size_max
        self._unseen = 0  # bytes written since the size was looked at
        self._finished = FinishedCommands(writer)
        self._ended = 0
        self._owed = Owed()
        self._first_waiting = 0
        self._closed = False
        self._file = _identity(path)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        device_id: str,
        size_max: int,
        steps: Sequence[Sequence[str]] = STEPS,
    ) -> JournalStore:
        """Open or make the file, check it from end to end, and hold it against other runtimes.

        Args:
            path: the file; folders that are missing are made, for its owner only.
            device_id: whose journal it is.
            size_max: bytes. Beyond them nothing should be accepted (`fill`); the file may be a
                quarter larger, at least 1 MiB, so that what is accepted can be finished.
            steps: what makes each version of the schema out of the one before.

        Raises:
            JournalError: it cannot be used, and why. The file is as it was.
        """
        try:
            path = Path(os.path.realpath(path))  # one file has one lock, whatever it is called
        except ValueError:
            raise JournalError(path, "the path has a null character") from None
        check_sqlite(path)
        make_place(path)
        with contextlib.ExitStack() as undo:
            lock = JournalLock(path)
            undo.callback(lock.release)
            make_file(path)
            refuse_mounted(path)
            writer = undo.enter_context(contextlib.closing(connect(path)))
            prepare(writer, path, steps)
            check_device(writer, path, device_id)
            reader = undo.enter_context(contextlib.closing(connect(path, timeout=READ_TIMEOUT)))
            with explained(path):
                store = cls(path, lock, writer, reader, size_max)
                store._bound_size()
                store._remember()
            undo.pop_all()
        return store

    def _bound_size(self) -> None:
        hard = self._size_max + max(self._size_max // 4, MIB)
        one(self._writer, f"PRAGMA max_page_count = {hard // self._page_size}")
        self._measure()

    def _measure(self) -> None:
        used = one(
            self._writer,
            "SELECT (SELECT page_count FROM pragma_page_count)"
            " - (SELECT freelist_count FROM pragma_freelist_count)",
        )
        self.fill = used * self._page_size / self._size_max
        self._unseen = 0

    def _remember(self) -> None:
        """Take into memory what pruning needs to know."""
        # Of a message that is the response of a command which was forgotten from outside.
        self._writer.execute(
            "DELETE FROM outbox WHERE payload IS NULL"
            " AND answers NOT IN (SELECT number FROM results)"
        )
        self._finished.load()
        self._ended = one(self._writer, "SELECT coalesce(max(ended), 0) FROM results")
        owed = "SELECT number, answers FROM outbox WHERE answers IS NOT NULL"
        for number, answers in self._writer.execute(owed).fetchall():
            self._owed.add(number, answers)
        self._first_waiting = one(
            self._writer,
            "SELECT coalesce(min(number), (SELECT max(number) + 1 FROM commands), 0)"
            # Those that had started may be put back.
            " FROM commands WHERE number NOT IN (SELECT number FROM results)",
        )

    # -- written

    def write(self, batch: Sequence[Operation]) -> None:
        """Write operations in one transaction. They are on disk when this returns.

        Raises:
            JournalError: none of them is written; the same can be written again later.
        """
        if not batch:
            return
        self._check_place()
        planned = Batch(batch, self._ended, self._owed)
        with explained(self.path):
            try:
                self._execute(list(planned.statements()))
            except UnicodeEncodeError:  # half of a surrogate pair: no text of UTF-8
                self._execute(
                    [(sql, [_as_utf_8(cell) for cell in row]) for sql, row in planned.statements()]
                )
        self._ended += len(planned.finished)
        for row in planned.finished.values():
            self._finished.add(row[0], remembered=row[4])
        for row in planned.posted.values():
            if row[1]:
                self._owed.add(row[0], row[1])
        for (number,) in planned.settled:
            self._owed.settle(number)
        self._unseen += planned.size
        if self._unseen > self._size_max * _LOOK_AGAIN:
            with contextlib.suppress(sqlite3.Error):  # the batch is written all the same
                self._measure()

    def _check_place(self) -> None:
        """What is written to a file without a name is gone at the next start.

        Raises:
            JournalError: somebody has deleted or replaced the file.
        """
        if _identity(self.path) != self._file:
            reason = (
                "was deleted or replaced while it was in use; stop the device and start it again"
            )
            raise JournalError(self.path, reason)

    def _execute(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        """All of it, or nothing."""
        if len(statements) == 1:  # a transaction by itself
            self._writer.execute(*statements[0])
            return
        with transaction(self._writer):
            for statement in statements:
                self._writer.execute(*statement)

    # -- made room

    def prune(
        self, *, count: int, before: float | None, limit: int = PRUNED_AT_ONCE
    ) -> list[tuple[int, str | None]]:
        """Delete finished commands of which nothing is owed: the oldest, where there are too many.

        Args:
            count: how many are kept of those whose copies are duplicates, and of the others.
            before: a moment on the wall clock; what finished earlier is too old. None for no
                such bound. Time stamps of a clock that was not set are not judged.
            limit: how many are deleted at most, so that this is short. As many deleted as that:
                call it again.

        Returns:
            The number and the `messageId` of each.

        Raises:
            JournalError: nothing is deleted.
        """
        with explained(self.path):
            self._measure()
            surplus = max(0.0, 1 - FULL_ENOUGH / self.fill)
            deleted = self._finished.prune(
                count=count, before=before, surplus=surplus, limit=limit, owed=self._owed
            )
            if deleted:
                self._measure()
        return deleted

    # -- read

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
                " (SELECT coalesce(max(number), 0) FROM outbox))",
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
        return Found(
            last=last,
            remembered=dict(remembered),
            running=tuple(self._command(row) for row in running),
            not_started=not_started,
            messages=tuple(message_record(row) for row in messages),
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

    # -- the end

    def close(self) -> None:
        """Put everything into the one file if that can be done, and let go of it; again is nothing.

        What was written is safe either way.
        """
        if self._closed:
            return
        self._closed = True
        self._reader.close()
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._writer.close()
        self._lock.release()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _as_utf_8(cell: object) -> object:
    return cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else cell
