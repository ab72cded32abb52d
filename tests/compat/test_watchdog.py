"""Whom the watchdog names where a petal of the guide blocks the event loop, for real."""

from __future__ import annotations

import asyncio
import threading

import pytest
import trio

from petalkit import open_client, open_runtime
from petalkit.compat import adapt
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from ..serving.watchdog_ear import SETTINGS, hear
from .petals import GuidePetal, Message

pytestmark = pytest.mark.trio


class Culprit(GuidePetal):
    """Blocks once, where the test says, until the watchdog has spoken."""

    def __init__(self, where: str) -> None:
        super().__init__("culprit")
        self.where = where
        self.reported = threading.Event()
        self.go = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def block(self) -> None:
        self.reported.wait(10)

    async def block_in_a_task(self) -> None:
        self.block()

    async def block_later(self) -> None:
        await self.go.wait()
        self.block()

    def startup(self) -> None:
        super().startup()
        if self.where == "background":
            self.task = asyncio.create_task(self.block_later())

    async def async_startup(self) -> None:
        if self.where == "hook":
            self.block()

    async def _hello_handler(self, topic: str, message: Message) -> None:
        match self.where:
            case "handler":
                self.block()
            case "task":
                await asyncio.create_task(self.block_in_a_task())
            case "wait_for":
                await asyncio.wait_for(self.block_in_a_task(), 10)
            case "callback":
                asyncio.get_running_loop().call_soon(self.block)
                await asyncio.sleep(0)
            case "background":
                self.go.set()
            case _:
                pass
        await super()._hello_handler(topic, message)


IN_COMMAND = ("by culprit/hello;", "culprit/hello")
OUTSIDE = ("by petal 'culprit', outside of commands;", None)


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("handler", IN_COMMAND),
        ("task", IN_COMMAND),
        ("wait_for", IN_COMMAND),
        ("callback", IN_COMMAND),
        ("background", OUTSIDE),
        ("hook", OUTSIDE),
    ],
)
async def test_it_names_the_command_or_the_petal(where: str, named: tuple[str, str | None]) -> None:
    text, command = named
    petal = Culprit(where)
    broker = MemoryBroker()
    with hear(text, petal.reported) as reports:
        async with open_runtime(
            adapt(petal), SETTINGS, transport=MemoryTransport(broker)
        ) as runtime:
            await runtime.wait_connected()
            async with open_client(SETTINGS, transport=MemoryTransport(broker)) as client:
                assert (await client.call("culprit/hello")).success
            await trio.to_thread.run_sync(petal.reported.wait, 10)
    assert reports, f"nobody said {text!r}"
    report = reports[0]
    assert vars(report)["petal"] == "culprit"
    assert vars(report).get("command") == command
