"""The power goes at any moment, and what was told as written is there after it.

A layer over the log's file notes each write and when it was on disk; a write that was on its way
when the power went may be there in any of its sectors. The database is taken as SQLite leaves it:
as before or as after a transaction. For each moment, and each thing that the disk may have made of
it, the journal is opened again and compared with a model of what was written.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from petalkit._serving.ledger.journal.log import layers, place, segments
from petalkit._serving.ledger.journal.log.device import LogDevice
from petalkit._serving.ledger.journal.log.place import log_path
from petalkit._serving.ledger.journal.operations import Noted, Operation, Settled
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import Found

from .kit import accepted, finished, opened, posted, started
from .test_file_model import Model

SEGMENT = 6000  # bytes: few records fill it
IMAGES = 3  # of each write that is not whole
SECTOR = 512  # bytes that a disk writes whole


@attrs.frozen
class Write:
    """One write to the log that was on its way.

    Attributes:
        before: the log without it.
        offset: where it goes.
        data: what it is.
        databases: as they may be by then.
        written: how many batches were told as written.
    """

    before: bytes
    offset: int
    data: bytes
    databases: tuple[Path, ...]
    written: int


class Disk:
    """Notes what is written to the log of a journal, and copies its database."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.writes: list[Write] = []
        self.written = 0
        self._copies: list[Path] = []
        self._since: list[int] = []  # for each copy, from which write on it may be that one
        self._known_at: list[int] = []  # from which on it is
        write = LogDevice.write

        def noted(log: LogDevice, parts: list[bytes], length: int, offset: int) -> None:
            data = b"".join(parts)
            before = log_path(path).read_bytes()
            self.writes.append(Write(before, offset, data, (), self.written))
            write(log, parts, length, offset)

        monkeypatch.setattr(LogDevice, "write", noted)

    def copy_database(self, since: int) -> None:
        """There was a transaction, which may have been on disk since that write."""
        self._known_at.append(len(self.writes))
        target = self.path.with_name(f"database-{len(self._copies)}")
        for suffix in ("", "-wal"):
            source = self.path.with_name(self.path.name + suffix)
            shutil.copy(source, target.with_name(target.name + suffix))
        self._copies.append(target)
        self._since.append(since)

    def moments(self) -> Iterator[Write]:
        """Each write, with the databases that there may be by then."""
        for number, one in enumerate(self.writes):
            latest = max(n for n, known in enumerate(self._known_at) if known <= number)
            may = [self._copies[latest]]
            may += [
                copy
                for copy, since in zip(
                    self._copies[latest + 1 :], self._since[latest + 1 :], strict=True
                )
                if since <= number
            ]
            yield attrs.evolve(one, databases=tuple(may))


def images(write: Write, chance: random.Random) -> Iterator[tuple[bytes, bool]]:
    """What the disk may have made of a write, and whether that is all of it."""

    def with_part(part: Sequence[tuple[int, int]]) -> bytes:
        image = bytearray(write.before)
        for start, end in part:
            image[write.offset + start : write.offset + end] = write.data[start:end]
        return bytes(image)

    length = len(write.data)
    first = SECTOR - write.offset % SECTOR
    cuts = [0, *range(first, length, SECTOR), length]
    sectors = [(a, b) for a, b in itertools.pairwise(cuts) if a < b]
    whole = with_part([(0, length)])
    parts: list[Sequence[tuple[int, int]]]
    parts = [[(0, cut)] for cut in {1, 3, 20, 27, 28, length // 2, length - 1, length}]
    parts += [[], sectors[1:], sectors[:-1], [one for one in sectors if chance.random() < 0.5]]
    for part in [[(0, length)], *chance.sample(parts, IMAGES)]:
        image = with_part(part)
        yield image, image == whole  # the last bytes may be what was there before


def story(chance: random.Random) -> Iterator[list[Operation]]:
    """Batches of commands that come, start, end and are answered, and of notes."""
    number = 0
    live: list[int] = []
    owed: list[int] = []
    for _ in range(40):
        batch: list[Operation] = []
        for _ in range(chance.randrange(1, 4)):
            number += 1
            command = accepted(number, payload=b"x" * chance.choice((5, 100, 900)))
            batch.append(command)
            if chance.random() < 0.8:
                if chance.random() < 0.5:
                    batch.append(started(number))
                else:
                    command.started_at = started(number).at
                live.append(number)
        for one in [one for one in live if chance.random() < 0.5]:
            live.remove(one)
            number += 1
            end, post = finished(one), posted(number, one)
            batch.append(end)
            if chance.random() < 0.5:
                batch.append(post)
            else:
                end.post, end.topic, end.expires_at = number, post.topic or "", post.expires_at
            owed.append(number)
        for one in [one for one in owed[:-2] if chance.random() < 0.5]:
            owed.remove(one)
            batch.append(Settled(one, chance.choice((None, "expired"))))
        if chance.random() < 0.3:
            number += 1
            batch.append(Noted(number, b"note"))
        yield batch


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    size = segments.HEADER_SIZE + segments.SEGMENTS * SEGMENT
    for module in (segments, layers):
        monkeypatch.setattr(module, "SEGMENT_SIZE", SEGMENT)
    for module in (segments, place):
        monkeypatch.setattr(module, "LOG_SIZE", size)


def what_is_there(database: Path, log: bytes) -> Found:
    target = database.with_name("after the power")
    for suffix in ("", "-wal", "-log", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    for suffix in ("", "-wal"):
        shutil.copy(
            database.with_name(database.name + suffix), target.with_name(target.name + suffix)
        )
    log_path(target).write_bytes(log)
    log_path(target).chmod(0o600)
    with opened(target) as store:
        return store.load()


def run(path: Path, disk: Disk, chance: random.Random) -> list[Found]:
    """Write a story; what is there after each batch of it."""
    model = Model()
    after = [model.found()]
    with opened(path) as store:
        disk.copy_database(0)
        frozen_at = None
        for batch in story(chance):
            if store.can_fold and frozen_at is None:
                frozen_at = len(disk.writes)
            if frozen_at is not None and chance.random() < 0.4:
                fold(store, disk, frozen_at)
                frozen_at = None
            staged = store.stage(batch)
            direct = staged.layer is None
            store.put(staged)
            store.took(staged)
            disk.written += 1
            for operation in batch:
                model.apply(operation)
            after.append(model.found())
            if direct:  # as safe when it returns, and nothing was written to the log
                disk.copy_database(len(disk.writes))
                frozen_at = None
    return after


def fold(store: JournalStore, disk: Disk, frozen_at: int) -> None:
    store.fold()
    disk.copy_database(frozen_at)
    store.folded()


@pytest.mark.parametrize("seed", range(3))
def test_what_was_told_as_written_is_there_whenever_the_power_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None, seed: int
) -> None:
    chance = random.Random(seed)
    disk = Disk(tmp_path / "d.journal", monkeypatch)
    after = run(disk.path, disk, chance)
    moments = list(disk.moments())
    assert len(moments) > 25
    assert len(disk._copies) > 3
    for write in moments:
        for database in write.databases:
            for log, whole in images(write, chance):
                found = what_is_there(database, log)
                assert found == after[write.written + 1 if whole else write.written]
