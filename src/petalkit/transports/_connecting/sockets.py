"""Plain connections to a broker, opened by Trio so that they can be cancelled, and a stream on one.

The trap: without TCP_NODELAY one message after another waits for the peer's delayed ACK, 44 ms
each (S12). A cancelled or late attempt leaves no socket behind; only a name lookup may still sit in
Trio's own thread, and that holds nothing.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

import trio

from ..._values.errors import ConnectFailed
from .._forks import not_in_child
from .._line.receive_queue import unread_of
from .._line.send_queue import Outflow, queued
from .tls import Address

# A handshake and a CONNECT have some ten thousand bytes at most: 10 s on a line of 1.2 kB/s. More
# than a minute is a peer that trickles.
CONNECT_FACTOR = 6  # times `connect_timeout`: the longest attempt in all


class ConnectLimit:
    """The limit of one attempt to connect: of silence, and of the whole.

    Args:
        timeout: seconds of silence.
        deadline: of the whole, on Trio's clock; None for `CONNECT_FACTOR` times the timeout.

    Attributes:
        scope: to be put around what connects.
        deadline: of the whole attempt, on Trio's clock.
    """

    def __init__(self, timeout: float, deadline: float | None = None) -> None:
        now = trio.current_time()
        self._timeout = timeout
        self.deadline = now + CONNECT_FACTOR * timeout if deadline is None else deadline
        self.scope = trio.CancelScope(deadline=min(now + timeout, self.deadline))

    def moved(self) -> None:
        """Bytes came or left."""
        self.scope.deadline = min(trio.current_time() + self._timeout, self.deadline)


async def open_plain_socket(address: Address) -> socket.socket:
    """Connect over TCP, maybe through a proxy, or over a Unix socket; a non-blocking socket.

    Raises:
        ConnectFailed: no address, nobody there, or the proxy opens no way.
    """
    stream: trio.SocketStream
    proxy = address.proxy
    try:
        if address.path is not None:
            stream = await trio.open_unix_socket(address.path)
        elif proxy is not None:
            stream = await trio.open_tcp_stream(proxy.host, proxy.port)
        else:
            stream = await trio.open_tcp_stream(address.host, address.port)
    except (OSError, UnicodeError) as error:  # the latter for a name that DNS cannot have
        where = address if proxy is None else f"the proxy {proxy}"
        raise ConnectFailed(f"no connection to {where}: {_cause(error)}") from error
    sock = socket.socket(fileno=stream.socket.detach())
    try:
        sock.setblocking(False)
        not_in_child(sock.fileno())  # or the broker sees us alive when we are not
        if address.path is None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if proxy is not None:
            from .proxy_tunnel import open_tunnel  # h11 comes along, for few

            await open_tunnel(sock, str(address), proxy)
    except BaseException:
        sock.close()
        raise
    return sock


def _cause(error: BaseException) -> BaseException:
    """The first concrete reason: Trio tells of every address it tried in a group."""
    found: Any = error
    while True:
        if isinstance(found.__cause__, BaseExceptionGroup):
            found = found.__cause__
        if not isinstance(found, BaseExceptionGroup):
            return cast(BaseException, found)
        found = found.exceptions[0]


class PlainStream(trio.abc.HalfCloseableStream):
    """A socket as Trio's stream, without the wake-ups that a link does not need.

    `trio.SocketStream` tries each call first and yields to all other tasks after it. A link reads
    only when it has dealt with all it had, so here `receive_some` waits first, which is its
    checkpoint, and its first try mostly finds something. `send_all` is a checkpoint only when it
    has to wait, so that a batch leaves at once; whoever calls it in a loop must have another.

    Args:
        sock: connected and non-blocking; owned from here on.

    Attributes:
        on_moved: called when bytes have come or left, while it is set.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = False
        self._written = 0
        self.on_moved: Callable[[], object] | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`."""
        self._check_open()
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._sock.recv(max_bytes or 65_536)
                if self.on_moved is not None:
                    self.on_moved()
                return data
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                raise self._broken(error) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream`; no checkpoint when the socket takes all of it at once."""
        self._check_open()
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        self._sending = True
        try:
            rest = memoryview(data)
            while rest:
                try:
                    size = self._sock.send(rest)
                    self._written += size
                    rest = rest[size:]
                    if self.on_moved is not None:
                        self.on_moved()
                except (BlockingIOError, InterruptedError):
                    await trio.lowlevel.wait_writable(self._sock)
                except OSError as error:
                    raise self._broken(error) from error
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        self._check_open()
        await trio.lowlevel.wait_writable(self._sock)

    async def send_eof(self) -> None:
        """See `trio.abc.HalfCloseableStream`."""
        self._check_open()
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._broken(error) from error

    def unread(self) -> int:
        """See `receive_queue.unread`."""
        return unread_of(self._sock)

    def outflow(self) -> Outflow | None:
        """See `_send_queue.outflow`."""
        held = queued(self._sock)
        return None if held is None else Outflow(self._written, held)

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource`."""
        if self._sock.fileno() != -1:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self._sock.fileno() == -1:
            raise trio.ClosedResourceError("this stream was closed")

    def _broken(self, error: OSError) -> trio.BrokenResourceError:
        """For a call that failed.

        Raises:
            ClosedResourceError: it failed because another task has closed this stream meanwhile.
        """
        self._check_open()
        return trio.BrokenResourceError(str(error))


def is_peers_doing(error: BaseException) -> bool:
    """Whether an error of a stream or socket says that the peer has closed or reset it.

    The rest is the network's: no route, or no answer for too long.
    """
    cause = error.__cause__ or error
    return not isinstance(cause, OSError) or isinstance(cause, ConnectionError | ssl.SSLError)
