"""Streams: the latest value at each reader's rate, from the first reader to the last."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import Petal, Settings, stream
from petalkit.testing import open_harness

from ..recorder import settle

pytestmark = pytest.mark.trio


class Telemetry(Petal):
    name = "telemetry"

    def __init__(self) -> None:
        self.lives = 0
        self.running = 0
        self.asked = 0
        self.fails = False

    @stream("pose", max_rate=50)
    async def pose(self) -> AsyncGenerator[dict[str, Any]]:
        self.lives += 1
        self.running += 1
        try:
            for n in range(1_000_000):
                if self.fails:
                    raise RuntimeError("the sensor is gone")
                yield {"n": n}
                await trio.sleep(0.01)
        finally:
            self.running -= 1

    @stream("battery")
    def battery(self) -> dict[str, Any]:
        self.asked += 1
        return {"volts": 12.0}


def values(events: Any, stream_id: str) -> list[Any]:
    return [
        event["data"]["stream_payload"]
        for event in events
        if event["data"]["published_stream_id"] == stream_id
    ]


def subscribe(stream_id: str, rate: float) -> dict[str, Any]:
    return {"subscribed_stream_id": stream_id, "data_rate_hz": rate}


async def test_each_reader_gets_the_latest_at_its_own_rate(autojump_clock: object) -> None:
    async with open_harness(Telemetry()) as harness:
        with harness.events() as events:
            await harness.call("telemetry/subscribe_pose", subscribe("slow", 2))
            answer = await harness.call("telemetry/subscribe_pose", subscribe("fast", 1000))
            assert answer["data_rate_hz"] == 50
            await trio.sleep(10)
        slow, fast = values(events, "slow"), values(events, "fast")
        assert 19 <= len(slow) <= 21
        assert 480 <= len(fast) <= 501
        assert [one["n"] for one in slow] == sorted(one["n"] for one in slow)
        assert slow[-1]["n"] >= 950


async def test_it_runs_from_the_first_reader_to_the_last(autojump_clock: object) -> None:
    telemetry = Telemetry()
    async with open_harness(telemetry) as harness:
        await trio.sleep(1)
        assert telemetry.lives == 0
        await harness.call("telemetry/subscribe_pose", subscribe("a", 10))
        await harness.call("telemetry/subscribe_pose", subscribe("b", 10))
        await trio.sleep(1)
        await harness.call("telemetry/unsubscribe_pose", {"subscribed_stream_id": "a"})
        await trio.sleep(1)
        assert (telemetry.lives, telemetry.running) == (1, 1)
        assert (await harness.call("telemetry/unsubscribe_all"))["unsubscribed"] == 1
        await trio.sleep(1)
        assert (telemetry.lives, telemetry.running) == (1, 0)
        await harness.call("telemetry/subscribe_pose", subscribe("c", 10))
        await trio.sleep(1)
        assert (telemetry.lives, telemetry.running) == (2, 1)


async def test_a_rate_can_be_changed_while_it_runs(autojump_clock: object) -> None:
    async with open_harness(Telemetry()) as harness:
        await harness.call("telemetry/subscribe_pose", subscribe("a", 1))
        await trio.sleep(5)
        await harness.call("telemetry/subscribe_pose", subscribe("a", 20))
        with harness.events() as events:
            await trio.sleep(5)
        assert 95 <= len(values(events, "a")) <= 101


async def test_a_plain_function_is_asked_at_each_turn_and_not_otherwise(
    autojump_clock: object,
) -> None:
    telemetry = Telemetry()
    async with open_harness(telemetry) as harness:
        with harness.events() as events:
            await harness.call("telemetry/subscribe_battery", subscribe("b", 10))
            await trio.sleep(10)
        assert 99 <= telemetry.asked <= 101
        assert len(values(events, "b")) == telemetry.asked
        await harness.call("telemetry/unsubscribe_battery", {"subscribed_stream_id": "b"})
        asked = telemetry.asked
        await trio.sleep(10)
        assert telemetry.asked == asked


async def test_a_reader_that_does_not_renew_is_forgotten(autojump_clock: object) -> None:
    telemetry = Telemetry()
    async with open_harness(telemetry, settings=Settings(subscription_age=60)) as harness:
        await harness.call("telemetry/subscribe_pose", subscribe("a", 10))
        await trio.sleep(59)
        assert telemetry.running == 1
        await trio.sleep(2)
        assert telemetry.running == 0
        assert harness.runtime.statistics().outbox == 0


async def test_what_a_stream_raises_is_told_and_ends_it(autojump_clock: object) -> None:
    telemetry = Telemetry()
    async with open_harness(telemetry) as harness:
        with harness.events() as events:
            await harness.call("telemetry/subscribe_pose", subscribe("a", 10))
            await trio.sleep(1)
            telemetry.fails = True
            await trio.sleep(1)
            last = values(events, "a")[-1]
            assert (last["ended"], last["error_code"]) == (True, "HANDLER_ERROR")
            telemetry.fails = False
            await harness.call("telemetry/subscribe_pose", subscribe("a", 10))
            await trio.sleep(1)
            assert values(events, "a")[-1]["n"] > 0
        assert telemetry.lives == 2


async def test_a_link_that_is_away_gathers_one_message_and_the_newest(
    autojump_clock: object,
) -> None:
    telemetry = Telemetry()
    async with open_harness(telemetry) as harness:
        await harness.call("telemetry/subscribe_pose", subscribe("a", 50))
        await trio.sleep(1)
        harness.broker.refuse_connections()
        harness.drop_link()
        await trio.sleep(100)
        assert harness.runtime.statistics().outbox == 1
        with harness.events() as events:
            harness.broker.accept_connections()
            await harness.wait_connected()
            await settle()
            assert values(events, "a")[0]["n"] >= 9000
