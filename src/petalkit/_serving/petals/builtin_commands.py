"""The commands that every runtime serves, under `petalkit/`: is it alive, what does it serve.

They are served at intake like urgent ones, so they answer while everything else is full. Whoever
may send commands to a device may ask these; they tell names and counters, no payloads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from ..._authoring.command import command
from ..._authoring.declared import RESERVED_PREFIX
from ..._authoring.petal import Petal
from ..._values.basics.version import __version__
from ..._values.statistics import Statistics
from ..jobs.commands.cancelling import Cancelling
from .inventory import Inventory


class BuiltinPetal(Petal):
    """Serves `petalkit/ping`, `info`, `cancel`, `jobs` and `statistics`."""

    name = RESERVED_PREFIX
    version = __version__
    __petalkit_builtin__: ClassVar[bool] = True

    def __init__(self, statistics: Callable[[], Statistics]) -> None:
        self._statistics = statistics
        self.inventory: Inventory | None = None
        self.cancelling: Cancelling | None = None

    @command("ping", urgent=True, timeout=5.0, journal=False)
    async def ping(self) -> None:
        """Answer, and nothing else."""

    @command("info", urgent=True, timeout=5.0, journal=False)
    async def info(
        self,
        petal: str | None = None,
        command: str | None = None,
        names: bool = False,
        after: str | None = None,
    ) -> dict[str, Any]:
        """What is served: petals, and commands, jobs and streams with the schemas of their data."""
        assert self.inventory is not None
        return self.inventory.info(petal, command, names=names, after=after)

    @command("cancel", urgent=True, timeout=5.0, journal=False)
    async def cancel(
        self,
        messageId: str | None = None,  # noqa: N803 - as it is called on the wire
        job_id: str | None = None,
    ) -> dict[str, Any]:
        """End a command that waits or runs, or a job; it cleans up first."""
        assert self.cancelling is not None
        return await self.cancelling.cancel(messageId, job_id)

    @command("jobs", urgent=True, timeout=5.0, journal=False)
    async def jobs(self) -> dict[str, Any]:
        """Every job that waits or runs."""
        assert self.cancelling is not None
        return self.cancelling.list_jobs()

    @command("statistics", urgent=True, timeout=5.0, journal=False)
    async def statistics(self) -> dict[str, Any]:
        """The counters of `runtime.statistics()`."""
        return {"statistics": attrs.asdict(self._statistics())}
