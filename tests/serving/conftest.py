"""A journal of each test's own, and the disk under it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .on_disk import Disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device.journal"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)
