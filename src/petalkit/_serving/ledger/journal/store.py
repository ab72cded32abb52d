"""The journal's file while a runtime uses it: what is written, and when it makes room.

Everything here waits for the disk and knows no event loop: `write` and `prune` belong in one
thread, what is read again in any one other.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from ..records import JournalError
from .batch import Batch
from .forgetting.pruning import FinishedCommands
from .operations import Operation
from .place.files import make_file, make_place
from .place.lock import JournalLock
from .place.mounts import network_file_system, refuse_mounted
from .place.rights import doubts, refuse_open_files, refuse_open_folder
from .place.watch import PlaceWatch
from .reader import JournalReader
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

logger = logging.getLogger("petalkit.journal")

MIB = 1024 * 1024
FULL_ENOUGH = 0.8  # of the bound: from here on, old records make room
NEARLY_FULL = 0.9  # from here on it is looked each time
PRUNED_AT_ONCE = 1000

_LOOK_AGAIN = 1 / 128  # of the bound: how much may be written before the size is asked for again


@attrs.frozen
class Bounds:
    """Of a store: see `JournalStore.open`."""

    size: int
    window: float
    count: float
    clock: Callable[[], float]


class JournalStore(JournalReader):
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
        bounds: Bounds,
    ) -> None:
        super().__init__(path, reader)
        self.fill = 0.0
        self._lock = lock
        self._writer = writer
        self._page_size: int = one(writer, "PRAGMA page_size")
        self._size_max = bounds.size
        self._count_max = bounds.count
        self._unseen = 0  # bytes written since the size was looked at
        self._finished = FinishedCommands(writer, bounds.window, bounds.clock)
        self._ended = 0
        self._closed = False
        self._watch = PlaceWatch(path, lock.path)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        device_id: str,
        size_max: int,
        window: float = 0.0,
        count_max: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        steps: Sequence[Sequence[str]] = STEPS,
    ) -> JournalStore:
        """Open or make the file, check it from end to end, and hold it against other runtimes.

        Args:
            path: the file; folders that are missing are made, for its owner only.
            device_id: whose journal it is.
            size_max: bytes. Beyond them nothing should be accepted (`fill`); the file may be a
                quarter larger, at least 1 MiB, so that what is accepted can be finished.
            window: seconds within which what has finished is not forgotten.
            count_max: how many finished commands there may be before nothing should be accepted
                (`is_crowded`), because they are not forgotten.
            clock: a monotonic one, that is asked in any thread.
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
        refuse_open_folder(path)
        with contextlib.ExitStack() as undo:
            lock = JournalLock(path)
            undo.callback(lock.release)
            make_file(path)
            refuse_open_files(path)
            refuse_mounted(path)
            writer = undo.enter_context(contextlib.closing(connect(path)))
            prepare(writer, path, steps)
            check_device(writer, path, device_id)
            reader = undo.enter_context(contextlib.closing(connect(path, timeout=READ_TIMEOUT)))
            with explained(path):
                store = cls(path, lock, writer, reader, Bounds(size_max, window, count_max, clock))
                store._bound_size()
                store._remember()
            undo.pop_all()
        for doubt in (*doubts(path), *network_file_system(path)):
            logger.warning("the journal %s: %s", path, doubt)
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

    def is_crowded(self, known: int, coming: int) -> bool:
        """Whether nothing should be accepted until time has passed, and not for the disk's sake.

        Args:
            known: commands that are accepted, or remembered.
            coming: those of them that have not finished.
        """
        if known < self._count_max and self.fill < 1.0:
            return False
        return self._finished.staying or coming >= self._count_max

    @property
    def nearly_full(self) -> bool:
        """Whether it is to be looked each time what can make room."""
        return self.fill >= NEARLY_FULL or len(self._finished) >= NEARLY_FULL * self._count_max

    # -- written

    def write(self, batch: Sequence[Operation]) -> None:
        """Write operations in one transaction. They are on disk when this returns.

        Raises:
            JournalError: none of them is written; the same can be written again later.
        """
        if not batch:
            return
        self._watch.check()
        planned = Batch(batch, self._ended, self._owed)
        with explained(self.path):
            try:
                self._execute(list(planned.statements()))
            except UnicodeEncodeError:  # half of a surrogate pair: no text of UTF-8
                self._execute(
                    [(sql, [_as_utf_8(cell) for cell in row]) for sql, row in planned.statements()]
                )
        self._ended += len(planned.finished)
        if planned.finished:
            self._finished.add((row[0], row[4]) for row in planned.finished.values())
        for row in planned.posted.values():
            if row[1]:
                self._owed.add(row[0], row[1])
        for (number,) in planned.settled:
            self._owed.settle(number)
        self._unseen += planned.size
        if self._unseen > self._size_max * _LOOK_AGAIN:
            with contextlib.suppress(sqlite3.Error):  # the batch is written all the same
                self._measure()

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


def _as_utf_8(cell: object) -> object:
    return cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else cell
