"""Commands that may be another program's, and names whose owner is known only later."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
import trio

import petalkit
from petalkit import RegistrationError, Settings
from petalkit.compat import adapt
from petalkit.testing import open_harness

from .petals import GuidePetal, HandlerPetal, Message, serve_legacy

pytestmark = pytest.mark.trio


class Slow(GuidePetal):
    """Its start takes long."""

    async def _setup_mqtt_topics(self) -> None:
        await asyncio.sleep(25)
        await super()._setup_mqtt_topics()


class Native(petalkit.Petal):
    """Gets a command at run time."""

    name = "native"

    def __init__(self) -> None:
        self.ran = 0

    async def stop(self) -> None:
        self.ran += 1

    @petalkit.command("work")
    async def work(self) -> None:
        await trio.lowlevel.checkpoint()


async def ponder(petal: HandlerPetal, message: Message) -> None:
    await asyncio.sleep(1000)


# -- another host beside: it answers, and we do not


@pytest.mark.parametrize("ending", ["stop", "identity", "reject", "drop-oldest", "expiry", "age"])
async def test_another_hosts_commands_get_no_failure_of_ours_while_we_start(
    autojump_clock: Any, ending: str
) -> None:
    rules: dict[str, Any] = {"overflow": ending} if ending in ("reject", "drop-oldest") else {}
    age = 60 if ending == "age" else 0
    settings = Settings(channel_capacity=2 if rules else 100, command_age_max=age, **rules)
    async with open_harness(*adapt(Slow("a")), settings=settings) as harness:
        with harness.broker.observe("+/+/+/+/response") as responses:
            for number in range(5):
                extra = {
                    "expiry": {"expiresAt": "2000-01-01T00:00:00Z"},
                    "age": {"timestamp": None},
                }
                harness.send("elsewhere/x", message_id=f"m{number}", **extra.get(ending, {}))
            await trio.sleep(1)
            if ending == "stop":
                harness.runtime.stop()
                harness.send("elsewhere/x", message_id="late")
                await harness.runtime.wait_stopped()
            if ending == "identity":
                await harness.set_organization("other")
            await trio.sleep(100)
            assert [one.payload for one in responses] == []


@pytest.mark.parametrize("ending", ["timeout", "stop", "identity"])
async def test_nor_while_our_masters_are_asked(autojump_clock: Any, ending: str) -> None:
    petals = adapt(HandlerPetal(ponder, "a"))
    async with open_harness(*petals, settings=Settings(compat_timeout=20)) as harness:
        await trio.sleep(1)
        with harness.broker.observe("+/+/+/+/response") as responses:
            harness.send("elsewhere/x", message_id="m")
            await trio.sleep(1)
            if ending == "stop":
                harness.runtime.stop()
                await harness.runtime.wait_stopped()
            if ending == "identity":
                await harness.set_organization("other")
            await trio.sleep(100)
            assert [one.payload for one in responses] == []


async def test_a_petals_own_commands_are_answered_at_a_stop(autojump_clock: Any) -> None:
    async with open_harness(*adapt(HandlerPetal(ponder, "a"))) as harness:
        await trio.sleep(1)
        with harness.responses() as sink:
            harness.send("a/x", message_id="m")
            await trio.sleep(1)
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
        assert [one["error_code"] for one in sink] == ["CANCELLED"]


# -- owners that are known later


@pytest.mark.parametrize("held", [False, True])
async def test_a_command_that_becomes_urgent_while_it_waits_gives_its_slot_back(
    autojump_clock: Any, held: bool
) -> None:
    native = Native()
    capacity = 2 if held else 100
    settings = Settings(
        channel_capacity=capacity, petal_concurrency=2, petal_overflow_wait=math.inf
    )
    async with open_harness(*adapt(Slow("a")), native, settings=settings) as harness:
        for _ in range(2):
            harness.send("a/hello")
        for _ in range(5):
            harness.send("native/stop")
        await trio.sleep(3)
        native.add_command("stop", native.stop, urgent=True)
        await trio.sleep(100)
        assert native.ran == 5
        for _ in range(5):
            assert (await harness.call("native/work")).success


async def test_a_key_of_a_petal_that_still_starts_goes_before_anothers_prefix(
    autojump_clock: Any,
) -> None:
    class Late(Slow):
        def _setup_command_handlers(self) -> dict[str, Any]:
            return {**super()._setup_command_handlers(), "a/extra": self._hello_handler}

    async with open_harness(*adapt(GuidePetal("a"), Late("b"))) as harness:
        await trio.sleep(3)
        assert (await harness.call("a/hello")).success
        assert trio.current_time() < 10  # a's own do not wait for b
        assert (await harness.call("a/extra", timeout=100)).success


async def test_a_table_that_raises_loses_no_command(autojump_clock: Any) -> None:
    class Broken(Slow):
        broken = False

        @property
        def _mqtt_command_handlers(self) -> dict[str, Any]:
            if self.broken:
                raise RuntimeError("not now")
            return {}

        @_mqtt_command_handlers.setter
        def _mqtt_command_handlers(self, value: object) -> None: ...

        async def _setup_mqtt_topics(self) -> None:
            await super()._setup_mqtt_topics()
            self.broken = True

    petals = adapt(Broken("a"), HandlerPetal(serve_legacy, "b"))
    settings = Settings(compat_answer_timeout=0.1)
    async with open_harness(*petals, settings=settings) as harness:
        with harness.responses() as sink:
            for number in range(4):
                harness.send("legacy/x", message_id=f"l{number}")
                harness.send("a/hello", message_id=f"a{number}")
            await sink.wait(8)
        assert all(one["success"] for one in sink)


async def test_petals_that_are_not_served_are_not_waited_for(autojump_clock: Any) -> None:
    served, _ = adapt(HandlerPetal(serve_legacy, "b"), HandlerPetal(serve_legacy, "c"))
    async with open_harness(served, settings=Settings(compat_answer_timeout=0.1)) as harness:
        assert (await harness.call("legacy/x")).success


async def test_petals_of_two_calls_are_refused_together() -> None:
    with pytest.raises(RegistrationError, match="give all its petals to one call"):
        async with open_harness(*adapt(GuidePetal("a")), *adapt(GuidePetal("b"))):
            pass


async def test_a_copy_that_wants_an_answer_is_what_the_handler_sees(autojump_clock: Any) -> None:
    async with open_harness(*adapt(Slow("a"))) as harness:
        with harness.responses() as sink:
            harness.send("a/hello", message_id="m", waitResponse=False)
            await trio.sleep(1)
            harness.send("a/hello", message_id="m")
            await trio.sleep(60)
            assert [one["message"] for one in sink] == ["Hello, World!"]
