"""Waiting in line: commands while petals start or fail, and whose slots they take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio

import petalkit
from petalkit import Settings
from petalkit.compat import Petal, adapt
from petalkit.testing import open_harness

from .petals import QUICK, GuidePetal, HandlerPetal, Message, serve_legacy

pytestmark = pytest.mark.trio

SHORT = Settings(compat_answer_timeout=0.1)


async def ignore(petal: HandlerPetal, message: Message) -> None:
    """As masters do that route by if and elif, and know none of it."""


class OfManyPrefixes(Petal):
    """Its names have several prefixes, and its handler comes late."""

    name = "of-many"
    version = "1"
    use_mqtt_proxy = True
    prefixes = "abcdefgh"

    def __init__(self, early: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._set_keys(early)

    def _set_keys(self, prefixes: str) -> None:
        self._command_handlers = {f"{prefix}/x": self._master for prefix in prefixes}

    async def _setup_mqtt_topics(self) -> None:
        await asyncio.sleep(2)
        self._set_keys(self.prefixes)
        self._proxies["mqtt"].register_handler(self._master)

    async def _master(self, topic: str, message: Message) -> None:
        self.seen.append(message["messageId"])
        await self._proxies["mqtt"].send_command_response(message["messageId"], {"success": True})


@pytest.mark.parametrize("early", ["abcdefgh", "bdf", ""])
async def test_commands_that_waited_start_in_order_whatever_their_prefix(
    autojump_clock: Any, early: str
) -> None:
    petal = OfManyPrefixes(early)
    ids = [str(number) for number in range(20)]
    async with open_harness(*adapt(petal)) as harness:
        with harness.responses() as sink:
            for number, message_id in enumerate(ids):
                harness.send(f"{petal.prefixes[number % 8]}/x", message_id=message_id)
            await sink.wait(len(ids))
    assert petal.seen == ids


async def test_slow_starts_hold_no_slots(autojump_clock: Any) -> None:
    class Slow(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            await asyncio.sleep(25)
            await super()._setup_mqtt_topics()

    class Native(petalkit.Petal):
        name = "native"

        @petalkit.command("work")
        async def work(self) -> None:
            await trio.sleep(1)

    async with open_harness(*adapt(*(Slow(one) for one in "abcd")), Native()) as harness:
        for name in "abcd" * 20:
            harness.send(f"{name}/hello")
        before = trio.current_time()
        with harness.broker.observe("+/+/+/+/response") as seen:
            for _ in range(10):
                harness.send("native/work")
            await seen.wait(10)
        assert trio.current_time() - before < 2


async def test_nobodys_commands_hold_no_slots_of_a_petal(autojump_clock: Any) -> None:
    petals = adapt(GuidePetal("a"), HandlerPetal(ignore, "b"))
    async with open_harness(*petals) as harness:
        await harness.call("a/hello")
        for number in range(64):
            harness.send(f"old-host/job{number}")
        before = trio.current_time()
        assert (await harness.call("a/hello")).success
        assert trio.current_time() - before < 1


async def test_a_petal_whose_slots_are_taken_holds_up_no_unlisted_command(
    autojump_clock: Any,
) -> None:
    async def take_long(petal: HandlerPetal, message: Message) -> None:
        if message["command"].startswith("a/"):
            await asyncio.sleep(100)
            await petal.answer(message, success=True)

    petals = adapt(HandlerPetal(take_long, "a"), HandlerPetal(serve_legacy, "b"))
    async with open_harness(*petals, settings=SHORT) as harness:
        for _ in range(16):
            harness.send("a/x")
        await harness.advance(1)
        before = trio.current_time()
        assert (await harness.call("legacy/x")).success
        assert trio.current_time() - before < 5


# -- a petal that fails


class Stopping(GuidePetal):
    """Fails when it is told to."""

    async def _hello_handler(self, topic: str, message: Message) -> None:
        asyncio.get_running_loop().stop()


async def test_a_petal_that_fails_takes_no_command_of_another_with_it(
    autojump_clock: Any,
) -> None:
    ran: list[str] = []

    async def land(petal: HandlerPetal, message: Message) -> None:
        if message["command"] == "legacy/land":
            ran.append("begun")
            await asyncio.sleep(5)
            ran.append("landed")
            await petal.answer(message, success=True)

    petals = adapt(Stopping("stopping"), HandlerPetal(land, "b"))
    async with open_harness(*petals, settings=SHORT) as harness:
        with harness.responses() as sink:
            harness.send("legacy/land", message_id="land")
            await harness.advance(2)
            harness.send("stopping/hello", message_id="stop")
            await sink.wait(2)
    assert ran == ["begun", "landed"]
    assert [(one["messageId"], one["success"]) for one in sink] == [("stop", False), ("land", True)]


async def test_unlisted_commands_are_served_once_the_first_petal_has_failed(
    autojump_clock: Any,
) -> None:
    petals = adapt(Stopping("stopping"), HandlerPetal(serve_legacy, "b"))
    async with open_harness(*petals, settings=SHORT) as harness:
        assert (await harness.call("legacy/x")).success
        assert not (await harness.call("stopping/hello")).success
        assert (await harness.call("legacy/x")).success


async def test_unlisted_commands_are_served_where_the_first_petal_could_not_start(
    autojump_clock: Any,
) -> None:
    class Failing(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            raise OSError("no device")

    petals = adapt(Failing("failing"), HandlerPetal(serve_legacy, "b"))
    async with open_harness(*petals, settings=SHORT) as harness:
        assert (await harness.call("legacy/x")).success


# -- what may have run


async def test_a_command_that_a_silent_master_may_have_run_is_not_run_again(
    autojump_clock: Any,
) -> None:
    ran: list[str] = []

    async def fire(petal: HandlerPetal, message: Message) -> None:
        if message["command"] == "legacy/fire":
            ran.append(message["messageId"])  # and says nothing: nobody asked

    petals = adapt(HandlerPetal(ignore, "a"), HandlerPetal(fire, "b"))
    async with open_harness(*petals, settings=QUICK) as harness:
        for _ in range(3):
            harness.send("legacy/fire", message_id="same", waitResponse=False)
            await harness.advance(5)
        harness.send("legacy/fire", message_id="another", waitResponse=False)
        await harness.advance(5)
    assert ran == ["same", "another"]


async def test_a_command_at_which_a_master_failed_in_its_turn_is_not_run_again(
    autojump_clock: Any,
) -> None:
    ran: list[str] = []

    async def fire(petal: HandlerPetal, message: Message) -> None:
        ran.append(message["messageId"])
        raise OSError("disk full")

    petals = adapt(HandlerPetal(ignore, "a"), HandlerPetal(fire, "b"))
    settings = Settings(compat_answer_timeout=1.0, answer_unknown="all")
    async with open_harness(*petals, settings=settings) as harness:
        with harness.responses() as sink:
            for _ in range(3):
                harness.send("legacy/fire", message_id="same")
                await harness.advance(5)
    assert ran == ["same"]
    assert [one["error_code"] for one in sink] == ["HANDLER_ERROR"] * 3  # the record of the first


async def test_commands_left_to_another_host_keep_no_place_for_a_response(
    autojump_clock: Any,
) -> None:
    settings = Settings(response_capacity=2)
    async with open_harness(*adapt(HandlerPetal(ignore, "a")), settings=settings) as harness:
        with harness.broker.observe("+/+/+/+/response") as responses:
            for number in range(10):
                harness.send(f"elsewhere/job{number}")
            await trio.sleep(1)  # nobody is waited for who only does not know it
            assert len(responses) == 0
        assert harness.statistics().failed == {"UNKNOWN_COMMAND": 10}


async def test_copies_of_a_command_of_nobody_have_no_receipt(autojump_clock: Any) -> None:
    async def ponder(petal: HandlerPetal, message: Message) -> None:
        await asyncio.sleep(3)

    settings = Settings(dialect="host-0.2", compat_answer_timeout=1.0)
    async with open_harness(*adapt(HandlerPetal(ponder, "a")), settings=settings) as harness:
        with harness.broker.observe("+/+/+/+/ack") as receipts:
            for _ in range(2):
                harness.send("elsewhere/x", message_id="m", waitAck=True)
                await harness.advance(0.1)
            await harness.advance(10)
        assert len(receipts) == 0


@pytest.mark.parametrize("moment", [0.05, 0.25, 0.35, 0.45, 0.65, 0.85, 1.05, 1.3])
async def test_a_timeout_at_any_moment_of_a_turn_leaves_one_answer_and_nothing_behind(
    autojump_clock: Any, moment: float
) -> None:
    async def ponder(petal: HandlerPetal, message: Message) -> None:
        await asyncio.sleep(0.3)

    async def serve(petal: HandlerPetal, message: Message) -> None:
        await asyncio.sleep(0.3)
        await petal.answer(message, success=True)

    petals = adapt(HandlerPetal(ponder, "a"), HandlerPetal(ponder, "b"), HandlerPetal(serve, "c"))
    settings = Settings(compat_timeout=moment, compat_answer_timeout=0.2, answer_unknown="all")
    async with open_harness(*petals, settings=settings) as harness:
        names = ["legacy/x", "a/x", "b/x", "c/x", "legacy/y"]
        with harness.responses() as sink:
            for name in names:
                harness.send(name, message_id=name)
            await harness.advance(30)
            assert sorted(one["messageId"] for one in sink) == sorted(names)
        with harness.responses() as sink:  # every slot and every place is free again
            harness.send("c/x", message_id="once more")
            await harness.advance(30)
            assert len(sink) == 1
