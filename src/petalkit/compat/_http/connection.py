"""One connection: Hypercorn's protocol, as far as it is HTTP/1.1 and WebSockets, with our limits.

What is used for it are parts of Hypercorn 0.18, and `pyproject.toml` says so. The rules: each wait
for the client has a limit, and an answer that has been written reaches it: a connection that is
closed while unread bytes wait is reset, and a reset overtakes the answer. So it is read out first,
for a short while. The trap is compression: 64 KiB of a compressed WebSocket are 64 MiB, so none is
agreed to.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import attrs
import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr
from wsproto.events import CloseConnection

from .answers import ABNORMAL, Scope, Send
from .answers import Event as AsgiEvent
from .inbox import Inbox

logger = logging.getLogger("petalkit.compat.http")

HEADERS_MAX = 16 * 1024  # bytes
HEADERS_COUNT = 100
READ_SIZE = 64 * 1024  # bytes
SEND_SIZE = 64 * 1024  # bytes; each of these has SEND_MAX
SEND_MAX = 10.0  # seconds that a client gets to take one piece
HEAD_MAX = 10.0  # seconds for the first request's head to come in whole
IDLE_MAX = 75.0  # seconds; above what clients keep idle connections for, so that they close first
LINGER_MAX = 1.0  # seconds in which what still comes is read out before a connection is closed
PING_INTERVAL = 20.0  # seconds between two pings of a WebSocket
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
_VERSIONS, _ASCII = {b"1.0", b"1.1"}, (b"connection", b"sec-websocket-")  # wsproto decodes those

Application = Callable[["Connection", Scope, Inbox, Send], Awaitable[None]]


def make_config(message_max: int) -> Config:
    """Hypercorn's, without its logging, and with our limits.

    Args:
        message_max: bytes of one message of a WebSocket.
    """
    config = Config()
    config.errorlog = logger  # a logger is taken as it is
    config.accesslog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = HEADERS_MAX
    config.keep_alive_max_requests = 1_000_000_000
    config.websocket_max_message_size = message_max
    config.websocket_ping_interval = PING_INTERVAL
    return config


@attrs.frozen
class Serving:
    """What all connections of a server have in common.

    Attributes:
        application: serves a request.
        config: Hypercorn's.
        context: the same; when its end is set, connections are closed after their answer.
    """

    application: Application
    config: Config
    context: WorkerContext


class _Http1(H11Protocol):
    """Hypercorn's, that switches to WebSockets and nothing else."""

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.http_version not in _VERSIONS:
            await self._refuse(505)
        if len(event.headers) > HEADERS_COUNT:
            await self._refuse(431)
        if not all(value.isascii() for name, value in event.headers if name.startswith(_ASCII)):
            await self._refuse(400)

    async def _send_h11_event(self, event: Any) -> None:
        try:
            await super()._send_h11_event(event)
        except h11.LocalProtocolError:
            # Two have answered one request: it was given up while it was being answered.
            await self.send(Closed())
            raise trio.ClosedResourceError from None

    async def _refuse(self, status: int) -> NoReturn:
        await self._send_error_response(status)
        await self.send(Closed())
        raise trio.ClosedResourceError

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [
            (name, value)
            for name, value in request.headers
            # Of an upgrade, a server may know nothing: RFC 9110, section 7.8.
            if not (name == b"upgrade" and value.strip().lower() != b"websocket")
            and name not in (b"sec-websocket-extensions", b"http2-settings")
        ]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=headers,
                http_version=request.http_version,
            )
        )


class _Applications(TaskGroup):
    """Hypercorn's task group, whose applications have an `Inbox`."""

    def __init__(self, run: Callable[[Scope, Inbox, Send], Awaitable[None]]) -> None:
        super().__init__()
        self._run = run
        self._inboxes: dict[Inbox, AsgiEvent] = {}
        self.besides = trio.CancelScope()  # around the pings

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        inbox = Inbox()
        if scope["type"] == "websocket":
            _tell_close(send.__self__, inbox)
            self._inboxes[inbox] = {"type": "websocket.disconnect", "code": ABNORMAL}
        else:
            self._inboxes[inbox] = {"type": "http.disconnect"}
        self._started.start_soon(self._serve, scope, inbox, send, name="petalkit HTTP request")
        return inbox.put

    def spawn(self, func: Callable[..., Any], *args: Any) -> None:
        self._started.start_soon(self._beside, functools.partial(func, *args))

    @property
    def _started(self) -> trio.Nursery:
        assert self._nursery is not None
        return self._nursery

    async def _serve(self, scope: Scope, inbox: Inbox, send: Any) -> None:
        try:
            await self._run(scope, inbox, send)
        except _GONE:
            pass
        except Exception:  # a bug, of ours or Hypercorn's
            logger.exception("a request could not be served")
        finally:
            inbox.close()
            del self._inboxes[inbox]
        with contextlib.suppress(*_GONE):
            await send(None)

    def end(self) -> None:
        """The connection is closed: whoever has not heard of it yet does now."""
        self.besides.cancel()
        for inbox, event in self._inboxes.items():
            inbox.end(event)

    async def _beside(self, run: Callable[[], Awaitable[None]]) -> None:
        with self.besides:
            await run()


def _tell_close(stream: Any, inbox: Inbox) -> None:
    """Tell an application with which code its WebSocket was closed, by whomever.

    Hypercorn tells it 1006 whatever the client has said, nothing where a message is too long, and
    never that it has answered 400 in its place, to a client that did not wait for the handshake.
    """
    send, refuse = stream._send_wsproto_event, stream._send_error_response

    async def send_and_tell(event: Any) -> None:
        if isinstance(event, CloseConnection):
            reason = event.reason or ""
            inbox.end({"type": "websocket.disconnect", "code": int(event.code), "reason": reason})
        await send(event)

    async def refuse_and_tell(status: int) -> None:
        if not stream.closed:
            stream.closed = True
            inbox.end({"type": "websocket.disconnect", "code": ABNORMAL})
            await refuse(status)
            await stream.send(StreamClosed(stream_id=stream.stream_id))

    stream._send_wsproto_event = send_and_tell
    stream._send_error_response = refuse_and_tell


class Connection(TCPServer):
    """See the module. Served by `run`.

    Args:
        serving: what it has in common with others.
        stream: to the client.

    Attributes:
        idle_since: on Trio's clock, while it has not sent a whole head; else None.
        body_since: the same while a body is on its way.
        is_closed: the client has gone; a call that it has asked for may go on.
    """

    def __init__(self, serving: Serving, stream: trio.SocketStream) -> None:
        state: Any = ConnectionState({})
        plain: Any = stream  # annotated for TLS, and made for both
        app: Any = None  # asked for by the task group in its place
        super().__init__(app, serving.config, serving.context, state, plain)
        self._application = serving.application
        self.idle_since: float | None = trio.current_time()
        self.body_since: float | None = None
        self.is_closed = False
        self._reading = trio.CancelScope(deadline=trio.current_time() + HEAD_MAX)
        self._closing = False

    async def run(self) -> None:
        """Serve it until it is closed, and what it has asked for has ended."""
        socket = self.stream.socket
        tasks = _Applications(functools.partial(self._application, self))
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with tasks as task_group:
                parts = self.app, self.config, self.context, task_group
                state = ConnectionState(self.state)
                protocol: Any = _Http1(*parts, state, False, client, server, self.protocol_send)
                self.protocol = protocol
                await self._read_data()
                tasks.end()
        except OSError:
            pass  # it has gone before it was here

    def close(self) -> None:
        """Close it now, if nothing is under way on it; else when that is answered."""
        if self.idle_since is not None:
            self._reading.deadline = -math.inf

    def drop(self) -> None:
        """Close it whatever is under way on it."""
        self._reading.deadline = -math.inf

    async def _read_data(self) -> None:
        try:
            with self._reading:
                while True:
                    data = await self.stream.receive_some(READ_SIZE)
                    if not self._closing:
                        await self.protocol.handle(RawData(bytes(data)))
                    if not data:
                        break
        except _GONE:
            pass
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self.stream)  # it does not wait
        self.is_closed = True
        await self.protocol.handle(Closed())

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            await self._begin_closing()
            await self.protocol.handle(Closed())
        elif isinstance(event, Updated):
            self.idle_since = trio.current_time() if event.idle else None
            self._reading.deadline = trio.current_time() + IDLE_MAX if event.idle else math.inf

    async def _send(self, data: bytes) -> None:
        try:
            async with self.send_lock:
                for start in range(0, len(data), SEND_SIZE):
                    with trio.fail_after(SEND_MAX):
                        await self.stream.send_all(data[start : start + SEND_SIZE])
        except (trio.TooSlowError, *_GONE):
            self._closing = True
            self.drop()
            await self.protocol.handle(Closed())

    async def _begin_closing(self) -> None:
        """All is written: say so, and read out what still comes, for a short while."""
        if not self._closing:
            self._closing = True
            self._reading.deadline = trio.current_time() + LINGER_MAX
            try:
                await self.stream.send_eof()
            except (*_GONE, OSError):
                self.drop()
