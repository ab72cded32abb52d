"""A link of the transport on asyncio-mqtt to a broker that plays a script."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from petalkit import Settings
from petalkit.transports import Link
from petalkit.transports.asyncio_mqtt import create

from .fake_broker import Peer, open_fake_broker
from .links import OPTIONS


@asynccontextmanager
async def connected(script: Callable[[Peer], Awaitable[None]]) -> AsyncGenerator[Link]:
    """Listen, play the script to whoever connects, and connect."""
    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url)).connect(OPTIONS) as link,
    ):
        yield link
