"""A journal from outside: looked at, forgotten from, made smaller; while it is used, or not."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from petalkit._serving.ledger.journal.file import JournalFile
from petalkit._serving.ledger.journal.operations import Settled
from petalkit._serving.ledger.journal.place.lock import JournalLock, lock_path
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import JournalError

from .kit import RESPONSE, accepted, done, finished, fold, opened, posted, prune, started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d.journal"


def fill(store: JournalStore) -> None:
    """Two that are done, one of them twice; one that is owed; one that runs; two that wait."""
    store.write([*done(1), *done(3, message_id="id-1"), *done(5, command="other/x")[:4]])
    store.write([accepted(7), started(7), accepted(8), accepted(9, None), posted(10, None, b"e")])


@pytest.fixture(params=["in use", "closed"])
def file(request: pytest.FixtureRequest, path: Path) -> Iterator[JournalFile]:
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(opened(path))
        fill(store)
        if request.param == "closed":
            stack.close()
        with JournalFile.open(path) as file:
            yield file


# -- to look


def test_the_summary(file: JournalFile, path: Path) -> None:
    summary = file.summary()
    assert summary.device_id == "d"
    assert summary.commands == {"finished": 3, "started": 1, "accepted": 2}
    assert (summary.owed, summary.events) == (1, 1)
    assert 0 < summary.used <= summary.size
    file.check()


def test_who_uses_it(path: Path) -> None:
    with opened(path) as store:
        fill(store)
        with JournalFile.open(path) as file:
            assert file.used_by() == os.getpid()
            lock_path(path).write_text("?")
            assert file.used_by() == 0
    with JournalFile.open(path) as file:
        assert file.used_by() is None
        assert file.used_by() is None
        lock_path(path).unlink()
        assert file.used_by() is None
        assert not lock_path(path).exists()


def test_commands_come_newest_first_and_without_data(file: JournalFile) -> None:
    found = file.commands()
    assert [record.number for record in found] == [9, 8, 7, 5, 3, 1]
    assert {record.payload for record in found} == {b""}
    assert [record.response for record in found] == [None, None, None, b"", b"", b""]
    assert [record.owed for record in found] == [0, 0, 0, 1, 0, 0]


def test_commands_are_filtered(file: JournalFile) -> None:
    def numbers(**filters: str | int) -> list[int]:
        return [record.number for record in file.commands(**filters)]  # type: ignore[arg-type]

    assert numbers(state="finished") == [5, 3, 1]
    assert numbers(state="started") == [7]
    assert numbers(state="accepted") == [9, 8]
    assert numbers(petal="other") == [5]
    assert numbers(petal="oth") == []
    assert numbers(message_id="id-") == [8, 7, 5, 3, 1]
    assert numbers(message_id="id-1") == [3, 1]
    assert numbers(message_id="%") == []
    assert numbers(limit=2) == [9, 8]
    assert numbers(state="finished", petal="demo", limit=1) == [3]


def test_a_command_is_found_by_its_id(file: JournalFile) -> None:
    assert [record.number for record in file.find("id-1")] == [3, 1]
    assert file.find("id-") == []
    (record,) = file.find("id-5")
    assert (record.response, record.owed, record.state) == (RESPONSE, 1, "finished")


# -- to change


def test_what_is_finished_can_be_forgotten_at_any_time(file: JournalFile, path: Path) -> None:
    assert file.forget("id-1") == 2
    assert file.forget("id-1") == 0
    assert file.find("id-1") == []
    assert file.summary().commands["finished"] == 1


def test_what_is_not_finished_is_the_runtimes_while_it_runs(path: Path) -> None:
    with opened(path) as store:
        fill(store)
        with JournalFile.open(path) as file:
            for message_id in ("id-7", "id-8"):
                with pytest.raises(JournalError, match="is not finished, and a runtime uses"):
                    file.forget(message_id)
            assert file.find("id-7")
    with JournalFile.open(path) as file:
        assert file.forget("id-7") == 1
        assert file.forget("id-8") == 1
    with opened(path) as store:
        found = store.load()
        assert found.running == ()
        assert found.not_started == 1


def test_an_answer_that_is_owed_outlives_its_command(path: Path) -> None:
    with opened(path) as store:
        fill(store)
        with JournalFile.open(path) as file:
            assert file.forget("id-5") == 1
        assert store.read(5) is None
    with opened(path) as store:
        message = store.load().messages[0]
        assert (message.number, message.payload, message.message_id) == (6, RESPONSE, None)
        store.write([Settled(6, "expired")])
        assert [message.number for message in store.load().messages] == [10]


def test_an_answer_of_a_command_that_is_gone_already_is_not_sent_empty(path: Path) -> None:
    """A copy was answered from the record, and the record forgotten before that was written."""
    with opened(path) as store:
        store.write(done(1))
        fold(store)
        with JournalFile.open(path) as file:
            file.forget("id-1")
        store.write([posted(3, 1), posted(4, 1, b"of its own")])
    with opened(path) as store:
        assert [message.number for message in store.load().messages] == [4]


def test_a_runtime_does_not_miss_what_was_forgotten(path: Path) -> None:
    with opened(path) as store:
        fill(store)
        with JournalFile.open(path) as file:
            file.forget("id-1")
        store.write([finished(7), *done(21)])
        assert prune(store, count=1, before=None) == [(7, "id-7")]
        assert [record.number for record in store.not_started(0, 10)] == [8, 9]


def test_nothing_is_left_of_what_was_forgotten(path: Path) -> None:
    """The bytes are overwritten; a user's data may have to go for a reason."""
    with opened(path) as store:
        store.write(done(1, payload=b"a secret " * 100))
        store.write(done(3))
    with JournalFile.open(path) as file:
        file.forget("id-1")
    assert b"a secret" not in path.read_bytes()


def test_the_file_gets_smaller_while_it_is_used(path: Path) -> None:
    with opened(path) as store:
        for number in range(1, 2001, 2):
            store.write(done(number, payload=b"x" * 5000))
        while prune(store, count=3, before=None):
            pass
        with JournalFile.open(path) as file:
            before, after = file.vacuum()
            assert before > 1_000_000
            assert after < 100_000
            assert path.stat().st_size == after
        store.write(done(3001))
        assert len(store.load().remembered) == 4
        prune(store, count=3, before=None)
        assert store.fill < 0.01


def test_what_is_written_without_a_pause_is_not_waited_for_forever(path: Path) -> None:
    with opened(path) as store:
        fill(store)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with JournalFile.open(path) as file:
            file._connection.execute("PRAGMA busy_timeout = 1").fetchall()
            for change in (file.vacuum, lambda: file.forget("id-1")):
                with pytest.raises(JournalError, match="another process kept it busy"):
                    change()
        other.close()
        assert len(store.load().remembered) == 4


def test_a_lock_made_from_outside_belongs_to_the_journals_owner(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root leaves files of another user")
    with opened(path) as store:
        fill(store)
    lock_path(path).unlink()
    os.chown(path, 65534, 65534)
    with JournalFile.open(path) as file:
        file.forget("id-1")
    assert lock_path(path).stat().st_uid == 65534
    assert sorted(os.listdir(path.parent)) == ["d.journal", "d.journal.lock"]


# -- what is none


def refused(path: Path, match: str) -> None:
    with pytest.raises(JournalError, match=match), JournalFile.open(path):
        pass


def test_what_is_no_journal_is_refused(path: Path) -> None:
    with pytest.raises(FileNotFoundError), JournalFile.open(path):
        pass
    assert list(path.parent.iterdir()) == []
    refused(path.parent, "is a folder")
    path.write_bytes(b"")
    refused(path, "is empty")
    path.write_bytes(b"a text of some length, which is no database" * 10)
    refused(path, "is not an SQLite file")
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (value)")
    other.close()
    refused(path, "of another program")


def test_a_file_that_is_damaged_is_found_so(path: Path) -> None:
    with opened(path) as store:
        for number in range(1, 401, 2):
            store.write(done(number, payload=b"x" * 500))
    data = bytearray(path.read_bytes())
    data[-4096:-4032] = b"\xa5" * 64
    path.write_bytes(data)
    with JournalFile.open(path) as file, pytest.raises(JournalError, match="is damaged"):
        file.check()


def test_another_version_is_refused(path: Path) -> None:
    with opened(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    refused(path, "is of version 99, from a newer petalkit")


def test_a_runtime_that_starts_meanwhile_is_kept_out(path: Path) -> None:
    with opened(path) as store:
        fill(store)
    with JournalFile.open(path) as file, file._alone() as alone:
        assert alone
        with pytest.raises(JournalError, match=f"process {os.getpid()} uses it"):
            JournalLock(path)
    JournalLock(path).release()
