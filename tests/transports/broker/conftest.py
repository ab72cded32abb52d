"""A broker on a socket, in the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import mqtt5
import pytest
import trio

from petalkit.transports._broker.core.bounds import Bounds
from petalkit.transports._broker.serving.server import BrokerServer, open_broker

LIMIT = 10.0  # seconds


@attrs.frozen
class Served:
    """One that listens."""

    server: BrokerServer
    port: int

    async def open(self, data: bytes = b"") -> Peer:
        """A socket to it."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        if data:
            await stream.send_all(data)
        return Peer(stream)

    async def connect(self, client_id: str = "c", **given: Any) -> Peer:
        """A client that has connected."""
        given.setdefault("clean_start", True)
        peer = await self.open(mqtt5.ConnectPacket(client_id, **given).write())
        assert isinstance(await peer.packet(), mqtt5.ConnAckPacket)
        return peer


class Peer:
    """A client, packet by packet."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._data = b""

    async def send(self, *packets: Any) -> None:
        await self.stream.send_all(b"".join(one.write() for one in packets))

    async def packet(self) -> Any:
        """The next packet; None at the end."""
        with trio.fail_after(LIMIT):
            while True:
                try:
                    packet, size = mqtt5.read(memoryview(self._data))
                except IndexError:
                    data = await self.stream.receive_some(65_536)
                    if not data:
                        return None
                    self._data += data
                else:
                    self._data = self._data[size:]
                    return packet

    async def ping(self) -> None:
        """Wait until what was sent before has been read."""
        await self.stream.send_all(b"\xc0\0")
        while not isinstance(await self.packet(), mqtt5.PingRespPacket):
            pass


@pytest.fixture
def serve() -> Callable[..., AbstractAsyncContextManager[Served]]:
    """Opens a broker with the bounds given."""

    @asynccontextmanager
    async def opened(
        origins: frozenset[str] = frozenset(), **bounds: Any
    ) -> AsyncGenerator[Served]:
        async with open_broker("127.0.0.1", 0, bounds=Bounds(**bounds), origins=origins) as (
            server,
            port,
        ):
            yield Served(server, port)

    return opened
