"""Whether a journal in use is still the file of that name, and what stands beside it too.

What is written to a file without a name is gone at the next start, and whoever starts meanwhile
finds nothing that keeps it out. So it is looked before a batch is written, by the thread that waits
for the disk: a file system that does not answer holds up nobody else. The trap: each look lets the
GIL go, and the thread gets it back a turn of the event loop later. So batches that follow each
other share a look, and what stands beside the file is looked at only when its folder has changed.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import NoReturn, Protocol

from ...records import JournalError
from .rights import beside

SHARED = 0.1  # seconds for which a look counts that has found all in order
_SETTLED = 1_000_000_000  # nanoseconds after which two changes have two times, in any file system

Identity = tuple[int, int]


class Sized(Protocol):
    """A file that is open."""

    @property
    def size(self) -> int:
        """Bytes of it, as it is now."""
        ...


class PlaceWatch:
    """See the module. Made when all files are open.

    Args:
        path: of the journal, without symbolic links.
        lock: of its lock.
        log: its log, whose size stays.
    """

    def __init__(self, path: Path, lock: Path, log: Sized | None = None) -> None:
        self._path = path
        self._folder = str(path.parent)
        self._file = _identity(path)
        self._beside = {one: _identity(one) for one in (lock, *beside(path))}
        self._log = log
        self._log_size = 0 if log is None else log.size
        self._seen: tuple[int, int, int] | None = None  # the folder, when all was in order
        self._looked_at = -math.inf

    def check_in_turn(self) -> None:
        """Look, unless it was looked a moment ago.

        Raises:
            JournalError: as `check` does, and again at once.
        """
        now = time.monotonic()
        if now - self._looked_at >= SHARED:
            self.check()
            self._looked_at = now

    def check(self) -> None:
        """Look whether all is as it was.

        Raises:
            JournalError: somebody has deleted, moved or replaced something.
        """
        if _identity(self._path) != self._file:
            self._fail("")
        if self._log is not None and self._log.size != self._log_size:
            self._fail("its log was cut: it ")
        try:
            folder = os.stat(self._folder)
        except OSError:
            self._fail("its folder ")
        seen = folder.st_dev, folder.st_ino, folder.st_mtime_ns
        if seen == self._seen:
            return
        for one, identity in self._beside.items():
            if _identity(one) != identity:
                self._fail(f"{one.name} ")
        settled = abs(time.time_ns() - folder.st_mtime_ns) > _SETTLED
        self._seen = seen if settled else None

    def _fail(self, what: str) -> NoReturn:
        reason = (
            f"{what}was deleted or replaced while it was in use; stop the device and start it again"
        )
        raise JournalError(self._path, reason)


def _identity(path: Path) -> Identity | None:
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino
