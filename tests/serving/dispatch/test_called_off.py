"""Commands that are called off, or left to the session, while something else ends."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import ErrorCode, Settings, command
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio

HANDLED = Settings(acknowledge="handled", petal_concurrency=1, protocol="5")


class Failing(Recorder):
    """One whose first life ends when the test says so."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.fail = trio.Event()
        self.lives = 0

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.lives += 1
        self.nursery.start_soon(self._fail_once)
        yield

    async def _fail_once(self) -> None:
        await self.fail.wait()
        if self.lives == 1:
            raise RuntimeError("broken")


class Urgent(Recorder):
    @command("lasting", urgent=True, timeout=math.inf)
    async def lasting(self, n: int = 0) -> dict[str, Any]:
        return await self._hold("", n)


async def fill(broker: MemoryBroker) -> None:
    """Leave three commands to the session of an earlier process; the last is of petal b."""
    async with open_harness(
        Recorder("a"), Recorder("b"), broker=broker, settings=HANDLED
    ) as harness:
        await settle()
    harness.send("a/hold", {"n": 1}, message_id="m1")
    harness.send("a/hold", {"n": 2}, message_id="m2")
    harness.send("b/hold", {"n": 3}, message_id="m3")


async def test_a_stop_leaves_to_the_session_what_waits_for_its_acknowledgement(
    autojump_clock: object,
) -> None:
    """m3 may have killed the process: it is acknowledged before it is called, behind m2."""
    broker = MemoryBroker()
    await fill(broker)
    a, b = Recorder("a"), Recorder("b")
    async with open_harness(a, b, broker=broker, settings=HANDLED) as harness:
        with harness.responses() as responses:
            await trio.sleep(1)
            assert (a.started, b.started) == ([1], [])
            started = trio.current_time()
            harness.runtime.stop()
            await settle()
            a.open()
            await harness.runtime.wait_stopped()
            assert trio.current_time() - started < 1
            assert [response["messageId"] for response in responses] == ["m1"]
    a, b = Recorder("a"), Recorder("b")
    async with open_harness(a, b, broker=broker, settings=HANDLED) as harness:
        with harness.responses() as responses:
            a.open()
            b.open()
            await trio.sleep(100)
            assert (a.started, b.started) == ([2], [3])
            assert sorted(response["messageId"] for response in responses) == ["m2", "m3"]


async def test_a_petal_that_fails_answers_at_once_what_waits_for_its_acknowledgement(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker()
    await fill(broker)
    b = Failing("b")
    async with open_harness(
        Recorder("a"), b, broker=broker, settings=HANDLED, restarts=True
    ) as harness:
        with harness.responses() as responses:
            await trio.sleep(1)
            b.fail.set()
            await settle()
            assert [response["error_code"] for response in responses] == ["UNAVAILABLE"]
            await trio.sleep(2)
            assert b.lives == 2  # nothing of its last life goes on
            assert b.started == []


async def test_an_urgent_command_that_is_cancelled_before_its_first_step_is_not_called(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    petal = Urgent()
    async with open_harness(petal) as harness:
        dispatcher = harness.runtime._dispatcher
        start_urgent = dispatcher.start_urgent

        def start_and_cancel(execution: Any) -> bool:
            started = start_urgent(execution)
            dispatcher.cancel_petal("rec", ErrorCode.UNAVAILABLE, "the petal failed")
            return started

        monkeypatch.setattr(dispatcher, "start_urgent", start_and_cancel)
        response = await harness.call("rec/lasting")
        assert response.error_code == "UNAVAILABLE"
        assert petal.started == []


async def test_a_stop_without_a_link_gives_back_what_waits(autojump_clock: object) -> None:
    broker = MemoryBroker()
    settings = Settings(acknowledge="handled", petal_concurrency=1, grace=1.0)
    async with open_harness(Recorder(), broker=broker, settings=settings) as harness:
        for n in range(3):
            harness.send("rec/hold", {"n": n})
        await settle()
        broker.refuse_connections()
        harness.drop_link()
        await settle()
        harness.runtime.stop()
        await harness.runtime.wait_stopped()
        assert "SHUTTING_DOWN" not in harness.statistics().failed
    broker.accept_connections()
    petal = Recorder()
    async with open_harness(petal, broker=broker) as harness:
        petal.open()
        await settle()
        assert petal.started[-2:] == [1, 2]


@pytest.mark.parametrize("away", [0.0, 0.02, 0.05, 0.1, 0.3])
async def test_an_organization_that_comes_back_loses_nothing_without_a_kept_session(
    autojump_clock: object, away: float
) -> None:
    broker = MemoryBroker(window=4)
    settings = Settings(
        session_expiry=0,
        petal_concurrency=1,
        channel_capacity=1,
        channel_reserve=2,
        receive_maximum=4,
    )
    petal = Recorder()
    async with open_harness(petal, broker=broker, settings=settings) as harness:
        broker.delay = 0.05
        for n in range(12):
            harness.send("rec/hold", {"n": n})
        await trio.sleep(3)
        await harness.set_organization("other")
        await trio.sleep(away)
        await harness.set_organization("acme")
        await trio.sleep(5)
        petal.open()
        await trio.sleep(5)
        assert len(petal.started) == 12
