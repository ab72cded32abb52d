"""The journal as an SQLite file: its tables, its versions, and the check that it is one of ours.

Rules kept here: another program's file is not written to, a newer version is not guessed at, and
a damaged file is neither repaired nor removed: all of that is for its owner to decide.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..records import JournalError

APPLICATION_ID = 0x5045_544B  # "PETK"
BUSY_TIMEOUT = 5.0  # seconds to wait for another process that writes
READ_TIMEOUT = 0.2  # the same in the event loop, which waits meanwhile
OLDEST_SQLITE = (3, 38, 0)  # JSON functions are in every build since

# A command's row is written once: what is learned later is of the same size (state, starts, and
# started_at, which is accepted_at before), so that SQLite changes it in place, or stands in a
# table of its own. Otherwise each step would write a large payload again. The large columns come
# last: what stands before them is read without them.
_VERSION_1 = (
    """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID""",
    """
CREATE TABLE commands (
    number INTEGER PRIMARY KEY,
    message_id TEXT,
    state INTEGER NOT NULL,
    starts INTEGER NOT NULL,
    accepted_at REAL NOT NULL,
    started_at REAL NOT NULL,
    expires_at REAL,
    wait_response INTEGER NOT NULL,
    outcome TEXT,
    command TEXT NOT NULL,
    topic TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    base_topic TEXT NOT NULL,
    extras BLOB,
    payload BLOB NOT NULL
)""",
    """
CREATE TABLE results (
    number INTEGER PRIMARY KEY,
    ended INTEGER NOT NULL,
    finished_at REAL NOT NULL,
    code TEXT,
    remembered INTEGER NOT NULL,
    response BLOB NOT NULL
)""",
    """
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY,
    answers INTEGER,
    expires_at REAL NOT NULL,
    qos INTEGER NOT NULL,
    topic TEXT,
    name TEXT,
    extras BLOB,
    payload BLOB
)""",
)

_VERSION_2 = ("CREATE TABLE notes (number INTEGER PRIMARY KEY, value BLOB NOT NULL)",)

# What is forgotten by hand while the runtime has it in its log only is deleted when it is folded.
_VERSION_3 = (
    "CREATE TABLE forgotten (number INTEGER PRIMARY KEY)",
    "INSERT INTO meta VALUES ('folded', '0'), ('log', ''), ('closed', '1')",
)

# One step per version: what makes a file of the version before into one of it.
STEPS: tuple[Sequence[str], ...] = (_VERSION_1, _VERSION_2, _VERSION_3)

# The tables that are filled from the log, by name.
TABLES = dict(
    zip(("commands", "results", "outbox", "notes"), (*_VERSION_1[1:], *_VERSION_2), strict=True)
)


def check_sqlite(path: Path) -> None:
    """Refuse an SQLite that lacks what is used here.

    Raises:
        JournalError: it is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise JournalError(path, f"needs SQLite {needed} or newer, not {sqlite3.sqlite_version}")


def connect(
    path: Path, *, untouched: bool = False, timeout: float = BUSY_TIMEOUT
) -> sqlite3.Connection:
    """A connection that begins no transaction by itself. Nothing is read or written yet.

    Args:
        path: the file.
        untouched: leave it and its folder as they are. Only while nobody has it open, and no WAL
            is beside it: neither would be seen.
        timeout: seconds to wait while another process writes.

    Raises:
        JournalError: the file cannot be opened.
    """
    with explained(path):
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro&immutable=1" if untouched else path,
            uri=untouched,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
        )


def prepare(connection: sqlite3.Connection, path: Path, steps: Sequence[Sequence[str]]) -> None:
    """Check a file from end to end, or make an empty one into a journal, and set its modes.

    Raises:
        JournalError: it is none of ours, damaged, newer than this code, or cannot be written.
    """
    with explained(path):
        found = check_version(connection, path, newest=len(steps))
        if found:
            check_whole(connection, path)
        if one(connection, "PRAGMA journal_mode = WAL") != "wal":
            raise JournalError(path, "its file system cannot do what SQLite needs for WAL")
        for pragma in (
            "synchronous = FULL",  # each commit is on disk when it returns
            "temp_store = MEMORY",
            "secure_delete = ON",  # what is forgotten is also gone from the file
            "wal_autocheckpoint = 1000",  # pages: the WAL stays near 4 MB
            f"journal_size_limit = {16 * 1024 * 1024}",  # bytes that a long WAL is cut to
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _migrate(connection, path, found, steps)


def check_version(connection: sqlite3.Connection, path: Path, *, newest: int) -> int:
    """The version of a journal; 0 of an empty file.

    Raises:
        JournalError: it is another program's, or of a later version than `newest`.
    """
    with explained(path):
        version: int = one(connection, "PRAGMA user_version")
        application: int = one(connection, "PRAGMA application_id")
        tables: int = one(connection, "SELECT count(*) FROM sqlite_master")
    if application != APPLICATION_ID and (application or version or tables):
        raise JournalError(path, "is an SQLite file of another program")
    if version > newest:
        raise JournalError(
            path, f"is of version {version}, from a newer petalkit; this one knows {newest}"
        )
    return version


def check_device(connection: sqlite3.Connection, path: Path, device_id: str) -> None:
    """Write into a new journal whose it is, and refuse that of another device.

    Raises:
        JournalError: it belongs to another device.
    """
    with explained(path):
        connection.execute(
            "INSERT OR IGNORE INTO meta VALUES ('device_id', ?)", (device_id,)
        ).fetchall()
        owner = one(connection, "SELECT value FROM meta WHERE name = 'device_id'")
    if owner != device_id:
        raise JournalError(path, f"belongs to the device {owner!r}, and this one is {device_id!r}")


def one(connection: sqlite3.Connection, sql: str, parameters: Sequence[object] = ()) -> Any:
    """The first value of a query's only row. The query is over then, and its read lock free."""
    ((value, *_),) = connection.execute(sql, parameters).fetchall()
    return value


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into an error that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(path, explain(error)) from error
    except (ValueError, TypeError) as error:  # no UTF-8, no number, or no row where one has to be
        raise JournalError(path, _DAMAGED) from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written inside is on disk afterwards, or, after an error, nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors have ended it already
            connection.execute("ROLLBACK")
        raise


_DAMAGED = "is damaged; move it away to begin with an empty one"
_REASONS = {
    sqlite3.SQLITE_FULL: "has no room: the disk is full, or the journal is at its bound",
    sqlite3.SQLITE_BUSY: f"another process kept it busy for {BUSY_TIMEOUT:g} s",
    sqlite3.SQLITE_LOCKED: f"another process kept it busy for {BUSY_TIMEOUT:g} s",
    sqlite3.SQLITE_READONLY: "cannot be written: it, its folder or its file system is read-only",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: may this user write the file, and into its folder?",
    sqlite3.SQLITE_PERM: "cannot be opened: may this user write the file?",
    sqlite3.SQLITE_NOTADB: "is not an SQLite file",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_IOERR: "the disk reported an error",
    sqlite3.SQLITE_PROTOCOL: "files cannot be locked there; use a disk of this machine",
    sqlite3.SQLITE_NOLFS: "its file system has no large files",
}


def explain(error: sqlite3.Error) -> str:
    """What an error of SQLite means, and what to do about it."""
    code = getattr(error, "sqlite_errorcode", None)  # not of errors of the module itself
    if code is None:
        return str(error)
    reason = _REASONS.get(code & 0xFF, str(error))  # the rest of the code says more than we tell
    name: str = error.sqlite_errorname
    return f"{reason} ({name})"


def check_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Read the file from end to end.

    Raises:
        JournalError: it is damaged.
        sqlite3.Error: it is damaged, or cannot be read.
    """
    ((found, *_), *_) = connection.execute("PRAGMA quick_check(1)").fetchall()
    if found != "ok":
        text = " ".join(str(found).split())
        raise JournalError(path, f"{_DAMAGED} ({text})")


def _migrate(
    connection: sqlite3.Connection, path: Path, found: int, steps: Sequence[Sequence[str]]
) -> None:
    """From the version found to the newest, in one transaction: all of it, or nothing."""
    if found == len(steps):
        return
    with transaction(connection):
        for step in steps[found:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
