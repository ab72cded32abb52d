"""The broker on its sockets: who is connected, and what happens by the clock.

The rule: a server that is left, or cancelled, says goodbye to its clients (DISCONNECT with "server
shutting down", in MQTT 5) and is gone within a bounded time; what the core holds is gone with it.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from ..core.bounds import Bounds
from ..core.broker import Broker
from ..core.counters import Counters
from ..core.policy import Policy
from ..core.session import Session
from .connection import Connection, Surroundings

TICK = 1.0  # seconds between two looks at the clocks of all clients
DROPS_EVERY = 10.0  # seconds between two lines of what one client loses
STOP_LIMIT = 3.0  # seconds for all clients together to be told

logger = logging.getLogger("petalkit.broker")


class BrokerServer:
    """A broker that listens. Made by `open_broker`.

    Args:
        bounds: what it may hold.
        listeners: bound; owned from here on.
        origins: see `accept_websocket`.
    """

    def __init__(
        self,
        bounds: Bounds,
        listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
        origins: frozenset[str] = frozenset(),
    ) -> None:
        self._broker = Broker(bounds, trio.current_time, Policy())
        self._broker.shared.on_drop = self._on_drop
        self._bounds = bounds
        self._listeners = listeners
        self._origins = origins
        self._connections: set[Connection] = set()
        self._changed: list[Connection] = []
        self._stopping = trio.Event()
        self._told: dict[Session, float] = {}  # when of what it loses; emptied by each tick
        self._refused = 0

    # -- what there is

    @property
    def clients(self) -> int:
        """Sockets that are open."""
        return len(self._connections)

    @property
    def sessions(self) -> int:
        """Sessions that are kept, connected or not."""
        return len(self._broker.sessions)

    def statistics(self) -> Counters:
        """The counters, as they are now."""
        return attrs.evolve(self._broker.counters)

    # -- life

    async def serve(self) -> None:
        """Serve until `stop`, which has to be called; nothing cancels it from outside.

        Raises:
            OSError: a listener failed.
        """
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                around = Surroundings(
                    broker=self._broker,
                    nursery=nursery,
                    changed=self._changed.append,
                    flush=self._flush,
                    origins=self._origins,
                )
                handler = functools.partial(self._serve_client, around)
                nursery.start_soon(self._keep_time, name="petalkit broker: clock")
                listen = functools.partial(trio.serve_listeners, handler_nursery=nursery)
                nursery.start_soon(listen, handler, list(self._listeners))
                await self._stopping.wait()
                self._say_goodbye()
                nursery.cancel_scope.deadline = trio.current_time() + STOP_LIMIT
                nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Let `serve` end."""
        self._stopping.set()

    def _say_goodbye(self) -> None:
        for connection in list(self._connections):
            connection.client.shut_down()
        self._flush()

    async def _serve_client(self, around: Surroundings, stream: trio.abc.Stream) -> None:
        if len(self._connections) >= self._bounds.max_connections:
            self._refused += 1
            logger.warning(
                "a connection is closed at once: %d are open, which is max_connections (%d so far)",
                len(self._connections),
                self._refused,
            )
            await trio.aclose_forcefully(stream)
            return
        connection = Connection(stream, _peer(stream), around)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def _flush(self) -> None:
        """Send what all have to say; what that lets others say, too."""
        while self._changed:
            connections = self._changed[:]
            self._changed.clear()
            for connection in connections:
                connection.flush()

    # -- the clock

    async def _keep_time(self) -> None:
        broker = self._broker
        while True:
            await trio.sleep(max(min(TICK, broker.next_due - trio.current_time()), 0.0))
            broker.run_due()
            now = trio.current_time()
            for connection in list(self._connections):
                connection.check_time(now)
            self._told = {one: at for one, at in self._told.items() if now - at < DROPS_EVERY}
            self._flush()

    def _on_drop(self, session: Session, what: str) -> None:
        """A message for a slow or absent client is dropped: say so, now and then."""
        now = trio.current_time()
        if now - self._told.get(session, -math.inf) >= DROPS_EVERY:
            self._told[session] = now
            logger.warning("messages for %r are dropped: %s", session.client_id[:64], what)


@asynccontextmanager
async def open_broker(
    host: str, port: int, *, bounds: Bounds | None = None, origins: frozenset[str] = frozenset()
) -> AsyncGenerator[tuple[BrokerServer, int]]:
    """Serve while the block runs: entry waits until it listens, exit until it is gone.

    Args:
        host: to listen on.
        port: 0 lets the system choose one.
        bounds: the defaults, if None.
        origins: pages whose WebSockets are taken, beside those of this machine; `*` for all.

    Returns:
        The server, and its port.

    Raises:
        OSError: the port is taken, or the host cannot be bound.

    Cancellation: its clients are told, bounded by `STOP_LIMIT`.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    server = BrokerServer(bounds or Bounds(), listeners, origins)
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            # Not `nursery.start`: what cancels that would wait for what waits for `stop`.
            nursery.start_soon(server.serve)
            yield server, listeners[0].socket.getsockname()[1]
        except BaseException as raised:
            error = raised  # kept out of the nursery, which would put it into a group
        finally:
            server.stop()
    if error is not None:
        try:
            raise error
        finally:
            del error  # no cycle through the frame


def _peer(stream: trio.abc.Stream) -> str:
    """Where a client is, for the log."""
    if not isinstance(stream, trio.SocketStream):
        return "somewhere"
    try:
        name = stream.socket.getpeername()
    except OSError:
        return "a client that is gone"
    return f"{name[0]}:{name[1]}"
