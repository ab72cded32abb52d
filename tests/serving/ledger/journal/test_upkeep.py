"""When the log is folded into the database, and when not."""

from __future__ import annotations

import attrs
import pytest
import trio

from petalkit import Settings
from petalkit._serving.ledger.journal.writing.known import KnownCommands
from petalkit._serving.ledger.journal.writing.upkeep import Upkeep
from petalkit._values.codec import Timestamps


@attrs.define
class Store:
    """What upkeep asks of one."""

    can_fold: bool = False
    nearly_full: bool = False
    done: list[str] = attrs.field(factory=list)

    def freeze(self) -> None:
        self.done.append("freeze")

    def fold(self) -> None:
        self.done.append("fold")

    def prune(self, **_: object) -> list[tuple[int, str | None]]:
        self.done.append("prune")
        return []


@pytest.fixture
def upkeep(monkeypatch: pytest.MonkeyPatch) -> Upkeep:
    monkeypatch.setattr(trio, "current_time", lambda: 0.0)
    return Upkeep(Settings(), Timestamps(), KnownCommands())


@pytest.mark.parametrize(
    ("store", "done"),
    [
        # Asked for again while it folded, or for the number of commands: what fills up goes on.
        (Store(), ["fold", "prune"]),
        (Store(can_fold=True), ["fold", "prune"]),
        (Store(can_fold=True, nearly_full=True), ["fold", "prune"]),
        # Room is made of what is in the database only.
        (Store(nearly_full=True), ["freeze", "fold", "prune"]),
    ],
)
def test_a_part_of_the_log_that_is_not_full_is_folded_only_to_make_room(
    upkeep: Upkeep, store: Store, done: list[str]
) -> None:
    upkeep.store = store  # type: ignore[assignment]
    upkeep.next_fold()()
    assert store.done == done
