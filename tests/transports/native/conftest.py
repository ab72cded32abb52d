"""The broker at the other end of a stream in memory, for the tests of the native link."""

from __future__ import annotations

import pytest
import trio

from ..scripted_peer import Network


@pytest.fixture
def network(nursery: trio.Nursery) -> Network:
    return Network(nursery)
