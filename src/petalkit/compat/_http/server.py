"""The connections, and how many there may be.

Hypercorn's own `serve` accepts connections without a bound; so this accepts by itself. The rule: a
client that asks at once is served or told. With `compat_http_connections` there, a further one
takes the place of the one that has been silent the longest, or else of the one whose body has been
on its way the longest, if that is more than a second; and where all are being served it is answered
503 and closed. Nothing here installs a signal handler or configures logging.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Sequence

import trio
from hypercorn.trio.worker_context import WorkerContext

from ...transports._forks import not_in_child
from .connection import Application, Connection, Serving, make_config

logger = logging.getLogger("petalkit.compat.http")

BODY_YOUNG = 1.0  # seconds that a body may be on its way although others wait
CLOSE_MAX = 1.0  # seconds that connections get to end, when all is over
_NO_MORE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_TRY_AGAIN = 0.1  # seconds
_FULL_BODY = b'{"detail":"too many connections","error_code":"BUSY"}'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nretry-after: 1\r\nconnection: close\r\n\r\n%s"
) % (len(_FULL_BODY), _FULL_BODY)


class Server:
    """See the module.

    Args:
        application: serves a request.
        limit: connections at once.
        message_max: bytes of one message of a WebSocket.
    """

    def __init__(self, application: Application, limit: int, message_max: int) -> None:
        self._limit = limit
        self._context = WorkerContext(None)
        self._serving = Serving(application, make_config(message_max), self._context)
        self._connections: set[Connection] = set()
        self._leaving: set[Connection] = set()  # told to close
        self._accepting = trio.CancelScope()
        self.refused = 0

    async def run(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Serve until `close`, and until all connections have ended then. Closes the listeners."""
        async with trio.open_nursery() as nursery:
            with self._accepting:
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener, nursery)
            if self._accepting.cancelled_caught:
                await self._context.terminated.set()  # it does not wait
                for connection in list(self._connections):
                    connection.close()

    def close(self) -> None:
        """Accept no more; connections end with their answers, and idle ones now."""
        self._accepting.cancel()

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        async with listener:
            while True:
                stream = await self._accept_one(listener)
                if self._has_room():
                    connection = Connection(self._serving, stream)
                    self._connections.add(connection)
                    nursery.start_soon(self._serve_one, connection, stream, name="petalkit HTTP")
                else:
                    self.refused += 1
                    with trio.CancelScope(shield=True):
                        await _refuse(stream)

    def _has_room(self) -> bool:
        staying = [one for one in self._connections if not (one.is_closed or one in self._leaving)]
        if len(staying) < self._limit:
            return True
        idle = [(one.idle_since, one) for one in staying if one.idle_since is not None]
        if not idle:
            before = trio.current_time() - BODY_YOUNG
            bodies = [(one.body_since or math.inf, one) for one in staying]
            idle = [(since, one) for since, one in bodies if since <= before]
        if not idle:
            return False
        _, chosen = min(idle, key=lambda pair: pair[0])
        self._leaving.add(chosen)
        chosen.drop()
        return True

    async def _accept_one(self, listener: trio.SocketListener) -> trio.SocketStream:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _NO_MORE:
                    raise
                logger.error("cannot accept a connection: %s", error)
                await trio.sleep(_TRY_AGAIN)
            else:
                not_in_child(stream.socket.fileno())
                return stream

    async def _serve_one(self, connection: Connection, stream: trio.SocketStream) -> None:
        try:
            await connection.run()
        except Exception:  # a bug, of ours or Hypercorn's; others are not to pay for it
            logger.exception("a connection has failed")
        finally:
            self._connections.discard(connection)
            self._leaving.discard(connection)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)  # it does not wait


async def _refuse(stream: trio.SocketStream) -> None:
    """Say that there are too many, without waiting for anybody."""
    try:
        # It fits into what the kernel takes at once.
        await stream.socket.send(_FULL)
        await stream.send_eof()
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    await trio.aclose_forcefully(stream)
