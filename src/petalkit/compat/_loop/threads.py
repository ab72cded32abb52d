"""Calling handlers where they belong: in the petal's loop, or in a worker thread.

The trap: whatever the handler awaits there belongs to that loop. The methods of `MQTTProxy` see
whose loop calls, and cross over by themselves, so a handler in a thread can answer.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from typing import Any


async def call_handler(
    handler: Callable[..., Any], topic: str, message: dict[str, Any], *, cpu_heavy: bool
) -> None:
    """Asyncio-flavored: call a handler.

    Args:
        handler: an `async def`; or a plain `def`, which is called in a worker thread.
        topic: for it.
        message: for it.
        cpu_heavy: whether an `async def` gets a thread too, with a loop of its own.
    """
    if not inspect.iscoroutinefunction(handler):
        called = await asyncio.to_thread(handler, topic, message)
        if inspect.isawaitable(called):  # such as a lambda around an async function
            await called
    elif cpu_heavy:
        await run_in_own_loop(handler, topic, message)
    else:
        await handler(topic, message)


async def run_in_own_loop(
    function: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
) -> Any:
    """Run an asyncio-flavored function in a worker thread, and return its result.

    Cancellation: is passed on to the function's own task. The thread is not waited for: nobody
    can stop one that does not await.
    """
    entered: concurrent.futures.Future[Callable[[], object]] = concurrent.futures.Future()
    context = contextvars.copy_context()

    def call() -> Any:
        return context.run(_run, function, arguments, entered)

    try:
        return await asyncio.get_running_loop().run_in_executor(None, call)
    except asyncio.CancelledError:
        # If it has not begun, it never will; if it is about to, it is told as soon as it can be.
        if not entered.cancel():
            entered.add_done_callback(lambda known: known.result()())
        raise


def _run(
    function: Callable[..., Coroutine[Any, Any, Any]],
    arguments: tuple[Any, ...],
    entered: concurrent.futures.Future[Callable[[], object]],
) -> Any:
    if not entered.set_running_or_notify_cancel():
        return None
    # A plain loop: trio-asyncio would make one of its own kind, with a Trio run inside.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        loop = runner.get_loop()

        async def main() -> Any:
            task = asyncio.current_task()
            assert task is not None

            def cancel() -> None:
                with contextlib.suppress(RuntimeError):  # it has just ended, and its loop with it
                    loop.call_soon_threadsafe(task.cancel)

            entered.set_result(cancel)
            return await function(*arguments)

        return runner.run(main(), context=contextvars.copy_context())
