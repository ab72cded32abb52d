"""The watchdog looks at the real clock, so these tests block for real, for a tenth of a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import trio.testing

from petalkit import Petal, command, open_client, open_runtime
from petalkit._serving import watchdog
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from .watchdog_ear import SETTINGS, hear

pytestmark = pytest.mark.trio


class Blocking(Petal):
    name = "blocking"

    def __init__(self) -> None:
        self.reported = threading.Event()

    @command("block")
    async def block(self) -> dict[str, bool]:
        # Blocks the loop until the watchdog has spoken; the limit is for a broken watchdog.
        return {"reported": self.reported.wait(10)}


async def test_a_handler_that_blocks_the_event_loop_is_named_while_it_does() -> None:
    petal = Blocking()
    broker = MemoryBroker()
    with hear("blocking/block", petal.reported) as reports:
        async with open_runtime([petal], SETTINGS, transport=MemoryTransport(broker)) as runtime:
            await runtime.wait_connected()
            async with open_client(SETTINGS, transport=MemoryTransport(broker)) as client:
                response = await client.call("blocking/block")
    assert response["reported"] is True
    assert "self.reported.wait(10)" in str(reports[-1].stack_info)
    assert {"petal": "blocking", "command": "blocking/block"}.items() <= vars(reports[-1]).items()


class Elsewhere(Petal):
    """Blocks the loop in a task beside its handler, or beside all commands."""

    name = "elsewhere"

    def __init__(self) -> None:
        self.reported = threading.Event()
        self._go = trio.Event()

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.nursery.start_soon(self._block_later)
        yield

    @command("child")
    async def child(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._block)

    @command("background")
    async def background(self) -> None:
        self._go.set()

    async def _block(self) -> None:
        self.reported.wait(10)

    async def _block_later(self) -> None:
        await self._go.wait()
        self.reported.wait(10)


@pytest.mark.parametrize(
    ("name", "text", "fields"),
    [
        ("child", "by elsewhere/child;", {"petal": "elsewhere", "command": "elsewhere/child"}),
        ("background", "by petal 'elsewhere', outside of commands;", {"petal": "elsewhere"}),
    ],
)
async def test_a_task_that_blocks_the_event_loop_is_named_by_its_command_or_its_petal(
    name: str, text: str, fields: dict[str, str]
) -> None:
    petal = Elsewhere()
    broker = MemoryBroker()
    with hear(text, petal.reported) as reports:
        async with open_runtime([petal], SETTINGS, transport=MemoryTransport(broker)) as runtime:
            await runtime.wait_connected()
            async with open_client(SETTINGS, transport=MemoryTransport(broker)) as client:
                await client.call(f"elsewhere/{name}")
            await trio.to_thread.run_sync(petal.reported.wait, 10)
    assert reports, f"nobody said {text!r}"
    found = {key: vars(reports[0]).get(key) for key in ("petal", "command")}
    assert found == {"command": None, **fields}


async def test_the_watchdog_ends_with_its_runtime() -> None:
    transport = MemoryTransport(MemoryBroker())
    before = set(threading.enumerate())  # another test's watchdog may still be on its way out
    async with open_runtime([Blocking()], SETTINGS, transport=transport):
        await trio.testing.wait_all_tasks_blocked()
        started = set(threading.enumerate()) - before
        [thread] = [one for one in started if one.name == "petalkit watchdog"]
    thread.join(timeout=5)
    assert not thread.is_alive()


class Looks:
    """In place of the event that ends the watchdog: so many looks, and no time between them."""

    def __init__(self, count: int) -> None:
        self._left = count

    def wait(self, limit: float) -> bool:
        self._left -= 1
        return self._left < 0

    def is_set(self) -> bool:
        return self._left < 0


class Asked:
    """In place of Trio's loop: answers when it is asked for a sign of life."""

    def __init__(self) -> None:
        self.times = 0

    def run_sync_soon(self, call: Callable[[], object]) -> None:
        self.times += 1
        call()


@pytest.mark.parametrize(("name", "times"), [("get_events", 0), ("step", 3)])
async def test_a_loop_that_waits_is_not_asked_and_one_that_works_is(
    name: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = SimpleNamespace(f_code=SimpleNamespace(co_name=name))
    monkeypatch.setattr("sys._current_frames", lambda: {threading.get_ident(): frame})
    asked = Asked()
    pulse = watchdog._Pulse(1.0, asked)  # type: ignore[arg-type]
    pulse.stopped = Looks(3)  # type: ignore[assignment]
    pulse.watch()
    assert asked.times == times


async def test_trio_waits_under_the_name_that_the_watchdog_looks_for() -> None:
    main = threading.get_ident()

    def seen() -> bool:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if sys._current_frames()[main].f_code.co_name == watchdog._WAITS:
                return True
        return False

    assert await trio.to_thread.run_sync(seen)
