"""Streams at rates of their readers' own, and of an autopilot's line only while somebody reads."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from petalkit.testing import Harness, open_harness

from .conftest import Load

pytestmark = pytest.mark.trio


class Autopilot:
    """Fifty attitudes a second, numbered by their roll."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self.lines = 0

    async def __call__(self) -> AsyncGenerator[Any]:
        self.lines += 1
        try:
            number = 0
            while True:
                number += 1
                yield self._make(roll=float(number), pitch=0.0)
                await trio.sleep(0.02)
        finally:
            self.lines -= 1


@pytest.fixture
def module(load_example: Load) -> Any:
    return load_example("telemetry")


@pytest.fixture
def autopilot(module: Any) -> Autopilot:
    return Autopilot(module.Attitude)


@pytest.fixture
def petal(module: Any, autopilot: Autopilot) -> Any:
    return module.TelemetryPetal(autopilot)


async def test_the_latest_attitude_at_the_readers_rate(
    petal: Any, autopilot: Autopilot, autojump_clock: MockClock
) -> None:
    async with open_harness(petal) as harness:
        async with harness.stream("telemetry/attitude", rate=5) as values:
            start = trio.current_time()
            await values.wait(11)
            assert trio.current_time() - start == pytest.approx(2.0, abs=0.05)
            assert autopilot.lines == 1
            rolls = [one["roll"] for one in values]
            assert rolls[0] == 1
            assert all(later - sooner >= 9 for sooner, later in itertools.pairwise(rolls))
        await trio.sleep(0.1)
        assert autopilot.lines == 0


async def test_a_position_is_looked_at_when_it_is_wanted(
    petal: Any, module: Any, autojump_clock: MockClock
) -> None:
    async with (
        open_harness(petal) as harness,
        harness.stream("telemetry/position", rate=100) as values,
    ):
        await values.wait(1)
        petal.latest = module.Position(1.0, 2.0, 3.0)
        await values.wait(2)
        assert values[-1] == {"latitude": 1.0, "longitude": 2.0, "at": 3.0}
        start = trio.current_time()
        await values.wait(12)
        assert trio.current_time() - start == pytest.approx(1.0, abs=0.15)  # max_rate


async def test_two_readers_share_a_line_and_a_change_of_rate_is_one_command(
    petal: Any, autopilot: Autopilot, autojump_clock: MockClock
) -> None:
    async def subscribe(harness: Harness, rate: float) -> Any:
        data = {"subscribed_stream_id": "mine", "data_rate_hz": rate}
        return await harness.call("telemetry/subscribe_attitude", data)

    async with open_harness(petal) as harness:
        assert (await subscribe(harness, 1))["data_rate_hz"] == 1
        async with harness.stream("telemetry/attitude", rate=50) as values:
            await values.wait(20)
            assert autopilot.lines == 1
        assert (await subscribe(harness, 400))["data_rate_hz"] == 50
        with harness.events() as events:
            await trio.sleep(1)
            assert len(events) == pytest.approx(50, abs=2)
        assert (await harness.call("telemetry/unsubscribe_all"))["unsubscribed"] == 1
        await trio.sleep(0.1)
        assert autopilot.lines == 0


async def test_the_simulated_autopilot(module: Any, autojump_clock: MockClock) -> None:
    async with (
        open_harness(module.TelemetryPetal()) as harness,
        harness.stream("telemetry/attitude", rate=10) as values,
    ):
        await values.wait(3)
        assert set(values[0]) == {"roll", "pitch"}
