"""The fixtures, found without an import: petals are served until their test ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from petalkit import Petal, command
from petalkit.testing import MemoryBroker
from petalkit.testing.pytest_plugin import OpenPetals

pytestmark = pytest.mark.trio

left: list[str] = []


class Keeper(Petal):
    name = "keeper"

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        yield
        left.append("keeper")

    @command("ping")
    async def ping(self) -> None:
        pass


@pytest.fixture
def left_at_the_end() -> Iterator[None]:
    """Asked for first, so that its end is the last."""
    yield
    assert left == ["keeper"]


async def test_it_is_served_on_the_tests_broker_and_left_when_the_test_is_over(
    left_at_the_end: None,
    petal_harness: OpenPetals,
    memory_broker: MemoryBroker,
    autojump_clock: Any,
) -> None:
    harness = await petal_harness(Keeper())
    assert harness.broker is memory_broker
    assert (await harness.call("keeper/ping")).success
    assert left == []
