"""What a petal's loop does differently from trio-asyncio's, each put in its place here.

The rule: nothing that a petal does in its loop reaches the process or another petal, and what
asyncio allows it is allowed. Each function changes one loop, once, before anything runs in it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import signal
import weakref
from collections.abc import Callable
from typing import Any

import trio

from ...transports._trio_asyncio import trio_asyncio
from .calls import Part

logger = logging.getLogger("petalkit.compat")

THREADS = 32  # worker threads of one petal's default executor; more calls wait for one


def keep_signals(whose: Callable[[], Part], loop: Any) -> None:
    """Signals are the process's, and a petal is not: two of them would take them from each other,
    and one that ends would leave a handler behind that nobody serves.
    """

    def add_signal_handler(number: int, callback: Callable[..., Any], *arguments: Any) -> None:
        name = whose().name
        extra = {"petal": name}
        text = "petal %r wants to handle %s: not done; override shutdown() for the process's end"
        logger.error(text, name, signal.Signals(number).name, extra=extra)

    loop.add_signal_handler = add_signal_handler
    loop.remove_signal_handler = lambda number: False


def take_all_executors(whose: Callable[[], Part], loop: Any) -> None:
    """trio-asyncio runs nothing in executors of other kinds; petals bring their own.

    The default one has so many threads for each petal.
    """
    in_trio = loop.run_in_executor
    default: concurrent.futures.Executor | None = None
    theirs: weakref.WeakKeyDictionary[Part, _Executor] = weakref.WeakKeyDictionary()

    def run_in_executor(executor: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        executor = default if executor is None else executor
        if executor is None:
            part = whose()
            executor = theirs.get(part)
            if executor is None:
                executor = theirs[part] = _Executor(part.name)
        if isinstance(executor, trio_asyncio.TrioExecutor):
            return in_trio(executor, function, *arguments)
        return asyncio.wrap_future(executor.submit(function, *arguments), loop=loop)

    def set_default_executor(executor: concurrent.futures.Executor) -> None:
        nonlocal default
        default = executor

    loop.run_in_executor = run_in_executor
    loop.set_default_executor = set_default_executor


class _Executor(trio_asyncio.TrioExecutor):  # type: ignore[misc]
    """Threads that are not waited for when their call is cancelled, as asyncio has it."""

    def __init__(self, petal: str) -> None:
        super().__init__(limiter=trio.CapacityLimiter(THREADS))
        self._name = f"petal {petal}"

    async def submit(self, func: Callable[..., Any], *args: Any) -> Any:
        return await trio.to_thread.run_sync(
            func, *args, limiter=self._limiter, abandon_on_cancel=True, thread_name=self._name
        )
