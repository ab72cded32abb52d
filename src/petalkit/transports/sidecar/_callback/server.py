"""Serving the callback application: its connections, and how many there may be.

Hypercorn's own `serve` accepts connections without a bound; so this accepts by itself, and gives
each to a `Connection`. Nothing here installs a signal handler or configures logging.

The rule: `callback_connections` at most. While a further one waits, the one that has been idle the
longest is closed, and every answer ends its connection. Whoever has not sent a whole request makes
room after a second; of those, no more than half of the places are kept for longer than `IDLE_MIN`.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app

from ..._forks import not_in_child
from .bodies import CROWDED_MAX, Bodies
from .connections import Connection, Serving, make_config
from .idle import IDLE_MIN, IdleWatch

logger = logging.getLogger("petalkit.transport")

CLOSE_MAX = 1.0  # seconds that connections get to answer, when all is over
_NO_MORE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_TRY_AGAIN = 0.1  # seconds


class CallbackServer:
    """See the module.

    Args:
        limit: connections at once.

    Attributes:
        idle: the watches of connections on which nothing is under way, the longest first.
        bodies: those that are on their way.
    """

    def __init__(self, limit: int) -> None:
        self.idle: dict[IdleWatch, None] = {}
        self.bodies = Bodies()
        self._share = max(1, limit // 2)  # of places, for requests that are not whole
        self._serving: Serving | None = None
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
        context = WorkerContext(None)
        app: Any = wrap_app(asgi, 0, "asgi")
        self._serving = Serving(app, make_config(), context, self.idle)
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
                await context.terminated.set()  # it does not wait
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
        self.bodies.cut(CROWDED_MAX)
        unheard = [one for one in self.idle if not one.requests]
        over = len(unheard) + len(self.bodies) - self._share
        if over > 0:
            # They that have sent something may have less to send.
            young = [one for one in unheard if one.is_idle_for(IDLE_MIN)][:over]
            for watch in young:
                watch.close_now()
            if self.bodies.cut(IDLE_MIN, over - len(young)) or young:
                return
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
            assert self._serving is not None
            await Connection(self._serving, stream)
        except Exception:  # a bug, of ours or Hypercorn's; others are not to pay for it
            logger.exception("a connection of the sidecar has failed")
        finally:
            self._slots.release()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)  # it does not wait
