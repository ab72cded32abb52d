"""Where two lives meet: a link and its stop, a lifespan and its own nursery, an identity and the
next. What goes wrong there is rare in the wild and never reported, so each has its test."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import ConfigError, Petal, Settings, command, open_runtime
from petalkit._serving.process.run import stop_limit
from petalkit.testing import Harness, MemoryBroker, MemoryTransport, open_harness
from petalkit.transports.memory import MemoryLink

from ..transports.fake_broker import PUBLISH, Peer, open_fake_broker
from .recorder import Recorder, settle, until

pytestmark = pytest.mark.trio

BASE = "org/acme/device/Instance-1"
STATUS = f"{BASE}/status"
LIMIT = 10.0  # seconds; only a test that fails gets near it


class Sender(Petal):
    """Publishes events for the test, outside of any command."""

    name = "sender"

    async def send(self, count: int, qos: int = 1) -> None:
        for n in range(count):
            await self.publish_message({"n": n}, qos=qos)


def said_offline(harness: Harness) -> bool:
    """Whether the device itself has said it, and not its will, which has no time stamp."""
    payload = harness.broker.retained[STATUS].payload
    return b'"offline"' in payload and b'"timestamp"' in payload


# -- a lifespan


class Sensor(Petal):
    """Holds its own nursery open over its lifespan, as many do."""

    name = "sensor"

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        async with trio.open_nursery() as self.tasks:
            self.tasks.start_soon(trio.sleep_forever)
            yield
            self.tasks.cancel_scope.cancel()

    @command("read")
    async def read(self) -> None:
        pass


async def test_a_lifespan_that_ends_by_itself_makes_its_petal_unavailable(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    sensor = Sensor()
    async with open_harness(sensor, Recorder()) as harness:
        assert (await harness.call("sensor/read")).success
        sensor.tasks.cancel_scope.cancel()
        await settle()
        response = await harness.call("sensor/read")
        assert (response.success, response.error_code) == (False, "UNAVAILABLE")
        assert list(harness.statistics().unavailable_petals) == ["sensor"]
        assert "ended by itself" in caplog.text
        assert (await harness.call("rec/note")).success


@pytest.mark.parametrize("how", ["stopped", "cancelled"])
async def test_a_lifespan_that_is_ended_did_not_end_by_itself(
    how: str, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.CancelScope() as scope:
        async with open_harness(Sensor()):
            if how == "cancelled":
                scope.cancel()
                await trio.sleep_forever()
    assert scope.cancelled_caught == (how == "cancelled")
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == []


# -- offline is said, whatever the link is busy with


async def test_a_stop_while_the_birth_waits_for_its_puback_says_offline(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker()
    broker.swallow("PUBACK")
    async with open_harness(Recorder(), broker=broker, connected=False) as harness:
        await trio.sleep(1)
        assert b'"online"' in broker.retained[STATUS].payload
        assert harness.runtime.serving is None
    assert said_offline(harness)


async def test_a_stop_with_the_window_full_says_offline(autojump_clock: object) -> None:
    sender = Sender()
    async with open_harness(sender, settings=Settings(publish_maximum=10)) as harness:
        harness.broker.swallow("PUBACK", 1000)
        await sender.send(20)
        await settle()
        assert harness.statistics().outbox == 20
    assert said_offline(harness)


# -- a stop


async def test_the_error_of_the_block_comes_out_although_its_stop_is_cancelled(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    with pytest.raises(ValueError, match="mine"), trio.move_on_after(2):
        async with open_harness(petal) as harness:
            harness.send("rec/hold")
            await settle()
            raise ValueError("mine")
    assert trio.current_time() == 2.0  # in the grace


@pytest.mark.parametrize("ticks", range(4))
async def test_a_link_lost_while_it_is_left_does_not_fail_the_stop(
    ticks: int, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(10):  # Trio decides by lot who runs first in a tick
        broker = MemoryBroker()
        broker.swallow("PUBACK")
        async with (
            trio.open_nursery() as nursery,
            open_harness(Recorder(), broker=broker, connected=False) as harness,
        ):
            await trio.sleep(1)
            supervisor = harness.runtime._supervisor
            leave = supervisor.leave

            async def lose_and_leave(broker: MemoryBroker = broker, leave: Any = leave) -> None:
                broker.drop_links()
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                leave()

            start = lambda nursery=nursery, both=lose_and_leave: nursery.start_soon(both)  # noqa: E731
            monkeypatch.setattr(supervisor, "leave", start)
            harness.runtime.stop()
            await harness.runtime.wait_stopped()


async def test_a_stop_does_not_wait_for_the_unsuback_of_an_old_identity(
    autojump_clock: object,
) -> None:
    settings = Settings(subscribe_timeout=600.0)
    async with open_harness(Recorder(), settings=settings) as harness:
        harness.broker.swallow("UNSUBACK")
        await harness.set_organization("other")
        await trio.sleep(1)
        before = trio.current_time()
    assert trio.current_time() - before <= stop_limit(settings)
    assert said_offline(harness)


# -- a change of identity


class Source:
    """Whose device it is."""

    def __init__(self) -> None:
        self.organization_id = "acme"

    def __call__(self) -> str:
        return self.organization_id


async def test_a_config_error_while_an_old_session_is_ended_is_only_a_warning(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Renewing(MemoryTransport):
        """Its certificate cannot be read when it connects for the second time."""

        connects = 0

        def connect(self, options: Any) -> Any:
            self.connects += 1
            if self.connects == 2:
                raise ConfigError("ca_file", "cannot be read")
            return super().connect(options)

    broker, source = MemoryBroker(), Source()
    settings = Settings(organization_source=source, device_id="Instance-1")
    transport = Renewing(broker)
    async with open_runtime([Recorder()], settings, transport=transport) as runtime:
        await runtime.wait_connected()
        source.organization_id = "other"
        await runtime.ask_identity()
        await until(lambda: runtime.serving is not None and runtime.serving == runtime.identity)
        assert runtime.serving is not None
        assert runtime.serving.organization_id == "other"
        assert transport.connects == 3
    assert "could not end the session" in caplog.text


async def test_a_change_of_identity_does_not_wait_for_the_failures_of_the_old_one(
    autojump_clock: object,
) -> None:
    async with open_harness(Recorder()) as harness:
        harness.broker.refuse_connections()
        harness.drop_link()
        await trio.sleep(600)  # 30 s between two attempts by now
        harness.broker.refuse_connections(2)
        before = trio.current_time()
        await harness.set_organization("other")
        await harness.wait_connected()
        assert trio.current_time() - before < 10


# -- a slow link


async def test_pubacks_that_come_slowly_and_steadily_do_not_lose_the_link(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: deque[Any] = deque()
    publish_nowait = MemoryLink.publish_nowait

    def slow(link: MemoryLink, message: Any, on_done: Any) -> None:
        if message.topic.endswith("/web"):
            publish_nowait(link, message, lambda error: late.append((on_done, error)))
        else:
            publish_nowait(link, message, on_done)

    monkeypatch.setattr(MemoryLink, "publish_nowait", slow)
    sender = Sender()
    settings = Settings(publish_timeout=30.0)
    async with open_harness(sender, settings=settings) as harness:
        await sender.send(30)
        await settle()
        assert len(late) == 30  # all handed over at once
        while late:
            await trio.sleep(5)
            on_done, error = late.popleft()
            on_done(error)
        statistics = harness.statistics()
        assert (statistics.links_lost, statistics.published, statistics.outbox) == (0, 30, 0)


async def test_the_outbox_goes_on_when_a_link_that_is_full_of_bytes_has_room_again(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = trio.Event()
    publish_nowait, wait_publishable = MemoryLink.publish_nowait, MemoryLink.wait_publishable

    def refuse(link: MemoryLink, message: Any, on_done: Any) -> None:
        if message.topic.endswith("/web") and not room.is_set():
            raise trio.WouldBlock
        publish_nowait(link, message, on_done)

    async def wait(link: MemoryLink) -> None:
        await room.wait()
        await wait_publishable(link)

    monkeypatch.setattr(MemoryLink, "publish_nowait", refuse)
    monkeypatch.setattr(MemoryLink, "wait_publishable", wait)
    sender = Sender()
    async with open_harness(sender) as harness:
        with harness.events() as events:
            await sender.send(40, qos=0)
            await settle()
            assert len(events) == 0
            room.set()
            await settle()
            assert [event["n"] for event in events] == list(range(40))
            assert harness.statistics().outbox == 0


async def test_events_of_more_bytes_than_a_link_takes_at_once_all_leave() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.serve()

    class Eager(Petal):
        """Has 4 MB of events to say before there is a link; none of them gets a PUBACK."""

        name = "eager"

        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            for _ in range(40):
                await self.publish_message({"image": "x" * 100_000}, qos=0)
            yield

    async with open_fake_broker(script) as broker:
        settings = Settings(
            broker=broker.url, organization_id="acme", device_id="Instance-1", watchdog=0.0
        )
        with trio.fail_after(LIMIT):
            async with open_runtime([Eager()], settings) as runtime:
                await runtime.wait_connected()
                await runtime._outbox.wait_empty()
            # Leaving has waited for the peer to read everything and close.
            sent = broker.peers[0].of(PUBLISH)
            assert sum(b"command/web" in one.body[:60] for one in sent) == 40
