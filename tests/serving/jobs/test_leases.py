"""Dead-man operations: a motor is stopped on every path, and nobody can forget to."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from petalkit import Job, Petal, Settings, command, job
from petalkit.testing import Harness, open_harness

from ..recorder import settle

pytestmark = pytest.mark.trio


class Motor(Petal):
    name = "motor"

    def __init__(self) -> None:
        self.speed = 0
        self.stops = 0
        self.breaks = False

    @job("spin", lease=3.0, end_on_link_loss=True, timeout=60)
    async def spin(self, job: Job, speed: int) -> None:
        self.speed = speed
        try:
            while True:
                if self.breaks:
                    raise RuntimeError("overheated")
                self.speed = job.command.data["speed"]
                await trio.sleep(0.1)
        finally:
            with job.cleanup(1.0):
                await trio.sleep(0.05)
                self.speed = 0
                self.stops += 1

    @command("block")
    async def block(self, seconds: float) -> None:
        """As one that computes for so long: time goes on, and nothing else."""
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(seconds)


async def spinning(harness: Harness, motor: Motor) -> None:
    for speed in (10, 20):
        await harness.call("motor/spin", {"speed": speed})
        await trio.sleep(2)
    assert motor.speed == 20


async def ending(harness: Harness) -> tuple[str, str]:
    result = await harness.call("motor/result_spin")
    return result["state"], result["job_error"]


async def test_it_stops_when_nobody_renews(autojump_clock: object) -> None:
    motor = Motor()
    async with open_harness(motor) as harness:
        await spinning(harness, motor)
        await trio.sleep(2)
        assert (motor.speed, motor.stops) == (0, 1)
        assert await ending(harness) == ("timed_out", "its lease of 3 s was not renewed in time")


async def test_it_stops_at_its_timeout_though_it_is_renewed(autojump_clock: object) -> None:
    motor = Motor()
    async with open_harness(motor) as harness:
        for _ in range(31):
            await harness.call("motor/spin", {"speed": 10})
            if motor.stops:
                break
            await trio.sleep(2)
        await trio.sleep(1)
        assert motor.stops == 1
        assert (await ending(harness))[0] == "timed_out"


async def test_it_stops_when_it_is_cancelled(autojump_clock: object) -> None:
    motor = Motor()
    async with open_harness(motor) as harness:
        await spinning(harness, motor)
        await harness.call("motor/cancel_spin")
        await trio.sleep(0.1)
        assert (motor.speed, motor.stops) == (0, 1)


async def test_it_stops_when_it_fails(autojump_clock: object) -> None:
    motor = Motor()
    async with open_harness(motor) as harness:
        await spinning(harness, motor)
        motor.breaks = True
        await trio.sleep(0.2)
        assert (motor.speed, motor.stops) == (0, 1)
        assert (await ending(harness))[0] == "failed"


async def test_it_stops_when_the_link_is_lost(autojump_clock: object) -> None:
    motor = Motor()
    async with open_harness(motor) as harness:
        await spinning(harness, motor)
        harness.broker.refuse_connections()
        harness.drop_link()
        await trio.sleep(0.2)
        assert (motor.speed, motor.stops) == (0, 1)
        harness.broker.accept_connections()
        await harness.wait_connected()
        assert await ending(harness) == ("cancelled", "the link to the broker was lost")


async def test_it_stops_when_the_device_does(autojump_clock: object) -> None:
    motor = Motor()
    async with open_harness(motor, settings=Settings(grace=1)) as harness:
        await spinning(harness, motor)
    assert (motor.speed, motor.stops) == (0, 1)


async def test_a_renewal_behind_an_event_loop_that_stood_still_comes_too_late(
    autojump_clock: object,
) -> None:
    motor = Motor()
    async with open_harness(motor) as harness:
        await spinning(harness, motor)
        harness.send("motor/block", {"seconds": 10.0})
        harness.send("motor/spin", {"speed": 30})
        await settle()
        await trio.sleep(0.2)
        assert motor.stops == 1
        assert (await ending(harness))[0] == "timed_out"


class Suspended:
    """A device that is suspended between two instructions: Trio's clock does not see it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_it_stops_at_once_after_a_suspend_that_was_longer_than_the_lease(
    autojump_clock: object,
) -> None:
    motor, suspended = Motor(), Suspended()
    async with open_harness(motor, suspended=suspended) as harness:
        await harness.call("motor/spin", {"speed": 10})
        suspended.seconds = 3600.0
        await trio.sleep(0.2)
        assert (motor.speed, motor.stops) == (0, 1)
        assert await ending(harness) == ("timed_out", "its lease of 3 s was not renewed in time")


async def test_a_renewal_after_a_suspend_comes_too_late(autojump_clock: object) -> None:
    motor, suspended = Motor(), Suspended()
    async with open_harness(motor, suspended=suspended) as harness:
        first = await harness.call("motor/spin", {"speed": 10})
        suspended.seconds = 3600.0
        answer = await harness.call("motor/spin", {"speed": 20})
        assert answer.get("job_id") != first["job_id"]
        await trio.sleep(0.2)
        assert motor.stops == 1


async def test_a_short_suspend_counts_and_one_before_the_last_renewal_does_not(
    autojump_clock: object,
) -> None:
    motor, suspended = Motor(), Suspended()
    suspended.seconds = 1e6  # of earlier days
    async with open_harness(motor, suspended=suspended) as harness:
        await harness.call("motor/spin", {"speed": 10})
        suspended.seconds += 2.0
        await trio.sleep(0.8)
        assert motor.stops == 0
        await harness.call("motor/spin", {"speed": 10})
        await trio.sleep(2.8)
        assert motor.stops == 0
        await harness.call("motor/spin", {"speed": 10})
        suspended.seconds += 2.0
        await trio.sleep(1.3)
        assert motor.stops == 1


async def test_the_timeout_of_a_job_does_not_count_suspend(autojump_clock: object) -> None:
    class Patient(Petal):
        name = "patient"

        @job("wait", timeout=60)
        async def wait(self) -> None:
            await trio.sleep(50)

    suspended = Suspended()
    async with open_harness(Patient(), suspended=suspended) as harness:
        await harness.call("patient/wait")
        suspended.seconds = 3600.0
        await trio.sleep(55)
        assert (await harness.call("patient/result_wait"))["state"] == "succeeded"


async def test_a_device_that_nobody_can_ask_has_leases_all_the_same(
    autojump_clock: object,
) -> None:
    motor = Motor()
    async with open_harness(motor, suspended=None) as harness:
        await harness.call("motor/spin", {"speed": 10})
        await trio.sleep(2.9)
        assert motor.stops == 0
        await trio.sleep(0.3)
        assert motor.stops == 1
