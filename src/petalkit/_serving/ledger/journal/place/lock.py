"""One runtime per journal: a lock on a file beside it, which the kernel lets go with the process.

The traps: the database itself must not be opened and closed beside SQLite, since that drops the
locks which SQLite holds on it in this process; a lock file is never removed, since two processes
could then hold a lock on two files of one name; and what stands there may not be ours, so nothing
is written into it before it is locked and known to be.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .....transports._forks import not_in_child
from ...records import JournalError
from .files import FILE_MODE, reason_of

# What a file system says that has no locks, as some that are mounted over a network.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EREMOTE)
CONTENT_MAX = 32  # bytes of a lock file: a process number

IN_USE_ADVICE = (
    "if it serves this device already, stop it, or give this one another device_id; "
    "if it serves another device, name another file"
)


class JournalInUse(JournalError):
    """Another process holds the lock of a journal.

    Attributes:
        process: its number; None when it is not known.
    """

    def __init__(self, path: object, process: int | None) -> None:
        who = "another process" if process is None else f"process {process}"
        super().__init__(path, f"{who} uses it: {IN_USE_ADVICE}")
        self.process = process


class JournalLock:
    """The lock of a journal, held until `release` or the end of the process.

    Args:
        path: of the journal, not of its lock.
        create: whether a lock file is made when there is none.

    Raises:
        JournalInUse: somebody else holds it.
        JournalError: there can be no lock.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = lock_path(path)
        self._descriptor = _open(path, self.path, os.O_CREAT if create else 0)
        try:
            _take(self._descriptor, path)
            _check_ours(self._descriptor, self.path, path)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)  # for the error of others
        except OSError as error:
            os.close(self._descriptor)
            raise JournalError(path, reason_of(error, f"cannot write {str(self.path)!r}")) from None
        except BaseException:
            os.close(self._descriptor)
            raise
        not_in_child(self._descriptor)

    def release(self) -> None:
        """Let others have it; again is nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor != -1:
            # Closing is not enough where a child has a copy of it that nothing took away.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def check_unused(path: Path) -> None:
    """Refuse a journal that a runtime uses. Nothing is made or changed.

    Raises:
        JournalInUse: somebody holds the lock.
        JournalError: it cannot be known.
    """
    lock = lock_path(path)
    if not lock.exists():
        return
    descriptor = _open(path, lock, 0)
    try:
        # For a moment and shared with others who only ask; a runtime that starts in that very
        # moment is refused, and has to be started again.
        _take(descriptor, path, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Keep runtimes out while the block runs; false where one is in."""
    is_new = not lock_path(path).exists()
    lock: JournalLock | None = None
    with contextlib.suppress(JournalInUse):
        lock = JournalLock(path)
    try:
        if lock is not None and is_new and os.geteuid() == 0:
            owner = path.stat()  # who has to be able to lock it, too
            os.chown(lock.path, owner.st_uid, owner.st_gid)
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def lock_path(path: Path) -> Path:
    """The file beside a journal that is locked while a runtime uses it."""
    return path.with_name(path.name + ".lock")


def _open(path: Path, lock: Path, extra: int) -> int:
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW | extra
    try:
        descriptor = os.open(lock, flags, FILE_MODE)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            reason = f"{str(lock)!r} is a symbolic link; remove it"
            raise JournalError(path, reason) from None
        raise JournalError(path, reason_of(error, f"cannot open {str(lock)!r}")) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise JournalError(path, f"{str(lock)!r} is not a regular file")
    return descriptor


def _take(descriptor: int, path: Path, kind: int = fcntl.LOCK_EX) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        number = b""
        with contextlib.suppress(OSError):
            number = os.pread(descriptor, 32, 0).strip()
        raise JournalInUse(path, int(number) if number.isdigit() else None) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            reason = "files cannot be locked there; use a folder on a disk of this machine"
            raise JournalError(path, reason) from None
        raise


def _check_ours(descriptor: int, lock: Path, path: Path) -> None:
    """Refuse a locked file that is not our lock file, before anything is written into it."""
    found = os.fstat(descriptor)
    try:
        named = os.stat(lock, follow_symlinks=False)
    except OSError:
        named = None
    if named is None or (named.st_dev, named.st_ino) != (found.st_dev, found.st_ino):
        raise JournalError(path, f"{str(lock)!r} was replaced while it was being locked; try again")
    content = os.pread(descriptor, CONTENT_MAX + 1, 0).strip()
    if found.st_nlink > 1 or len(content) > CONTENT_MAX or not (not content or content.isdigit()):
        reason = f"{str(lock)!r} is no lock file of petalkit; look what it is, and remove it"
        raise JournalError(path, reason)
