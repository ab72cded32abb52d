"""What the petals of one `adapt()` share: an asyncio loop, and the proxies that live in it.

A proxy is bound to the loop that it is started in, so petals that share one live in one loop, as
they do in the host. The rule: it is opened before the first of them is entered, and its proxies are
stopped when the last has ended. What a petal starts in it is that petal's, and ends with it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from ..._values.settings.settings import Settings
from .._loop.asyncio_loop import AsyncioLoop, open_asyncio_loop
from .._loop.calls import Part
from .._loop.loop import PetalLoop
from .shelf import Shelf

# Of `cleanup_timeout`: for the tasks that are nobody's, for stopping the proxies, and for theirs.
SHARE = 0.2
CANCEL_SHARE = 0.05  # for a proxy that does not stop


class Together:
    """See the module. What lies beneath the lives of its petals: see `Petal`.

    Args:
        shelf: has the proxies.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._house: AsyncioLoop | None = None

    async def run(
        self, settings: Settings, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Hold the loop open until cancelled, which the runtime does when the lives have ended."""
        nobodys = Part("petals of the host", of_petal=False)
        limit = SHARE * settings.cleanup_timeout
        async with open_asyncio_loop(nobodys, shared=True) as house:
            others = PetalLoop(nobodys, house)
            loop = PetalLoop(Part("proxies", of_petal=False), house)
            loop.cancel_limit = others.cancel_limit = CANCEL_SHARE * settings.cleanup_timeout
            self.shelf.open(loop, settings)
            self._house = house
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._house = None
                await others.end_all(limit)
                await self.shelf.stop(limit)
                await loop.end_all(limit)
                await others.close_generators()

    @asynccontextmanager
    async def open_petal_loop(self, name: str, limit: float) -> AsyncGenerator[PetalLoop]:
        """One petal's part of the loop; see the function of that name."""
        if self._house is None:
            raise RuntimeError("the loop that the petals share is not open")
        petal_loop = PetalLoop(Part(name), self._house)
        try:
            yield petal_loop
        finally:
            await petal_loop.end_all(limit)
