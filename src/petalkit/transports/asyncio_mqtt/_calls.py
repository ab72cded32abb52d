"""The client's coroutines, run beside a link's tasks.

The rule: none runs in the task of whoever asks, since a future of a loop that has failed is never
done; and whoever asks waits for an event, as long as patience lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from .._trio_asyncio import trio_asyncio
from ._library import MqttError


class Calls:
    """See the module.

    Args:
        loop: of the link.
        nursery: in it.
        on_error: called with what a coroutine of the client complains of.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        nursery: trio.Nursery,
        on_error: Callable[[str], object],
    ) -> None:
        self._loop = loop
        self._nursery = nursery
        self._on_error = on_error

    def start(
        self, method: Callable[..., Awaitable[Any]], scope: trio.CancelScope, *args: Any
    ) -> tuple[trio.Event, list[Any]]:
        """Run one of the client's coroutines; its end, and its result if there is one.

        Args:
            method: the coroutine function.
            scope: around it, for whoever does not wait for it any more.
            args: its arguments.
        """
        results: list[Any] = []
        done = trio.Event()

        async def run() -> None:
            try:
                with scope:
                    results.append(await trio_asyncio.aio_as_trio(method, loop=self._loop)(*args))
            except MqttError as error:
                self._on_error(str(error))
            finally:
                done.set()

        self._nursery.start_soon(run)
        return done, results
