"""What the stories of the journal are told with: a crash, and a disk that fails on demand."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from petalkit import Petal, Settings, command
from petalkit._serving.ledger.journal.log.layers import Staged
from petalkit._serving.ledger.journal.operations import Finished, Operation
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import Accepted, JournalError

from .recorder import Recorder

_numbers = itertools.count(1)


def settings(path: Path, **others: Any) -> Settings:
    return Settings(journal=path, **others)


def after_crash(path: Path) -> Path:
    """The journal as a process that dies now would leave it, for another to open.

    What is written is whole: nothing here runs in the middle of a transaction, and the copy is
    what SQLite would find after a power cut.
    """
    name = path.name.partition("-after-crash-")[0]
    copy = path.with_name(f"{name}-after-crash-{next(_numbers)}")
    for suffix in ("", "-wal", "-log"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copy(source, copy.with_name(copy.name + suffix))
    return copy


def folded(path: Path) -> Path:
    """The same journal with nothing left in its log, as a start and a stop would leave it."""
    connection = sqlite3.connect(path)
    (owner,) = connection.execute("SELECT value FROM meta WHERE name = 'device_id'").fetchone()
    connection.close()
    JournalStore.open(path, device_id=owner, size_max=64 * 1024 * 1024).close()
    return path


class Disk:
    """The disk under a journal: fails, or notes what is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: str | None = None
        self.batches: list[list[Operation]] = []
        self.before_write: Callable[[], object] = lambda: None
        self.after_write: Callable[[], object] = lambda: None
        put = JournalStore.put

        def put_or_fail(store: JournalStore, staged: Staged) -> None:
            self.before_write()
            if self.error is not None:
                raise JournalError("the test's", self.error)
            put(store, staged)
            self.batches.append(list(staged.operations))
            self.after_write()

        monkeypatch.setattr(JournalStore, "put", put_or_fail)

    def kinds(self) -> list[list[str]]:
        """The names of what was written, batch by batch; also what stands in another."""
        return [[name for each in batch for name in _said_by(each)] for batch in self.batches]


def _said_by(operation: Operation) -> Iterator[str]:
    yield type(operation).__name__
    if isinstance(operation, Accepted) and operation.started_at is not None:
        yield "Started"
    if isinstance(operation, Finished) and operation.post:
        yield "Posted"


class Again(Recorder):
    """A recorder with a command that may be run again, and one that is not worth recording."""

    @command("again", timeout=600.0, idempotent=True)
    async def again(self, key: str = "", n: int = 0) -> dict[str, Any]:
        return await self._hold(key, n)

    @command("renew", journal=False)
    async def renew(self, n: int = 0) -> dict[str, Any]:
        self.started.append(n)
        return {"n": n}


def both() -> list[Petal]:
    return [Again(), Recorder("other")]
