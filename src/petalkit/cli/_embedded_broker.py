"""A real MQTT broker inside this program: amqtt, in an asyncio loop of its own under Trio.

The rule: it speaks MQTT 3.1.1 over real sockets on loopback, takes everybody, writes no file, and
is gone when its block ends. The trap: an unhandled error in an asyncio callback ends its loop
(`trio_asyncio.open_loop`) with an error, which then comes out of the block: never run it around
something that has to survive. It is for the demo and for tests, not for production.

Flavor: this module is the border; everything public here is Trio-flavored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from .._values.errors import ConfigError

START_LIMIT = 10.0  # seconds; the name of a host has to be looked up, all else is done at once
SHUTDOWN_LIMIT = 5.0  # seconds; amqtt itself waits for its clients' handlers


@attrs.frozen
class EmbeddedBroker:
    """A running broker.

    Attributes:
        host: where it listens.
        port: the real one, also when 0 was asked for.
    """

    host: str
    port: int

    @property
    def url(self) -> str:
        """For `Settings.broker`."""
        return f"mqtt://{self.host}:{self.port}"


@asynccontextmanager
async def open_embedded_broker(
    host: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[EmbeddedBroker]:
    """Run a broker while the block runs. Entry waits until it listens, exit until it is gone.

    Args:
        host: the address to listen on.
        port: 0 lets the system choose one.

    Raises:
        ConfigError: amqtt is not installed.
        OSError: the port is taken, or the host cannot be bound.

    Cancellation: ends the broker; start and shutdown are shielded, and take at most `START_LIMIT`
    and `SHUTDOWN_LIMIT`.
    """
    try:
        from amqtt.broker import Broker
        from amqtt.errors import BrokerError

        from ..transports._trio_asyncio import trio_asyncio
    except ImportError as error:
        raise ConfigError(
            "broker", "the embedded broker needs amqtt: pip install 'petalkit[broker]'"
        ) from error

    writers: set[asyncio.StreamWriter] = set()

    class ClosingBroker(Broker):  # type: ignore[misc]
        """amqtt leaves the sockets of some clients open, which asyncio then warns of."""

        async def stream_connected(
            self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
        ) -> None:
            writers.add(writer)
            try:
                await super().stream_connected(reader, writer, listener_name)
            except OSError:
                pass  # gone before it was answered; let out, it would end the loop for all clients
            finally:
                writer.close()
                writers.discard(writer)

    async def start(broker: Broker) -> BaseException | None:
        # Shielded: asyncio forgets a socket that listens already when its start is cancelled.
        with trio.move_on_after(START_LIMIT, shield=True):
            try:
                await trio_asyncio.aio_as_trio(broker.start)()
            except BrokerError as error:
                # It wraps what asyncio said; callers know OSError.
                return error.__cause__ if isinstance(error.__cause__, OSError) else error
            return None
        return TimeoutError(f"{host!r} could not be bound within {START_LIMIT:g} s")

    async def shut_down(broker: Broker) -> None:
        await broker.shutdown()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)  # closing is a callback of the loop's next round

    # Its INFO is a line per packet, its WARNING a line per client that comes back, and its ERROR a
    # failed start, which is raised here anyway.
    logger = logging.getLogger("amqtt")
    level = logger.level
    failure: BaseException | None = None
    async with trio_asyncio.open_loop():
        logger.setLevel(max(level, logging.CRITICAL))
        broker = ClosingBroker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
                # Named, because amqtt's own choice adds $SYS. The base class takes everybody; the
                # plug-in for anonymous clients would too, but keeps no session for those it took.
                "plugins": {"amqtt.plugins.base.BaseAuthPlugin": {}},
            }
        )
        try:
            failure = await start(broker)
            if failure is None:
                logger.setLevel(max(level, logging.ERROR))
                try:
                    await trio.lowlevel.checkpoint_if_cancelled()
                    # The one private name: amqtt does not tell the port that it was given.
                    sockets: Any = broker._servers["default"].instance.sockets
                    yield EmbeddedBroker(host, sockets[0].getsockname()[1])
                except BaseException as error:
                    failure = error  # kept out of the loop's nurseries, which would group it
                with trio.move_on_after(SHUTDOWN_LIMIT, shield=True):
                    await trio_asyncio.aio_as_trio(shut_down)(broker)
        finally:
            logger.setLevel(level)
    if failure is not None:
        try:
            raise failure
        finally:
            del failure
