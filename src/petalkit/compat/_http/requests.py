"""From a request to its petal, and the answer back.

The rule: every request is answered, in the petal's words or in ours, and one that we refuse has
cost no petal anything.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from starlette.websockets import WebSocketDisconnect

from ..._values.errors import ErrorCode
from ..._values.settings.settings import Settings
from .answers import FAILED, GOING_AWAY, NORMAL, Event, Refusal, Scope, Send, refuse, unavailable
from .bodies import Gone, read_body
from .connection import Connection
from .crossing import Lane, what
from .guard import Guard
from .inbox import Inbox

logger = logging.getLogger("petalkit.compat.http")

GONE_MAX = 10.0  # seconds that a WebSocket's handler gets to end when its client has gone
WARN_INTERVAL = 60.0  # seconds between two warnings of one reason

Find = Callable[[str], tuple[Lane, Callable[..., Any]]]


class ClientGone(OSError):
    """A WebSocket's. Starlette makes its WebSocketDisconnect of it, once that is accepted."""


class Requests:
    """See the module. What a `Server` calls for each request.

    Args:
        settings: limits.
        guard: judges heads.
        find: the lane of a path, and the application; raises Refusal where there is none now.
    """

    def __init__(self, settings: Settings, guard: Guard, find: Find) -> None:
        self._settings = settings
        self._guard = guard
        self._find = find
        self._bodies = 0  # bytes, of calls under way
        self._bodies_max = settings.compat_http_connections * settings.compat_http_body_max
        self._sockets = 0
        self._sockets_max = max(1, settings.compat_http_connections // 2)
        self._stopping = trio.Event()
        self._refused: Counter[str] = Counter()
        self._warned: dict[str, float] = {}

    def stop(self) -> None:
        """Serve nothing new, and close WebSockets."""
        self._stopping.set()

    async def __call__(
        self, connection: Connection, scope: Scope, inbox: Inbox, send: Send
    ) -> None:
        """Serve one request."""
        try:
            self._guard.check(scope)
            if self._stopping.is_set():
                raise unavailable("the device is shutting down", ErrorCode.SHUTTING_DOWN)
            if scope["type"] == "http":
                await self._serve_http(connection, scope, inbox, send)
            else:
                await self._serve_socket(scope, inbox, send)
        except Refusal as error:
            self._count(error)
            await refuse(scope, send, error)
        except Gone:
            pass

    async def _serve_http(
        self, connection: Connection, scope: Scope, inbox: Inbox, send: Send
    ) -> None:
        body = await read_body(connection, scope, inbox, self._settings.compat_http_body_max)
        lane, app = self._find(scope["path"])
        if body and self._bodies + len(body) > self._bodies_max:
            raise unavailable("too many bodies are under way", ErrorCode.BUSY)
        given: list[Event] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Event:
            return given.pop() if given else await inbox.get()

        self._bodies += len(body)
        try:
            await self._serve(lane, app, scope, receive, send)
        finally:
            self._bodies -= len(body)

    async def _serve_socket(self, scope: Scope, inbox: Inbox, send: Send) -> None:
        if self._sockets >= self._sockets_max:
            raise unavailable(f"{self._sockets} WebSockets are open already", ErrorCode.BUSY)
        lane, app = self._find(scope["path"])
        state = {"accepted": False, "closed": False}

        async def send_on(event: Event) -> None:
            if inbox.gone:
                raise ClientGone
            state["accepted"] = state["accepted"] or event["type"] == "websocket.accept"
            state["closed"] = state["closed"] or event["type"] == "websocket.close"
            await send(event)

        refusal: Refusal | None = None
        whole = True
        self._sockets += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._close_at_stop, inbox, send)
                nursery.start_soon(_end_after_client, inbox, nursery.cancel_scope)
                try:
                    whole = await self._serve(lane, app, scope, inbox.get, send_on)
                except (WebSocketDisconnect, ClientGone):
                    pass  # it has not caught what tells it that its client has gone
                except Refusal as error:
                    refusal = error  # raised outside of the nursery, which would put it in a group
                nursery.cancel_scope.cancel()
        finally:
            self._sockets -= 1
        if refusal is not None:
            raise refusal
        if state["accepted"] and not state["closed"] and not inbox.gone:
            await send({"type": "websocket.close", "code": NORMAL if whole else FAILED})

    async def _close_at_stop(self, inbox: Inbox, send: Send) -> None:
        await self._stopping.wait()
        if not inbox.gone:
            await send({"type": "websocket.close", "code": GOING_AWAY})
        inbox.end({"type": "websocket.disconnect", "code": GOING_AWAY})

    async def _serve(
        self,
        lane: Lane,
        app: Callable[..., Any],
        scope: Scope,
        receive: Callable[[], Awaitable[Event]],
        send: Send,
    ) -> bool:
        """Have it served; False when it was cut off, or the petal's code has raised: logged.

        Raises:
            Refusal: it was not.
        """
        limit = self._settings.compat_http_timeout
        try:
            return await lane.serve(app, scope, receive, send, limit)
        except (Refusal, WebSocketDisconnect, ClientGone):
            raise
        except Exception:
            # Starlette has answered, if nothing had been answered yet.
            extra = {"petal": lane.name}
            logger.exception("petal %r: %s raised", lane.name, what(scope), extra=extra)
            return False

    def _count(self, error: Refusal) -> None:
        word = str(error.code)
        self._refused[word] += 1
        now = trio.current_time()
        if now >= self._warned.get(word, -math.inf) + WARN_INTERVAL:
            self._warned[word] = now
            text = "a request was refused with %d %s: %s (%d so far)"
            logger.warning(text, error.status, word, error, self._refused[word])


async def _end_after_client(inbox: Inbox, scope: trio.CancelScope) -> None:
    """Who waits for something else hears of nothing, and would keep its place for ever."""
    await inbox.wait_gone()
    await trio.sleep(GONE_MAX)
    scope.cancel()
