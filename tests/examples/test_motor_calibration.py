"""The motor is stopped on every path, in virtual time; and by the next run when this one dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from petalkit import Settings
from petalkit.testing import Harness, open_harness

from ..serving.on_disk import after_crash, settings
from .conftest import Load

pytestmark = pytest.mark.trio

RESULT = "motor/result_calibrate"


class Line:
    """A motor's controller that remembers what it was told."""

    def __init__(self) -> None:
        self.throttles: list[float] = []
        self.broken = False

    async def set_throttle(self, throttle: float) -> None:
        await trio.sleep(0.01)
        self.throttles.append(throttle)

    async def read_rpm(self) -> float:
        if self.broken:
            raise OSError("the bus is gone")
        return 1000 * self.throttles[-1]

    @property
    def stops(self) -> int:
        return self.throttles.count(0.0)

    @property
    def turns(self) -> bool:
        return bool(self.throttles) and self.throttles[-1] > 0


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def motor(load_example: Load, line: Line) -> Any:
    return load_example("motor_calibration").MotorPetal(lambda: line)


async def calibrating(harness: Harness, line: Line, seconds: float = 4.0) -> str:
    """Start it, and renew it for so long."""
    job_id = ""
    for _ in range(round(seconds / 2)):
        answer = await harness.call("motor/calibrate", {"most": 0.5})
        assert job_id in ("", answer["job_id"])  # renewed, and not started again
        job_id = answer["job_id"]
        await trio.sleep(2)
    assert line.turns
    return job_id


async def test_a_calibration_that_is_renewed_comes_to_its_end(
    motor: Any, line: Line, autojump_clock: MockClock
) -> None:
    async with open_harness(motor) as harness:
        await calibrating(harness, line, seconds=10)
        await trio.sleep(2)
        result = await harness.call(RESULT)
        assert result["state"] == "succeeded"
        assert result["result"]["speeds"][-1] == 500
        assert line.stops == 1
        assert not line.turns


async def test_an_operator_who_is_gone(motor: Any, line: Line, autojump_clock: MockClock) -> None:
    async with open_harness(motor) as harness:
        await calibrating(harness, line)
        await trio.sleep(1.1)
        assert line.stops == 1
        assert not line.turns
        assert (await harness.call(RESULT))["state"] == "timed_out"


async def test_a_lease_that_the_test_lets_run_out(
    motor: Any, line: Line, autojump_clock: MockClock
) -> None:
    async with open_harness(motor) as harness, harness.start_job("motor/calibrate") as job:
        await trio.sleep(1)
        await harness.expire_lease(job)
        assert (await job.wait(2))["state"] == "timed_out"
        assert line.stops == 1


async def test_a_cancellation(motor: Any, line: Line, autojump_clock: MockClock) -> None:
    async with open_harness(motor) as harness:
        job_id = await calibrating(harness, line)
        assert (await harness.call("petalkit/cancel", {"job_id": job_id})).success
        await trio.sleep(0.1)
        assert line.stops == 1
        assert not line.turns


async def test_an_error(motor: Any, line: Line, autojump_clock: MockClock) -> None:
    async with open_harness(motor) as harness:
        await calibrating(harness, line)
        line.broken = True
        await trio.sleep(1)
        assert line.stops == 1
        assert not line.turns
        assert (await harness.call(RESULT))["state"] == "failed"


async def test_a_lost_link(motor: Any, line: Line, autojump_clock: MockClock) -> None:
    async with open_harness(motor) as harness:
        await calibrating(harness, line)
        harness.broker.refuse_connections()
        harness.drop_link()
        await trio.sleep(0.1)
        assert line.stops == 1
        assert not line.turns


async def test_a_stop_of_the_device(motor: Any, line: Line, autojump_clock: MockClock) -> None:
    async with open_harness(motor, settings=Settings(grace=0)) as harness:
        await calibrating(harness, line)
    assert line.stops == 1
    assert not line.turns


async def test_a_device_that_died_is_made_safe_before_it_serves(
    load_example: Load, motor: Any, line: Line, autojump_clock: MockClock, tmp_path: Path
) -> None:
    path = tmp_path / "device.journal"
    async with open_harness(motor, settings=settings(path)) as harness:
        await calibrating(harness, line)
        assert line.stops == 0
        crashed = after_crash(path)
        harness.runtime.hurry()
    after = Line()
    second = load_example("motor_calibration").MotorPetal(lambda: after)
    async with open_harness(second, settings=settings(crashed)) as harness:
        assert after.throttles == [0.0]
        assert (await harness.call(RESULT))["state"] == "interrupted"


async def test_an_urgent_stop(motor: Any, line: Line, autojump_clock: MockClock) -> None:
    async with open_harness(motor) as harness:
        assert (await harness.call("motor/stop")).success
        assert line.throttles == [0.0]


async def test_a_throttle_out_of_range(motor: Any, line: Line, autojump_clock: MockClock) -> None:
    async with open_harness(motor) as harness:
        answer = await harness.call("motor/calibrate", {"most": 0.6})
        assert answer.error_code == "INVALID_DATA"
        assert line.throttles == []
