"""What all tests of the ledger have."""

from __future__ import annotations

import pytest

from petalkit._serving.ledger.journal.place import watch


@pytest.fixture(autouse=True)
def each_batch_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each batch look at its place anew: batches of tests come in no time."""
    monkeypatch.setattr(watch, "SHARED", 0.0)
