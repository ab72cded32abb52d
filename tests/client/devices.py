"""A device of a few lines on an in-process broker, and clients of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from petalkit import (
    Identity,
    Settings,
)
from petalkit._values.messages import Message
from petalkit._values.topics import TopicFilter
from petalkit.client import open_client
from petalkit.transports import ConnectOptions, Link
from petalkit.transports.memory import MemoryBroker, MemoryTransport

SETTINGS = Settings(organization_id="acme", device_id="Instance-1")
HOST = attrs.evolve(SETTINGS, dialect="host-0.2")
V5 = attrs.evolve(SETTINGS, protocol="5")
IDENTITY = Identity("acme", "Instance-1")
Answer = Callable[[Link, dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def open_device(broker: MemoryBroker, answer: Answer) -> AsyncIterator[None]:
    """A device of a few lines: hands every command to `answer`."""

    async def serve(link: Link) -> None:
        while True:
            for delivery in await link.receive():
                delivery.ack()
                await answer(link, json.loads(delivery.payload))

    async with (
        MemoryTransport(broker).connect(ConnectOptions(client_id="device")) as link,
        trio.open_nursery() as nursery,
    ):
        await link.subscribe([TopicFilter(IDENTITY.topic("command"))])
        nursery.start_soon(serve, link)
        yield
        nursery.cancel_scope.cancel()


async def respond(link: Link, fields: dict[str, Any]) -> None:
    await link.publish(Message(IDENTITY.topic("response"), json.dumps(fields).encode()))


async def echo(link: Link, command: dict[str, Any]) -> None:
    await respond(link, {"messageId": command["messageId"], "success": True, "got": command})


async def silence(link: Link, command: dict[str, Any]) -> None:
    pass


def connect(broker: MemoryBroker, settings: Settings = SETTINGS, **how: Any) -> Any:
    transport = MemoryTransport(broker, settings.protocol)
    return open_client(settings, transport=transport, **how)
