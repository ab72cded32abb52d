"""A real MQTT broker inside this program: petalkit's own, over real sockets.

The rule: it speaks MQTT 5 and 3.1.1, on loopback unless told otherwise, takes everybody, writes no
file, and is gone when its block ends: its clients are told so. It is for the demo, for tests, and
for what runs on one machine.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from .._values.errors import ConfigError

if TYPE_CHECKING:
    from ..transports._broker.core.bounds import Bounds
    from ..transports._broker.serving.server import BrokerServer

START_LIMIT = 10.0  # seconds; the name of a host has to be looked up, all else is done at once


@attrs.frozen
class EmbeddedBroker:
    """A running broker.

    Attributes:
        host: where it listens.
        port: the real one, also when 0 was asked for; for WebSockets too.
        server: what it counts.
    """

    host: str
    port: int
    server: BrokerServer = attrs.field(repr=False)

    @property
    def url(self) -> str:
        """For `Settings.broker`."""
        return f"mqtt://{self._place}"

    @property
    def websocket_url(self) -> str:
        """The same, for a WebSocket."""
        return f"ws://{self._place}"

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@asynccontextmanager
async def open_embedded_broker(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    bounds: Bounds | None = None,
    origins: frozenset[str] = frozenset(),
) -> AsyncGenerator[EmbeddedBroker]:
    """Run a broker while the block runs. Entry waits until it listens, exit until it is gone.

    Args:
        host: the address to listen on.
        port: 0 lets the system choose one.
        bounds: what it may hold; the defaults, if None.
        origins: web pages that may open a WebSocket to it, beside those of this machine.

    Raises:
        ConfigError: the codec is not installed.
        OSError: the port is taken, or the host cannot be bound.

    Cancellation: ends the broker; its clients are told, which takes at most 3 s.
    """
    try:
        from ..transports._broker.serving.server import open_broker
    except ImportError as error:
        raise ConfigError(
            "broker", "the embedded broker needs more packages: pip install 'petalkit[broker]'"
        ) from error
    with trio.CancelScope(deadline=trio.current_time() + START_LIMIT) as start:
        async with open_broker(host, port, bounds=bounds, origins=origins) as (server, real):
            start.deadline = float("inf")
            yield EmbeddedBroker(host, real, server)
    if start.cancelled_caught:
        raise TimeoutError(f"{host!r} could not be bound within {START_LIMIT:g} s")
