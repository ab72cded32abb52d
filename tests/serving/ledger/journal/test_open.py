"""What is no journal of ours, or cannot be used, is refused in words, and left as it was."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petalkit._serving.ledger.journal import schema as _journal_schema
from petalkit._serving.ledger.journal.operations import Noted
from petalkit._serving.ledger.journal.place.lock import JournalLock, lock_path
from petalkit._serving.ledger.journal.place.mounts import refuse_mounted
from petalkit._serving.ledger.journal.schema import STEPS
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import JournalError

from .kit import MIB, done, opened

# As version 1 has been since it was first written; a change of it needs a version of its own.
VERSION_1 = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
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
);
CREATE TABLE results (
    number INTEGER PRIMARY KEY,
    ended INTEGER NOT NULL,
    finished_at REAL NOT NULL,
    code TEXT,
    remembered INTEGER NOT NULL,
    response BLOB NOT NULL
);
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY,
    answers INTEGER,
    expires_at REAL NOT NULL,
    qos INTEGER NOT NULL,
    topic TEXT,
    name TEXT,
    extras BLOB,
    payload BLOB
);
PRAGMA application_id = 1346720843;
PRAGMA user_version = 1;
INSERT INTO meta VALUES ('device_id', 'd');
INSERT INTO commands VALUES (1, 'id-1', 1, 1, 1.5, 2.5, NULL, 1, NULL, 'demo/greet', 't', 'o', 'd',
    'b', NULL, x'00ff');
INSERT INTO results VALUES (1, 1, 3.5, NULL, 1, x'01');
INSERT INTO outbox VALUES (2, 1, 9.5, 1, 't', NULL, NULL, NULL);
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d.journal"


@pytest.fixture
def journal(path: Path) -> Path:
    """A journal with a hundred commands, closed."""
    with opened(path) as store:
        for number in range(1, 201, 2):
            store.write(done(number, payload=b"x" * 500))
    return path


def refused(path: Path, match: str, *, device_id: str = "d") -> str:
    """The reason why a journal is not opened. Its bytes are as before, and nobody holds it."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(JournalError, match=match) as caught:
        JournalStore.open(path, device_id=device_id, size_max=MIB)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert str(caught.value) == f"journal {str(path)!r}: {caught.value.reason}"
    assert "\n" not in str(caught.value)
    return caught.value.reason


# -- the path


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")
    assert not lock_path(tmp_path).exists()


def test_a_folder_that_cannot_be_made_is_named(path: Path) -> None:
    path.write_text("")
    refused(path / "folder" / "d.journal", "its folder .* cannot be made: Not a directory")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("make", [make_pipe, make_socket, Path.mkdir])
def test_what_is_no_file_is_no_journal_and_no_lock(
    path: Path, make: Callable[[Path], object]
) -> None:
    make(path)
    refused(path, "is a folder|is not a regular file")
    lock = path.with_name("other.lock")
    make(lock)
    refused(path.with_name("other"), "Is a directory|No such device|is not a regular file")


def test_a_path_must_be_one(tmp_path: Path) -> None:
    refused(tmp_path / "a\0b", "null character")


def test_a_link_to_a_journal_is_one(journal: Path) -> None:
    link = journal.with_name("link")
    link.symlink_to(journal)
    with opened(link) as store:
        assert len(store.load().remembered) == 100


# -- the file


def test_another_programs_database_is_refused(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (value)")
    other.commit()
    other.close()
    refused(path, "an SQLite file of another program")


@pytest.mark.parametrize("pragma", ["application_id = 7", "user_version = 3"])
def test_an_empty_database_with_another_mark_is_refused(path: Path, pragma: str) -> None:
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA {pragma}")
    other.close()
    refused(path, "of another program")


def test_a_text_file_is_refused(path: Path) -> None:
    path.write_bytes(b"certainly no database\n" * 100)
    refused(path, "is not an SQLite file")


def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    path.write_bytes(b"")
    with opened(path) as store:
        store.write(done(1))


def test_another_devices_journal_is_refused(journal: Path) -> None:
    refused(journal, "belongs to the device 'd', and this one is 'e'", device_id="e")
    with opened(journal) as store:
        assert len(store.load().remembered) == 100


def test_a_garbage_header_is_refused(journal: Path) -> None:
    data = bytearray(journal.read_bytes())
    data[:16] = os.urandom(16)
    journal.write_bytes(data)
    refused(journal, "is not an SQLite file")


def test_a_file_that_was_cut_is_refused(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-10_000])
    refused(journal, "is damaged; move it away")


def test_overwritten_pages_are_refused(journal: Path) -> None:
    """The structure is checked; SQLite has no checksums that would tell of bytes inside a value."""
    data = bytearray(journal.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 64] = b"\xa5" * 64
    journal.write_bytes(data)
    refused(journal, "is damaged; move it away")


def test_damage_that_sqlite_cannot_put_into_words_is_told_all_the_same(journal: Path) -> None:
    """It quotes the schema, where a byte is no text any more."""
    content = bytearray(journal.read_bytes())
    at = content.index(b"TABLE outbox")
    content[at : at + 8] = b"\xff" * 8
    journal.write_bytes(content)
    refused(journal, "is damaged; move it away")


def test_damage_that_shows_later_is_told_when_it_shows(journal: Path) -> None:
    with opened(journal) as store:
        store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with journal.open("r+b") as file:  # closing it drops SQLite's locks: only in a test
            file.seek(4096)
            file.write(b"\xa5" * (journal.stat().st_size - 4096))
        reader = _journal_schema.connect(journal)
        store._reader.close()
        store._reader = reader  # with nothing in its cache
        with pytest.raises(JournalError, match="is damaged"):
            store.load()


# -- the lock


def test_one_runtime_at_a_time(path: Path) -> None:
    with opened(path) as store:
        store.write(done(1))
        reason = refused(path, "uses it")
        assert reason.startswith(f"process {os.getpid()} uses it")
        assert "if it serves this device already, stop it, or give this one another" in reason
        store.write(done(3))
    with opened(path) as store:
        assert len(store.load().remembered) == 2


def test_a_journal_that_is_mounted_as_a_single_file_is_refused(tmp_path: Path) -> None:
    """Of a container: its lock, and what SQLite keeps beside it, would be each container's own."""
    path, table = tmp_path / "a device.journal", tmp_path / "mountinfo"
    place = str(path).replace(" ", "\\040")
    table.write_text(f"36 35 98:0 / {tmp_path} rw - ext4 /dev/a rw\n")
    refuse_mounted(path, str(table))
    refuse_mounted(path, "/no/such/table")
    table.write_text(f"36 35 98:0 /j {place} rw,noatime - ext4 /dev/a rw\n")
    with pytest.raises(JournalError, match="mount the folder"):
        refuse_mounted(path, str(table))


def test_a_lock_that_is_left_behind_holds_nobody_up(path: Path) -> None:
    lock_path(path).write_text("1\n")
    with opened(path):
        assert lock_path(path).read_text() == f"{os.getpid()}\n"


def test_a_lock_held_by_something_that_tells_no_number(path: Path) -> None:
    with lock_path(path).open("w") as file:
        file.write("me")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        refused(path, "another process uses it")


def test_a_file_system_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    refused(path, "files cannot be locked there")


def test_a_lock_is_let_go_once(path: Path) -> None:
    lock = JournalLock(path)
    lock.release()
    again = JournalLock(path)
    lock.release()
    with pytest.raises(JournalError, match="uses it"):
        JournalLock(path)
    again.release()


def test_a_lock_is_not_made_where_it_is_only_asked_for(path: Path) -> None:
    with pytest.raises(JournalError, match="No such file"):
        JournalLock(path, create=False)
    assert not lock_path(path).exists()


# -- versions


def schema(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return found


ADDED_SINCE = {"notes", "forgotten"}  # tables


def test_version_1_is_what_it_always_was(path: Path) -> None:
    with opened(path):
        pass
    frozen = path.with_name("frozen")
    connection = sqlite3.connect(frozen)
    connection.executescript(VERSION_1)
    connection.close()
    of_version_1 = [one for one in schema(path) if one[0] not in ADDED_SINCE]
    assert of_version_1 == schema(frozen)
    with opened(frozen) as store:
        (message,) = store.load().messages
        assert (message.answers, message.payload) == (1, b"\x01")
        record = store.read(1)
        assert record is not None
        assert (record.payload, record.owed, record.state) == (b"\0\xff", 1, "finished")
        store.write([Noted(3, b"kept")])
        assert dict(store.load().notes) == {3: b"kept"}
    assert schema(frozen) == schema(path)


def test_an_older_journal_is_brought_up_to_date(journal: Path) -> None:
    steps = (*STEPS, ("ALTER TABLE commands ADD COLUMN petal TEXT", "DROP TABLE outbox"))
    connection = _journal_schema.connect(journal)
    _journal_schema.prepare(connection, journal, steps)
    assert _journal_schema.one(connection, "PRAGMA user_version") == len(steps)
    assert _journal_schema.one(connection, "SELECT count(petal) FROM commands") == 0
    assert _journal_schema.one(connection, "SELECT count(*) FROM commands") == 100
    _journal_schema.prepare(connection, journal, steps)  # once
    connection.close()
    version = f"is of version {len(steps)}, from a newer petalkit; this one knows {len(STEPS)}"
    refused(journal, version)


def test_a_step_that_fails_changes_nothing(journal: Path) -> None:
    steps = (*STEPS, ("DROP TABLE outbox", "DROP TABLE what"))
    connection = _journal_schema.connect(journal)
    with pytest.raises(JournalError, match="no such table: what"):
        _journal_schema.prepare(connection, journal, steps)
    connection.close()
    with opened(journal) as store:
        assert len(store.load().remembered) == 100


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    refused(path, "needs SQLite 3.38.0 or newer")
    assert os.listdir(path.parent) == []
