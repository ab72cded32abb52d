"""The log beside the database: what the power tears, what is lost, and what does not fit."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petalkit._serving.ledger.journal.file import JournalFile
from petalkit._serving.ledger.journal.folding import fold as fold_module
from petalkit._serving.ledger.journal.log import device, place, segments
from petalkit._serving.ledger.journal.log.place import log_path
from petalkit._serving.ledger.journal.log.records import Record, head_of, read_record, seed_of
from petalkit._serving.ledger.journal.log.segments import LOG_SIZE, SEGMENT_SIZE, begin_of
from petalkit._serving.ledger.journal.operations import Noted, Settled
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import JournalError

from .kit import MIB, NOON, RESPONSE, accepted, done, finished, fold, opened, posted, started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d.journal"


@pytest.fixture
def store(path: Path) -> Iterator[JournalStore]:
    with opened(path) as store:
        yield store


def copy(path: Path, name: str = "copy") -> Path:
    """The journal as the power would leave it now."""
    target = path.with_name(name)
    for suffix in ("", "-wal", "-log"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copy(source, target.with_name(name + suffix))
    return target


def ids(path: Path) -> set[str]:
    with opened(path) as store:
        return set(store.load().remembered)


def change(path: Path, at: int, data: bytes) -> None:
    with log_path(path).open("r+b") as file:
        file.seek(at)
        file.write(data)


def refused(path: Path, match: str) -> None:
    with pytest.raises(JournalError, match=match), opened(path):
        pass


# -- a start after a crash


def test_what_is_in_the_log_only_is_there_after_a_crash(store: JournalStore, path: Path) -> None:
    store.write(done(1))
    store.write([*done(3)[:4], accepted(5), started(5), accepted(6), Noted(7, b"note")])
    with opened(copy(path)) as second:
        found = second.load()
        assert found.remembered == {"id-1": 1, "id-3": 3, "id-5": 5, "id-6": 6}
        assert [one.number for one in found.running] == [5]
        assert [(one.number, one.payload) for one in found.messages] == [(4, RESPONSE)]
        assert dict(found.notes) == {7: b"note"}
        assert second.read(3) == store.read(3)


def test_a_crash_again_and_again_keeps_what_was_written_between(path: Path) -> None:
    """Each start goes on with the same log, and what is left of earlier ones counts no more."""
    for number in range(1, 21, 2):
        with opened(path) as store:
            for one in range(3):
                store.write(done(100 * number + 2 * one))
            crashed = copy(path, f"copy-{number}")
        path = crashed
    with opened(path) as store:
        assert len(store.load().remembered) == 30


def test_a_log_of_the_version_before_is_read_and_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That version would read what is written now, and not see that a command has started."""
    with opened(path) as store:
        store.write(done(1))
        crashed = copy(path)
    head = bytearray(log_path(crashed).read_bytes()[: segments.HEADER_SIZE])
    head[:8] = segments._EARLIER
    head[28:32] = zlib.crc32(bytes(head[:28])).to_bytes(4, "little")
    change(crashed, 0, bytes(head))
    seen = []

    def make_or_die(*arguments: Any) -> bool:
        seen.append(copy(crashed, "died-before"))
        log_path(seen[0]).unlink()  # as it is for a moment
        done = make(*arguments)
        seen.append(copy(crashed, "died-after"))
        return done

    make = place._make
    monkeypatch.setattr(place, "_make", make_or_die)
    with opened(crashed) as store:
        assert set(store.load().remembered) == {"id-1"}
        assert log_path(crashed).read_bytes()[:8] == segments._MAGIC != segments._EARLIER
        store.write([accepted(3, started_at=NOON)])
        assert ids(copy(crashed, "again")) == {"id-1", "id-3"}
    monkeypatch.setattr(place, "_make", make)
    assert [ids(one) for one in seen] == [{"id-1"}, {"id-1"}]


def test_a_log_of_a_later_version_is_refused_by_that_name(path: Path) -> None:
    """It would be read, and what it says in new fields would not be seen."""
    with opened(path) as store:
        store.write(done(1))
        crashed = copy(path)
    head = bytearray(log_path(crashed).read_bytes()[: segments.HEADER_SIZE])
    head[:8] = b"PETKLOG3"
    head[28:32] = zlib.crc32(bytes(head[:28])).to_bytes(4, "little")
    change(crashed, 0, bytes(head))
    with pytest.raises(JournalError, match="newer version of petalkit"), opened(crashed):
        pass
    assert log_path(crashed).read_bytes()[:8] == b"PETKLOG3"


def test_a_record_that_the_power_has_torn_is_none(store: JournalStore, path: Path) -> None:
    store.write(done(1))
    begin = begin_of(0) + store._layers.all[0].end
    store.write(done(3))
    end = begin_of(0) + store._layers.all[0].end
    crashed = copy(path)
    for cut in {begin, begin + 3, begin + 20, begin + 40, end - 1}:
        torn = copy(crashed, f"torn-{cut}")
        change(torn, cut, bytes(end - cut))
        assert ids(torn) == {"id-1"}
    assert ids(crashed) == {"id-1", "id-3"}


def test_a_record_with_one_wrong_bit_is_none_at_the_end_and_damage_before(
    store: JournalStore, path: Path
) -> None:
    begin = begin_of(0)
    store.write(done(1))
    first_end = begin + store._layers.all[0].end
    store.write(done(3))
    crashed = copy(path)
    last = copy(crashed, "last")
    change(last, first_end + 60, b"\xff")
    assert ids(last) == {"id-1"}
    change(crashed, first_end - 9, b"\xff")
    refused(crashed, "its log .* is damaged: record 1 cannot be read; move it away")


def test_what_was_folded_before_a_crash_counts_once(
    store: JournalStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is as it was; the database says up to where it has it."""
    store.write([accepted(1), started(1), accepted(2), started(2), posted(3, None, b"e")])
    fold(store)
    store.write([finished(1), posted(4, 1), Settled(3, None)])
    crashed = copy(path)
    with opened(crashed) as second:
        found = second.load()
        assert [(one.number, one.starts) for one in found.running] == [(2, 1)]
        assert [one.number for one in found.messages] == [4]

    store.write([finished(2)])
    seen: list[Path] = []
    real = fold_module.folded_to

    def in_the_middle(sql: str) -> None:
        if sql.startswith("UPDATE meta"):
            seen.append(copy(path, f"half-{len(seen)}"))

    store._writer.set_trace_callback(in_the_middle)
    fold(store)
    store._writer.set_trace_callback(None)
    assert real(store._writer) == 3
    for half in seen:
        assert ids(half) == {"id-1", "id-2"}
    assert seen


def test_a_record_on_its_way_while_the_log_is_frozen_is_folded_with_the_next(
    store: JournalStore, path: Path
) -> None:
    store.write([accepted(1)])
    staged = store.stage([accepted(2)])
    store.put(staged)
    store.freeze()
    store.fold()
    store.folded()
    store.took(staged)
    store.fold()
    store.folded()
    store.write([accepted(3)])
    assert [one.number for one in store.not_started(0, 9)] == [1, 2, 3]
    assert set(store.load().remembered) == {"id-1", "id-2", "id-3"}
    assert ids(copy(path)) == {"id-1", "id-2", "id-3"}


def test_an_attempt_that_failed_does_not_come_back(
    store: JournalStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be on disk all the same; what was written in its place counts."""
    store.write([accepted(1)])
    store.put(store.stage([accepted(2, payload=b"x" * 500)]))  # nobody is told
    assert ids(copy(path, "as it is")) == {"id-1", "id-2"}
    store.write([accepted(3)])
    assert ids(copy(path, "in its place")) == {"id-1", "id-3"}
    fold(store)
    store.put(store.stage([accepted(4)]))
    store.write([accepted(5)])
    assert ids(copy(path, "in a new part")) == {"id-1", "id-3", "id-5"}


def test_an_attempt_that_failed_in_another_part_does_not_come_back(
    store: JournalStore, path: Path
) -> None:
    for number in (1, 2):
        store.write([accepted(number, payload=b"x" * 900_000)])
    store.put(store.stage([accepted(3, payload=b"x" * 400_000)]))  # there is no room here
    store.write([accepted(4)])  # there would be for this
    store.write([accepted(5)])
    assert ids(copy(path, "in its place")) == {"id-1", "id-2", "id-4", "id-5"}
    fold(store)
    store.write([accepted(6)])
    store.freeze()
    store.put(store.stage([accepted(7)]))
    store.fold()
    store.folded()
    store.write([accepted(8)])  # the first part is free again
    numbers = {f"id-{number}" for number in (1, 2, 4, 5, 6, 8)}
    assert ids(copy(path, "in another")) == numbers
    assert set(store.load().remembered) == numbers


def test_a_log_takes_no_record_of_another() -> None:
    one, other = seed_of(b"1" * 16), seed_of(b"2" * 16)
    record = memoryview(head_of(b"body", one, 3, 4) + b"body")
    assert read_record(record, 0, one) == (3, Record(4, b"body", len(record)))
    assert read_record(record, 0, other) is None


def test_what_a_caller_makes_look_like_a_record_is_none(store: JournalStore, path: Path) -> None:
    store.write([accepted(1)])
    record = (log_path(path).read_bytes())[begin_of(0) :][: store._layers.all[0].end]
    store.write([accepted(2, payload=record.replace(b"\1", b"\2"))])
    crashed = copy(path)
    assert ids(crashed) == {"id-1", "id-2"}


# -- while it is used


def test_reading_finds_what_is_in_the_log_in_the_database_and_in_both(store: JournalStore) -> None:
    store.write([accepted(1), started(1), accepted(2), accepted(3)])
    store.freeze()
    store.write([finished(1), posted(9, 1), started(2)])  # in another part
    before = [store.read(number) for number in (1, 2, 3)]
    waiting = [one.number for one in store.not_started(0, 9)]
    store.fold()  # the first part is in the database, and nobody was told
    assert [store.read(number) for number in (1, 2, 3)] == before
    store.folded()
    assert [store.read(number) for number in (1, 2, 3)] == before
    fold(store)
    assert [store.read(number) for number in (1, 2, 3)] == before
    assert waiting == [one.number for one in store.not_started(0, 9)] == [3]
    assert [one.number for one in store.waiting([1, 2, 3])] == [3]


def test_what_was_folded_this_moment_counts_once(store: JournalStore) -> None:
    store.write([accepted(1)])
    fold(store)
    store.write([started(1)])
    before = store.read(1)
    assert before is not None
    assert before.starts == 1
    store.freeze()
    store.fold()  # and nobody was told
    assert store.read(1) == before


def test_a_layer_that_is_forgotten_while_a_large_batch_goes_to_the_database_hides_none(
    store: JournalStore, path: Path
) -> None:
    class Forgotten:
        """Folded by another thread, and dropped by the event loop as soon as that is seen."""

        batch, last = None, 0

        @property
        def folded(self) -> bool:
            if self in layers:
                layers.remove(self)
            return True

    store.write(done(1))
    large = store.stage([accepted(3, payload=b"x" * SEGMENT_SIZE)])
    assert large.direct is not None
    layers: list[Any] = store._layers.all
    layers.insert(0, Forgotten())
    store.put(large)
    store.took(large)
    assert ids(copy(path)) == {"id-1", "id-3"}


def test_many_that_wait_come_in_order_from_both(store: JournalStore) -> None:
    store.write([accepted(number) for number in range(1, 60)])
    fold(store)
    store.write([started(number) for number in range(1, 50)])
    store.write([accepted(number) for number in range(60, 90)])
    assert [one.number for one in store.not_started(0, 5)] == [50, 51, 52, 53, 54]
    assert [one.number for one in store.not_started(57, 5)] == [58, 59, 60, 61, 62]
    assert [one.number for one in store.not_started(0, 999)] == list(range(50, 90))


def test_the_log_is_as_long_as_ever_and_one_part_is_written_while_one_is_folded(
    store: JournalStore, path: Path
) -> None:
    size = 0
    number = 1
    while not store.can_fold:
        store.write(done(number, payload=b"x" * 10_000))
        number += 2
        size = log_path(path).stat().st_size
    assert size == LOG_SIZE
    while len(store._layers.all) == 2 and store._layers.all[1].end < SEGMENT_SIZE // 2:
        store.write(done(number, payload=b"x" * 10_000))
        number += 2
    assert ids(copy(path)) == {f"id-{one}" for one in range(1, number, 2)}
    store.fold()
    store.folded()
    assert not store.can_fold
    store.write(done(number, payload=b"x" * 10_000))
    assert log_path(path).stat().st_size == LOG_SIZE
    assert len(store.load().remembered) == (number + 1) // 2


def test_what_was_forgotten_by_hand_while_it_was_in_the_log_stays_so(
    store: JournalStore, path: Path
) -> None:
    store.write(done(1))
    store.write(done(3)[:4])
    with JournalFile.open(path) as file:
        assert file.forget("id-1") == 1
        assert file.forget("id-3") == 1
    assert store.read(1) is None
    assert ids(copy(path)) == set()
    fold(store)
    assert store.load().remembered == {}
    assert [one.payload for one in store.load().messages] == [RESPONSE]  # it is owed


def test_a_journal_is_looked_at_after_a_kill_and_nothing_is_changed(
    store: JournalStore, path: Path
) -> None:
    store.write([*done(1), accepted(3)])
    fold(store)
    store.write([started(3), *done(5)[:4], Noted(9, b"note")])
    crashed = copy(path)
    before = log_path(crashed).read_bytes()
    with JournalFile.open(crashed) as file:
        assert file.summary().commands == {"finished": 2, "started": 1, "accepted": 0}
        assert [one.number for one in file.commands()] == [5, 3, 1]
        assert file.find("id-5")[0].owed == 1
        assert file.notes() == {9: b"note"}
    assert log_path(crashed).read_bytes() == before
    with JournalFile.open(crashed) as file:  # nobody uses it: so this takes the log in
        assert file.forget("id-3") == 1
        assert not log_path(crashed).exists()
        assert [one.number for one in file.commands()] == [5, 1]
    assert ids(crashed) == {"id-1", "id-5"}


# -- what is lost


def test_what_is_folded_while_a_journal_is_looked_at_counts_once(
    store: JournalStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([accepted(1)])
    fold(store)
    store.write([started(1)])
    read = place.read_beside

    def read_then_fold(*arguments: Any) -> Any:
        found = read(*arguments)
        fold(store)
        return found

    monkeypatch.setattr(place, "read_beside", read_then_fold)
    with JournalFile.open(path) as file:
        assert [one.starts for one in file.find("id-1")] == [1]


def test_what_is_written_over_while_a_journal_is_looked_at_is_no_damage(
    store: JournalStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(done(1))
    store.freeze()
    store.write(done(3))
    ask = place.folded_to

    def fold_after_that(connection: sqlite3.Connection) -> int:
        folded = ask(connection)
        monkeypatch.setattr(place, "folded_to", ask)
        fold(store)
        store.write(done(5))  # where the first was
        return folded

    monkeypatch.setattr(place, "folded_to", fold_after_that)
    with JournalFile.open(path) as file:
        assert {one.message_id for one in file.commands()} == {"id-1", "id-3", "id-5"}


@pytest.mark.parametrize("kind", ["pipe", "link", "too long"])
def test_what_stands_in_the_place_of_a_log_is_not_read_for_ever(
    store: JournalStore, path: Path, tmp_path: Path, kind: str
) -> None:
    store.write(done(1))
    crashed = copy(path)
    log_path(crashed).unlink()
    if kind == "pipe":
        os.mkfifo(log_path(crashed))
        match = "no regular file"
    elif kind == "link":
        log_path(crashed).symlink_to("/dev/zero")
        match = "symbolic link"
    else:
        with log_path(crashed).open("wb") as file:
            file.truncate(1 << 40)  # and takes no room
        match = "bytes of"
    with pytest.raises(JournalError, match=match), JournalFile.open(crashed):
        pass


def test_a_log_that_is_lost_is_told_and_can_be_done_without(
    store: JournalStore, path: Path
) -> None:
    store.write(done(1))
    fold(store)
    store.write(done(3))
    crashed = copy(path)
    log_path(crashed).unlink()
    refused(crashed, "its log copy-log is missing, and with it what was put down last: put it back")
    with pytest.raises(JournalError, match="is missing"), JournalFile.open(crashed):
        pass
    log_path(crashed).write_bytes(b"")
    log_path(crashed).chmod(0o600)
    assert ids(crashed) == {"id-1"}


def test_a_database_that_is_lost_does_not_take_the_log_of_another(
    store: JournalStore, path: Path
) -> None:
    store.write(done(1))
    crashed = copy(path)
    crashed.unlink()
    crashed.with_name("copy-wal").unlink()
    before = log_path(crashed).read_bytes()
    refused(crashed, "its log copy-log belongs to another journal")
    assert log_path(crashed).read_bytes() == before


def test_a_log_of_another_journal_is_refused(store: JournalStore, path: Path) -> None:
    other = path.with_name("e.journal")
    with opened(other) as second:
        second.write(done(1))
        store.write(done(1))
        mine = copy(path)
        shutil.copy(log_path(other), log_path(mine))
    refused(mine, "belongs to another journal")


def test_a_log_that_is_older_than_the_database_is_no_harm_and_a_newer_one_is_told(
    store: JournalStore, path: Path
) -> None:
    store.write(done(1))
    old = copy(path, "old")
    fold(store)
    for number in range(3, 30, 2):
        store.write(done(number))
        fold(store)
    new = copy(path, "new")
    shutil.copy(log_path(old), log_path(copy(new, "older log")))
    assert len(ids(path.with_name("older log"))) == 15
    store.write(done(31))
    store.write(done(33))
    shutil.copy(log_path(path), log_path(copy(old, "older database")))
    refused(path.with_name("older database"), "is damaged: record [0-9]+ is missing")


@pytest.mark.parametrize("size", [1, 100, 4096, 10_000, LOG_SIZE - 1])
def test_a_log_that_was_cut_is_told(store: JournalStore, path: Path, size: int) -> None:
    store.write(done(1))
    crashed = copy(path)
    os.truncate(log_path(crashed), size)
    refused(crashed, f"its log copy-log is cut short \\({size} bytes of {LOG_SIZE}\\)")


def test_what_is_no_log_is_refused_and_left_alone(store: JournalStore, path: Path) -> None:
    store.write(done(1))
    crashed = copy(path)
    for at, data in ((0, b"x"), (30, b"x")):
        changed = copy(crashed, f"changed-{at}")
        change(changed, at, data)
        refused(changed, "is none of petalkit|its head cannot be read")


def test_a_log_that_is_cut_while_it_is_used_is_noticed_with_the_next_batch(path: Path) -> None:
    with opened(path) as store:
        store.write(done(1))
        os.truncate(log_path(path), LOG_SIZE // 2)
        for _ in range(2):
            with pytest.raises(JournalError, match="its log was cut"):
                store.write(done(3))
        os.truncate(log_path(path), LOG_SIZE)
        store.write(done(3))


def test_a_log_is_for_its_owner_only_and_gone_when_it_is_closed(path: Path) -> None:
    mask = os.umask(0)
    try:
        with opened(path):
            assert stat.S_IMODE(log_path(path).stat().st_mode) == 0o600
    finally:
        os.umask(mask)
    assert not log_path(path).exists()


def test_a_symbolic_link_in_its_place_is_refused(path: Path, tmp_path: Path) -> None:
    with opened(path):
        pass
    precious = tmp_path / "precious"
    precious.write_text("something else")
    log_path(path).symlink_to(precious)
    refused(path, "d.journal-log is a symbolic link")
    assert precious.read_text() == "something else"


# -- the disk


def fail_with(number: int, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    failing = [True]
    real = os.pwritev

    def pwritev(*arguments: object) -> int:
        if failing[0]:
            raise OSError(number, os.strerror(number))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwritev", pwritev)
    return failing


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "has no room: the disk is full"),
        (errno.EDQUOT, "has no room: the disk is full for this user"),
        (errno.EIO, "the disk reported an error"),
        (errno.EROFS, "cannot be written"),
    ],
)
def test_a_log_that_cannot_be_written_is_told_and_written_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    with opened(path) as store:
        store.write(done(1))
        failing = fail_with(number, monkeypatch)
        for _ in range(3):
            with pytest.raises(JournalError, match=reason):
                store.write(done(3))
        assert store.read(3) is None
        failing[0] = False
        store.write(done(3))
        assert ids(copy(path)) == {"id-1", "id-3"}


def test_a_write_that_is_short_is_finished(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev

    def short(descriptor: int, parts: list[bytes], offset: int, flags: int) -> int:
        return real(descriptor, [b"".join(parts)[:10]], offset, flags)

    monkeypatch.setattr(os, "pwritev", short)
    with opened(path) as store:
        store.write(done(1))
        assert ids(copy(path)) == {"id-1"}


def test_a_part_that_was_folded_leaves_the_page_cache(
    store: JournalStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each small record written over a large one makes the disk write as much as that."""
    dropped: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, *rest: dropped.append(rest))
    store.write([accepted(1, payload=b"x" * 500_000)])
    fold(store)
    assert dropped == [(begin_of(0), SEGMENT_SIZE, os.POSIX_FADV_DONTNEED)]


@pytest.mark.parametrize("how", ["no call", "not here"])
def test_where_there_is_no_single_call_there_are_two_and_that_is_told_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO)
    if how == "no call":
        monkeypatch.setattr(device, "_SYNC", None)
    else:
        fail_with(errno.EOPNOTSUPP, monkeypatch)
    synced: list[int] = []
    fdatasync = os.fdatasync

    def counted(file: int) -> None:
        synced.append(file)
        fdatasync(file)

    monkeypatch.setattr(os, "fdatasync", counted)
    with opened(path) as store:
        for number in range(1, 9, 2):
            store.write(done(number))
        assert len(synced) == 4
        assert store.how == "fdatasync"
        assert len(ids(copy(path))) == 4
    told = [one for one in caplog.records if "two calls" in one.getMessage()]
    assert len(told) == (2 if how == "no call" else 1)  # once for each that is used


def test_without_room_for_a_log_each_batch_goes_to_the_database(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with opened(path) as store:
        assert store.how == "sqlite"
        assert not log_path(path).exists()
        store.write(done(1))
        store.write([accepted(3), finished(3, code="\ud800"), posted(4, 3)])
        store.write([Settled(4, "expired")])
        record = store.read(3)
        assert record is not None
        assert (record.code, record.owed, record.outcome) == ("\\ud800", 0, "expired")
        crashed = copy(path)
    assert ids(crashed) == {"id-1", "id-3"}
    assert "has no room for its log" in caplog.text
    monkeypatch.undo()
    with opened(path) as store:
        assert store.how == "pwritev"
        assert set(store.load().remembered) == {"id-1", "id-3"}


def test_a_full_database_leaves_what_is_in_the_log_and_is_told_when_that_is_full(
    path: Path,
) -> None:
    with opened(path, size_max=64 * MIB) as store:
        store.write(done(1))
        pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
        store._writer.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        number = 3
        with pytest.raises(JournalError, match="has no room"):
            while number < 3000:
                store.write(done(number, payload=b"x" * 10_000))
                number += 2
        assert number > 300
        with pytest.raises(JournalError, match="has no room"):
            store.fold()
        crashed = copy(path)
        store._writer.execute("PRAGMA max_page_count = 100000").fetchall()
        store.write(done(number, payload=b"x" * 10_000))
        assert len(store.load().remembered) == (number + 1) // 2
    assert len(ids(crashed)) == (number - 1) // 2


@pytest.mark.parametrize(
    "damage",
    ["UPDATE meta SET value = '@' WHERE name = 'folded'", "DELETE FROM meta WHERE name = 'folded'"],
)
def test_a_database_that_does_not_say_what_it_has_is_damaged(
    store: JournalStore, path: Path, damage: str
) -> None:
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    refused(path, "is damaged; move it away")
