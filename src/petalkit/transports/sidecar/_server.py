"""Serving the callback application by Hypercorn: its protocol, our connections and their limits.

Hypercorn's own `serve` accepts connections without a bound, starts a task for every request to
watch for idleness, and sends every answer in two pieces. So this accepts by itself, and gives each
connection to a `TCPServer` of Hypercorn's that watches by moving a deadline and sends in one piece:
that takes a third off the CPU of a request. What is used for it are parts of Hypercorn 0.18, and
`pyproject.toml` says so. Nothing here installs a signal handler or configures logging.

The rule: `callback_connections` at most. While a further one waits, the one that has been idle the
longest is closed, whoever has said nothing for a second too, and every answer ends its connection.
The trap is a request that comes as its connection is being closed: it is not begun. HTTP/1.1 is all
that is spoken: a connection that became another protocol's would be neither idle nor at work.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from .._forks import not_in_child

logger = logging.getLogger("petalkit.transport")

IDLE_MAX = 75.0  # seconds; above what clients keep idle connections for, so that they close first
HEADERS_MAX = 16 * 1024  # bytes
UNSENT_MAX = 64 * 1024  # bytes
READ_SIZE = 64 * 1024  # bytes
SILENT_MAX = 1.0  # seconds that a new connection may say nothing while others wait
IDLE_MIN = 0.1  # seconds after an answer in which the next request may be on its way
SEND_MAX = 10.0  # seconds that a client gets to take an answer
CLOSE_MAX = 1.0  # seconds that connections get to answer, when all is over
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
_NO_MORE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_TRY_AGAIN = 0.1  # seconds
_VERSIONS = {b"1.0", b"1.1"}
_INTERIM = b"HTTP/1.1 1"  # a response before the answer, which is waited for: 100 Continue


def _make_config() -> Config:
    config = Config()
    config.errorlog = logging.getLogger("petalkit.transport.http")  # a logger is taken as it is
    config.accesslog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = HEADERS_MAX
    config.keep_alive_timeout = IDLE_MAX
    config.keep_alive_max_requests = 1_000_000_000
    return config


class _IdleWatch:
    """Closes a connection that is idle, or has not sent a whole head, for `IDLE_MAX`.

    Hypercorn's task for that is called `restart` when a connection becomes idle, and `stop` when
    there is a request.
    """

    def __init__(self, connection: _Connection, server: CallbackServer) -> None:
        self._connection = connection
        self._server = server
        self._idle = server.idle
        self.requests = 0
        self._since = 0.0
        self._scope = trio.CancelScope()
        self._deadline = math.inf
        self._started = False
        self._over = False

    async def restart(self, task_group: Any, _action: object) -> None:
        if not self._over:
            self._idle[self] = None
            self._since = trio.current_time()
            self._set_deadline(self._since + IDLE_MAX)
            if not self._started:
                self._started = True
                task_group.spawn(self._run)

    async def stop(self) -> None:
        """There is a request.

        Raises:
            trio.ClosedResourceError: the connection is being closed. Whoever reads it ends then.
        """
        if self._over:
            raise trio.ClosedResourceError
        self.requests += 1
        self._idle.pop(self, None)
        self._set_deadline(math.inf)

    def close_now(self) -> None:
        """It is idle, and has to make room."""
        self._idle.pop(self, None)
        self._set_deadline(-math.inf)

    @property
    def is_silent(self) -> bool:
        """Whether nothing has been asked on it, in a time in which any client would have."""
        return not self.requests and trio.current_time() >= self._since + SILENT_MAX

    @property
    def may_go(self) -> bool:
        """Whether something was asked on it, and nothing seems to come."""
        return self.requests > 0 and trio.current_time() >= self._since + IDLE_MIN

    def end(self) -> None:
        """Nothing more comes on the connection."""
        self._over = True
        self._idle.pop(self, None)
        self._scope.cancel()

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = self._scope.deadline = deadline

    async def _run(self) -> None:
        terminated = self._connection.context.terminated
        while not self._over:
            with trio.CancelScope(deadline=self._deadline) as self._scope:
                await terminated.wait()
                if self not in self._idle:
                    return  # it is answering, and closes after that
                self.close_now()
            # A request may have come in the very step in which the time was over.
            if self._deadline <= trio.current_time():
                self._over = True
                self._idle.pop(self, None)
                with trio.CancelScope(shield=True):  # it does not wait
                    await self._connection.close_idle()


class _Http1(H11Protocol):
    """Hypercorn's, that switches to nothing else, and starts nothing for who has gone.

    The trap: an answer is written when the next request of the same client may be starting already.
    If that fails, what is closed is the stream of that one, and its application may not be there
    yet to be told; it would wait for the rest of its request for ever, and keep the place.
    """

    _gone = False
    _untold: Any = None  # a stream that was closed before its application was there

    async def handle(self, event: Event) -> None:
        if isinstance(event, Closed):
            self._gone = True
        await super().handle(event)

    async def _close_stream(self) -> None:
        # Taken first: while its application is told, another may take its place.
        stream, self.stream = self.stream, None
        if stream is None:
            return
        if getattr(stream, "app_put", None) is None:  # which Hypercorn sets with the application
            self._untold = stream
        else:
            await stream.handle(StreamClosed(stream_id=STREAM_ID))

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.http_version not in _VERSIONS:
            await self._send_error_response(505)
            await self.send(Closed())
            raise trio.ClosedResourceError

    async def _create_stream(self, request: h11.Request) -> None:
        if self._gone:
            raise trio.ClosedResourceError  # whoever reads it ends then
        # A server may leave that out of account: RFC 9110, section 7.8.
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=headers,
                http_version=request.http_version,
            )
        )
        untold, self._untold = self._untold, None
        if untold is not None:
            await untold.handle(StreamClosed(stream_id=STREAM_ID))


class _Connection(TCPServer):
    def __init__(self, server: CallbackServer, stream: trio.SocketStream) -> None:
        state: Any = ConnectionState({})
        plain: Any = stream  # annotated for TLS, and made for both
        super().__init__(server.app, server.config, server.context, state, plain)
        self._unsent = b""
        self._watch = _IdleWatch(self, server)
        self.idle_task: Any = self._watch

    async def run(self) -> None:
        """The same as in the base class, for HTTP/1.1 without TLS."""
        socket = self.stream.socket
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with TaskGroup() as task_group:
                self._task_group = task_group
                protocol: Any = _Http1(
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState(self.state),
                    False,
                    client,
                    server,
                    self.protocol_send,
                )
                self.protocol = protocol
                await self.idle_task.restart(task_group, self._idle_timeout)
                await self._read_data()
        except OSError:
            pass  # it has gone before it was here
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        """Send the parts of an answer together: each by itself is a packet, and wakes its reader.

        Whatever ends an answer is followed by another event than `RawData`.
        """
        if isinstance(event, RawData):
            self._unsent += event.data
            if not event.data.startswith(_INTERIM) and len(self._unsent) < UNSENT_MAX:
                return
        requests = self._watch.requests
        data, self._unsent = self._unsent, b""
        if data:
            try:
                async with self.send_lock:
                    with trio.fail_after(SEND_MAX):
                        await self.stream.send_all(data)
            except trio.TooSlowError:
                await trio.aclose_forcefully(self.stream)
                await self.protocol.handle(Closed())
            except _GONE:
                await self.protocol.handle(Closed())
        if isinstance(event, Updated) and event.idle and self._watch.requests != requests:
            return  # the next request has come since the answer went out
        if not isinstance(event, RawData):
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        """The same as in the base class, without a scope for each read."""
        try:
            while True:
                data = await self.stream.receive_some(READ_SIZE)
                await self.protocol.handle(RawData(bytes(data)))
                if not data:
                    break
        except _GONE:
            pass
        finally:
            self._watch.end()
        await self.protocol.handle(Closed())

    async def close_idle(self) -> None:
        await self._initiate_server_close()


class CallbackServer:
    """See the module.

    Args:
        limit: connections at once.

    Attributes:
        app: set before it is served.
        idle: the watches of connections on which nothing is under way, the longest first.
    """

    def __init__(self, limit: int) -> None:
        self.app: Any = None
        self.config = _make_config()
        self.context = WorkerContext(None)
        self.idle: dict[_IdleWatch, None] = {}
        self._slots = trio.Semaphore(limit)
        self._wanted = 0  # connections that wait for a place

    def is_crowded(self) -> bool:
        """Whether a further connection waits for the place of one that is there."""
        return self._wanted > 0

    @asynccontextmanager
    async def serve(self, asgi: Any, host: str, port: int) -> AsyncGenerator[int]:
        """Serve while the block runs; gives the port. What the block raises comes out as it is.

        Raises:
            OSError: that address cannot be listened on.
        """
        self.app = wrap_app(asgi, 0, "asgi")
        self.context = WorkerContext(None)
        listeners = await trio.open_tcp_listeners(port, host=host)
        failure: BaseException | None = None
        async with trio.open_nursery() as connections:
            accepting = trio.CancelScope()
            for listener in listeners:
                not_in_child(listener.socket.fileno())  # or its port is taken when we are gone
                connections.start_soon(
                    self._accept,
                    listener,
                    connections,
                    accepting,
                    name="petalkit callbacks",
                )
            try:
                bound: int = listeners[0].socket.getsockname()[1]
                yield bound
            except BaseException as error:
                failure = error  # kept out of the nursery, which would put it into a group
            accepting.cancel()
            with trio.CancelScope(shield=True):
                await self.context.terminated.set()  # it does not wait
            # Shielded, so that a cancellation from outside cannot take the place of `failure`.
            connections.cancel_scope.shield = True
            connections.cancel_scope.deadline = trio.current_time() + CLOSE_MAX
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # or it holds this frame, which holds it

    async def _accept(
        self,
        listener: trio.SocketListener,
        connections: trio.Nursery,
        scope: trio.CancelScope,
    ) -> None:
        with scope:
            async with listener:
                while True:
                    stream = await self._accept_one(listener)
                    try:
                        await self._take_place()
                    except BaseException:
                        with trio.CancelScope(shield=True):
                            await trio.aclose_forcefully(stream)  # it does not wait
                        raise
                    connections.start_soon(
                        self._serve_one, stream, name="petalkit callback connection"
                    )

    async def _take_place(self) -> None:
        """Wait for a place, without a limit: what waits behind this is in the kernel's queue."""
        self._wanted += 1
        try:
            while True:
                self._make_room()
                with trio.move_on_after(IDLE_MIN):
                    await self._slots.acquire()
                    return
        finally:
            self._wanted -= 1

    def _make_room(self) -> None:
        if self._slots.value:
            return
        for watch in [one for one in self.idle if one.is_silent]:
            watch.close_now()
        for watch in self.idle:
            if watch.may_go:
                watch.close_now()
                return

    async def _accept_one(self, listener: trio.SocketListener) -> trio.SocketStream:
        while True:
            try:
                stream = await listener.accept()
                not_in_child(stream.socket.fileno())
                return stream
            except OSError as error:
                if error.errno not in _NO_MORE:
                    raise
                logger.error("cannot accept a connection of the sidecar: %s", error)
                await trio.sleep(_TRY_AGAIN)

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        try:
            await _Connection(self, stream)
        except Exception:  # a bug, of ours or Hypercorn's; others are not to pay for it
            logger.exception("a connection of the sidecar has failed")
        finally:
            self._slots.release()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)  # it does not wait
