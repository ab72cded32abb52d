"""Waiting for the first of several things."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


async def wait_any(*waits: Callable[[], Awaitable[object]]) -> None:
    """Wait until one of these is done; the others are cancelled. The caller bounds it."""

    async def one(wait: Callable[[], Awaitable[object]]) -> None:
        await wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for wait in waits:
            nursery.start_soon(one, wait)
