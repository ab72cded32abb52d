"""Stopping: one order whatever the cause, every command with a final state, and an end in time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
import trio

from petalkit import ConfigError, Petal, Settings, command, open_runtime
from petalkit.testing import Harness, MemoryBroker, MemoryTransport, open_harness

from .recorder import CLIENT_ID, Recorder, settle, until

pytestmark = pytest.mark.trio

BASE = "org/acme/device/Instance-1"
LIMITS: dict[str, float] = {
    "grace": 10.0,
    "cleanup_timeout": 5.0,
    "flush_timeout": 5.0,
    "disconnect_timeout": 2.0,
}
MOST = 10.0 + 3 * 5.0 + 5.0 + 2 * 2.0
FIXED: dict[str, Any] = {"organization_id": "acme", "device_id": "Instance-1"}


async def stopped(harness: Harness) -> float:
    """Stop, and say how many seconds that took."""
    before = trio.current_time()
    harness.runtime.stop()
    await harness.runtime.wait_stopped()
    return trio.current_time() - before


async def test_an_idle_runtime_stops_at_once_and_says_offline(autojump_clock: object) -> None:
    async with open_harness(Recorder()) as harness:
        status = harness.status()
        assert status is not None
        assert status["status"] == "online"
        assert await stopped(harness) == 0.0
        status = harness.status()
        assert status is not None
        assert status["status"] == "offline"
        assert status["timestamp"]  # ours, and not the will
        assert harness.broker.clients == ()


async def test_the_session_keeps_its_subscriptions_over_a_stop(autojump_clock: object) -> None:
    async with open_harness(Recorder()) as harness:
        await stopped(harness)
        session = harness.broker.sessions[CLIENT_ID]
        assert [str(one) for one in session.subscriptions] == [
            f"{BASE}/command",
            f"{BASE}/command/edge",
        ]


async def test_running_commands_get_grace_and_finish(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**LIMITS)) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1})
            await settle()
            harness.runtime.stop()
            await trio.sleep(9)
            assert len(responses) == 0
            petal.open()
            await harness.runtime.wait_stopped()
            assert responses[0]["n"] == 1


async def test_running_commands_over_grace_are_cancelled_and_answered(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**LIMITS)) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1})
            await settle()
            assert await stopped(harness) == 10.0
            assert responses[0]["error_code"] == "CANCELLED"
            assert responses[0]["retryable"]


async def test_waiting_commands_are_answered_shutting_down(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            for n in range(5):
                harness.send("rec/hold", {"n": n})
            await settle()
            harness.runtime.stop()
            await settle()
            assert [response["error_code"] for response in responses] == ["SHUTTING_DOWN"] * 4
            petal.open()
            await harness.runtime.wait_stopped()
        assert petal.started == [0]


async def test_waiting_commands_that_are_not_acknowledged_go_back_to_the_broker(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker()
    settings = Settings(petal_concurrency=1, acknowledge="handled")
    petal = Recorder()
    with broker.observe(f"{BASE}/response") as seen:
        async with open_harness(petal, settings=settings, broker=broker) as harness:
            for n in range(5):
                harness.send("rec/hold", {"n": n})
            await settle()
            harness.runtime.stop()
            await settle()
            petal.open()
            await harness.runtime.wait_stopped()
            assert petal.started == [0]
        petal = Recorder()
        petal.open()
        async with open_harness(petal, settings=settings, broker=broker):
            await seen.wait(5)
        assert petal.started == [1, 2, 3, 4]
    assert [msgspec.json.decode(message.payload)["n"] for message in seen] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "acknowledge",
    [
        "accepted",
        "handled",
    ],
)
async def test_what_no_session_keeps_is_answered_shutting_down(
    acknowledge: Any, autojump_clock: object
) -> None:
    petal = Recorder()
    settings = Settings(petal_concurrency=1, acknowledge=acknowledge, clean_start=True)
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            for n in range(3):
                harness.send("rec/hold", {"n": n})
            await settle()
            harness.runtime.stop()
            await settle()
            assert [response["error_code"] for response in responses] == ["SHUTTING_DOWN"] * 2
            petal.open()
            await harness.runtime.wait_stopped()
            assert len(responses) == 3


async def test_what_comes_during_the_stop_is_left_to_the_session(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1})
            await settle()
            harness.runtime.stop()
            await settle()
            harness.send("rec/note", {"n": 2})
            harness.send("rec/note", {"n": 3}, qos=0)
            await settle()
            assert [response["error_code"] for response in responses] == ["SHUTTING_DOWN"]
            petal.open()
            await harness.runtime.wait_stopped()
        assert petal.started == [1]
        assert len(harness.broker.unacknowledged(CLIENT_ID)) == 1


async def test_held_commands_stay_with_the_broker_over_a_stop(autojump_clock: object) -> None:
    broker = MemoryBroker()
    settings = Settings(petal_concurrency=1, channel_capacity=1, channel_reserve=4, grace=0.0)
    petal = Recorder()
    with broker.observe(f"{BASE}/response") as seen:
        async with open_harness(petal, settings=settings, broker=broker) as harness:
            for n in range(30):
                harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
            await settle()
        petal = Recorder()
        petal.open()
        async with open_harness(petal, settings=settings, broker=broker):
            await seen.wait(30)
            await settle()
    answered = [msgspec.json.decode(message.payload)["messageId"] for message in seen]
    assert sorted(answered) == sorted(f"m{n}" for n in range(30))


async def test_the_order_of_the_last_messages(autojump_clock: object) -> None:
    class Goodbye(Petal):
        name = "bye"

        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            yield
            await self.publish_message({"bye": True})

        @command("hold", timeout=math.inf)
        async def hold(self) -> None:
            await trio.sleep_forever()

    broker = MemoryBroker(history=10)
    async with open_harness(Goodbye(), broker=broker, settings=Settings(grace=1.0)) as harness:
        harness.send("bye/hold")
        await settle()
        broker.published.clear()
    assert [message.topic.removeprefix(BASE + "/") for message in broker.published] == [
        "response",
        "command/web",
        "status",
    ]


async def test_without_a_link_nothing_is_waited_for(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**LIMITS)) as harness:
        harness.send("rec/hold")
        await settle()
        harness.broker.stop()
        await harness.advance(1)
        petal.open()
        await settle()
        assert await stopped(harness) == 0.0
        assert harness.statistics().publish_unsent == 1


async def test_a_flush_is_bounded(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**LIMITS)) as harness:
        harness.broker.swallow("PUBACK", 1000)
        await harness.call("rec/note")
        assert await stopped(harness) == 5.0 + 2.0
        assert harness.statistics().publish_unsent == 1


class Hanging(Petal):
    """Hangs wherever it can."""

    name = "hanging"

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.nursery.start_soon(self._stubborn)
        try:
            yield
        finally:
            await trio.sleep_forever()

    async def _stubborn(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(100, shield=True):
                await trio.sleep_forever()

    @command("hold", timeout=math.inf)
    async def hold(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(100, shield=True):
                await trio.sleep_forever()


class HangingLifespan(Petal):
    name = "hanging-lifespan"

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await trio.sleep_forever()


async def test_a_lifespan_that_does_not_end_does_not_hold_up_the_stop(
    autojump_clock: object,
) -> None:
    async with open_harness(HangingLifespan(), settings=Settings(**LIMITS)) as harness:
        assert await stopped(harness) <= MOST


async def test_even_if_everything_hangs_each_command_is_answered_and_offline_said_in_time(
    autojump_clock: object,
) -> None:
    async with open_harness(Hanging(), settings=Settings(**LIMITS)) as harness:
        with harness.responses() as responses:
            harness.send("hanging/hold")
            await settle()
            before = trio.current_time()
            harness.runtime.stop()
            await until(lambda: not harness.broker.clients)
            assert trio.current_time() - before <= MOST
            assert [response["error_code"] for response in responses] == ["CANCELLED"]
            status = harness.status()
            assert status is not None
            assert status["status"] == "offline"


async def test_stop_while_connecting_ends_at_once(autojump_clock: object) -> None:
    broker = MemoryBroker()
    broker.swallow("CONNACK", 1000)
    async with open_harness(Recorder(), broker=broker, connected=False) as harness:
        await trio.sleep(1)
        assert await stopped(harness) == 0.0


async def test_stop_while_subscribing_ends_in_time(autojump_clock: object) -> None:
    broker = MemoryBroker()
    broker.swallow("SUBACK", 1000)
    async with open_harness(Recorder(), broker=broker, connected=False) as harness:
        await trio.sleep(1)
        assert await stopped(harness) <= 2.0


async def test_stop_while_waiting_for_the_identity_ends_at_once(autojump_clock: object) -> None:
    async with open_harness(Recorder(), organization_id=None) as harness:
        await trio.sleep(1)
        assert await stopped(harness) == 0.0


async def test_stop_while_leaving_an_organization_ends_in_time(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**LIMITS)) as harness:
        harness.send("rec/hold")
        await settle()
        harness.broker.swallow("UNSUBACK")
        await harness.set_organization("other")
        await trio.sleep(1)
        assert await stopped(harness) <= MOST


async def test_waiting_for_a_connection_ends_with_the_runtime(autojump_clock: object) -> None:
    async with open_harness(Recorder(), organization_id=None) as harness:
        await stopped(harness)
        with trio.move_on_after(60) as scope, contextlib.suppress(Exception):
            await harness.runtime.wait_connected()
    assert not scope.cancelled_caught


async def test_what_comes_when_nobody_brings_it_again_nor_hears_of_it_is_counted_as_lost(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not given back: a session that is not kept has nobody to give it to."""
    petal = Recorder()
    settings = Settings(clean_start=True, session_expiry=0)
    async with open_harness(petal, settings=settings) as harness:
        harness.send("rec/hold", {"n": 1})
        await settle()
        harness.runtime.stop()
        await settle()
        outbox = harness.runtime._outbox
        with monkeypatch.context() as patch:  # its sender has gone, and the link is still read
            patch.setattr(outbox._sender, "link", None)
            harness.send("rec/note", {"n": 2}, qos=1)
            await settle()
        statistics = harness.statistics()
        assert (statistics.given_back, statistics.unanswered) == (0, 1)
        assert statistics.refused == {"SHUTTING_DOWN": 1}
        petal.open()


# -- errors and cancellation


class Oops(Exception):
    pass


@pytest.mark.parametrize("error", [Oops, SystemExit, KeyboardInterrupt])
async def test_an_exception_of_the_block_comes_out_as_itself(
    error: type[BaseException], autojump_clock: object
) -> None:
    broker = MemoryBroker()
    with pytest.raises(error):
        async with open_runtime(
            [Recorder()], Settings(**FIXED), transport=MemoryTransport(broker)
        ) as runtime:
            await runtime.wait_connected()
            raise error
    assert broker.clients == ()
    assert b"offline" in broker.retained[f"{BASE}/status"].payload


async def test_a_group_of_the_block_comes_out_as_itself(autojump_clock: object) -> None:
    with pytest.raises(ExceptionGroup, match="mine"):
        async with open_runtime(
            [Recorder()], Settings(**FIXED), transport=MemoryTransport(MemoryBroker())
        ):
            raise ExceptionGroup("mine", [Oops()])


async def test_an_exception_of_the_block_still_gives_grace(autojump_clock: object) -> None:
    petal = Recorder()
    broker = MemoryBroker()
    with pytest.raises(Oops):
        async with open_harness(petal, broker=broker) as harness:
            harness.send("rec/hold", {"n": 1})
            await settle()
            raised_at = trio.current_time()
            raise Oops
    assert trio.current_time() - raised_at == 10.0


async def test_cancelling_skips_the_grace_and_still_says_goodbye(autojump_clock: object) -> None:
    broker = MemoryBroker()
    petal = Recorder()
    with broker.observe(f"{BASE}/response") as seen:
        with trio.CancelScope() as scope:
            async with open_harness(petal, broker=broker) as harness:
                harness.send("rec/hold", {"n": 1})
                await settle()
                before = trio.current_time()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() == before
        assert [msgspec.json.decode(m.payload)["error_code"] for m in seen] == ["CANCELLED"]
    assert broker.clients == ()
    assert b"offline" in broker.retained[f"{BASE}/status"].payload


class SlowStart(Petal):
    name = "slow"

    def __init__(self) -> None:
        self.log: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.log.append("entering")
        try:
            await trio.sleep(20)
            self.log.append("entered")
            yield
        finally:
            self.log.append("left")


async def test_cancelling_while_a_lifespan_is_entered_ends(autojump_clock: object) -> None:
    petal = SlowStart()
    with trio.fail_after(100):
        with trio.move_on_after(5) as scope:
            async with open_runtime(
                [petal], Settings(**FIXED), transport=MemoryTransport(MemoryBroker())
            ):
                raise AssertionError("was not to be entered")
    assert scope.cancelled_caught
    assert petal.log[0] == "entering"
    assert petal.log[-1] == "left"
    assert trio.current_time() <= 30.0


async def test_a_transport_that_cannot_work_ends_the_block_with_its_own_error(
    autojump_clock: object,
) -> None:
    class Hopeless(MemoryTransport):
        def connect(self, options: Any) -> Any:
            raise ConfigError("ca_file", "cannot be read")

    with pytest.raises(ConfigError, match="ca_file"):
        async with open_runtime(
            [Recorder()], Settings(**FIXED), transport=Hopeless(MemoryBroker())
        ):
            await trio.sleep_forever()


async def test_stopping_twice_is_stopping_once(autojump_clock: object) -> None:
    async with open_harness(Recorder()) as harness:
        harness.runtime.stop()
        harness.runtime.stop()
        await harness.runtime.wait_stopped()
        harness.runtime.stop()


async def test_a_petal_can_be_served_again_after_a_stop(autojump_clock: object) -> None:
    petal = Recorder()
    for _ in range(2):
        async with open_harness(petal) as harness:
            assert (await harness.call("rec/note")).success


async def test_an_urgent_command_is_served_in_the_grace(autojump_clock: object) -> None:
    """What still runs can still fly: the emergency stop has to pass a stop, too."""
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold")
            await settle()
            harness.runtime.stop()
            await settle()
            harness.send("rec/note", qos=0, message_id="ordinary")
            harness.send("rec/stop", qos=0, message_id="urgent")
            await settle()
            assert petal.started == [0, "stop"]
            petal.open()
            await harness.runtime.wait_stopped()
        codes = {response["messageId"]: response.get("error_code") for response in responses}
        assert codes["urgent"] is None
        assert codes["ordinary"] == "SHUTTING_DOWN"


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_copy_that_comes_in_the_grace_belongs_to_the_first(
    qos: int, autojump_clock: object
) -> None:
    petal = Recorder()
    settings = Settings(acknowledge="handled")
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="m")
            await settle()
            harness.runtime.stop()
            await settle()
            harness.send("rec/hold", message_id="m", qos=qos)
            await settle()
            petal.open()
            await harness.runtime.wait_stopped()
        assert [response["success"] for response in responses] == [True]
        assert harness.statistics().duplicates_joined == 1
