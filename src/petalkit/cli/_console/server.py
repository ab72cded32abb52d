"""The console on a port of this machine: the page's files, and one WebSocket for each page.

The rule: it listens on loopback only, and what is not let in costs no more than its head. The
connections and their limits are those of the HTTP endpoints of petals.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..._serving.waiting import beside
from ..._values.errors import ErrorCode
from ...compat._http.answers import Refusal, Scope, Send, refuse, unavailable
from ...compat._http.connection import Connection
from ...compat._http.inbox import Inbox
from ...compat._http.server import Server
from ...transports._forks import not_in_child
from .asked import ENVELOPE_MAX, NotUnderstood
from .bridge import FULL, PAGES_MAX, Bridge
from .files import File, headers_for, read_files
from .guard import PROTOCOL, Guard
from .visits import Gone

logger = logging.getLogger("petalkit.console")

HOST = "127.0.0.1"
CONNECTIONS_MAX = PAGES_MAX * 8  # a browser opens six at once to load a page
_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1


class _Socket:
    """The `Page` of a WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str:
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            raise Gone
        text = event.get("text")
        if not isinstance(text, str):
            raise NotUnderstood("bytes")
        return text

    async def send(self, text: str) -> None:
        try:
            await self._websocket.send_text(text)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise Gone from error


class Site:
    """What is served: an application for `Server`.

    Args:
        bridge: serves pages.
        guard: judges who asks.
        files: of the page, by path.
    """

    def __init__(self, bridge: Bridge, guard: Guard, files: Mapping[str, File]) -> None:
        self._bridge = bridge
        self._guard = guard
        self._files = files
        routes = [Route(path, self._serve_file) for path in self._files]
        self._app = Starlette(routes=[*routes, WebSocketRoute("/bridge", self._serve_page)])

    async def __call__(self, _: Connection, scope: Scope, inbox: Inbox, send: Send) -> None:
        """Serve one request."""
        try:
            self._guard.check(scope)
            if scope["type"] == "websocket" and self._bridge.is_full:
                raise unavailable(FULL, ErrorCode.BUSY)
        except Refusal as error:
            await refuse(scope, send, error)
        else:
            await self._app(scope, inbox.get, send)

    async def _serve_file(self, request: Request) -> Response:
        file = self._files[request.url.path]
        headers = {"content-type": file.type, **headers_for(request.headers["host"])}
        return Response(file.content, headers=headers)

    async def _serve_page(self, websocket: WebSocket) -> None:
        await websocket.accept(subprotocol=PROTOCOL)
        why = await self._bridge.visit(_Socket(websocket))
        logger.info("a page is served no more: %s", why)
        with contextlib.suppress(RuntimeError, OSError):  # it has closed itself
            await websocket.close(_POLICY_VIOLATION, why[:100])


@contextlib.asynccontextmanager
async def open_server(bridge: Bridge, port: int, message_max: int) -> AsyncGenerator[str]:
    """Serve the console while the block runs; gives its address, with the token.

    Args:
        bridge: serves pages.
        port: 0 lets the system choose one.
        message_max: bytes of a command's arguments.

    Raises:
        OSError: the port is taken, or the page's files are not there.
    """
    files = await trio.to_thread.run_sync(read_files)
    listeners = await trio.open_tcp_listeners(port, host=HOST)
    for listener in listeners:
        not_in_child(listener.socket.fileno())
    found: int = listeners[0].socket.getsockname()[1]
    guard = Guard(found)
    server = Server(Site(bridge, guard, files), CONNECTIONS_MAX, message_max + ENVELOPE_MAX)

    async def serve() -> None:
        await server.run(listeners)

    async with beside(serve, "petalkit console"):
        yield f"http://{HOST}:{found}/#{guard.token}"
