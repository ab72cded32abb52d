"""A sidecar in memory for each test that asks for one."""

from __future__ import annotations

import pytest
import trio

from ..fake_sidecar import FakeSidecar


@pytest.fixture
def sidecar(nursery: trio.Nursery) -> FakeSidecar:
    return FakeSidecar(nursery)
