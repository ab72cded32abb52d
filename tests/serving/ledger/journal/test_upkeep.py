"""When the log is folded into the database, and when not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from petalkit import Settings
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.journal.writing import upkeep as upkeep_module
from petalkit._serving.ledger.journal.writing.known import KnownCommands
from petalkit._serving.ledger.journal.writing.upkeep import Upkeep
from petalkit._values.codec import Timestamps

from .kit import MIB, accepted, done, opened


@attrs.define
class Store:
    """What upkeep asks of one."""

    can_fold: bool = False
    nearly_full: bool = False
    finished_in_log: int = 0
    done: list[str] = attrs.field(factory=list)

    def freeze(self) -> None:
        self.done.append("freeze")

    def fold(self, pause: Callable[[], object]) -> None:
        self.done.append("fold")

    def prune(self, **_: object) -> list[tuple[int, str | None]]:
        self.done.append("prune")
        return []


@pytest.fixture
def upkeep(monkeypatch: pytest.MonkeyPatch) -> Upkeep:
    monkeypatch.setattr(trio, "current_time", lambda: 0.0)
    for name, value in (("PRUNE_EVERY", 256), ("FOLD_PART", 2)):
        monkeypatch.setattr(upkeep_module, name, value)
    return Upkeep(Settings(), Timestamps(), KnownCommands())


@pytest.mark.parametrize(
    ("how", "done"),
    [
        # Asked for again while it folded, or for the number of commands: what fills up goes on.
        ({}, ["fold", "prune"]),
        ({"can_fold": True}, ["fold", "prune"]),
        ({"can_fold": True, "nearly_full": True}, ["fold", "prune"]),
        ({"finished_in_log": 4999}, ["fold", "prune"]),
        ({"finished_in_log": 5000}, ["freeze", "fold", "prune"]),
        # Room is made of what is in the database only.
        ({"nearly_full": True}, ["freeze", "fold", "prune"]),
    ],
)
def test_a_part_of_the_log_that_is_not_full_is_folded_only_to_make_room(
    upkeep: Upkeep, how: dict[str, Any], done: list[str]
) -> None:
    store = Store(**how)
    upkeep.store = store  # type: ignore[assignment]
    upkeep.next_fold()()
    assert store.done == done


def test_what_is_in_the_log_does_not_keep_a_crowded_journal_crowded_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three wait for long, and seven have finished: fewer than are folded for their number."""
    now = 0.0
    monkeypatch.setattr(trio, "current_time", lambda: now)
    settings = Settings(journal_count=5, replay_count=5, replay_window=60)
    known = KnownCommands()
    upkeep = Upkeep(settings, Timestamps(), known)
    opening = JournalStore.open(
        tmp_path / "d.journal",
        device_id="d",
        size_max=64 * MIB,
        window=60,
        count_max=10,
        clock=lambda: now,
    )
    with contextlib.closing(opening) as store:
        upkeep.store = store
        for number in range(1, 21, 2):
            operations = done(number) if number > 6 else [accepted(number)]
            known.accept(operations[0])  # type: ignore[arg-type]
            store.write(operations)
            known.written(operations)
            if number > 6:
                known.finish()
        assert store.is_crowded(len(known), known.under_way)
        now = 61.0
        if upkeep.is_due:
            known.prune(upkeep.next_fold()())
            store.folded()
        now = 122.0  # what is folded stays as long as if it had finished just then
        assert not store.is_crowded(len(known), known.under_way)


def test_folding_leaves_turns_to_others_until_the_other_part_is_half_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio, "current_time", lambda: 0.0)
    slept: list[float] = []
    monkeypatch.setattr(upkeep_module.time, "sleep", slept.append)
    upkeep = Upkeep(Settings(journal_thread=True), Timestamps(), KnownCommands())
    with opened(tmp_path / "d.journal") as store:
        upkeep.store = store
        for payload in (b"x", b"x" * 900_000):
            for number in (1, 3):
                store.write(done(number))
            store.freeze()
            for number in (5, 7):
                store.write([accepted(number, payload=payload)])
            upkeep.next_fold()()
            store.folded()
            store.freeze()
            store.fold()
            store.folded()
            slept.append(0.0)
    assert slept == [upkeep_module.PAUSE, upkeep_module.PAUSE, 0.0, 0.0]
