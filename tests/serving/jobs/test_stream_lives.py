"""Streams whose generators end late, never, or without their readers' doing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import pytest
import trio

from petalkit import Petal, Settings, command, stream
from petalkit.testing import open_harness

from .test_streams import subscribe, values

pytestmark = pytest.mark.trio


class Sensor(Petal):
    """A device that only one may hold, and that takes its time to be put down."""

    name = "sensor"

    def __init__(self, cleanup: float = 3.0) -> None:
        self.cleanup = cleanup
        self.held = 0
        self.most = 0
        self.lives = 0
        self.held_at_start: list[int] = []
        self.silent = False

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.lives += 1
        self.held_at_start.append(self.held)
        yield

    @stream("raw")
    async def raw(self) -> AsyncGenerator[int]:
        self.held += 1
        self.most = max(self.most, self.held)
        try:
            n = 0
            while True:
                if self.silent:
                    await trio.sleep_forever()
                yield (n := n + 1)
                await trio.sleep(0.1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.cleanup)
            self.held -= 1

    @command("crash")
    async def crash(self) -> None:
        async def fail() -> None:
            raise RuntimeError("the bus is gone")

        self.nursery.start_soon(fail)


async def test_a_new_reader_waits_until_the_last_generator_has_cleaned_up(
    autojump_clock: object,
) -> None:
    sensor = Sensor()
    async with open_harness(sensor) as harness:
        with harness.events() as events:
            await harness.call("sensor/subscribe_raw", subscribe("a", 10))
            await trio.sleep(1)
            await harness.call("sensor/unsubscribe_raw", {"subscribed_stream_id": "a"})
            await harness.call("sensor/subscribe_raw", subscribe("b", 10))
            await trio.sleep(1)
            assert (sensor.held, values(events, "b")) == (1, [])
            await trio.sleep(4)
        assert (sensor.most, len(values(events, "b")) > 10) == (1, True)


async def test_a_reader_that_goes_while_it_waits_starts_nothing(autojump_clock: object) -> None:
    sensor = Sensor()
    async with open_harness(sensor) as harness:
        for one in "abc":
            await harness.call("sensor/subscribe_raw", subscribe(one, 10))
            await trio.sleep(0.1)
            assert (await harness.call("sensor/unsubscribe_all"))["unsubscribed"] == 1
        await trio.sleep(10)
        assert (sensor.held, sensor.most) == (0, 1)


async def test_a_petal_is_started_again_when_its_streams_have_cleaned_up(
    autojump_clock: object,
) -> None:
    sensor = Sensor()
    sensor.restart_policy = "on-failure"
    async with open_harness(sensor) as harness:
        await harness.call("sensor/subscribe_raw", subscribe("a", 10))
        await trio.sleep(1)
        await harness.call("sensor/crash")
        await trio.sleep(600)
        assert sensor.held_at_start == [0, 0]
        with harness.events() as events:
            await trio.sleep(5)
        assert len(events) == 0
        await harness.call("sensor/subscribe_raw", subscribe("a", 10))
        await trio.sleep(1)
        assert sensor.held == 1


async def test_the_stop_waits_for_the_cleanup_of_streams_but_not_for_ever(
    autojump_clock: object,
) -> None:
    for cleanup, held in ((1.0, 0), (1000.0, 1)):
        sensor = Sensor(cleanup)
        at_exit: list[int] = []

        @contextlib.asynccontextmanager
        async def lifespan(
            sensor: Sensor = sensor, at_exit: list[int] = at_exit
        ) -> AsyncGenerator[None]:
            yield
            at_exit.append(sensor.held)

        sensor.lifespan = lifespan  # type: ignore[method-assign]
        async with open_harness(sensor, settings=Settings(cleanup_timeout=5)) as harness:
            await harness.call("sensor/subscribe_raw", subscribe("a", 10))
            await trio.sleep(1)
        assert at_exit == [held]


async def test_a_silent_stream_whose_readers_are_gone_ends(autojump_clock: object) -> None:
    sensor = Sensor()
    sensor.silent = True
    async with open_harness(sensor, settings=Settings(subscription_age=60)) as harness:
        await harness.call("sensor/subscribe_raw", subscribe("a", 10))
        await trio.sleep(50)
        await harness.call("sensor/subscribe_raw", subscribe("a", 10))
        await trio.sleep(50)
        assert sensor.held == 1
        await trio.sleep(65)
        assert sensor.held == 0


async def test_a_generator_that_swallows_its_cancellation_ends_at_its_next_value(
    autojump_clock: object,
) -> None:
    class Stubborn(Petal):
        name = "stubborn"
        running = 0

        @stream("s")
        async def s(self) -> AsyncGenerator[int]:
            self.running += 1
            try:
                while True:
                    with contextlib.suppress(trio.Cancelled):
                        await trio.sleep(1)
                    yield 1
            finally:
                self.running -= 1

    stubborn = Stubborn()
    async with open_harness(stubborn) as harness:
        for _ in range(2):
            await harness.call("stubborn/subscribe_s", subscribe("a", 10))
            await trio.sleep(3)
            assert stubborn.running == 1
            await harness.call("stubborn/unsubscribe_all")
            await trio.sleep(3)
            assert stubborn.running == 0


async def test_a_reader_of_once_in_an_hour_and_one_of_almost_never(autojump_clock: object) -> None:
    sensor = Sensor()
    async with open_harness(sensor, settings=Settings(subscription_age=1e6)) as harness:
        with harness.events() as events:
            await harness.call("sensor/subscribe_raw", subscribe("hour", 1 / 3600))
            await harness.call("sensor/subscribe_raw", subscribe("never", 1e-320))
            await harness.call("sensor/subscribe_raw", subscribe("s", 1))
            await trio.sleep(3605)
        assert len(values(events, "hour")) == 2
        assert len(values(events, "never")) == 1
        assert len(values(events, "s")) > 3600
        assert (await harness.call("sensor/unsubscribe_all"))["unsubscribed"] == 3


async def test_a_generator_that_never_waits_leaves_turns_to_others(
    autojump_clock: object,
) -> None:
    class Hasty(Petal):
        name = "hasty"
        yielded = 0

        @stream("values")
        async def values(self) -> AsyncGenerator[int]:
            while self.yielded < 100_000:  # or a failure of this test would never end
                self.yielded += 1
                yield self.yielded

    hasty = Hasty()
    async with open_harness(hasty) as harness:
        await harness.call("hasty/subscribe_values", {"subscribed_stream_id": "r"})
        assert (await harness.call("petalkit/ping")).success
        await harness.call("hasty/unsubscribe_values", {"subscribed_stream_id": "r"})
        assert hasty.yielded < 50_000
