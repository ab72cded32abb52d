"""The motors run at 50 Hz and stop whenever they should, all in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from petalkit.testing import open_harness

from .conftest import Load

pytestmark = pytest.mark.trio


class Driver:
    """A motor driver that remembers what was written, and when."""

    def __init__(self) -> None:
        self.writes: list[tuple[float, float]] = []
        self.broken = False

    def __call__(self, throttle: float) -> None:
        self.writes.append((trio.current_time(), throttle))
        if self.broken:
            raise OSError("the bus is gone")

    @property
    def throttle(self) -> float:
        return self.writes[-1][1]


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def motors(load_example: Load, driver: Driver) -> Any:
    return load_example("heartbeat").MotorsPetal(driver)


async def test_fifty_writes_a_second_without_drift(
    motors: Any, driver: Driver, autojump_clock: MockClock
) -> None:
    async with open_harness(motors):
        start = trio.current_time()
        await trio.sleep(10.0)
        times = [when for when, _ in driver.writes if start < when <= start + 10.0]
        assert len(times) == pytest.approx(500, abs=1)
        assert times[-1] - times[0] == pytest.approx((len(times) - 1) / 50)


async def test_the_throttle_is_held_while_it_is_renewed(
    motors: Any, driver: Driver, autojump_clock: MockClock
) -> None:
    async with open_harness(motors) as harness:
        for _ in range(5):
            response = await harness.call("motors/set", {"throttle": 0.4, "hold": 0.5})
            assert response.success
            await trio.sleep(0.4)
            assert driver.throttle == 0.4
        await trio.sleep(0.2)
        assert driver.throttle == 0.0


async def test_an_urgent_stop(motors: Any, driver: Driver, autojump_clock: MockClock) -> None:
    async with open_harness(motors) as harness:
        await harness.call("motors/set", {"throttle": 1.0, "hold": 3.0})
        await trio.sleep(0.1)
        assert driver.throttle == 1.0
        assert (await harness.call("motors/stop")).success
        await trio.sleep(0.1)
        assert driver.throttle == 0.0


async def test_stopping_the_petal_stops_the_motors(
    motors: Any, driver: Driver, autojump_clock: MockClock
) -> None:
    async with open_harness(motors) as harness:
        await harness.call("motors/set", {"throttle": 1.0, "hold": 3.0})
        await trio.sleep(0.1)
        assert driver.throttle == 1.0
        started = trio.current_time()
    assert driver.throttle == 0.0
    assert trio.current_time() - started < 3.0  # by the stop, not by the dead man's switch


async def test_a_broken_driver_is_told_to_stop_and_the_petal_is_out_of_service(
    motors: Any, driver: Driver, autojump_clock: MockClock
) -> None:
    async with open_harness(motors) as harness:
        await harness.call("motors/set", {"throttle": 1.0, "hold": 3.0})
        driver.broken = True
        await trio.sleep(0.1)
        assert driver.throttle == 0.0
        response = await harness.call("motors/set", {"throttle": 1.0})
        assert response.error_code == "UNAVAILABLE"
        assert harness.statistics().unavailable_petals == ("motors-petal",)


@pytest.mark.parametrize(
    "data", [{"throttle": 1.5}, {"throttle": -0.1}, {"throttle": 1, "hold": 3.1}]
)
async def test_out_of_range(
    motors: Any, driver: Driver, autojump_clock: MockClock, data: dict[str, float]
) -> None:
    async with open_harness(motors) as harness:
        response = await harness.call("motors/set", data)
        assert response.error_code == "OUT_OF_RANGE"
        await trio.sleep(0.1)
        assert driver.throttle == 0.0


async def test_the_throttle_is_reported_every_second(
    motors: Any, autojump_clock: MockClock
) -> None:
    async with open_harness(motors) as harness:
        with harness.events() as events:
            await events.wait(3)
        assert {event["command"] for event in events} == {"/motors-petal/throttle"}
