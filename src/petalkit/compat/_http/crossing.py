"""One request in its petal's asyncio loop, and what is under way of one petal.

The rule: the application, FastAPI's, runs in the loop in which the petal's handlers of commands
run, so that its locks, clients and tasks are the same. It begins its answer within the limit, or is
cancelled. An answer that has begun has none: it may be a stream, which ends with its client, or
when the petal does. A client that goes away ends no call, as with the host: the petal may have
begun what it was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import trio

from ..._serving.petals.background import living
from ..._values.errors import ErrorCode
from .._loop.loop import PetalLoop
from .answers import EndedItself, Event, Receive, Refusal, Scope, Send, say_failed, unavailable

CALLS_MAX = 1000  # of one petal under way, most of them without a client any more


class Lane:
    """What is under way of one petal, or of no petal.

    Args:
        name: of the petal.
        loop: its own.

    Attributes:
        name: the same.
        loop: the same.
    """

    def __init__(self, name: str, loop: PetalLoop) -> None:
        self.name = name
        self.loop = loop
        self._calls: set[trio.CancelScope] = set()
        self._quiet = trio.Event()
        self._reason: Refusal | None = None

    @property
    def under_way(self) -> int:
        """Calls."""
        return len(self._calls)

    async def wait_quiet(self) -> None:
        """Wait until nothing is under way. The caller bounds it."""
        while self._calls:
            self._quiet = trio.Event()
            await self._quiet.wait()

    def cancel(self, reason: Refusal) -> None:
        """End all that is under way, and take nothing new.

        Args:
            reason: what is answered where no answer has begun.
        """
        self._reason = reason
        for call in self._calls:
            call.cancel()

    async def serve(
        self, app: Callable[..., Any], scope: Scope, receive: Receive, send: Send, limit: float
    ) -> bool:
        """Have one request, or WebSocket, served; False when it was cut off in its answer.

        Args:
            app: an ASGI application for asyncio.
            scope: of the request.
            receive: Trio-flavored.
            send: Trio-flavored.
            limit: seconds until it begins its answer.

        Raises:
            Refusal: it did not, and nothing was answered.
            EndedItself: the application was left by something else than an error.
            Exception: what the application raised.
        """
        if self._reason is not None:
            raise self._reason
        if len(self._calls) >= CALLS_MAX:
            raise unavailable(f"{CALLS_MAX} calls of {self.name!r} are under way", ErrorCode.BUSY)
        if not self.loop.is_running:
            raise unavailable(f"petal {self.name!r} has ended its own loop")
        began = False
        name = what(scope)

        async def send_on(event: Event) -> None:
            nonlocal began
            began = True
            calling.deadline = math.inf
            await send(event)

        with trio.CancelScope(deadline=trio.current_time() + limit) as calling:
            self._calls.add(calling)
            try:
                living.set(self.name)  # for the watchdog
                await self._call(name, app, scope, receive, send_on)
                return True
            except EndedItself:
                if self._reason is None:  # else it was cancelled with its petal
                    if not began and scope["type"] == "http":
                        await say_failed(send)
                    raise
            finally:
                self._calls.discard(calling)
                if not self._calls:
                    self._quiet.set()
        # Cancelled, by us or by the clock.
        if not began:
            raise self._reason or Refusal(
                504, ErrorCode.TIMEOUT, f"there was no answer within {limit:g} s"
            )
        return False

    async def _call(
        self, name: str, app: Callable[..., Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        in_trio = self.loop.loop.trio_as_future

        async def receive_here() -> Event:
            event: Event = await in_trio(receive)
            return event

        async def send_here(event: Event) -> None:
            await in_trio(send, event)

        call = self.loop.start(name, app, scope, receive_here, send_here)
        try:
            await call.done.wait()
        except trio.Cancelled:
            await self.loop.end([call])
            self.loop.report_failed(call)
            raise
        if isinstance(call.error, Exception):
            raise call.error
        if call.error is not None:
            raise EndedItself from call.error


def what(scope: Scope) -> str:
    """A request in words for the log: no query, which may hold secrets."""
    path: str = scope["raw_path"].decode("ascii", "replace")
    method = scope.get("method", "WS")
    return f"{method} {path if len(path) <= 200 else path[:200] + '...'}"
