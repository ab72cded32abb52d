"""Dead-man operations: a motor is stopped on every path, and nobody can forget to."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from petalkit import Job, Petal, Settings, command, job
from petalkit.testing import Harness, MemoryBroker, open_harness

from ..on_disk import after_crash, settings
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


class Crane(Petal):
    name = "crane"

    def __init__(self) -> None:
        self.log: list[str] = []

    @job("lift", lease=3.0, queue=3, exclusive="crane")
    async def lift(self, job: Job, load: str) -> None:
        self.log.append(load)
        await trio.sleep(2)

    @command("swing", exclusive="crane")
    async def swing(self, seconds: float) -> None:
        await trio.sleep(seconds)


async def test_what_waits_is_renewed_and_not_started_once_more(autojump_clock: object) -> None:
    crane = Crane()
    async with open_harness(crane) as harness:
        harness.send("crane/swing", {"seconds": 10.5})
        await settle()
        ids: set[str] = set()
        for n in range(12):
            answer = await harness.call("crane/lift", {"load": f"load {n}"})
            ids.add(answer["job_id"])
            await trio.sleep(1)
        assert len(ids) == 1
        await trio.sleep(5)
        assert crane.log == ["load 10"]  # the newest that came while it waited
        assert (await harness.call("crane/result_lift"))["state"] == "succeeded"


async def test_what_nobody_renews_while_it_waits_never_starts(autojump_clock: object) -> None:
    crane = Crane()
    async with open_harness(crane) as harness:
        harness.send("crane/swing", {"seconds": 10})
        await settle()
        await harness.call("crane/lift", {"load": "old"})
        await trio.sleep(5)
        late = await harness.call("crane/lift", {"load": "new"})
        await trio.sleep(2)
        await harness.call("crane/lift", {"load": "newer"})
        await trio.sleep(2.5)
        await harness.call("crane/lift", {"load": "newest"})
        await trio.sleep(10)
        assert crane.log == ["newest"]
        assert (await harness.call("crane/result_lift"))["job_id"] == late["job_id"]
        assert harness.statistics().jobs_ended == {"timed_out": 1, "succeeded": 1}


async def test_what_nobody_renews_is_over_when_its_turn_comes(autojump_clock: object) -> None:
    crane = Crane()
    async with open_harness(crane) as harness:
        harness.send("crane/swing", {"seconds": 10})
        await settle()
        await harness.call("crane/lift", {"load": "old"})
        await trio.sleep(20)
        assert crane.log == []
        assert (await harness.call("crane/result_lift"))["state"] == "timed_out"


async def test_what_waited_does_not_start_after_a_restart(
    autojump_clock: object, path: Path
) -> None:
    async with open_harness(Crane(), settings=settings(path)) as harness:
        harness.send("crane/swing", {"seconds": 10})
        await settle()
        waits = await harness.call("crane/lift", {"load": "old"})
        crashed = after_crash(path)
        harness.runtime.hurry()
    crane = Crane()
    async with open_harness(crane, settings=settings(crashed)) as harness:
        await trio.sleep(5)
        assert crane.log == []
        result = await harness.call("crane/result_lift", {"job_id": waits["job_id"]})
        assert (result["state"], result["job_error_code"]) == ("interrupted", "INTERRUPTED")


async def test_what_waits_ends_with_a_stop(autojump_clock: object, path: Path) -> None:
    async with open_harness(Crane(), settings=settings(path)) as harness:
        harness.send("crane/swing", {"seconds": 1})
        await settle()
        waits = await harness.call("crane/lift", {"load": "old"})
    async with open_harness(Crane(), settings=settings(path)) as harness:
        result = await harness.call("crane/result_lift", {"job_id": waits["job_id"]})
        assert result["state"] == "cancelled"


class Winch(Petal):
    name = "winch"

    def __init__(self) -> None:
        self.log: list[str] = []

    @job("pull", end_on_link_loss=True)
    async def pull(self) -> None:
        self.log.append("pulls")
        await trio.sleep(5)

    @job("haul", end_on_link_loss=True, resume=True)
    async def haul(self, job: Job) -> None:
        self.log.append(f"hauls from {job.resumed}")
        await job.checkpoint({"at": 1})
        await trio.sleep(5)

    @command("check")
    async def check(self) -> None:
        await trio.sleep(3)


async def test_what_ends_with_the_link_does_not_begin_without_one(autojump_clock: object) -> None:
    winch = Winch()
    async with open_harness(winch, settings=Settings(petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            harness.send("winch/check")
            harness.send("winch/pull", message_id="pull")
            await trio.sleep(1)
            harness.broker.refuse_connections()
            harness.drop_link()
            await trio.sleep(20)
            assert winch.log == []
            harness.broker.accept_connections()
            await harness.wait_connected()
            await settle()
            (answer,) = [one for one in responses if one["messageId"] == "pull"]
            assert (answer["error_code"], answer["retryable"]) == ("UNAVAILABLE", True)
            assert (await harness.call("winch/pull")).success
            await settle()
            assert winch.log == ["pulls"]


async def test_what_is_resumed_waits_for_its_link(autojump_clock: object, path: Path) -> None:
    async with open_harness(Winch(), settings=settings(path)) as harness:
        await harness.call("winch/haul")
        await trio.sleep(1)
        crashed = after_crash(path)
        harness.runtime.hurry()
    winch, broker = Winch(), MemoryBroker()
    broker.refuse_connections()
    async with open_harness(
        winch, settings=settings(crashed), broker=broker, connected=False
    ) as harness:
        await trio.sleep(20)
        assert winch.log == []
        broker.accept_connections()
        await harness.wait_connected()
        await settle()
        assert winch.log == ["hauls from {'at': 1}"]
