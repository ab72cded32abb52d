"""Waiting for the first of several things, and running one beside a block."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


async def wait_any(*waits: Callable[[], Awaitable[object]]) -> None:
    """Wait until one of these is done; the others are cancelled. The caller bounds it."""

    async def one(wait: Callable[[], Awaitable[object]]) -> None:
        await wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for wait in waits:
            nursery.start_soon(one, wait)


@asynccontextmanager
async def beside(run: Callable[[], Awaitable[object]], name: str) -> AsyncGenerator[None]:
    """Run a task beside a block, and cancel it at the block's end.

    What the block raises comes out as it is, and not in a group, as it would out of a nursery; what
    the task raises does come out in one.

    Args:
        run: ends soon when it is cancelled: leaving waits for that, shielded, so that no
            cancellation from outside takes the place of what the block has raised.
        name: of the task.
    """
    outcome: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, name=name)
        try:
            yield
        except BaseException as error:
            outcome = error  # raised outside of the nursery
        nursery.cancel_scope.shield = True
        nursery.cancel_scope.cancel()
    if outcome is not None:
        try:
            raise outcome
        finally:
            del outcome  # or it holds this frame, which holds it
