"""One command, one response: how a command finds its petal."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import trio

from petalkit import Settings
from petalkit.compat import Petal, adapt
from petalkit.testing import Harness, open_harness

from .petals import (
    QUICK,
    ActionPetal,
    BackgroundPetal,
    GuidePetal,
    HandlerPetal,
    Message,
    NativePetal,
)

pytestmark = pytest.mark.trio


async def all_responses(harness: Harness, *commands: tuple[str, str]) -> list[Any]:
    """Send commands of these names and IDs, and return what came within a minute."""
    with harness.responses() as sink:
        for name, message_id in commands:
            harness.send(name, message_id=message_id)
        await trio.sleep(60)
        return list(sink)


async def test_three_petals_with_master_handlers_give_one_answer_each(autojump_clock: Any) -> None:
    """The host gives one right answer and two spurious ones."""
    petals = [GuidePetal(name) for name in ("one", "two", "three")]
    async with open_harness(*adapt(*petals)) as harness:
        commands = [(f"{name}/hello", f"id-{name}") for name in ("two", "three", "one")]
        responses = await all_responses(harness, *commands)
    assert sorted(response["messageId"] for response in responses) == [
        "id-one",
        "id-three",
        "id-two",
    ]
    assert all(response["message"] == "Hello, World!" for response in responses)
    assert [petal.seen for petal in petals] == [["one/hello"], ["two/hello"], ["three/hello"]]


async def test_every_kind_of_petal_in_one_process(autojump_clock: Any) -> None:
    petals = adapt(GuidePetal(), ActionPetal(), BackgroundPetal())
    async with open_harness(*petals, NativePetal()) as harness:
        assert (await harness.call("example-petal/hello"))["message"] == "Hello, World!"
        assert (await harness.call("action-petal/geometry", {"rotor_count": 4})).success
        assert (await harness.call("action-petal/second"))["message"] == "second done"
        assert (await harness.call("background-petal/beats"))["beats"] > 0
        assert (await harness.call("native-petal/hello"))["message"] == "Hello, World!"


async def test_an_unknown_command_under_a_petals_name_is_answered_once(
    autojump_clock: Any,
) -> None:
    async with open_harness(*adapt(GuidePetal("one"), GuidePetal("two"))) as harness:
        (response,) = await all_responses(harness, ("one/nothing", "a"))
    assert response["error"] == "Unknown command: one/nothing"
    assert response["error_code"] == "UNKNOWN_COMMAND"
    assert response["success"] is False


async def test_an_unknown_command_of_an_action_petal_names_what_there_is(
    autojump_clock: Any,
) -> None:
    async with open_harness(*adapt(ActionPetal())) as harness:
        response = await harness.call("action-petal/nothing")
    assert response.error_code == "UNKNOWN_COMMAND"
    assert response["available_commands"] == [
        "action-petal/first",
        "action-petal/geometry",
        "action-petal/second",
    ]


async def test_the_old_hosts_commands_are_left_to_it(autojump_clock: Any) -> None:
    async with open_harness(*adapt(GuidePetal("one"), GuidePetal("two"))) as harness:
        assert await all_responses(harness, ("somebody-else/x", "a"), ("x", "b")) == []
        statistics = harness.statistics()
    assert statistics.failed == {"UNKNOWN_COMMAND": 2}
    assert statistics.remembered == 0  # a copy is judged anew
    assert statistics.outbox == 0


async def test_they_are_answered_where_it_is_set_so(autojump_clock: Any) -> None:
    settings = Settings(answer_unknown="all")
    petals = adapt(GuidePetal("one"), GuidePetal("two"))
    async with open_harness(*petals, settings=settings) as harness:
        (response,) = await all_responses(harness, ("ones/hello", "a"))
    assert response["error"] == "Unknown command: ones/hello"
    assert response["did_you_mean"] == "one/hello"
    assert "two/process" in response["available_commands"]


async def test_without_petals_of_the_guide_every_unknown_command_is_answered(
    autojump_clock: Any,
) -> None:
    async with open_harness(NativePetal()) as harness:
        assert (await harness.call("somebody-else/x")).error_code == "UNKNOWN_COMMAND"


async def test_a_copy_of_a_command_that_nobody_served_is_served_once_somebody_does(
    autojump_clock: Any,
) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)) as harness:
        assert await all_responses(harness, ("later/hello", "a")) == []
        assert petal._command_handlers is not None
        petal._command_handlers["later/hello"] = petal._hello_handler
        (response,) = await all_responses(harness, ("later/hello", "a"))
    assert response["message"] == "Hello, World!"


async def test_the_keys_decide_before_the_prefix(autojump_clock: Any) -> None:
    """As with flight-log-petal, which serves flight-log/..."""
    by_name, by_key = GuidePetal("flight-log"), GuidePetal("flight-log-petal")
    async with open_harness(*adapt(by_name, by_key)) as harness:
        assert by_key._command_handlers is not None
        by_key._command_handlers["flight-log/fetch"] = by_key._hello_handler
        assert (await harness.call("flight-log/fetch")).success
    assert by_name.seen == []


async def test_a_petal_that_routes_by_hand_is_found_by_its_name(autojump_clock: Any) -> None:
    async def route(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True, by=petal.name)

    petals = adapt(GuidePetal("one"), HandlerPetal(route, "by-hand"))
    async with open_harness(*petals) as harness:
        assert (await harness.call("by-hand/anything"))["by"] == "by-hand"


async def test_masters_are_asked_in_turn_and_their_unknown_is_held_back(
    autojump_clock: Any,
) -> None:
    async def route(petal: HandlerPetal, message: Message) -> None:
        if message["command"] == "elsewhere/x":
            await petal.answer(message, success=True, by=petal.name)
        else:
            await petal.answer(message, success=False, error="Unknown command!")

    one, three = GuidePetal("one"), GuidePetal("three")
    async with open_harness(*adapt(one, HandlerPetal(route, "two"), three)) as harness:
        responses = await all_responses(harness, ("elsewhere/x", "a"))
    assert [(response["messageId"], response["by"]) for response in responses] == [("a", "two")]
    assert one.seen == ["elsewhere/x"]
    assert three.seen == []  # nobody needed to ask it


async def test_a_command_without_an_answer_is_run_by_one_petal(autojump_clock: Any) -> None:
    ran: list[str] = []

    async def route(petal: HandlerPetal, message: Message) -> None:
        if message["command"] == "elsewhere/x":
            ran.append(petal.name)
            if message["waitResponse"]:
                await petal.answer(message, success=True)
        elif message["waitResponse"]:
            await petal.answer(message, success=False, error="Unknown command")

    petals = adapt(GuidePetal("one"), HandlerPetal(route, "two"), HandlerPetal(route, "three"))
    async with open_harness(*petals) as harness:
        with harness.responses() as sink:
            harness.send("elsewhere/x", waitResponse=False)
            await trio.sleep(60)
            assert list(sink) == []
        assert harness.statistics().succeeded == 1
    assert ran == ["two"]


async def test_each_master_that_is_asked_has_a_message_of_its_own(autojump_clock: Any) -> None:
    async def spoil(petal: HandlerPetal, message: Message) -> None:
        message["data"]["n"] = "spoilt"
        await petal.answer(message, success=False, error="Unknown command")

    async def look(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True, n=message["data"]["n"])

    async with open_harness(*adapt(HandlerPetal(spoil, "a"), HandlerPetal(look, "b"))) as harness:
        assert (await harness.call("elsewhere/x", {"n": 1}))["n"] == 1


async def test_a_master_that_fails_at_anothers_command_stops_nobody(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(petal: HandlerPetal, message: Message) -> None:
        raise KeyError("command")

    async def route(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(fail, "a"), HandlerPetal(route, "b"))) as harness:
        assert (await harness.call("elsewhere/x")).success
    assert "petal 'a' failed at a command that may be none of its own" in caplog.text


async def test_two_handlers_of_one_petal_give_one_answer(autojump_clock: Any) -> None:
    class Both(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            self._mqtt_proxy.register_handler(self._listen)
            await super()._setup_mqtt_topics()

        async def _listen(self, topic: str, message: Message) -> None:
            self.seen.append(f"heard {message['command']}")
            await self._mqtt_proxy.send_command_response(
                message["messageId"], {"success": False, "error": "Unknown command"}
            )

    petal = Both()
    async with open_harness(*adapt(petal)) as harness:
        (response,) = await all_responses(harness, ("example-petal/hello", "a"))
    assert response["message"] == "Hello, World!"
    assert sorted(petal.seen) == ["example-petal/hello", "heard example-petal/hello"]


async def test_a_handler_registered_late_gets_what_waited(autojump_clock: Any) -> None:
    class Late(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            await asyncio.sleep(20)
            await super()._setup_mqtt_topics()

    async with open_harness(*adapt(GuidePetal("other"), Late("late"))) as harness:
        with harness.responses() as sink:
            harness.send("late/hello", message_id="by name")
            harness.send("flight-log/hello", message_id="of nobody")
            harness.send("other/hello", message_id="at once")
            assert [one["messageId"] for one in await sink.wait(1)] == ["at once"]
            assert trio.current_time() < 1
            assert (await sink.wait(2))[1]["messageId"] == "by name"
            assert 20 <= trio.current_time() < 21


async def test_a_handler_registered_after_the_start_gets_what_waited(autojump_clock: Any) -> None:
    class Later(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            self.task = asyncio.create_task(self._register())

        async def _register(self) -> None:
            await asyncio.sleep(20)
            await super()._setup_mqtt_topics()

    async with open_harness(*adapt(Later())) as harness:
        assert (await harness.call("example-petal/hello")).success
        assert 20 <= trio.current_time() < 21


async def test_a_petal_that_registers_nothing_is_waited_for_within_a_limit(
    autojump_clock: Any,
) -> None:
    class Never(Petal):
        name = "never"
        version = "1"
        use_mqtt_proxy = True

    async with open_harness(*adapt(Never())) as harness:
        response = await harness.call("never/x")
        assert response.error_code == "UNKNOWN_COMMAND"
        assert 30 <= trio.current_time() < 36
        assert (await harness.call("never/x")).error_code == "UNKNOWN_COMMAND"
        assert trio.current_time() < 36


async def test_keys_without_a_handler_are_unavailable(autojump_clock: Any) -> None:
    class Forgetful(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            self._command_handlers = self._setup_command_handlers()

    async with open_harness(*adapt(Forgetful())) as harness:
        response = await harness.call("example-petal/hello")
    assert response.error_code == "UNAVAILABLE"
    assert response.error == "petal 'example-petal' has no handler registered"


async def test_a_handler_can_be_unregistered(autojump_clock: Any) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)) as harness:
        assert (await harness.call("example-petal/hello")).success
        assert petal.mqtt_subscription_id is not None
        assert petal._mqtt_proxy.unregister_handler(petal.mqtt_subscription_id) is True
        assert petal._mqtt_proxy.unregister_handler(petal.mqtt_subscription_id) is False
        assert (await harness.call("example-petal/hello")).error_code == "UNAVAILABLE"


async def test_a_native_petals_name_goes_before_a_prefix(autojump_clock: Any) -> None:
    async def route(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True, by="the other")

    class Native(NativePetal):
        name = "another"
        prefix = "shared"

    petals = [*adapt(HandlerPetal(route, "shared")), Native()]
    async with open_harness(*petals) as harness:
        assert (await harness.call("shared/hello"))["message"] == "Hello, World!"
        assert (await harness.call("shared/other"))["by"] == "the other"


async def test_a_petal_that_is_no_mqtt_petal_is_warned_about_once(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Unsaid(GuidePetal):
        use_mqtt_proxy = False

        async def async_startup(self) -> None:
            await self._setup_mqtt_topics()
            self._mqtt_proxy.register_handler(self._master_command_handler)

    async with open_harness(*adapt(Unsaid(), ActionPetal())) as harness:
        assert (await harness.call("example-petal/hello")).success
    text = "write use_mqtt_proxy = True"
    (warning,) = [one for one in caplog.records if text in one.getMessage()]
    assert warning.levelno == logging.WARNING
    assert warning.__dict__["petal"] == "example-petal"


async def test_commands_of_one_petal_start_in_order(autojump_clock: Any) -> None:
    order: list[int] = []

    async def note(petal: HandlerPetal, message: Message) -> None:
        order.append(message["data"]["n"])
        await asyncio.sleep(1)
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(note)), settings=QUICK) as harness:
        with harness.responses() as sink:
            for n in range(200):
                harness.send("petal/note", {"n": n})
            await sink.wait(200)
    assert order == list(range(200))


async def test_what_waits_for_a_handler_starts_in_order_too(autojump_clock: Any) -> None:
    """Under names that only the petal's keys tell, and across the moment when they are known."""
    order: list[int] = []

    class FlightLog(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            await asyncio.sleep(20)
            await super()._setup_mqtt_topics()

        def _setup_command_handlers(self) -> dict[str, Any]:
            return {"flight-log/note": self._note}

        async def _note(self, topic: str, message: Message) -> None:
            order.append(message["data"]["n"])
            await self._mqtt_proxy.send_command_response(message["messageId"], {"success": True})

    async with open_harness(*adapt(FlightLog("flight-log-petal"))) as harness:
        with harness.responses() as sink:
            for n in range(100):
                harness.send("flight-log/note", {"n": n})
            await sink.wait(1)
            for n in range(100, 200):
                harness.send("flight-log/note", {"n": n})
            await sink.wait(200)
    assert order == list(range(200))


async def test_nobodys_command_at_the_start_holds_up_no_petal(autojump_clock: Any) -> None:
    class Slow(GuidePetal):
        async def async_startup(self) -> None:
            await asyncio.sleep(25)

    async with open_harness(*adapt(GuidePetal("quick"), Slow("slow"))) as harness:
        harness.send("somebody-else/x")
        assert (await harness.call("quick/hello")).success
        assert trio.current_time() < 1


async def test_of_two_petals_with_one_key_the_first_has_it_and_the_log_says_so(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Shared(GuidePetal):
        def _setup_command_handlers(self) -> dict[str, Any]:
            return {"shared/hello": self._hello_handler}

    one, two = Shared("one"), Shared("two")
    async with open_harness(*adapt(one, two)) as harness:
        assert (await harness.call("shared/hello")).success
    assert (one.seen, two.seen) == (["shared/hello"], [])
    assert "petal 'two': the command 'shared/hello' is served by petal 'one'" in caplog.text
