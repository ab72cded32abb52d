"""A broker that has stopped to deliver, and answers everything else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import ConfigError, Settings
from petalkit.testing import Harness, MemoryBroker, open_harness

from .recorder import Recorder, settle, until

pytestmark = pytest.mark.trio

TOPIC = "org/acme/device/Instance-1/probe"
ON: dict[str, Any] = {"probe_interval": 30.0, "probe_timeout": 10.0}


@contextlib.asynccontextmanager
async def served(petal: Recorder, **settings: Any) -> AsyncGenerator[Harness]:
    async with open_harness(petal, settings=Settings(**{**ON, **settings})) as harness:
        await settle()
        yield harness


async def stall(harness: Harness) -> None:
    """From the next link on the broker delivers nothing at QoS 1, and has done so before."""
    await trio.sleep(31)
    harness.broker.window = 0
    harness.drop_link()
    await harness.wait_connected()


async def test_a_link_on_which_nothing_is_delivered_is_made_anew(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Recorder()
    async with served(petal) as harness:
        await stall(harness)
        harness.send("rec/note", {"n": 1})
        harness.broker.window = 20
        await trio.sleep(39)
        assert petal.started == []
        await trio.sleep(10)
        assert petal.started == [1]
        statistics = harness.statistics()
        assert (statistics.links_stalled, statistics.links_lost) == (1, 2)
        assert statistics.unexpected_topic == 0  # the probe of the link before, which came late
    assert "a message to ourselves has not come back within 10 s" in caplog.text


async def test_without_it_the_link_stands_for_ever(autojump_clock: object) -> None:
    petal = Recorder()
    async with served(petal, probe_interval=0) as harness:
        await stall(harness)
        harness.send("rec/note", {"n": 1})
        await trio.sleep(10_000)
        assert petal.started == []
        assert harness.statistics().links_stalled == 0
        view = harness.broker.sessions["petalkit-acme-Instance-1"]
        assert TOPIC not in map(str, view.subscriptions)


async def test_a_good_link_stands_and_probes_are_seen_by_nobody(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Recorder()
    async with served(petal) as harness:
        with harness.broker.observe(TOPIC) as seen:
            await trio.sleep(3601)
            assert len(seen) == 120
            assert not any(message.retain for message in seen)
        statistics = harness.statistics()
        assert (statistics.links, statistics.unexpected_topic, statistics.refused) == (1, 0, {})
        assert harness.broker.unacknowledged("petalkit-acme-Instance-1") == ()
    assert "unexpected" not in caplog.text


async def test_a_probe_behind_much_that_comes_slowly_is_only_late(autojump_clock: object) -> None:
    petal = Recorder()
    async with served(petal) as harness:

        async def trickle() -> None:
            while True:
                await trio.sleep(8)
                harness.broker.publish_nowait("org/acme/device/Instance-1/command", b"{}", qos=0)

        await stall(harness)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            await trio.sleep(1000)
            nursery.cancel_scope.cancel()
        assert harness.statistics().links == 2


async def test_a_pause_is_no_stall(autojump_clock: object) -> None:
    petal = Recorder()
    tight: dict[str, Any] = {"petal_concurrency": 1, "channel_capacity": 1, "channel_reserve": 1}
    async with served(petal, **tight) as harness:
        for n in range(10):
            harness.send("rec/hold", {"n": n})
        await trio.sleep(1000)
        assert harness.statistics().links == 1
        petal.open()
        await until(lambda: len(petal.ended) == 10)
        await trio.sleep(1000)
        assert harness.statistics().links == 1


@pytest.mark.parametrize("how", ["subscribe", "publish"])
async def test_a_broker_that_does_not_allow_it_is_told_once_a_link_and_serves(
    how: str, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    if how == "subscribe":
        broker.reject_subscribe(TOPIC)
    else:
        broker.reject_publish(TOPIC, 0x87)
    settings = Settings(**ON, protocol="5")
    async with open_harness(Recorder(), broker=broker, settings=settings) as harness:
        await trio.sleep(1000)
        assert harness.statistics().links == 1
        assert (await harness.call("rec/note")).success
    assert caplog.text.count("the link is not probed (probe_interval)") == 1


async def test_the_topic_is_left_with_the_others(autojump_clock: object) -> None:
    petal = Recorder()
    async with served(petal, client_id="thing") as harness:
        await harness.set_organization("other")
        await harness.wait_connected()
        await settle()
        subscribed = set(map(str, harness.broker.sessions["thing"].subscriptions))
        base = "org/other/device/Instance-1"
        assert subscribed == {f"{base}/command", f"{base}/command/edge", f"{base}/probe"}


async def test_no_probe_ends_a_link_whose_topics_are_being_left(autojump_clock: object) -> None:
    petal = Recorder()
    settings: dict[str, Any] = {"probe_interval": 1.0, "probe_timeout": 0.5, "client_id": "thing"}
    async with served(petal, **settings) as harness:
        await trio.sleep(0.95)
        harness.broker.delay = 0.3  # so the drain takes longer than a probe may
        await harness.set_organization("other")
        await trio.sleep(20)
        assert harness.statistics().links_lost == 0
        assert harness.statistics().unexpected_topic == 0


@pytest.mark.parametrize("rule", ["handled", "accepted"])
async def test_a_broker_whose_window_we_keep_full_is_not_taken_for_one_that_has_stopped(
    rule: Any, autojump_clock: object
) -> None:
    """It may not send what stands behind, such as the probe, before it has our acknowledgement."""
    petal, broker = Recorder(), MemoryBroker(window=2)
    settings = Settings(
        probe_interval=5.0, acknowledge=rule, channel_capacity=1, petal_concurrency=1
    )
    async with open_harness(petal, settings=settings, broker=broker) as harness:
        for n in range(8):
            harness.send("rec/hold", {"n": n})
        await trio.sleep(60)
        assert (harness.statistics().links_stalled, harness.statistics().links) == (0, 1)
        petal.open()
        await trio.sleep(60)
        assert (harness.statistics().links_stalled, harness.statistics().links) == (0, 1)
    assert petal.started == list(range(8))


@pytest.mark.parametrize("name", ["command/edge", "command/web", "response", "ack", "status"])
async def test_it_has_a_topic_of_its_own(name: str) -> None:
    with pytest.raises(ConfigError, match="probe_topic"):
        Settings(probe_topic=name)


async def test_a_probe_that_has_never_come_back_ends_no_link(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    broker.window = 0  # as where an ACL drops what is published on the topic
    async with open_harness(Recorder(), broker=broker, settings=Settings(**ON)) as harness:
        await trio.sleep(1000)
        assert harness.statistics().links == 1
        assert harness.statistics().links_stalled == 0
    assert caplog.text.count("has ever come back on") == 1
