"""The watchdog: names the command, or the petal, that blocks the event loop, while it does.

A thread looks now and then whether the event loop waits for something to happen; if not, it asks
for a sign of life. When none comes, everything in the process stands still, petals and
acknowledgements alike, and only a thread can say so. It cannot end what blocks: write the handler
with `thread=True`, or run that petal in a process of its own.

The trap: a loop that beats by itself wakes an idle device for nothing, and so does a thread that
looks often.
"""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeVar

import trio

from .._authoring.context import log_scope
from .dispatch.calling import call_handler
from .dispatch.execution import Execution
from .petals.background import living

logger = logging.getLogger("petalkit.watchdog")

# What Trio calls the step in which its loop waits, whatever the system offers for that. Under
# another name the loop is asked each time, which costs a wake-up.
_WAITS = "get_events"

F = TypeVar("F", bound=Callable[..., Any])
_watched = {call_handler.__code__}
_contexts: dict[CodeType, tuple[str, str]] = {}


def watched(function: F) -> F:
    """Let the watchdog look into this function, when it blocks, for whom it runs: `execution`.

    For functions that call handlers; each has a variable of that name.
    """
    _watched.add(function.__code__)
    return function


def watch_context(function: Callable[..., Any], variable: str, attribute: str) -> None:
    """Let the watchdog look for whom this function runs what it runs.

    Args:
        function: runs tasks or callbacks, each in its `contextvars.Context`.
        variable: of the function, which holds the task or callback.
        attribute: of that, which holds the context.
    """
    _contexts[function.__code__] = (variable, attribute)


async def watch_event_loop(limit: float) -> None:
    """Report every time the event loop was blocked for `limit` seconds, until cancelled.

    Real time, whatever Trio's clock: a blocked loop is blocked for the world.
    """
    pulse = _Pulse(limit, trio.lowlevel.current_trio_token())
    # A daemon that waits with a limit: it ends soon after `stopped`, and holds up no exit.
    threading.Thread(target=pulse.watch, name="petalkit watchdog", daemon=True).start()
    try:
        await trio.sleep_forever()
    finally:
        pulse.stopped.set()


class _Pulse:
    def __init__(self, limit: float, token: trio.lowlevel.TrioToken) -> None:
        self._limit = limit
        self._token = token
        self._watched = threading.get_ident()
        self.stopped = threading.Event()

    def watch(self) -> None:
        """In the thread, until `stopped`."""
        while not self.stopped.wait(self._limit):
            if self._waits():
                continue
            alive = threading.Event()
            try:
                self._token.run_sync_soon(alive.set)
            except trio.RunFinishedError:
                return
            asked = time.monotonic()
            if not alive.wait(self._limit) and not self.stopped.is_set():
                self._report(time.monotonic() - asked)
                # Once: until it goes on, there is no more to say.
                while not alive.wait(self._limit) and not self.stopped.is_set():
                    pass

    def _waits(self) -> bool:
        frame = sys._current_frames().get(self._watched)
        return frame is not None and frame.f_code.co_name == _WAITS

    def _report(self, silence: float) -> None:
        frame = sys._current_frames().get(self._watched)
        if frame is None:
            return
        execution, petal = _find(frame)
        extra = None
        name = "something that is no command"
        if execution is not None:
            name = execution.spec.name
            extra = {"petal": execution.spec.petal, "command": name}
        elif petal is not None:
            name = f"petal {petal!r}, outside of commands"
            extra = {"petal": petal}
        where = "".join(traceback.format_stack(frame)[-3:]).rstrip()
        text = "the event loop has been blocked for %.1f s by %s; blocking work belongs into a "
        # By hand, for a stack that is not this thread's.
        record = logger.makeRecord(
            logger.name, logging.ERROR, frame.f_code.co_filename, frame.f_lineno,
            text + "thread", (silence, name), None, extra=extra, sinfo=where,
        )  # fmt: skip
        logger.handle(record)


def _find(frame: FrameType | None) -> tuple[Execution | None, str | None]:
    """The command on whose behalf a stack runs; or else the petal whose task it is.

    What called the handler is on the stack of the handler alone. Of the tasks and callbacks that
    were started on its behalf, what runs them is, in the context that they have inherited.
    """
    petal: str | None = None
    while frame is not None:
        if frame.f_code in _watched:
            found = frame.f_locals.get("execution")
        else:
            context = _context_of(frame)
            found = None if context is None else context.get(log_scope)
            petal = petal or (None if context is None else context.get(living))
        if isinstance(found, Execution):
            return found, found.spec.petal
        frame = frame.f_back
    return None, petal


def _context_of(frame: FrameType) -> contextvars.Context | None:
    """What a frame runs something else in; None for nearly all frames."""
    place = _contexts.get(frame.f_code)
    if place is None and frame.f_code.co_name == "unrolled_run":
        place = ("task", "context") if frame.f_globals["__name__"] == "trio._core._run" else None
    if place is None:
        return None
    context = getattr(frame.f_locals.get(place[0]), place[1], None)
    return context if isinstance(context, contextvars.Context) else None
