"""One connection of our endpoint: Hypercorn's protocol, as far as it is HTTP/1.1, with our limits.

Hypercorn's own server starts a task for every request to watch for idleness, and sends every answer
in two pieces. This one watches by moving a deadline and sends in one piece: that takes a third off
the CPU of a request. What is used for it are parts of Hypercorn 0.18, and `pyproject.toml` says so.

The trap is a request that comes as its connection is being closed: it is not begun. HTTP/1.1 is all
that is spoken: a connection that became another protocol's would be neither idle nor at work.
"""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import attrs
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
from hypercorn.utils import parse_socket_addr

from .idle import IDLE_MAX, IdleWatch

HEADERS_MAX = 16 * 1024  # bytes
HEADERS_COUNT = 100
UNSENT_MAX = 64 * 1024  # bytes
READ_SIZE = 64 * 1024  # bytes
SEND_MAX = 10.0  # seconds that a client gets to take an answer
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
_VERSIONS = {b"1.0", b"1.1"}
_INTERIM = b"HTTP/1.1 1"  # a response before the answer, which is waited for: 100 Continue


def make_config() -> Config:
    """Hypercorn's, without its logging, and with our limits."""
    config = Config()
    config.errorlog = logging.getLogger("petalkit.transport.http")  # a logger is taken as it is
    config.accesslog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = HEADERS_MAX
    config.keep_alive_timeout = IDLE_MAX
    config.keep_alive_max_requests = 1_000_000_000
    return config


class Http1(H11Protocol):
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
            await self._refuse(505)
        if len(event.headers) > HEADERS_COUNT:
            await self._refuse(431)

    async def _refuse(self, status: int) -> NoReturn:
        await self._send_error_response(status)
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


@attrs.frozen
class Serving:
    """What all connections of a server have in common.

    Attributes:
        app: the ASGI application, as Hypercorn wraps it.
        config: Hypercorn's.
        context: the same; its end is theirs.
        idle: the watches of connections on which nothing is under way, the longest first.
    """

    app: Any
    config: Config
    context: WorkerContext
    idle: dict[IdleWatch, None]


class Connection(TCPServer):
    """One connection of the sidecar, served by being awaited."""

    def __init__(self, serving: Serving, stream: trio.SocketStream) -> None:
        state: Any = ConnectionState({})
        plain: Any = stream  # annotated for TLS, and made for both
        super().__init__(serving.app, serving.config, serving.context, state, plain)
        self._unsent = b""
        self._watch = IdleWatch(self, serving.idle)
        self.idle_task: Any = self._watch

    async def run(self) -> None:
        """The same as in the base class, for HTTP/1.1 without TLS."""
        socket = self.stream.socket
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with TaskGroup() as task_group:
                self._task_group = task_group
                protocol: Any = Http1(
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
        # The reader closes too, when more comes behind a request that was the last.
        if data or self.send_lock.locked():
            try:
                async with self.send_lock:
                    if data:
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
