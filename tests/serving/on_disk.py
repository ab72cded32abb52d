"""What the stories of the journal are told with: a crash, and a disk that fails on demand."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from petalkit import Petal, Settings, command
from petalkit._serving.ledger.journal.operations import Operation
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import JournalError

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
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copy(source, copy.with_name(copy.name + suffix))
    return copy


class Disk:
    """The disk under a journal: fails, or notes what is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: str | None = None
        self.batches: list[list[Operation]] = []
        self.before_write: Callable[[], object] = lambda: None
        self.after_write: Callable[[], object] = lambda: None
        write = JournalStore.write

        def write_or_fail(store: JournalStore, batch: Sequence[Operation]) -> None:
            self.before_write()
            if self.error is not None:
                raise JournalError("the test's", self.error)
            write(store, batch)
            self.batches.append(list(batch))
            self.after_write()

        monkeypatch.setattr(JournalStore, "write", write_or_fail)

    def kinds(self) -> list[list[str]]:
        """The names of what was written, batch by batch."""
        return [[type(each).__name__ for each in batch] for batch in self.batches]


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
