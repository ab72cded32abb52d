"""A link's tasks around a block: how both clients of a broker run one.

The trap: a nursery puts whatever passes through it into a group, and the block's own errors are
somebody else's; so they are kept out of it. And a cancelled block still says goodbye.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from ._base_link import BaseLink


@asynccontextmanager
async def hold_link(link: BaseLink, deadline: float, timeout: float) -> AsyncGenerator[None]:
    """Run a link's tasks around a block; what the block raises comes out as it is.

    Args:
        link: new.
        deadline: for its CONNACK.
        timeout: seconds for `leave`, which also a cancelled block does (S15).
    """
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        # What the block raises must not pass through the nursery, which would wrap it.
        try:
            await nursery.start(link.run, deadline)
            try:
                # Cancelled in the wake-up that brought the CONNACK: the link has ended.
                await trio.lowlevel.checkpoint_if_cancelled()
                yield
            finally:
                with trio.move_on_after(timeout, shield=True):
                    await link.leave()
        except BaseException as error:
            failure = error
        link.close()
        nursery.cancel_scope.cancel()
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # or it holds this frame, which holds it
