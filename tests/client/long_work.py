"""A device with long work, in the real runtime, and clients of it on its in-process broker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from petalkit import CommandContext, CommandError, Job, Petal, Settings, command, job, stream
from petalkit.client import Client, open_client
from petalkit.testing import Harness, MemoryTransport, open_harness

CALLER = Settings(organization_id="acme", device_id="Instance-1")


class LongPetal(Petal):
    name = "long"

    def __init__(self) -> None:
        self.runs = 0
        self.begun = 0
        self.readers = 0

    @job("copy", queue=1)
    async def copy(self, job: Job, count: int = 3, fail: bool = False) -> dict[str, int]:
        self.runs += 1
        for done in range(count):
            await job.progress(done / count, f"file {done}", bytes=done * 10)
            await trio.sleep(1)
        if fail:
            raise CommandError("CARD_FULL", "there is no room on the card")
        return {"copied": count}

    @stream("position", max_rate=50)
    async def position(self) -> AsyncGenerator[dict[str, int]]:
        self.begun += 1
        self.readers += 1
        try:
            n = 0
            while True:
                yield {"n": n}
                n += 1
                await trio.sleep(0.1)
        finally:
            self.readers -= 1

    @stream("short")
    async def short(self) -> AsyncGenerator[dict[str, int]]:
        for n in range(3):
            yield {"n": n}
            await trio.sleep(0.5)

    @stream("broken")
    async def broken(self) -> AsyncGenerator[dict[str, int]]:
        yield {"n": 0}
        await trio.sleep(0.5)
        raise CommandError("NO_FIX", "there are no satellites")

    @command("detect")
    async def detect(self, context: CommandContext, fail: bool = False) -> dict[str, int]:
        await context.accept(stage="looking")
        await trio.sleep(2)
        if fail:
            raise CommandError("NO_CARD", "there is no card")
        return {"records": 12}

    @command("hello")
    async def hello(self, name: str = "World") -> dict[str, str]:
        await self.publish_message({"command": "/long/greeted", "data": {"name": name}})
        return {"message": f"Hello, {name}!"}


@asynccontextmanager
async def device_and_client(
    petal: Petal | None = None, *, protocol: Any = "3.1.1", dialect: Any = "guide", **caller: Any
) -> AsyncIterator[tuple[Harness, Client]]:
    """A device in one dialect, and a caller; both of one MQTT version."""
    device = Settings(protocol=protocol, dialect=dialect)
    settings = attrs.evolve(CALLER, protocol=protocol, dialect=dialect, **caller)
    async with open_harness(petal or LongPetal(), settings=device) as harness:
        transport = MemoryTransport(harness.broker, protocol)
        async with open_client(settings, transport=transport) as client:
            yield harness, client


def client_session(harness: Harness) -> str:
    """The client ID of the caller."""
    (name,) = (one for one in harness.broker.sessions if one.startswith("petalkit-call-"))
    return name
