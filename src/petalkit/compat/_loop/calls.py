"""Calls of a petal's code as tasks of its loop, and on whose behalf each task runs.

The rule: nothing comes out of a call but its own end; what it raised is kept in it, for whoever
asked for the call.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from typing import Any

import trio

from ..._authoring.context import log_scope
from ..._serving.watchdog import watch_context, watched

# What the code in a task is a part of; tasks and threads inherit it from who starts them.
owner: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("petalkit_owner", default=None)

# It runs each step of a task and each callback, and so those that a handler has started.
watch_context(asyncio.Handle._run, "self", "_context")


class Owner:
    """What tasks belong to: all that were started on its behalf, however far down."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()

    def remove(self, task: asyncio.Task[Any]) -> None:
        """One of its tasks has ended."""
        self.tasks.discard(task)
        if not self.tasks:
            self.on_quiet()

    def on_quiet(self) -> None:
        """None is left; for subclasses."""


class Call:
    """One call of the petal's code, running as a task of its own.

    Attributes:
        name: for the log.
        done: set when it has ended.
        on_end: called then.
        value: what it returned.
        error: what it raised; None when it returned, or when it was cancelled by us.
        cancelled: whether we have cancelled it.
    """

    def __init__(self, name: str, on_end: Callable[[Call], object] | None) -> None:
        self.name = name
        self.done = trio.Event()
        self.on_end = on_end
        self.value: Any = None
        self.error: BaseException | None = None
        self.cancelled = False
        self.task: asyncio.Task[None] | None = None

    def end(self) -> None:
        """It has ended, which may be told more than once."""
        if not self.done.is_set():
            self.done.set()
            if self.on_end is not None:
                self.on_end(self)


@watched
async def run_call(call: Call, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run a petal's code, and let nothing out of it but its own end."""
    execution = log_scope.get()  # for the watchdog, which looks for this name
    try:
        result = function(*arguments)
        if inspect.iscoroutine(result):  # no other: a plain hook may return a task of the petal's
            result = await result
        call.value = result
    except asyncio.CancelledError as error:
        if not call.cancelled:
            call.error = error  # of its own making, such as a task of its own that was cancelled
    except GeneratorExit:
        raise  # this coroutine is being thrown away
    except KeyboardInterrupt as error:
        # Ctrl-C is petalkit's, or the program's, and does not come here: so it is the petal's own.
        call.error = RuntimeError("the petal raised KeyboardInterrupt")
        call.error.__cause__ = error
    except BaseException as error:  # SystemExit too, which would end the loop
        call.error = error
    call.end()
    del execution
