"""Whole lives, from start to end: `open_runtime`, `serve`, `Runtime.run`, `open_harness`."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from petalkit import AllPetalsFailed, Identity, Petal, Runtime, open_client, open_runtime, serve
from petalkit._serving.wiring import Outside, new_ids
from petalkit.testing import MemoryBroker, MemoryTransport, open_harness

from .grounds import LATE, SETTINGS, SweptPetal
from .table import case

IDENTITY = Identity("acme", "device")
SERVED = attrs.evolve(
    SETTINGS, organization_id="acme", device_id="device", watchdog=0.0, session_expiry=0
)
LIFE = ["entering", "entered", "leaving", "left"]
CUT = ["entering", "left"]  # of a petal whose start was cut short

BROKEN = "petal 'broken' is out of service"


@attrs.define
class Place:
    """A broker, and the petals that were served on it so far."""

    broker: MemoryBroker
    petals: list[SweptPetal] = attrs.field(factory=list)

    @property
    def transport(self) -> MemoryTransport:
        return MemoryTransport(self.broker)

    def petal(self, name: str = "swept") -> SweptPetal:
        self.petals.append(SweptPetal(name))
        return self.petals[-1]

    async def call(self, command: str, **envelope: Any) -> None:
        async with open_client(SERVED, identity=IDENTITY, transport=self.transport) as client:
            assert (await client.call(command)).success

    def check(self) -> None:
        """Nobody is connected any more, said so, and each petal was left as it was entered."""
        assert not self.broker.clients
        for petal in self.petals:
            assert petal.lives in ([], CUT, LIFE), petal.lives
            assert petal.__petalkit_host__ is None
        status = self.broker.retained.get(IDENTITY.topic("status"))
        assert status is None or b'"offline"' in status.payload


@asynccontextmanager
async def place() -> AsyncGenerator[Place]:
    found = Place(MemoryBroker())
    found.broker.delay = LATE
    yield found
    found.check()


async def is_free(ground: Place) -> None:
    """What was served can be served again, on the same broker."""
    ground.check()
    petals = ground.petals or [ground.petal()]
    async with open_runtime(petals, SERVED, transport=ground.transport) as runtime:
        await runtime.wait_connected()
        await ground.call(f"{petals[0].name}/hello")
    for petal in petals:
        assert petal.lives[-4:] == LIFE
        del petal.lives[:-4]


@case(open_runtime, ground=place, again=is_free, others=4)
async def runtime_life(ground: Place) -> None:
    petals = [ground.petal("one"), ground.petal("two")]
    async with open_runtime(petals, SERVED, transport=ground.transport) as runtime:
        await runtime.wait_connected()
        await ground.call("one/hello")
        await petals[0].publish_message({"n": 1})
    assert runtime.statistics().succeeded == 1
    assert runtime.statistics().publish_unsent == 0


@case(open_runtime, ground=place, again=is_free, others=4)
async def runtime_life_that_ends_while_commands_run(ground: Place) -> None:
    """One ends in the grace, the other is cancelled, and cleans up."""
    settings = attrs.evolve(SERVED, grace=LATE)
    async with open_runtime([ground.petal()], settings, transport=ground.transport) as runtime:
        await runtime.wait_connected()
        for name in ("slow", "stubborn", "hello"):
            command = b'{"command":"swept/%s","messageId":"%s"}' % (name.encode(), name.encode())
            ground.broker.publish_nowait(IDENTITY.topic("command"), command)
        await trio.sleep(1.02)
    assert runtime.statistics().running == 0


@case(open_runtime, ground=place, again=is_free, others=4)
async def runtime_life_without_a_broker(ground: Place) -> None:
    """`stop()` in the block, between two attempts to connect."""
    ground.broker.stop()
    try:
        async with open_runtime([ground.petal()], SERVED, transport=ground.transport) as runtime:
            with trio.move_on_after(0.3):
                await runtime.wait_connected()
            runtime.stop()
            await runtime.wait_stopped()
    finally:
        ground.broker.start()


class Broken(Petal):
    name = "broken"
    restart_policy = "never"

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        await trio.sleep(0.1)
        raise OSError("no such device")
        yield


@case(open_runtime, ground=place, again=is_free, others=4, errors=(BROKEN,))
async def runtime_life_of_a_petal_that_cannot_start(ground: Place) -> None:
    with pytest.raises(AllPetalsFailed):
        async with open_runtime([Broken()], SERVED, transport=ground.transport):
            raise AssertionError("it was entered")


class Late(Petal):
    """Its device is plugged in after the first attempt."""

    name = "late"
    attempts = 0

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.attempts += 1
        if self.attempts == 1:
            raise OSError("no such device")
        yield


@case(open_runtime, ground=place, again=is_free, others=4, errors=("petal 'late' is out of",))
async def runtime_life_of_a_petal_that_is_started_again(ground: Place) -> None:
    late = Late()
    async with open_runtime([late], SERVED, transport=ground.transport):
        while late.attempts < 2:
            await trio.sleep(0.5)


@case(serve, ground=place, again=is_free, others=4)
async def serve_life(ground: Place) -> None:
    petal = ground.petal()
    async with trio.open_nursery() as nursery:

        async def start(*, task_status: trio.TaskStatus[Runtime]) -> None:
            await serve([petal], SERVED, transport=ground.transport, task_status=task_status)

        runtime = await nursery.start(start)
        await ground.call("swept/hello")
        runtime.stop()
    assert runtime.statistics().succeeded == 1


@case(Runtime.run, ground=place, again=is_free, others=4)
async def runtime_run(ground: Place) -> None:
    """As `open_runtime` runs it: shielded, and ended by `hurry()` when that is cancelled."""
    outside = Outside(now=trio.current_time, jitter=random.random, advice="", make_id=new_ids())
    runtime = Runtime([ground.petal()], SERVED, ground.transport, outside)

    async def hurry() -> None:
        try:
            await runtime.wait_stopped()
        except trio.Cancelled:
            runtime.hurry()
            raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hurry)
        await nursery.start(runtime.run)
        await runtime.wait_connected()
        runtime.stop()


@case(open_harness, ground=place, again=is_free, others=4)
async def harness_life(ground: Place) -> None:
    settings = attrs.evolve(SERVED, organization_id="elsewhere")
    async with open_harness(ground.petal(), settings=settings, broker=ground.broker) as harness:
        assert (await harness.call("swept/hello")).success
