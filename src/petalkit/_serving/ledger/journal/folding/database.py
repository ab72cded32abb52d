"""The database while a runtime uses it: what is folded into it, and what it lets go.

The trap: two threads come here, the one that folds and, where the log has no room, the one that
writes. So each thing is done whole before the next.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import attrs

from ..forgetting.owed import Owed
from ..forgetting.pruning import FinishedCommands
from ..schema import explained, one
from .batch import Batch
from .fold import fold

MIB = 1024 * 1024
FULL_ENOUGH = 0.8  # of the bound: from here on, old records make room


class Foldable(Protocol):
    """A batch, the number of its last record, and whether the database has it."""

    batch: Batch
    last: int
    folded: bool


@attrs.frozen
class Bounds:
    """Of a store: see `JournalStore.open`."""

    size: int
    window: float
    count: float
    clock: Callable[[], float]

    @property
    def hard(self) -> int:
        """Bytes beyond which nothing is written that adds to it."""
        return self.size + max(self.size // 4, MIB)


class Database:
    """See the module.

    Args:
        path: of the journal.
        connection: that writes.
        bounds: of the journal.
        spare: bytes that it may have beyond them, for what is in the log.

    Attributes:
        used: bytes that hold something, as of a short while ago.
        finished: the commands in it that have finished.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, bounds: Bounds, spare: int
    ) -> None:
        self._path = path
        self._connection = connection
        self._size_max = bounds.size
        self._page_size: int = one(connection, "PRAGMA page_size")
        self._lock = threading.Lock()
        one(connection, f"PRAGMA max_page_count = {(bounds.hard + spare) // self._page_size}")
        self.used = 0
        self.finished = FinishedCommands(connection, bounds.window, bounds.clock)
        self.finished.load()
        self._measure()

    def _measure(self) -> None:
        used = one(
            self._connection,
            "SELECT (SELECT page_count FROM pragma_page_count)"
            " - (SELECT freelist_count FROM pragma_freelist_count)",
        )
        self.used = used * self._page_size

    def fold(
        self,
        layers: Sequence[Foldable],
        then: tuple[Batch, int] | None = None,
        *,
        pause: Callable[[], object] = lambda: None,
    ) -> None:
        """Put into it what it does not have.

        Args:
            layers: all that comes first.
            then: what comes after it, and the number of its record.
            pause: called between two steps.

        Raises:
            JournalError: it has some of them, whole, or none.
        """
        with self._lock:
            # A copy: the event loop forgets those meanwhile that another thread has folded.
            for layer in tuple(layers):
                if not layer.folded:
                    self._fold(layer.batch, layer.last, pause)
                    layer.folded = True
            if then is not None:
                self._fold(*then, pause)

    def _fold(self, batch: Batch, sequence: int, pause: Callable[[], object]) -> None:
        fold(self._connection, self._path, batch, sequence, pause)
        self.finished.add((row[0], row[4]) for row in batch.finished.values())
        with contextlib.suppress(sqlite3.Error):  # it is written all the same
            self._measure()

    def prune(
        self, *, count: int, before: float | None, limit: int, owed: Owed
    ) -> list[tuple[int, str | None]]:
        """Delete finished commands of which nothing is owed: the oldest, where there are too many.

        Of those that are in the database.

        Args:
            count: how many are kept of those whose copies are duplicates, and of the others.
            before: a moment on the wall clock; what finished earlier is too old. None for no
                such bound. Time stamps of a clock that was not set are not judged.
            limit: how many are deleted at most, so that this is short. As many deleted as that:
                call it again.
            owed: those that stay.

        Returns:
            The number and the `messageId` of each.

        Raises:
            JournalError: nothing is deleted.
        """
        with self._lock, explained(self._path):
            self._measure()
            surplus = max(0.0, 1 - FULL_ENOUGH * self._size_max / self.used)
            deleted = self.finished.prune(
                count=count, before=before, surplus=surplus, limit=limit, owed=owed
            )
            if deleted:
                self._measure()
        return deleted

    def close(self, last: Callable[[], object]) -> None:
        """Put all into the one file if that can be done, and let go of it.

        Args:
            last: what else is to be done with it.
        """
        with self._lock:
            last()
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._connection.close()
