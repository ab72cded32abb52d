"""Fixtures for petal authors, found by pytest through an entry point.

They need pytest-trio (`pip install petalkit[testing]`); without it there are none.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from .._authoring.petal import Petal
    from ..transports.memory import MemoryBroker
    from ._harness import Harness


class OpenPetals(Protocol):
    """The type of the fixture `petal_harness`."""

    async def __call__(self, *petals: Petal, **options: Any) -> Harness:
        """Serve these petals until the test ends; takes the options of `open_harness`."""
        ...


if importlib.util.find_spec("pytest_trio") is not None:

    @pytest.fixture
    def memory_broker() -> MemoryBroker:
        """A new in-process broker."""
        from ..transports.memory import MemoryBroker

        return MemoryBroker()

    @pytest.fixture
    async def petal_harness(memory_broker: MemoryBroker) -> AsyncGenerator[OpenPetals]:
        """Gives a function that serves petals until the test ends and returns their harness."""
        import trio

        from ._opening import open_harness

        done = trio.Event()

        async def hold(
            petals: tuple[Petal, ...],
            options: dict[str, Any],
            *,
            task_status: trio.TaskStatus[Harness] = trio.TASK_STATUS_IGNORED,
        ) -> None:
            # In a task of its own: the test's task must not enter a nursery that outlives it.
            async with open_harness(*petals, **options) as harness:
                task_status.started(harness)
                await done.wait()

        async with trio.open_nursery() as nursery:

            async def serve(*petals: Petal, **options: Any) -> Harness:
                options.setdefault("broker", memory_broker)
                harness: Harness = await nursery.start(hold, petals, options)
                return harness

            yield serve
            done.set()
