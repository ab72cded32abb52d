"""Two-phase commands at their edges: whoever accepts, and however it ends, there is one of each."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import CommandContext, Petal, Settings, command
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from ..recorder import settle

pytestmark = pytest.mark.trio


class Edges(Petal):
    name = "edges"

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.context: CommandContext | None = None
        self.go = trio.Event()
        self.left = 0

    async def _accept(self, context: CommandContext) -> None:
        try:
            await context.accept()
        except RuntimeError as error:
            self.errors.append(str(error))

    @command("child")
    async def child(self, context: CommandContext) -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._accept, context)
            nursery.start_soon(self._accept, context)
        return 1

    @command("orphan")
    async def orphan(self, context: CommandContext) -> int:
        self.context = context
        return 2

    @command("late", timeout=1.0)
    async def late(self, context: CommandContext) -> int:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                await self._accept(context)

    @command("thread", thread=True)
    def thread(self, context: CommandContext) -> int:
        trio.from_thread.run(context.accept)
        return 3

    @command("urgent", urgent=True)
    async def urgent(self, context: CommandContext) -> int:
        await context.accept()
        await trio.sleep(1)
        return 4

    @command("unkept", journal=False)
    async def unkept(self, context: CommandContext) -> int:
        await context.accept()
        await trio.sleep(1)
        return 5

    @command("unsayable")
    async def unsayable(self, context: CommandContext) -> int:
        with contextlib.suppress(Exception):
            await context.accept(value=object())
        return 6

    @command("huge")
    async def huge(self, context: CommandContext) -> str:
        await context.accept()
        return "x" * 100_000

    @command("stuck", timeout=math.inf)
    async def stuck(self, context: CommandContext, seconds: float) -> int:
        await context.accept()
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)
        self.left += 1
        return 7

    @command("waits", timeout=math.inf)
    async def waits(self, context: CommandContext) -> int:
        await context.accept()
        await self.go.wait()
        return 8

    @command("crash")
    async def crash(self) -> None:
        async def fail() -> None:
            raise RuntimeError("gone")

        self.nursery.start_soon(fail)


def seconds_of(events: Any) -> list[Any]:
    return [event["data"] for event in events]


async def test_two_tasks_accept_at_once_and_one_of_them_is_told(autojump_clock: object) -> None:
    edges = Edges()
    async with open_harness(edges) as harness:
        with harness.events() as events:
            assert (await harness.call("edges/child"))["pending"] is True
            await settle()
        assert seconds_of(events) == [{"success": True, "result": 1}]
        assert len(edges.errors) == 1


async def test_after_the_end_nobody_accepts(autojump_clock: object) -> None:
    edges = Edges()
    async with open_harness(edges) as harness:
        with harness.events() as events:
            assert (await harness.call("edges/orphan"))["result"] == 2
            assert edges.context is not None
            await edges._accept(edges.context)
            await settle()
        assert (len(events), len(edges.errors)) == (0, 1)


async def test_one_that_accepts_while_it_cleans_up_after_its_time_is_told_twice(
    autojump_clock: object,
) -> None:
    async with open_harness(Edges()) as harness:
        with harness.events() as events:
            answer = await harness.call("edges/late")
            assert answer["pending"] is True
            await settle()
        (data,) = seconds_of(events)
        assert data["error_code"] == "TIMEOUT"


@pytest.mark.parametrize("name", ["urgent", "unkept", "thread"])
@pytest.mark.parametrize("message_id", ["m", None])
@pytest.mark.parametrize("wait", [True, False])
async def test_every_kind_of_command_may_accept(
    name: str, message_id: str | None, wait: bool
) -> None:
    async with open_harness(Edges()) as harness:
        with harness.events() as events:
            harness.send(f"edges/{name}", message_id=message_id, wait_response=wait)
            with trio.fail_after(10):
                await events.wait(1)
        (data,) = seconds_of(events)
        assert data["success"] is True
        await settle()
        assert len(harness.runtime._outbox) == 0
        assert harness.runtime._outbox.places.taken == 0


async def test_what_cannot_be_said_at_accept_leaves_the_command_as_it_was(
    autojump_clock: object,
) -> None:
    async with open_harness(Edges()) as harness:
        with harness.events() as events:
            assert (await harness.call("edges/unsayable"))["result"] == 6
            await settle()
        assert len(events) == 0
        assert harness.runtime._outbox.places.taken == 0


async def test_a_result_that_is_too_large_is_said_to_be(autojump_clock: object) -> None:
    async with open_harness(Edges(), settings=Settings(payload_max=4096)) as harness:
        with harness.events() as events:
            await harness.call("edges/huge")
            await settle()
        (data,) = seconds_of(events)
        assert "TOO_LARGE" in data["error_code"]


async def test_a_petal_that_fails_ends_what_it_has_accepted(autojump_clock: object) -> None:
    async with open_harness(Edges()) as harness:
        with harness.events() as events:
            await harness.call("edges/waits")
            await harness.call("edges/crash")
            await settle()
        (data,) = seconds_of(events)
        assert data["error_code"] == "UNAVAILABLE"


@pytest.mark.parametrize("seconds", [3.0, 8.0])
async def test_one_that_ends_after_the_stop_has_given_it_up_is_told_once(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    """It ends while the lifespans are left, when its second phase has been said for it."""

    class Slow(Edges):
        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            yield
            with trio.CancelScope(shield=True):
                await trio.sleep(6)

    edges = Slow()
    broker = MemoryBroker()
    settings = Settings(grace=1, cleanup_timeout=4)
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        async with open_harness(edges, broker=broker, settings=settings) as harness:
            await harness.call("edges/stuck", {"seconds": seconds})
        assert len(seen) == 1
        assert edges.left == 1
        assert harness.runtime.statistics().running == 0
    assert "disorder" not in caplog.text


async def test_many_second_phases_end_at_once_where_the_outbox_is_small(
    autojump_clock: object,
) -> None:
    edges = Edges()
    settings = Settings(concurrency=50, response_capacity=10, event_capacity=5)
    async with open_harness(edges, settings=settings) as harness:
        with harness.events() as events:
            for n in range(30):
                harness.send("edges/waits", message_id=str(n))
                await settle()
            edges.go.set()
            await trio.sleep(10)
        assert len(events) == harness.statistics().started
        assert harness.runtime._outbox.places.taken == 0
