"""Petals of the guide: their loops, hooks, handlers and callbacks, in the life of a runtime."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio_asyncio

from petalkit import Identity, Settings
from petalkit.compat import (
    BaseProxy,
    GuidePetal,
    MQTTProxy,
    OrganizationManager,
    Petal,
    adapt,
    get_organization_manager,
)
from petalkit.compat._loop.loop import PetalLoop, open_petal_loop
from petalkit.testing import Harness, MemoryBroker, Observer, open_harness

from .grounds import CONNECTED, LATE, WORKERS
from .table import case

NUMBERS = itertools.count()
SETTINGS = Settings(grace=1.0, compat_answer_timeout=1.0)


class Guided(Petal):
    """Waits in each of its hooks, and in a task of its own."""

    name = "swept"
    version = "1"
    use_mqtt_proxy = True

    def __init__(self, hooks: list[str]) -> None:
        super().__init__()
        self.hooks = hooks
        self.told: list[str | None] = []

    def startup(self) -> None:
        super().startup()
        self.hooks.append("startup")
        self.task = asyncio.create_task(self._beat())
        get_organization_manager().register_callback(self._told)

    async def _told(self, organization_id: str | None) -> None:
        await asyncio.sleep(LATE)
        self.told.append(organization_id)

    async def _beat(self) -> None:
        self.hooks.append("beat")
        try:
            while True:
                await asyncio.sleep(0.3)
        finally:
            self.hooks.append("beat ended")

    async def async_startup(self) -> None:
        await asyncio.sleep(LATE)

    async def _setup_mqtt_topics(self) -> None:
        await asyncio.sleep(LATE)
        self._proxies["mqtt"].register_handler(self._handle)

    async def _handle(self, topic: str, message: dict[str, Any]) -> None:
        await asyncio.sleep(LATE)
        await self._proxies["mqtt"].send_command_response(message["messageId"], {"success": True})

    async def async_shutdown(self) -> None:
        await asyncio.sleep(LATE)
        self.hooks.append("async_shutdown")

    def shutdown(self) -> None:
        self.hooks.append("shutdown")


@attrs.frozen
class Guide:
    """A broker, and what the petals on it have gone through."""

    broker: MemoryBroker
    hooks: list[str] = attrs.field(factory=list)


@asynccontextmanager
async def guide() -> AsyncGenerator[Guide]:
    ground = Guide(MemoryBroker())
    ground.broker.delay = LATE
    yield ground
    assert not ground.broker.clients
    # What was started was ended, in order, and its task with it.
    for begin, end in (("startup", "shutdown"), ("beat", "beat ended")):
        assert ground.hooks.count(begin) == ground.hooks.count(end), ground.hooks
    assert ground.hooks.count("async_shutdown") == ground.hooks.count("shutdown")
    assert get_organization_manager()._callbacks == {}


async def serves_again(ground: Guide) -> None:
    async with open_harness(*adapt(Guided(ground.hooks)), broker=ground.broker) as harness:
        assert (await harness.call("swept/hello")).success


@case(
    GuidePetal.lifespan,
    GuidePetal.finish,
    ground=guide,
    again=serves_again,
    others=4,
)
async def guide_petal_life(ground: Guide) -> None:
    petal = Guided(ground.hooks)
    async with open_harness(*adapt(petal), settings=SETTINGS, broker=ground.broker) as harness:
        assert (await harness.call("swept/hello")).success
        harness.send("swept/hello")


@asynccontextmanager
async def called_back() -> AsyncGenerator[tuple[PetalLoop, Guided]]:
    """A petal's loop, and a callback that it has registered."""
    petal = Guided([])
    manager = get_organization_manager()
    async with open_petal_loop("swept", 1.0) as loop:
        manager.register_callback(petal._told)
        yield loop, petal
        manager.unregister_callback(petal._told)


@case(OrganizationManager.call_back, ground=called_back)
async def organization_callback(ground: tuple[PetalLoop, Guided]) -> None:
    loop, petal = ground
    manager = get_organization_manager()
    name = f"number {next(NUMBERS)}"
    manager.tell(Identity(name, "device"), "device")
    await manager.call_back(loop, petal, 10.0, orphans=True)
    assert petal.told[-1] == name


# -- what petals call: asyncio-flavored, and cancelled in asyncio's way when Trio cancels


@attrs.frozen
class Inside:
    """A petal that is served, seen from its own loop."""

    harness: Harness
    petal: Guided
    observer: Observer
    done: list[int] = attrs.field(factory=list)

    @property
    def proxy(self) -> MQTTProxy:
        found: MQTTProxy = self.petal._proxies["mqtt"]
        return found

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the petal's loop."""
        return await trio_asyncio.aio_as_trio(function, loop=self.petal._loop)(*arguments)


@asynccontextmanager
async def inside(**options: Any) -> AsyncGenerator[Inside]:
    petal = Guided([])
    settings = attrs.evolve(SETTINGS, event_capacity=1, reconnect_delay_min=2 * LATE)
    async with open_harness(*adapt(petal), settings=settings, **options) as harness:
        harness.broker.delay = LATE
        await harness.advance(10)
        with harness.broker.observe("org/acme/device/Instance-1/command/web") as observer:
            yield Inside(harness, petal, observer)


async def still_answers(ground: Inside) -> None:
    assert (await ground.harness.call("swept/hello")).success
    await trio.sleep(1)
    seen = [json.loads(message.payload)["n"] for message in ground.observer]
    assert seen[: len(ground.done)] == ground.done
    assert len(seen) <= len(ground.done) + 1


inside_case = functools.partial(case, ground=inside, again=still_answers, others=2, lasting=WORKERS)


@inside_case(MQTTProxy.publish_message)
async def proxy_publish_message(ground: Inside) -> None:
    for n in range(3):
        assert await ground.run(ground.proxy.publish_message, {"n": n})
        ground.done.append(n)


@inside_case(MQTTProxy.send_command_response, MQTTProxy.send_command_ack)
async def proxy_send_command_response(ground: Inside) -> None:
    message_id = ground.harness.send("swept/hello")
    await trio.sleep(1.5 * LATE)  # it has been given to the handler, which is not done
    assert await ground.run(ground.proxy.send_command_ack, message_id, "swept")
    assert await ground.run(ground.proxy.send_command_response, message_id, {"success": True})


@inside_case(BaseProxy.wait_until_ready)
async def proxy_wait_until_ready(ground: Inside) -> None:
    ground.harness.drop_link()
    await trio.testing.wait_all_tasks_blocked()
    assert not ground.proxy.is_ready
    assert await ground.run(ground.proxy.wait_until_ready)


async def becomes_known(ground: Inside) -> None:
    await ground.harness.set_organization("acme")
    await ground.harness.wait_connected()
    await still_answers(ground)


@inside_case(
    OrganizationManager.wait_for_organization_id,
    ground=functools.partial(inside, organization_id=None),
    again=becomes_known,
    lasting=(*WORKERS, *CONNECTED),
)
async def organization_wait(ground: Inside) -> None:
    wait = get_organization_manager().wait_for_organization_id
    assert await ground.run(wait, 0.3) is None
    await ground.harness.set_organization("acme")
    assert await ground.run(wait) == "acme"
