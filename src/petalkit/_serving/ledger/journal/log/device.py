"""The log's file, and the call that returns when what it was given is on disk.

The rule: one call for one record, which touches Python once: the thread that waits for the disk
gets the GIL back only when the event loop waits. So `pwritev` with `RWF_DSYNC`, where the kernel
and the file system have it, else `pwrite` and `fdatasync`.

The trap: a write can be short, where the disk is full or a limit is reached: then it is none, and
the same place is written again. Another: what a large write has left in the page cache is one
large folio, and Linux writes all of it for each small write into it (ext4, 6.18: 2 MiB for 700
bytes in a file that was filled with zeros at once). So the log is allocated and never filled, and
a part of it is dropped from the cache before it is written over.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from pathlib import Path

from .....transports._forks import not_in_child
from ...records import JournalError
from ..place.files import FILE_MODE

logger = logging.getLogger("petalkit.journal")

ONE_CALL = "pwritev"  # how it is written, as the statistics have it
TWO_CALLS = "fdatasync"
_NOT_HERE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
_SYNC = getattr(os, "RWF_DSYNC", None) if hasattr(os, "pwritev") else None
_REASONS = {
    errno.ENOSPC: "has no room: the disk is full",
    errno.EDQUOT: "has no room: the disk is full for this user",
    errno.EROFS: "cannot be written: it, its folder or its file system is read-only",
}


class LogDevice:
    """See the module.

    Args:
        path: of the journal.
        file: of its log, which exists, and has its size.

    Attributes:
        how: `ONE_CALL` or `TWO_CALLS`.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, file: Path) -> None:
        self._path = path
        self.file = file
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(file, flags, FILE_MODE)
        not_in_child(self._descriptor)
        self.how = ONE_CALL
        if _SYNC is None:
            self._take_two_calls()

    @property
    def size(self) -> int:
        """Bytes of the file, as it is now."""
        return os.fstat(self._descriptor).st_size

    def write(self, parts: list[bytes], length: int, offset: int) -> None:
        """Write bytes; they are on disk when this returns.

        Args:
            parts: of it.
            length: of all.
            offset: in the file.

        Raises:
            JournalError: they are not, or only some.
        """
        try:
            if self.how == ONE_CALL and self._write_at_once(parts, offset) == length:
                return
            data = memoryview(b"".join(parts))
            while data:  # the rest of a short write says why it was
                written = os.pwrite(self._descriptor, data, offset)
                data, offset = data[written:], offset + written
            self.sync()
        except OSError as error:
            raise JournalError(self._path, explain(error)) from None

    def _write_at_once(self, parts: list[bytes], offset: int) -> int:
        """How many bytes are on disk; 0 where there is no such call, now and later."""
        try:
            return os.pwritev(self._descriptor, parts, offset, _SYNC or 0)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
        self._take_two_calls()
        return 0

    def _take_two_calls(self) -> None:
        self.how = TWO_CALLS
        logger.info(
            "the journal %s is written by two calls, pwrite and fdatasync: the kernel or its file "
            "system has no pwritev with RWF_DSYNC",
            self._path,
        )

    def sync(self) -> None:
        """Wait for the disk."""
        getattr(os, "fdatasync", os.fsync)(self._descriptor)

    def drop_cached(self, offset: int, length: int) -> None:
        """Let the kernel keep nothing of a part that is written anew: see the module."""
        with contextlib.suppress(OSError, AttributeError):
            os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Again is nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor != -1:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def explain(error: OSError) -> str:
    """What the operating system says of the log, and what to do about it."""
    reason = _REASONS.get(error.errno or 0, "the disk reported an error")
    return f"{reason} ({errno.errorcode.get(error.errno or 0, 'OSError')}, in its log)"
