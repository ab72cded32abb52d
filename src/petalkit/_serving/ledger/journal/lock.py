"""One runtime per journal: a lock on a file beside it, which the kernel lets go with the process.

The traps: the database itself must not be opened and closed beside SQLite, since that drops the
locks which SQLite holds on it in this process; and a lock file is never removed, since two
processes could then hold a lock on two files of one name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

from ....transports._forks import not_in_child
from .records import JournalError

_FOLDER_MODE = 0o700  # commands and responses are private
_FILE_MODE = 0o600
# What a file system says that has no locks, as some that are mounted over a network.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EREMOTE)


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
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)  # for the error of others
        except OSError as error:
            os.close(self._descriptor)
            raise JournalError(path, _reason(error, f"cannot write {str(self.path)!r}")) from None
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


def lock_path(path: Path) -> Path:
    """The file beside a journal that is locked while a runtime uses it."""
    return path.with_name(path.name + ".lock")


def make_place(path: Path) -> None:
    """Make the folders to a journal, for their owner only, if there are none.

    Raises:
        JournalError: they cannot be made, or what is there is no file.
    """
    if exists(path):
        return
    try:
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir(_FOLDER_MODE, exist_ok=True)
    except OSError as error:
        what = f"its folder {str(path.parent)!r} cannot be made"
        raise JournalError(path, _reason(error, what)) from None


def refuse_mounted(path: Path, table: str = "/proc/self/mountinfo") -> None:
    """Refuse a file that is mounted by itself, as a container may have it.

    What stands beside it, the lock and what SQLite has not moved into the file yet, would be each
    container's own: two runtimes would share it, and records would be lost with the container.

    Args:
        path: of the journal, without symbolic links.
        table: of what is mounted, as proc_pid_mountinfo(5) has it.

    Raises:
        JournalError: it is such a file.
    """
    try:
        with open(table, "rb") as file:
            # proc_pid_mountinfo(5): the fifth field; a space in it is written in octal.
            places = {line.split(b" ", 5)[4] for line in file}
    except (OSError, IndexError):
        return  # not Linux
    escaped = os.fsencode(path)
    for character in (b"\\", b" ", b"\t", b"\n"):
        escaped = escaped.replace(character, b"\\%03o" % ord(character))
    if escaped in places:
        reason = "is mounted as a single file; mount the folder that it is in, or name a file there"
        raise JournalError(path, reason)


def make_file(path: Path) -> None:
    """Make an empty file that only its owner may read, if there is none.

    Raises:
        JournalError: it cannot be made, or what is there is no file.
    """
    if exists(path):
        return
    try:
        # Only a file that was not there: nobody has locks on it that closing could drop.
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        os.close(os.open(path, flags, _FILE_MODE))
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # else the file's name can be lost with the power
        finally:
            os.close(folder)
    except OSError as error:
        raise JournalError(path, _reason(error, "cannot be made")) from None


def exists(path: Path) -> bool:
    """Whether there is a file; refuse what can be no journal by its kind.

    Raises:
        JournalError: it is a folder, a pipe, a socket or a device, or cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise JournalError(path, _reason(error, "cannot be opened")) from None
    if stat.S_ISDIR(mode):
        raise JournalError(path, "is a folder; name a file in it")
    if not stat.S_ISREG(mode):
        raise JournalError(path, "is not a regular file")
    return True


def _open(path: Path, lock: Path, extra: int) -> int:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | extra, _FILE_MODE)
    except (OSError, ValueError) as error:
        raise JournalError(path, _reason(error, f"cannot open {str(lock)!r}")) from None
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


def _reason(error: OSError | ValueError, what: str) -> str:
    if isinstance(error, ValueError):
        return f"{what}: the path has a null character"
    return f"{what}: {error.strerror or type(error).__name__}"
