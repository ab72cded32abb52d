"""One accepted socket: bytes to the client's connection and back, until either ends.

The rule: what the core has to say leaves at once, without a task of its own; only when a socket is
full (or is no plain socket) a task writes the rest, bounded by `send_timeout` for each piece, and
what comes meanwhile waits where it is bounded. While a client takes nothing and too much waits for
it, nothing is read from it.

The trap: the number of a file is used again as soon as it is closed; nothing is written after that.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress

import attrs
import trio

from ..core.broker import Broker
from ..core.values import SERVER_SHUTTING_DOWN
from ..protocol.client import ClientConnection

READ_SIZE = 16 * 1024  # bytes; what a client publishes in one go is passed on before more is read
PATIENCE = 1.0  # seconds for a client to read why it was cut off, and to close
GOODBYE_PATIENCE = 0.2  # seconds for the same when the broker goes
_HTTP = b"GET "  # how a WebSocket begins; no CONNECT does
_LINGER_MAX = 1 << 20  # bytes that are read over meanwhile

logger = logging.getLogger("petalkit.broker")


@attrs.frozen(kw_only=True)
class Surroundings:
    """What all connections of a server share.

    Args:
        broker: the core.
        nursery: where their writers run.
        changed: called with a connection that has something to send, or has ended.
        flush: sends what all of them have.
        origins: see `accept_websocket`.
    """

    broker: Broker
    nursery: trio.Nursery
    changed: Callable[[Connection], None]
    flush: Callable[[], None]
    origins: frozenset[str]


class Connection:
    """See the module.

    Args:
        stream: accepted; owned from here on.
        peer: where it comes from, for the log.
        around: what it shares with the others.

    Attributes:
        client: what MQTT makes of it.
    """

    __slots__ = ("_around", "_closed", "_fd", "_gone", "_room", "_scope", "_stream", "_writing",
                 "client")  # fmt: skip

    def __init__(self, stream: trio.abc.Stream, peer: str, around: Surroundings) -> None:
        self._stream = stream
        self._around = around
        self._scope = trio.CancelScope()
        self._fd = -1
        if isinstance(stream, trio.SocketStream):
            self._fd = stream.socket.fileno()
            with suppress(OSError):
                _let_the_kernel_ask(stream)
        self._writing = self._closed = self._gone = False
        self._room: trio.Event | None = None
        self.client = ClientConnection(around.broker, peer, self._on_change)

    def _on_change(self) -> None:
        self._around.changed(self)

    # -- reading

    async def run(self) -> None:
        """Serve the client until it or the broker ends it. Cancellation: ends it, bounded."""
        client = self.client
        try:
            with self._scope:
                await self._read()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._gone = True
            client.end("the connection broke")
        except Exception:
            # A fault of ours: it is this client's end, and nobody else's.
            logger.exception("%s: a fault of the broker ends its connection", client)
        finally:
            client.end("the connection was given up")
            self._around.flush()
            await self._close()

    async def _read(self) -> None:
        client, flush = self.client, self._around.flush
        data = await self._first_bytes()
        receive_some = self._stream.receive_some
        while data:
            client.receive(data)
            flush()
            while client.more and client.lost is None:
                await trio.lowlevel.checkpoint()  # others have their turn
                client.receive(b"")
                flush()
            if client.lost is not None:
                return
            if client.output.is_full:
                await self._wait_for_room()
            data = await receive_some(READ_SIZE)
        self._gone = True
        client.end("the client has closed the connection")

    async def _first_bytes(self) -> bytes | bytearray:
        """What the client begins with; of a WebSocket, what is in it."""
        data = bytes(await self._stream.receive_some(READ_SIZE))
        if not data or not _HTTP.startswith(data[: len(_HTTP)]):
            return data
        # Bounded by `connect_timeout`, which counts from the first byte on.
        while data and len(data) < len(_HTTP):
            more = bytes(await self._stream.receive_some(READ_SIZE))
            if not more:
                return more
            data += more
        if not data.startswith(_HTTP):
            return data
        self._fd = -1
        try:
            from .websocket import NoWebSocket, accept_websocket  # of a package more
        except ImportError:
            logger.warning(
                "%s: WebSockets need wsproto: pip install 'petalkit[broker]'", self.client
            )
            return b""
        try:
            origins = self._around.origins
            self._stream = await accept_websocket(self._stream, data, origins)
        except NoWebSocket as error:
            logger.info("%s: no WebSocket: %s", self.client, error)
            return b""
        return await self._stream.receive_some(READ_SIZE)

    async def _wait_for_room(self) -> None:
        """Wait until the client has taken something; bounded by its writer's patience."""
        while self.client.output.is_full and self._writing:
            self._room = trio.Event()
            await self._room.wait()

    # -- writing

    def flush(self) -> None:
        """Send what there is, as far as the socket takes it now."""
        client = self.client
        output = client.output
        while output.size and not self._writing and not self._closed:
            if self._fd < 0:
                self._start_writing()
                return
            data = output.take()
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._gone = True
                client.end("the connection broke")
                output.clear()
                break
            if sent < len(data):
                output.put_back(data[sent:])
                self._start_writing()
                return
            client.sent()
        if client.lost is not None and not self._writing:
            self._scope.cancel()

    def _start_writing(self) -> None:
        self._writing = True
        self._around.nursery.start_soon(self._write, name="petalkit broker: writer")

    async def _write(self) -> None:
        client = self.client
        output = client.output
        try:
            while output.size and not self._closed:
                with trio.fail_after(self._around.broker.bounds.send_timeout):
                    await self._stream.send_all(output.take())
                client.sent()
                self._make_room()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            self._gone = True
            slow = isinstance(error, trio.TooSlowError)
            if slow:
                logger.warning("%s took nothing for too long: cut off", client)
            client.end("it took nothing for too long" if slow else "the connection broke")
            output.clear()
        finally:
            self._writing = False
            self._make_room()
        self._around.flush()
        if client.lost is not None:
            self._scope.cancel()

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()

    # -- the end

    def check_time(self, now: float) -> None:
        """The clock: see `ClientConnection.check_time`."""
        self.client.check_time(now)
        self.client.sent()  # what waited for the sake of others
        if self.client.lost is not None and not self._writing:
            self._scope.cancel()

    async def _close(self) -> None:
        """Let the client read why, and close. Bounded by `PATIENCE`, shielded."""
        lost = self.client.lost
        goes = lost is not None and lost.reason_code == SERVER_SHUTTING_DOWN
        with trio.move_on_after(GOODBYE_PATIENCE if goes else PATIENCE, shield=True):
            try:
                while self._writing:
                    self._room = trio.Event()
                    await self._room.wait()
                if not self._gone and lost is not None and lost.reason_code is not None:
                    await self._linger()
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                pass
        self._closed = True
        self.client.output.clear()
        with trio.move_on_after(PATIENCE, shield=True):
            await trio.aclose_forcefully(
                self._stream
            ) if self._gone else await self._stream.aclose()

    async def _linger(self) -> None:
        """Close by halves: what has not been read would reset what has been sent."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()
        left = _LINGER_MAX
        while left > 0:
            data = await self._stream.receive_some(READ_SIZE)
            if not data:
                return
            left -= len(data)


def _let_the_kernel_ask(stream: trio.SocketStream) -> None:
    """Whether the peer is there, for clients without a keep alive: it is told after two minutes."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if (option := getattr(socket, name, None)) is not None:
            stream.setsockopt(socket.IPPROTO_TCP, option, value)
