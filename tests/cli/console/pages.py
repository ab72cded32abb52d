"""A page without a browser: what it asks, and what it is told, over memory channels."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from petalkit import Petal
from petalkit._serving.waiting import beside
from petalkit.cli._console.bridge import Bridge, Moves
from petalkit.cli._console.visits import Gone
from petalkit.testing import Harness

from ...client.long_work import CALLER, device_and_client

WAIT = 60.0  # virtual seconds
Said = dict[str, Any]


class FakePage:
    """The WebSocket of a page, and the page at its other end."""

    def __init__(self) -> None:
        self._ask, self._asked = trio.open_memory_channel[str](100)
        self.said: list[Said] = []
        self.messages = 0
        self.takes = True
        self._news = trio.Event()
        self.why: str | None = None

    # -- the WebSocket

    async def receive(self) -> str:
        try:
            return await self._asked.receive()
        except trio.EndOfChannel:
            raise Gone from None

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        if not self.takes:
            await trio.sleep_forever()
        self.messages += 1
        self.said += json.loads(text)
        self._news.set()

    # -- the page

    def ask(self, ask: str, **fields: Any) -> None:
        self._ask.send_nowait(json.dumps({"ask": ask, **fields}))

    def say_raw(self, text: str) -> None:
        self._ask.send_nowait(text)

    def close(self) -> None:
        self._ask.close()

    async def hears(self, say: str, fits: Callable[[Said], bool] = lambda _: True) -> Said:
        """The first that was or is said of that kind, and fits."""
        seen = 0
        with trio.fail_after(WAIT):
            while True:
                for one in self.said[seen:]:
                    if one["say"] == say and fits(one):
                        return one
                seen = len(self.said)
                self._news = trio.Event()
                await self._news.wait()

    def of(self, say: str) -> list[Said]:
        return [one for one in self.said if one["say"] == say]


@attrs.frozen
class Ground:
    """A device, the bridge, and a way to open pages."""

    harness: Harness
    bridge: Bridge
    nursery: trio.Nursery

    def open_page(self) -> FakePage:
        page = FakePage()

        async def visit() -> None:
            page.why = await self.bridge.visit(page)

        self.nursery.start_soon(visit)
        return page


@asynccontextmanager
async def open_ground(
    petal: Petal | None = None, moves: Moves | None = None, **caller: Any
) -> AsyncIterator[Ground]:
    async with device_and_client(petal, **caller) as (harness, client):
        bridge = Bridge(client, CALLER, moves)
        async with beside(bridge.run, "directory"), trio.open_nursery() as nursery:
            yield Ground(harness, bridge, nursery)
            nursery.cancel_scope.cancel()
