"""Links to an in-process broker: connecting and leaving, in Trio's time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from ..._values.errors import ConnectFailed
from ..._values.settings.settings import Protocol
from .._contract import ConnectOptions, Link, Transport
from ._broker import MemoryBroker
from ._link import MemoryLink


class MemoryTransport(Transport):
    """Connects to a `MemoryBroker`.

    Args:
        broker: to which; several transports can share one.
        protocol: which MQTT version the link behaves like.
    """

    def __init__(self, broker: MemoryBroker, protocol: Protocol = "3.1.1") -> None:
        self.broker = broker
        self.protocol: Protocol = protocol

    def connect(self, options: ConnectOptions) -> AbstractAsyncContextManager[Link]:
        """See `Transport.connect`."""
        return self._connected(options)

    @asynccontextmanager
    async def _connected(self, options: ConnectOptions) -> AsyncGenerator[Link]:
        link = await self._open(options)
        error: BaseException | None = None
        async with trio.open_nursery() as nursery:
            link.start(nursery)
            try:
                yield link
            except BaseException as raised:
                error = raised  # kept out of the nursery, which would put it into a group
            link.leave()
            # Shielded, so that a cancellation from outside cannot take the place of `error`;
            # bounded, because the tasks of the link end at once.
            nursery.cancel_scope.shield = True
            nursery.cancel_scope.cancel()
        if error is not None:
            try:
                raise error
            finally:
                del error  # no cycle through the frame

    async def _open(self, options: ConnectOptions) -> MemoryLink:
        await trio.lowlevel.checkpoint()
        broker = self.broker
        connection, present, answered = broker._connect(options, self.protocol)  # pyright: ignore[reportPrivateUsage]
        try:
            with trio.move_on_after(options.connect_timeout) as scope:
                if not answered:
                    await trio.sleep_forever()
                if broker.delay > 0:
                    await trio.sleep(broker.delay)
            if scope.cancelled_caught:
                raise ConnectFailed(f"no CONNACK within {options.connect_timeout} s")
            if connection.lost is not None:
                raise ConnectFailed(str(connection.lost))
        except BaseException:
            broker._lose(connection, "the client gave up")  # pyright: ignore[reportPrivateUsage]
            raise
        return MemoryLink(broker, connection, options, session_present=present)
