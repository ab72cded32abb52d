"""The journal's file: what was written is read again, and nothing else."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from petalkit._serving.ledger.journal.folding.statements import ROWS_MAX
from petalkit._serving.ledger.journal.operations import Forgotten, Requeued, Settled, Wanted
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import CommandRecord, Found, JournalError, MessageRecord

from .kit import MIB, NOON, RESPONSE, accepted, done, finished, fold, opened, posted, prune, started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d.journal"


@pytest.fixture
def store(path: Path) -> Iterator[JournalStore]:
    with opened(path) as store:
        yield store


# -- content


def test_a_new_journal_is_empty(store: JournalStore) -> None:
    assert store.load() == Found(last=0, remembered={}, running=(), not_started=0, messages=())
    assert store.read(1) is None
    assert store.not_started(0, 10) == []
    assert 0 < store.fill < 0.01


def test_a_record_tells_the_whole_life_of_a_command(store: JournalStore) -> None:
    store.write([accepted(7, expires_at=NOON + 100, extras=b"x")])
    record = CommandRecord(
        number=7,
        message_id="id-7",
        command="demo/greet",
        payload=b'{"command":"demo/greet"}',
        topic="org/o/device/d/command",
        organization_id="o",
        device_id="d",
        base_topic="org/o/device/d",
        wait_response=True,
        expires_at=NOON + 100,
        extras=b"x",
        state="accepted",
        starts=0,
        accepted_at=NOON + 7,
        started_at=None,
        finished_at=None,
        code=None,
        response=None,
        remembered=False,
        owed=0,
        outcome=None,
    )
    assert store.read(7) == record
    store.write([started(7)])
    record = attrs.evolve(record, state="started", starts=1, started_at=NOON + 7.125)
    assert store.read(7) == record
    store.write([finished(7, code="TIMEOUT"), posted(8, 7)])
    record = attrs.evolve(
        record,
        state="finished",
        finished_at=NOON + 7.5,
        code="TIMEOUT",
        response=RESPONSE,
        remembered=True,
        owed=1,
    )
    assert store.read(7) == record
    store.write([Settled(8, "expired")])
    assert store.read(7) == attrs.evolve(record, owed=0, outcome="expired")


def test_what_comes_together_is_the_same_as_what_comes_one_by_one(store: JournalStore) -> None:
    store.write(done(1))
    for operation in done(3):
        store.write([operation])
    one, three = store.read(1), store.read(3)
    assert one is not None
    assert three is not None
    assert (
        attrs.evolve(
            three,
            number=1,
            message_id="id-1",
            accepted_at=one.accepted_at,
            started_at=one.started_at,
            finished_at=one.finished_at,
        )
        == one
    )
    assert store.load().messages == ()


def test_found_is_what_is_left_to_do(path: Path) -> None:
    with opened(path) as store:
        store.write(done(1))
        store.write([*done(3)[:4], accepted(5), started(5), accepted(6), accepted(7, None)])
        store.write([finished(8, remembered=False), accepted(8), posted(9, None, b"event")])
    with opened(path) as store:
        found = store.load()
        assert found.last == 9
        assert found.remembered == {"id-1": 1, "id-3": 3, "id-5": 5, "id-6": 6}
        assert [record.number for record in found.running] == [5]
        assert found.not_started == 2
        assert found.messages == (
            MessageRecord(
                number=4,
                answers=3,
                message_id="id-3",
                topic="org/o/device/d/response",
                name=None,
                payload=RESPONSE,
                qos=1,
                extras=None,
                expires_at=NOON + 9999,
            ),
            MessageRecord(
                number=9,
                answers=None,
                message_id=None,
                topic="org/o/device/d/response",
                name=None,
                payload=b"event",
                qos=1,
                extras=None,
                expires_at=NOON + 9999,
            ),
        )


def test_an_id_that_was_used_again_is_the_later_command(store: JournalStore) -> None:
    store.write([*done(1, message_id="same"), *done(3, message_id="same")])
    assert store.load().remembered == {"same": 3}


def test_what_has_not_started_comes_in_order_and_in_parts(path: Path) -> None:
    with opened(path) as store:
        store.write(done(1))
        store.write([accepted(number) for number in range(3, 20)])
        store.write([started(5), finished(7, remembered=False)])
    with opened(path) as store:
        first = store.not_started(0, 4)
        assert [record.number for record in first] == [3, 4, 6, 8]
        rest = store.not_started(first[-1].number, 100)
        assert [record.number for record in rest] == list(range(9, 20))
        store.write([accepted(20)])
        assert [record.number for record in store.not_started(19, 100)] == [20]


def test_a_requeued_command_waits_again_and_counts_its_starts(store: JournalStore) -> None:
    store.write([accepted(1), started(1)])
    store.write([Requeued(1)])
    (record,) = store.not_started(0, 10)
    assert (record.state, record.starts, record.started_at) == ("accepted", 1, NOON + 1.125)
    store.write([started(1), Requeued(1), started(1)])
    again = store.read(1)
    assert again is not None
    assert (again.state, again.starts) == ("started", 3)


def test_what_was_started_before_the_first_that_waits_can_be_requeued(path: Path) -> None:
    with opened(path) as store:
        store.write([accepted(1), started(1), accepted(2)])
    with opened(path) as store:
        store.write([Requeued(1)])
        assert [record.number for record in store.not_started(0, 10)] == [1, 2]


def test_a_copy_can_ask_for_an_answer_in_either_batch(store: JournalStore) -> None:
    store.write(
        [accepted(1, wait_response=False), accepted(2, extras=b"x"), Wanted(2, False, None)]
    )
    store.write([Wanted(1, True, b"to")])
    one, two = store.read(1), store.read(2)
    assert one is not None
    assert two is not None
    assert (one.wait_response, one.extras) == (True, b"to")
    assert (two.wait_response, two.extras) == (False, None)


def test_a_forgotten_command_leaves_no_trace(store: JournalStore) -> None:
    store.write([accepted(1), finished(1), Forgotten(1), accepted(2)])
    store.write([finished(2)])
    store.write([Forgotten(2)])
    assert store.load() == Found(last=0, remembered={}, running=(), not_started=0, messages=())
    assert store._reader.execute("SELECT * FROM results").fetchall() == []


def test_an_outcome_is_kept_when_a_message_comes_and_goes_in_one_batch(
    store: JournalStore,
) -> None:
    store.write([accepted(1), finished(1), posted(2, 1), Settled(2, "rejected")])
    store.write([accepted(3)])
    store.write([finished(3), posted(4, 3), Settled(4, "set aside"), posted(5, 3)])
    store.write([posted(6, None, b"event"), Settled(6, "expired")])
    one, three = store.read(1), store.read(3)
    assert one is not None
    assert three is not None
    assert (one.outcome, one.owed) == ("rejected", 0)
    assert (three.outcome, three.owed) == ("set aside", 1)


def test_what_is_nothing_differs_from_what_is_empty(store: JournalStore) -> None:
    store.write([accepted(1, "", payload=b"", extras=b"", expires_at=0.0)])
    store.write([finished(1, code="", response=b""), posted(2, 1, b"")])
    store.write([accepted(3, message_id=None)])
    one, three = store.read(1), store.read(3)
    assert one is not None
    assert three is not None
    assert (one.payload, one.extras, one.expires_at) == (b"", b"", 0.0)
    assert (one.code, one.response) == ("", b"")
    assert (three.message_id, three.extras, three.expires_at) == (None, None, None)
    assert store.load().messages[0].payload == b""


@pytest.mark.parametrize("text", ["0", "\0", "é\U0001f680", "a'b\"c", "\ufffe"])
def test_a_text_is_kept_as_it_is(store: JournalStore, text: str) -> None:
    store.write([*done(1, message_id=text, command=text)])
    record = store.read(1)
    assert record is not None
    assert (record.message_id, record.command) == (text, text)
    assert prune(store, count=0, before=None) == [(1, text)]


def test_half_a_surrogate_pair_does_not_stop_the_journal(store: JournalStore) -> None:
    store.write([accepted(1), finished(1, code="\ud800")])
    record = store.read(1)
    assert record is not None
    assert record.code == "\\ud800"


@pytest.mark.parametrize("count", [1, 5, 63, ROWS_MAX, ROWS_MAX + 1, 3 * ROWS_MAX + 7])
def test_a_batch_may_have_any_length(store: JournalStore, count: int) -> None:
    numbers = range(1, 2 * count, 2)
    store.write([accepted(number) for number in numbers])
    store.write([operation for number in numbers for operation in done(number)[1:4]])
    assert len(store.load().messages) == count
    store.write([Settled(number + 1, None) for number in numbers])
    found = store.load()
    assert found.messages == ()
    assert len(found.remembered) == count
    assert found.last == 2 * count - 1


@pytest.mark.parametrize("count", [5, ROWS_MAX + 5])
def test_many_commands_of_the_file_change_in_one_batch(store: JournalStore, count: int) -> None:
    """A statement is filled up by its last row again, which has to count once."""
    numbers = range(1, 2 * count, 2)
    store.write([accepted(number) for number in numbers])
    store.write([started(number) for number in numbers])
    assert {record.starts for record in store.load().running} == {1}
    store.write([Requeued(number) for number in numbers] + [started(number) for number in numbers])
    assert {record.starts for record in store.load().running} == {2}
    store.write([op for number in numbers for op in (finished(number), posted(number + 1, number))])
    store.write([Settled(number + 1, f"reason {number}") for number in numbers])
    for number in numbers:
        record = store.read(number)
        assert record is not None
        assert (record.outcome, record.owed) == (f"reason {number}", 0)
    store.write([Forgotten(number) for number in numbers])
    assert store.load() == Found(last=0, remembered={}, running=(), not_started=0, messages=())


def test_of_several_messages_that_were_given_up_the_last_is_told(store: JournalStore) -> None:
    store.write([accepted(1), finished(1), posted(2, 1), posted(3, 1), posted(4, None, b"event")])
    store.write([Settled(3, "expired"), Settled(2, "rejected"), Settled(4, "set aside")])
    record = store.read(1)
    assert record is not None
    assert record.outcome == "rejected"


def test_no_operations_are_nothing(store: JournalStore) -> None:
    store.write([])


def test_a_large_payload_is_not_written_again_by_later_steps(path: Path) -> None:
    with opened(path) as store:
        store.write([accepted(1, payload=b"x" * MIB)])
        before = path.with_name(path.name + "-wal").stat().st_size
        store.write([started(1)])
        store.write([finished(1), posted(2, 1)])
        store.write([Settled(2, None)])
        assert path.with_name(path.name + "-wal").stat().st_size - before < 64 * 1024


def test_the_file_beside_it_stays_short(path: Path) -> None:
    """SQLite puts what it holds into the database at each 1000 pages, and begins again."""
    with opened(path, size_max=512 * MIB) as store:
        longest = 0
        for number in range(1, 4001, 2):
            store.write(done(number, payload=b"x" * 20_000))
            longest = max(longest, path.with_name(path.name + "-wal").stat().st_size)
        assert 4_000_000 < longest < 5_000_000
        store.write([accepted(number, payload=b"x" * MIB) for number in range(5000, 5040)])
        assert path.with_name(path.name + "-wal").stat().st_size > 40 * MIB
        for number in range(6001, 6101, 2):
            store.write(done(number, payload=b"x" * 200_000))
        assert path.with_name(path.name + "-wal").stat().st_size <= 16 * MIB


def test_reading_does_not_wait_for_a_transaction(store: JournalStore, path: Path) -> None:
    store.write([accepted(1)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM commands")
    assert store.read(1) is not None
    other.execute("ROLLBACK")
    other.close()


def test_one_thread_may_write_while_another_reads(store: JournalStore) -> None:
    errors: list[BaseException] = []

    def write() -> None:
        try:
            for number in range(1, 400, 2):
                store.write(done(number))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    while thread.is_alive():
        for record in store.not_started(0, 10):
            assert record.state == "accepted"
        found = store.read(399)
        assert found is None or found.state == "finished"
    thread.join()
    assert not errors


# -- life


def test_a_closed_journal_is_one_file_and_its_lock(path: Path) -> None:
    with opened(path) as store:
        store.write(done(1))
        store.close()
        assert sorted(os.listdir(path.parent)) == ["d.journal", "d.journal.lock"]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "d.journal"
    mask = os.umask(0)
    try:
        with opened(path) as store:
            store.write(done(1))
            for file in path.parent.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
            for folder in (path.parent, path.parent.parent):
                assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(mask)


def test_every_commit_waits_for_the_disk(store: JournalStore) -> None:
    """What `PRAGMA` says of the connection that writes; a test cannot pull the plug."""
    assert store._writer.execute("PRAGMA synchronous").fetchall() == [(2,)]
    assert store._writer.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_what_is_written_twice_counts_once(store: JournalStore) -> None:
    """As if the disk had taken it and not said so."""
    batches = [done(1), [op for number in range(3, 1000, 2) for op in done(number)]]
    for batch in batches:
        store.write(batch)
        store.write(batch)
    assert len(store.load().remembered) == 500
    assert prune(store, count=499, before=None) == [(1, "id-1")]


def test_what_cannot_be_folded_stays_in_the_log_and_is_folded_later(
    store: JournalStore, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._writer.execute("PRAGMA busy_timeout = 1").fetchall()
    store.write(done(1))
    for _ in range(2):
        with pytest.raises(JournalError, match="another process kept it busy"):
            fold(store)
    store.write(done(3))
    assert store.read(1) is not None
    other.execute("ROLLBACK")
    other.close()
    assert len(store.load().remembered) == 2


def test_what_does_not_fit_the_log_goes_to_the_database(store: JournalStore, path: Path) -> None:
    """Too large for it; or both of its parts are full, and the database was busy."""
    large = accepted(1, payload=b"x" * 2 * MIB)
    store.write([accepted(2), started(2)])
    store.write([large])
    assert store._reader.execute("SELECT number FROM commands").fetchall() == [(1,), (2,)]
    store.write([finished(1), posted(4, 1), finished(2)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._writer.execute("PRAGMA busy_timeout = 1").fetchall()
    number = 5
    batch = done(number, payload=b"x" * 100_000)
    with pytest.raises(JournalError, match="another process kept it busy"):
        while number < 500:
            batch = done(number, payload=b"x" * 100_000)
            store.write(batch)
            number += 2
    assert number > 40
    other.execute("ROLLBACK")
    other.close()
    store.write([*batch, Settled(4, "expired")])
    record = store.read(1)
    assert record is not None
    assert (record.state, record.owed, record.outcome) == ("finished", 0, "expired")
    assert len(store.load().remembered) == 2 + (number - 3) // 2


# -- room


def test_the_oldest_finished_go_first_and_what_is_owed_stays(path: Path) -> None:
    with opened(path) as store:
        store.write([accepted(1), started(1)])  # runs long
        for number in range(3, 23, 2):
            store.write(done(number))
        store.write([accepted(23), finished(23), posted(24, 23)])
        store.write([finished(1)])
    with opened(path) as store:  # the order outlives it
        assert prune(store, count=9, before=None) == [(3, "id-3"), (5, "id-5"), (7, "id-7")]
        assert prune(store, count=9, before=None) == []
        assert prune(store, count=0, before=None, limit=7) == [
            (number, f"id-{number}") for number in range(9, 23, 2)
        ]
        assert prune(store, count=0, before=None) == [(1, "id-1")]
        store.write([Settled(24, None)])
        assert prune(store, count=0, before=None) == [(23, "id-23")]
        assert store.load().remembered == {}


def test_what_is_no_duplicate_is_counted_apart(store: JournalStore) -> None:
    for number in range(1, 21, 2):
        store.write([accepted(number), finished(number, remembered=number < 11)])
    deleted = prune(store, count=3, before=None)
    assert sorted(number for number, _ in deleted) == [1, 3, 11, 13]


def test_age_is_judged_by_a_clock_that_was_set(store: JournalStore) -> None:
    for number, at in ((1, 100.0), (3, NOON), (5, NOON + 1e9), (7, NOON + 10), (9, NOON + 20)):
        store.write([accepted(number), finished(number, at=at)])
    assert prune(store, count=100, before=NOON) == []
    assert prune(store, count=100, before=NOON + 11) == [(3, "id-3"), (7, "id-7")]
    assert store.load().remembered == {"id-1": 1, "id-5": 5, "id-9": 9}


def test_age_is_looked_at_when_something_gets_too_old(store: JournalStore) -> None:
    def due(before: float) -> list[int]:
        return [number for number, _ in prune(store, count=100, before=before)]

    for number, at in ((1, NOON + 10), (3, NOON + 20), (5, NOON + 500), (7, 5.0)):
        store.write([accepted(number), finished(number, at=at)])
    assert due(NOON + 10) == []  # not before
    assert due(NOON + 10.01) == [1]
    assert due(NOON + 10.02) == []
    assert due(NOON + 20.01) == [3]
    assert due(NOON + 1e8) == [5]  # a clock that is wrong
    store.write([accepted(9), finished(9, at=NOON + 700)])
    assert due(NOON + 699) == []  # and is set right
    assert due(NOON + 701) == [9]
    assert due(NOON + 701) == []
    store.write([accepted(11), finished(11, at=NOON - 50)])  # set back
    assert due(NOON + 702) == []
    assert due(NOON + 800) == [11]


def test_a_full_file_lets_old_records_go(path: Path) -> None:
    with opened(path, size_max=MIB) as store:
        number = 1
        while store.fill < 0.9:
            store.write(
                [accepted(number, payload=b"x" * 10_000), started(number), finished(number)]
            )
            number += 2
        kept = (number + 1) // 2
        deleted = prune(store, count=kept, before=None)
        assert 0 < len(deleted) < kept // 4
        assert store.fill < 0.82
        assert [one for one, _ in deleted] == list(range(1, 2 * len(deleted), 2))


def test_what_was_accepted_can_be_finished_when_nothing_more_can_be_accepted(path: Path) -> None:
    with opened(path, size_max=MIB) as store:
        number = 1
        while store.fill < 1:
            store.write([accepted(number, payload=b"x" * 10_000), started(number)])
            number += 2
        assert prune(store, count=0, before=None) == []
        numbers = range(1, number, 2)
        store.write([finished(one, response=b"y" * 1000) for one in numbers])
        store.write([posted(one + 1, one) for one in numbers])
        with pytest.raises(JournalError, match="has no room"):
            for more in range(number, number + 1000):
                store.write([accepted(more, payload=b"x" * 10_000)])
        store.write([Settled(one + 1, None) for one in numbers])
        while prune(store, count=0, before=None):
            pass
        store.write([accepted(5000, payload=b"x" * 10_000)])
        assert store.read(5000) is not None


def test_a_record_that_somebody_else_deleted_is_simply_gone(
    store: JournalStore, path: Path
) -> None:
    store.write([*done(1), *done(3)])
    fold(store)
    other = sqlite3.connect(path)
    with other:
        other.execute("DELETE FROM commands WHERE number = 1")
        other.execute("DELETE FROM results WHERE number = 1")
    other.close()
    assert store.read(1) is None
    assert prune(store, count=0, before=None) == [(3, "id-3")]
