"""The journal's files while a runtime uses them: the log, the database, and what makes room there.

    stage (event loop)  ->  put (a thread: it waits for the disk)  ->  took (event loop)
    freeze (event loop) ->  fold, prune (another thread)           ->  folded (event loop)

The rule: what is told to somebody as written is on disk, in the log or in the database; and whoever
reads finds both. Nothing here knows an event loop.
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

from ..records import Accepted, Found, JournalError
from .folding.database import Bounds, Database
from .folding.fold import folded_to, load_owed
from .log.device import LogDevice
from .log.layers import Layers, LogUse, Staged
from .log.place import close_log, open_log
from .log.segments import LOG_SIZE, SEGMENT_SIZE, begin_of
from .operations import Finished, Noted, Operation, Posted
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
)

logger = logging.getLogger("petalkit.journal")

NEARLY_FULL = 0.9  # of the bound: from here on it is looked each time what can make room
PRUNED_AT_ONCE = 1000

_GROWS = frozenset({Accepted, Finished, Posted, Noted})


class JournalStore(JournalReader):
    """The durable record. Made by `open`.

    Attributes:
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
        log: tuple[LogDevice, bytes, int] | None,
    ) -> None:
        super().__init__(path, reader)
        self._lock = lock
        self._writer = writer
        self._bounds = bounds
        self._closed = False
        self._log = None if log is None else log[0]
        ended = self._remember()
        self._database = Database(path, writer, bounds, LOG_SIZE)
        use = LogUse(None, 0) if log is None else LogUse(log[1], log[2])
        self._layers = Layers(use, folded_to(writer), ended, self._owed)
        self._unfolded = self._layers.all
        self._watch = PlaceWatch(path, lock.path, self._log)
        self.folded()

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
            log = open_log(writer, path)
            if log is not None:
                undo.callback(log[0].close)
            reader = undo.enter_context(contextlib.closing(connect(path, timeout=READ_TIMEOUT)))
            with explained(path):
                bounds = Bounds(size_max, window, count_max, clock)
                store = cls(path, lock, writer, reader, bounds, log)
            undo.pop_all()
        if log is None:
            logger.warning("the journal %s has no room for its log, and is slower", path)
        for doubt in (*doubts(path), *network_file_system(path)):
            logger.warning("the journal %s: %s", path, doubt)
        return store

    def _remember(self) -> int:
        """Take into memory what reading needs to know; how many commands have finished."""
        # Of a message that is the response of a command which was forgotten from outside.
        self._writer.execute(
            "DELETE FROM outbox WHERE payload IS NULL"
            " AND answers NOT IN (SELECT number FROM results)"
        )
        self._writer.execute("DELETE FROM forgotten")  # they are gone
        self._first_waiting = one(
            self._writer,
            "SELECT coalesce(min(number), (SELECT max(number) + 1 FROM commands), 0)"
            # Those that had started may be put back.
            " FROM commands WHERE number NOT IN (SELECT number FROM results)",
        )
        return load_owed(self._writer, self._owed)

    @property
    def how(self) -> str:
        """See `Statistics.journal_sync`."""
        return "sqlite" if self._log is None else self._log.how

    def is_crowded(self, known: int, coming: int) -> bool:
        """Whether nothing should be accepted until time has passed, and not for the disk's sake.

        Args:
            known: commands that are accepted, or remembered.
            coming: those of them that have not finished.
        """
        if known < self._bounds.count and self.fill < 1.0:
            return False
        return (
            self._database.finished.staying
            # Until when these stay is known once they are folded.
            or bool(self._bounds.window and self._layers.finished)
            or coming >= self._bounds.count
        )

    @property
    def nearly_full(self) -> bool:
        """Whether it is to be looked each time what can make room."""
        finished = len(self._database.finished) + self._layers.finished
        return self.fill >= NEARLY_FULL or finished >= NEARLY_FULL * self._bounds.count

    # -- written

    def stage(self, batch: Sequence[Operation]) -> Staged:
        """Say where operations go next; `put` and then `took` follow, or it is given up.

        Raises:
            JournalError: they cannot be written now.
        """
        if self.fill * self._bounds.size > self._bounds.hard and any(
            type(operation) in _GROWS for operation in batch
        ):
            raise JournalError(self.path, "has no room: the journal is at its bound")
        return self._layers.stage(batch)

    def put(self, staged: Staged) -> None:
        """Write what was staged. It is on disk when this returns.

        Raises:
            JournalError: none of it is written; the same can be staged again later.
        """
        self._watch.check_in_turn()
        if staged.direct is not None:
            self._database.fold(self._layers.all, (staged.direct[0], staged.sequence))
        elif self._log is not None:
            self._log.write(staged.parts, staged.length, staged.offset)

    def took(self, staged: Staged) -> None:
        """It was put."""
        self._layers.took(staged)
        self.folded()

    def write(self, batch: Sequence[Operation]) -> None:
        """All three."""
        if batch:
            self.put(staged := self.stage(batch))
            self.took(staged)

    # -- folded

    def load(self) -> Found:
        """See `JournalReader`. Before anything is written, or by whoever writes."""
        self.freeze()
        self.fold()
        self.folded()
        return super().load()

    @property
    def can_fold(self) -> bool:
        """Whether there is something in the log that nothing more is added to."""
        return any(one.frozen for one in self._layers.all)

    @property
    def finished_in_log(self) -> int:
        """How many of the commands that are not in the database have finished."""
        return self._layers.finished

    def freeze(self) -> None:
        """Let what follows go into another segment, so that what is in the log can be folded."""
        self._layers.freeze()

    @property
    def has_time(self) -> bool:
        """Whether folding may be slow: the part that is written has much room. For any thread."""
        return self._layers.has_time

    def fold(self, pause: Callable[[], object] = lambda: None) -> None:
        """Put into the database what is frozen.

        Args:
            pause: called between two steps, of which each takes the GIL for a while.

        Raises:
            JournalError: it cannot be; it is as safe as before, in the log.
        """
        frozen = [one for one in self._layers.all if one.frozen]
        self._database.fold(frozen, pause=pause)
        if self._log is not None:
            for one in frozen:
                self._log.drop_cached(begin_of(one.segment), SEGMENT_SIZE)

    def folded(self) -> None:
        """What was folded needs to be known no more."""
        self._layers.drop_folded()
        self.fill = (self._database.used + self._layers.pending) / self._bounds.size

    def prune(
        self, *, count: int, before: float | None, limit: int = PRUNED_AT_ONCE
    ) -> list[tuple[int, str | None]]:
        """See `Database.prune`."""
        return self._database.prune(count=count, before=before, limit=limit, owed=self._owed)

    def close(self) -> None:
        """Put everything into the one file if that can be done, and let go of it; again is nothing.

        What was written is safe either way.
        """
        if self._closed:
            return
        self._closed = True
        self._reader.close()
        with contextlib.suppress(JournalError):
            self._watch.check()
            self._database.fold(self._layers.all)
        self._database.close(self._close_log)
        self._lock.release()

    def _close_log(self) -> None:
        if self._log is not None:
            if all(one.folded for one in self._layers.all):
                with contextlib.suppress(sqlite3.Error):
                    close_log(self._writer, self.path)
            self._log.close()
