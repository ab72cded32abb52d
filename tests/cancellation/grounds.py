"""Petals being served, and a caller: what many operations are swept on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import trio

from petalkit import Client, Command, Petal, Settings, command, job, open_client, stream
from petalkit.testing import Harness, open_harness
from petalkit.transports.memory import MemoryBroker, MemoryTransport

# Events wait for room after the first; a stop does not take long.
SETTINGS = Settings(event_capacity=1, grace=2.0, reconnect_delay_min=0.05)
# The dispatcher keeps as many workers as were once needed.
WORKERS = ("worker ",)
# What a runtime has while it is connected.
CONNECTED = (
    "intake",
    "outbox",
    "publish watch",
    "PUBACK watch",
    "held refusals",
    "topics of others",
    "probe",
    "petalkit memory link: sender",
    "unread watch",
    "petalkit._serving.waiting.wait_any",
)
LATE = 0.05  # seconds by which the broker's packets are late


class SweptPetal(Petal):
    """Waits wherever a petal may wait.

    Attributes:
        lives: what has been entered and left of it, in order.
        seen: the commands that were begun.
    """

    name = "swept"

    def __init__(self, name: str = "swept") -> None:
        self.name = name
        self.lives: list[str] = []
        self.seen: list[str | None] = []

    @job("count")
    async def count(self) -> int:
        await trio.sleep(0.5)
        return 3

    @job("leased", lease=3.0)
    async def leased(self) -> None:
        await trio.sleep_forever()

    @stream("values")
    def values(self) -> dict[str, int]:
        return {"n": 1}

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.lives.append("entering")
        try:
            await trio.sleep(0.1)
            self.nursery.start_soon(self._beat, name="heartbeat")
            self.lives.append("entered")
            yield
            self.lives.append("leaving")
            await trio.sleep(0.1)
        finally:
            self.lives.append("left")

    async def _beat(self) -> None:
        while True:
            await trio.sleep(0.7)

    @command("hello")
    async def hello(self, raw: Command) -> dict[str, str]:
        self.seen.append(raw.message_id)
        return {"message": "hello"}

    @command("slow")
    async def slow(self, raw: Command) -> None:
        self.seen.append(raw.message_id)
        await trio.sleep(1)

    @command("stubborn")
    async def stubborn(self) -> None:
        try:
            await trio.sleep(100)
        finally:
            with trio.move_on_after(0.5, shield=True):
                await trio.sleep_forever()


@attrs.frozen
class Served:
    """A harness, its petal, and a nursery of the ground."""

    harness: Harness
    petal: SweptPetal
    nursery: trio.Nursery

    @property
    def broker(self) -> MemoryBroker:
        return self.harness.broker

    def soon(self, do: Callable[[], Awaitable[object]] | Callable[[], object]) -> None:
        """Call a function while the operation waits."""

        async def later() -> None:
            await trio.sleep(LATE)
            result: Any = do()
            if hasattr(result, "__await__"):
                await result

        self.nursery.start_soon(later)


@asynccontextmanager
async def served(**options: Any) -> AsyncGenerator[Served]:
    """A petal in a harness; the broker is slow to answer."""
    petal = SweptPetal()
    options.setdefault("settings", SETTINGS)
    async with trio.open_nursery() as nursery, open_harness(petal, **options) as harness:
        harness.broker.delay = LATE
        yield Served(harness, petal, nursery)
        nursery.cancel_scope.cancel()
    assert petal.lives == ["entering", "entered", "leaving", "left"]


@asynccontextmanager
async def without_identity() -> AsyncGenerator[Served]:
    async with served(organization_id=None) as ground:
        yield ground


async def answers(ground: Served) -> None:
    """It still serves: commands are answered, each once."""
    with trio.fail_after(100):
        await ground.harness.wait_connected()
        assert (await ground.harness.call("swept/hello")).success
        assert (await ground.harness.call("swept/slow")).success
    assert len(set(ground.petal.seen)) == len(ground.petal.seen)


@attrs.frozen
class Calling:
    """A client, and the petal that it calls."""

    served: Served
    client: Client
    transport: MemoryTransport


@asynccontextmanager
async def calling(settings: Settings = SETTINGS) -> AsyncGenerator[Calling]:
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(served())
        identity = ground.harness.runtime.identity
        transport = MemoryTransport(ground.broker)
        client = await stack.enter_async_context(
            open_client(settings, identity=identity, transport=transport)
        )
        yield Calling(ground, client, transport)


async def can_call(ground: Calling) -> None:
    assert (await ground.client.call("swept/hello")).success
    assert ground.client.statistics().waiting == 0
    await answers(ground.served)
