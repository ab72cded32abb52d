"""Whether a log is there, and belongs to the database: both are of no use without the other.

The database knows the name of its log, and whether it was closed: then it has all that was in it.
Else what a log has and the database does not is folded before anything is read. The rule: a log
that is lost, and one that belongs to no database, are told, and never taken for an empty one.

The trap: at each step the power may go. So a log is there before the database knows its name, and
the database says that it is closed before it is removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import time
from collections.abc import Container, Sequence
from pathlib import Path

import attrs
import msgspec

from ...records import JournalError
from ..folding.batch import Batch
from ..folding.fold import fold, folded_to, load_owed
from ..folding.view import lay_over, one_moment, touched_by
from ..forgetting.owed import Owed
from ..place.files import FILE_MODE, sync_folder
from ..schema import explained, one, transaction
from .device import LogDevice, explain
from .records import Record
from .segments import HEADER_SIZE, LOG_SIZE, LogContent, check_follow, header, read_log

LOOKS = 5  # at a log that does not go with its database
LOOK_AGAIN = 0.02  # seconds between two of them
_VALUE = "SELECT value FROM meta WHERE name = ?"
_SET = "UPDATE meta SET value = ? WHERE name = ?"


def log_path(path: Path) -> Path:
    """The log beside a journal."""
    return path.with_name(path.name + "-log")


def read_beside(connection: sqlite3.Connection, path: Path) -> tuple[LogContent, int]:
    """The log beside a database that goes with it, with the records that the latter does not have.

    Returns:
        It, and the number of the last record that the database has.

    Raises:
        JournalError: it is missing, another's, or damaged; and what to do.
    """
    file = log_path(path)
    with explained(path):
        folded = folded_to(connection)
        name, closed = one(connection, _VALUE, ("log",)), one(connection, _VALUE, ("closed",))
    try:
        data = _content(file)
    except FileNotFoundError:
        if closed != "1":
            reason = (
                f"its log {file.name} is missing, and with it what was put down last: put it back; "
                "or make an empty file of that name, to go on without that"
            )
            raise JournalError(path, reason) from None
        return LogContent(None, 0, ()), folded
    except OSError as error:
        raise JournalError(path, f"its log {file.name}: {error.strerror}") from None
    if data and len(data) != LOG_SIZE and closed != "1":
        reason = (
            f"its log {file.name} is cut short ({len(data)} bytes of {LOG_SIZE}), and with it what "
            "was put down last: put it back; or make it an empty file, to go on without that"
        )
        raise JournalError(path, reason)
    found = read_log(path, data)
    if found.name is not None and found.name.hex() != name:
        if found.records:
            reason = (
                f"its log {file.name} belongs to another journal, or the journal to another log: "
                "put back the one that it was used with, or move the log away"
            )
            raise JournalError(path, reason)
        return LogContent(None, 0, ()), folded  # made just before the power went
    records = () if closed == "1" else tuple(check_follow(path, found, folded))
    return attrs.evolve(found, records=records), folded


def _content(file: Path) -> bytes:
    """What a log has, or enough to know that it is none.

    The trap: what stands there may be a pipe, which is never read to its end, or of any size.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(os.open(file, flags), "rb", buffering=0) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        data = bytearray()
        while len(data) <= LOG_SIZE and (more := stream.read(LOG_SIZE + 1 - len(data))):
            data += more
        return bytes(data)


def lay_log_over(connection: sqlite3.Connection, path: Path) -> Container[int]:
    """Let queries of this connection find what is in the log too, and change nothing.

    A runtime folds meanwhile, and writes over what was folded: what is read of the log may not go
    with the database any more, and look like damage. So it is looked again; damage stays.

    Returns:
        The numbers of what the log says something of.

    Raises:
        JournalError: as `read_beside` does.
    """
    for left in reversed(range(LOOKS)):
        try:
            with one_moment(connection):
                found, _ = read_beside(connection, path)
                if not found.records:
                    return ()
                batch = batch_of(connection, path, found.records)
                lay_over(connection, batch)
                return touched_by(batch)
        except JournalError:
            if not left:
                raise
            time.sleep(LOOK_AGAIN)
    raise AssertionError("unreachable")


def fold_beside(connection: sqlite3.Connection, path: Path) -> LogContent:
    """Put into the database what only its log has.

    Raises:
        JournalError: it cannot be; nothing is changed.
    """
    found, _ = read_beside(connection, path)
    if not found.records:
        return found
    batch = batch_of(connection, path, found.records)
    fold(connection, path, batch, found.records[-1].sequence)
    return found


def batch_of(connection: sqlite3.Connection, path: Path, records: Sequence[Record]) -> Batch:
    """What records make of a database that does not have them.

    Raises:
        JournalError: the database cannot be read, or a record was written by another version.
    """
    owed = Owed()
    with explained(path):
        batch = Batch(load_owed(connection, owed), owed)
    try:
        for record in records:
            batch.add(record.operations())
    except msgspec.MsgspecError as error:
        reason = f"its log (-log) was written by another version of petalkit: {error}"
        raise JournalError(path, reason) from None
    return batch


def open_log(connection: sqlite3.Connection, path: Path) -> tuple[LogDevice, bytes, int] | None:
    """The log of a database for new records, after what is in it was folded.

    Returns:
        It, its name, and the highest generation that was used; None where there is no room for
        one, or the file system can have none: then each batch goes to the database at once.

    Raises:
        JournalError: what there is cannot be used.
    """
    found = fold_beside(connection, path)
    name, generation = found.name, found.generation
    file = log_path(path)
    with explained(path):
        if one(connection, _VALUE, ("closed",)) == "0":
            if name is not None and not found.is_earlier:
                device = _opened(path, file)
                if device.size == LOG_SIZE:
                    return device, name, generation
                device.close()
            # The database has all that was in it, and is of use without it while it is replaced.
            _set(connection, one(connection, _VALUE, ("log",)), closed=True)
        name = os.urandom(16)
        if not _make(path, file, name):
            _set(connection, "", closed=True)
            return None
        _set(connection, name.hex(), closed=False)
    return _opened(path, file), name, generation


def close_log(connection: sqlite3.Connection, path: Path) -> None:
    """Remove the log of a database that has all that was in it.

    Raises:
        sqlite3.Error: the database cannot say so: it stays.
    """
    _set(connection, one(connection, _VALUE, ("log",)), closed=True)
    with contextlib.suppress(OSError):
        log_path(path).unlink(missing_ok=True)


def _set(connection: sqlite3.Connection, name: str, *, closed: bool) -> None:
    with transaction(connection):
        connection.execute(_SET, (name, "log"))
        connection.execute(_SET, (str(int(closed)), "closed"))


def _opened(path: Path, file: Path) -> LogDevice:
    try:
        return LogDevice(path, file)
    except OSError as error:
        raise JournalError(path, explain(error)) from None


def _make(path: Path, file: Path, name: bytes) -> bool:
    """A log of full size, all zeros but for its head; false where there can be none."""
    try:
        file.unlink(missing_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(file, flags, FILE_MODE)
    except OSError as error:
        raise JournalError(path, explain(error)) from None
    try:
        # With its blocks: what is written later changes no metadata, and needs no room.
        os.posix_fallocate(descriptor, 0, LOG_SIZE)
        if os.pwrite(descriptor, header(name), 0) != HEADER_SIZE:
            raise OSError
        os.fsync(descriptor)
        sync_folder(path)
    except (OSError, AttributeError):
        with contextlib.suppress(OSError):
            file.unlink()
        return False
    finally:
        os.close(descriptor)
    return True
