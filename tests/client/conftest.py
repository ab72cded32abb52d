"""The broker that client and device meet at."""

from __future__ import annotations

import pytest

from petalkit.transports.memory import MemoryBroker


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()
