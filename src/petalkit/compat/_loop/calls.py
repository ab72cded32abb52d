"""Calls of a petal's code as tasks of an asyncio loop, and on whose behalf each task runs.

The rule: nothing comes out of a call but its own end; what it raised is kept in it, for whoever
asked for the call.
"""

from __future__ import annotations

import asyncio
import collections.abc
import contextvars
import inspect
from collections.abc import Callable
from typing import Any

import trio

from ..._authoring.context import log_scope
from ..._serving.watchdog import watch_context, watched

# What the code in a task is a part of; tasks and threads inherit it from who starts them.
owner: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("petalkit_owner", default=None)
# Whose code it is, where several live in one loop; inherited in the same way.
part_of: contextvars.ContextVar[Part | None] = contextvars.ContextVar("petalkit_part", default=None)

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


class Part:
    """What is one petal's in an asyncio loop.

    Args:
        name: of the petal, for the log.
        of_petal: False for one that is no petal's, such as that of proxies which petals share.

    Attributes:
        name: as given.
        of_petal: the same.
        tasks: all of its that run, or asyncio forgets those that nobody waits for; each with what
            it runs on behalf of.
        factory: makes its tasks; None where it has none of its own.
        stopped: it has asked for the end of a loop that is not its alone.
    """

    def __init__(self, name: str, *, of_petal: bool = True) -> None:
        self.name = name
        self.of_petal = of_petal
        self.tasks: dict[asyncio.Task[Any], Owner | None] = {}
        self.factory: Callable[..., asyncio.Task[Any]] | None = None
        self.stopped = trio.Event()

    def own(self, task: asyncio.Task[Any], on_behalf_of: Owner | None) -> None:
        """One more task."""
        self.tasks[task] = on_behalf_of
        if on_behalf_of is not None:
            on_behalf_of.tasks.add(task)

    def forget(self, task: asyncio.Task[Any]) -> None:
        """One has ended."""
        on_behalf_of = self.tasks.pop(task, None)
        if on_behalf_of is not None:
            on_behalf_of.remove(task)


class Call(collections.abc.Coroutine[Any, Any, None]):
    """One call of a petal's code, running as a task of its own. It is what that task runs.

    So it sees every end of the task, also that of one which is cancelled before its first step,
    and needs no callback for it, which would be a turn of the loop for every command.

    Args:
        name: for the log.
        function: of the petal.
        arguments: for it.
        on_end: told once when it has ended, in the loop; must not raise.

    Attributes:
        name: for the log.
        done: set when it has ended.
        on_end: as given.
        value: what it returned.
        error: what it raised; None when it returned, or when it was cancelled by us.
        cancelled: whether we have cancelled it.
        task: it runs in; None before that.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        on_end: Callable[[Call], object] | None,
    ) -> None:
        self.name = name
        self.done = trio.Event()
        self.on_end = on_end
        self.value: Any = None
        self.error: BaseException | None = None
        self.cancelled = False
        self.task: asyncio.Task[None] | None = None
        self._part: Part | None = None
        self._running = _run(self, function, arguments)

    def run_in(self, part: Part, task: asyncio.Task[None], on_behalf_of: Owner | None) -> None:
        """Belong to a part: this task runs it."""
        self.task, self._part = task, part
        part.own(task, on_behalf_of)

    # -- for asyncio, whose task steps through it

    def send(self, value: Any) -> Any:
        """One step."""
        try:
            return self._running.send(value)
        except BaseException:  # its end, by StopIteration as a rule
            self._end()
            raise

    def throw(self, *error: Any) -> Any:
        """One step, with an error."""
        try:
            return self._running.throw(*error)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """It is being thrown away."""
        self._running.close()

    def __await__(self) -> Any:
        return self._running.__await__()

    def _end(self) -> None:
        if self._part is not None and self.task is not None:
            self._part.forget(self.task)
        if not self.done.is_set():
            self.done.set()
            if self.on_end is not None:
                self.on_end(self)


@watched
async def _run(call: Call, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
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
    del execution
