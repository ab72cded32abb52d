"""What the integration guide asks of whoever serves its petals, duty by duty; see docs/guide.md."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import Settings
from petalkit.compat import MethodRemoved, Petal, adapt, get_organization_manager
from petalkit.testing import open_harness

from ..guide import TEST_COMMAND, TEST_RESPONSE
from .petals import QUICK, GuidePetal, HandlerPetal, Message

pytestmark = pytest.mark.trio

BASE = "org/acme/device/Instance-1"


async def greet(petal: HandlerPetal, message: Message) -> None:
    if message["waitResponse"]:
        await petal.answer(message, success=True, text="Hello!")


class Quiet(GuidePetal):
    """With the master handler of step 6, which lets senders of unknown commands wait."""

    async def _master_command_handler(self, topic: str, message: Message) -> None:
        handler = (self._command_handlers or {}).get(message["command"])
        if handler is not None:
            await handler(topic, message)


# -- Main Changes to MQTTProxy


@pytest.mark.parametrize(
    ("method", "instead"),
    [
        ("subscribe_to_topic", "use register_handler(handler)"),
        ("subscribe_pattern", "use register_handler(handler)"),
        ("unsubscribe_from_topic", "use unregister_handler(subscription_id)"),
    ],
)
async def test_the_model_before_is_refused_with_what_to_write(
    method: str, instead: str, autojump_clock: Any
) -> None:
    raised: list[Exception] = []

    class Old(GuidePetal):
        async def async_startup(self) -> None:
            try:
                await getattr(self._mqtt_proxy, method)("a/topic", self._hello_handler)
            except MethodRemoved as error:
                raised.append(error)

    async with open_harness(*adapt(Old())):
        await trio.testing.wait_all_tasks_blocked()
    (error,) = raised
    assert str(error).startswith(f"MQTTProxy.{method}() was removed by the integration guide")
    assert instead in str(error)
    assert isinstance(error, NotImplementedError)


async def test_the_model_after_is_one_handler_for_all_commands(autojump_clock: Any) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)) as harness:
        assert (await harness.call("example-petal/hello"))["message"] == "Hello, World!"
        response = await harness.call("example-petal/process", {"a": 1})
    assert response["result"] == {"processed": True, "data": {"a": 1}}
    assert petal.seen == ["example-petal/hello", "example-petal/process"]


async def test_a_registration_has_an_id_and_ends_by_it(autojump_clock: Any) -> None:
    ended: list[bool] = []

    class Leaving(HandlerPetal):
        async def _setup_mqtt_topics(self) -> None:
            first = self.proxy.register_handler(self._bound())
            second = self.proxy.register_handler(self._bound())
            assert isinstance(first, str)
            assert first != second
            ended.append(self.proxy.unregister_handler(first))
            ended.append(self.proxy.unregister_handler(first))
            ended.append(self.proxy.unregister_handler("no such"))

    async with open_harness(*adapt(Leaving(greet))) as harness:
        assert (await harness.call("petal/hello"))["text"] == "Hello!"
    assert ended == [True, False, False]


@pytest.mark.parametrize(
    ("qos", "sent"), [({}, 1), ({"qos": 0}, 0), ({"qos": 1}, 1), ({"qos": 2}, 1)]
)
async def test_publish_message_goes_to_command_web(
    qos: dict[str, int], sent: int, autojump_clock: Any
) -> None:
    event = {"command": "/petal/done", "messageId": "7", "payload": {"percent": 100}}

    async def handle(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=await petal.proxy.publish_message(event, **qos))

    async with open_harness(*adapt(HandlerPetal(handle))) as harness:
        with harness.broker.observe(f"{BASE}/command/web") as seen:
            assert (await harness.call("petal/go")).success
            message = await seen.receive()
    assert json.loads(message.payload) == {**event, "deviceId": "Instance-1"}
    assert message.qos == sent


async def test_send_command_response_finds_its_topic_and_says_whether_it_was_taken(
    autojump_clock: Any,
) -> None:
    taken: list[bool] = []

    async def handle(petal: HandlerPetal, message: Message) -> None:
        send = petal.proxy.send_command_response
        taken.append(await send(message_id="another", response_data={"success": True}))
        taken.append(await send(message_id=message["messageId"], response_data={"success": True}))

    async with open_harness(*adapt(HandlerPetal(handle))) as harness:
        with harness.broker.observe(f"{BASE}/response") as seen:
            harness.send("petal/go", message_id="7")
            message = await seen.receive()
    assert json.loads(message.payload)["messageId"] == "7"
    assert taken == [False, True]


async def test_the_base_topic_is_there_once_the_organization_id_is(autojump_clock: Any) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal), organization_id=None) as harness:
        proxy = petal._mqtt_proxy
        assert proxy.organization_id is None
        assert proxy._get_organization_id() is None
        assert proxy._get_base_topic() is None
        await harness.set_organization("acme")
        await harness.wait_connected()
        assert proxy._get_organization_id() == "acme"
        assert proxy._get_base_topic() == BASE
        assert proxy.subscribed_topics == {f"{BASE}/command", f"{BASE}/command/edge"}


async def test_a_plain_handler_is_called_in_a_worker_thread() -> None:
    """On the real clock: a mock clock does not see that a thread is busy."""
    names: list[str] = []

    class Plain(HandlerPetal):
        def _bound(self) -> Callable[..., Any]:
            def handle(topic: str, message: Message) -> None:
                names.append(threading.current_thread().name)
                answer = self.proxy.send_command_response(message["messageId"], {"success": True})
                assert self._loop is not None
                asyncio.run_coroutine_threadsafe(answer, self._loop).result(30)

            return handle

    with trio.fail_after(60):
        async with open_harness(*adapt(Plain(greet))) as harness:
            assert (await harness.call("petal/go")).success
    assert names != [threading.current_thread().name]


async def test_a_message_id_reaches_a_handler_once(autojump_clock: Any) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)) as harness:
        first = await harness.call("example-petal/hello", message_id="7")
        second = await harness.call("example-petal/hello", message_id="7")
    assert petal.seen == ["example-petal/hello"]
    assert first["message"] == second["message"]


@pytest.mark.parametrize(("overflow", "code"), [("drop-oldest", "DROPPED"), ("reject", "BUSY")])
async def test_what_a_full_buffer_drops_is_answered(
    overflow: Any, code: str, autojump_clock: Any
) -> None:
    async def slowly(petal: HandlerPetal, message: Message) -> None:
        await asyncio.sleep(1)
        await petal.answer(message, success=True)

    settings = Settings(overflow=overflow, channel_capacity=2, petal_concurrency=1)
    async with open_harness(*adapt(HandlerPetal(slowly)), settings=settings) as harness:
        with harness.responses() as responses:
            for number in range(5):
                harness.send("petal/go", message_id=str(number))
                await trio.testing.wait_all_tasks_blocked()
            found = {one["messageId"]: one.get("error_code") for one in await responses.wait(5)}
    lost = [number for number, its in found.items() if its == code]
    # The first runs; two wait. Of the other two either the older or the newer make room.
    assert sorted(lost) == (["1", "2"] if overflow == "drop-oldest" else ["3", "4"])


# -- Key Architecture Changes


@pytest.mark.parametrize("topic", ["command", "command/edge"])
async def test_commands_come_in_on_both_topics(topic: str, autojump_clock: Any) -> None:
    topics: list[str] = []

    class Noting(GuidePetal):
        async def _master_command_handler(self, topic: str, message: Message) -> None:
            topics.append(topic)
            await super()._master_command_handler(topic, message)

    async with open_harness(*adapt(Noting())) as harness:
        assert (await harness.call("example-petal/hello", topic=topic)).success
    assert topics == [f"{BASE}/{topic}"]


async def test_a_command_on_both_topics_is_run_once(autojump_clock: Any) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)) as harness:
        for topic in ("command", "command/edge"):
            await harness.call("example-petal/hello", message_id="7", topic=topic)
    assert petal.seen == ["example-petal/hello"]


@pytest.mark.parametrize("name", ["data", "payload"])
async def test_a_handler_finds_the_arguments_under_both_names(
    name: str, autojump_clock: Any
) -> None:
    """Whichever the sender uses: the guide's name, or that of the host's clients."""
    found: list[Any] = []

    async def handle(petal: HandlerPetal, message: Message) -> None:
        found.extend((message["data"], message["payload"]))
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(handle))) as harness:
        with harness.responses() as responses:
            command = {
                "command": "petal/go",
                "messageId": "7",
                "waitResponse": True,
                name: {"a": 1},
            }
            harness.send_raw(json.dumps(command).encode())
            await responses.wait(1)
    assert found == [{"a": 1}, {"a": 1}]


async def test_command_web_is_for_what_goes_out(autojump_clock: Any) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)) as harness:
        with harness.responses() as responses:
            harness.send("example-petal/hello", topic="command/web")
            await trio.sleep(60)
        assert len(responses) == 0
        assert harness.statistics().received == 0
    assert petal.seen == []


async def test_what_cannot_be_read_is_told_on_debug_and_reaches_no_handler(
    autojump_clock: Any,
) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)) as harness:
        with harness.debug() as debug:
            harness.send_raw(b"{ not JSON")
            (told,) = await debug.wait(1)
    assert told["error_code"] == "INVALID_JSON"
    assert petal.seen == []


async def test_the_four_steps_of_the_registration_flow(autojump_clock: Any) -> None:
    steps: list[str] = []

    class Flow(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            await super()._setup_mqtt_topics()
            steps.append(f"1 registered: {self.mqtt_subscription_id is not None}")
            steps.append(f"2 under {self._mqtt_proxy.command_edge_topic}")

        async def _master_command_handler(self, topic: str, message: Message) -> None:
            steps.append(f"3 {message['command']}")
            await super()._master_command_handler(topic, message)

        async def _hello_handler(self, topic: str, message: Message) -> None:
            steps.append(f"4 {message['data']}")
            await super()._hello_handler(topic, message)

    async with open_harness(*adapt(Flow())) as harness:
        await harness.call("example-petal/hello", {"name": "Ada"})
    assert steps == [
        "1 registered: True",
        "2 under command/edge",
        "3 example-petal/hello",
        "4 {'name': 'Ada'}",
    ]


# -- Required Components, and the steps


@pytest.mark.parametrize("wanted", [True, False])
async def test_use_mqtt_proxy_is_what_asks_for_the_set_up(
    wanted: bool, autojump_clock: Any
) -> None:
    petal = GuidePetal()
    petal.use_mqtt_proxy = wanted
    async with open_harness(*adapt(petal)) as harness:
        response = await harness.call("example-petal/hello")
    assert ("_setup_mqtt_topics" in petal.hooks) is wanted
    assert response.success is wanted


async def test_a_petal_that_forgets_use_mqtt_proxy_is_set_up_all_the_same_and_told(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Forgetful(Petal):
        name = "example-petal"
        version = "1"

        async def _setup_mqtt_topics(self) -> None:
            self._proxies["mqtt"].register_handler(self._handle)

        async def _handle(self, topic: str, message: Message) -> None:
            answer = {"success": True}
            await self._proxies["mqtt"].send_command_response(message["messageId"], answer)

    async with open_harness(*adapt(Forgetful())) as harness:
        assert (await harness.call("example-petal/hello")).success
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "has _setup_mqtt_topics() and no use_mqtt_proxy" in record.getMessage()


async def test_a_petal_that_refuses_its_set_up_is_told_that_it_has_one(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    petal = GuidePetal()
    petal.use_mqtt_proxy = False
    async with open_harness(*adapt(petal)) as harness:
        assert not (await harness.call("example-petal/hello")).success
    assert "_setup_mqtt_topics() and use_mqtt_proxy = False: it is not called" in caplog.text


async def test_the_loop_is_set_before_any_hook_that_awaits(autojump_clock: Any) -> None:
    """The constructor may set `_loop` to None, as the guide's does."""
    seen: dict[str, bool] = {}

    class Looking(GuidePetal):
        def _look(self, hook: str) -> None:
            seen[hook] = self._loop is asyncio.get_running_loop()

        def startup(self) -> None:
            self._look("startup")
            super().startup()

        async def _setup_mqtt_topics(self) -> None:
            self._look("_setup_mqtt_topics")
            await super()._setup_mqtt_topics()

        async def async_startup(self) -> None:
            self._look("async_startup")

        async def _hello_handler(self, topic: str, message: Message) -> None:
            self._look("handler")
            await super()._hello_handler(topic, message)

    petal = Looking()
    assert petal._loop is None
    async with open_harness(*adapt(petal)) as harness:
        await harness.call("example-petal/hello")
    assert seen == {
        "startup": True,
        "_setup_mqtt_topics": True,
        "async_startup": True,
        "handler": True,
    }


async def test_startup_finds_the_mqtt_proxy(autojump_clock: Any) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)):
        assert petal._mqtt_proxy is petal._proxies["mqtt"]
        assert petal._mqtt_proxy.device_id == "Instance-1"


async def test_async_startup_is_optional_and_comes_after_the_set_up(autojump_clock: Any) -> None:
    petal = GuidePetal()
    without = HandlerPetal(greet)  # has none of its own
    async with open_harness(*adapt(petal, without)) as harness:
        assert (await harness.call("petal/hello")).success
        assert (await harness.call("example-petal/hello")).success
    assert petal.hooks[:3] == ["startup", "_setup_mqtt_topics", "async_startup"]


async def test_the_set_up_waits_for_the_organization_id_without_a_restart(
    autojump_clock: Any,
) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal), organization_id=None) as harness:
        await trio.sleep(3600)
        assert "_setup_mqtt_topics" not in petal.hooks
        await harness.set_organization("acme")
        await harness.wait_connected()
        assert (await harness.call("example-petal/hello")).success
    assert petal.hooks.count("_setup_mqtt_topics") == 1


async def test_the_master_handler_may_check_what_the_guide_checks(autojump_clock: Any) -> None:
    checks: list[Any] = []

    class Checking(GuidePetal):
        async def _master_command_handler(self, topic: str, message: Message) -> None:
            checks.append(self._command_handlers is not None)
            checks.append(self._mqtt_proxy.organization_id)
            checks.append((message["messageId"], message["waitResponse"]))
            await super()._master_command_handler(topic, message)

    async with open_harness(*adapt(Checking())) as harness:
        await harness.call("example-petal/hello", message_id="7")
    assert checks == [True, "acme", ("7", True)]


async def test_a_master_that_says_nothing_of_unknown_commands_is_spoken_for(
    autojump_clock: Any,
) -> None:

    async with open_harness(*adapt(Quiet()), settings=QUICK) as harness:
        response = await harness.call("example-petal/nosuch")
        assert response.error_code == "UNKNOWN_COMMAND"
        assert "example-petal/hello" in response["available_commands"]
        assert (await harness.call("example-petal/hello")).success


async def test_who_did_not_ask_is_not_answered(autojump_clock: Any) -> None:
    """Step 7 of the guide answers without a look at `waitResponse`."""
    handled: list[tuple[str, bool]] = []

    async def handle(petal: HandlerPetal, message: Message) -> None:
        taken = await petal.answer(message, success=True, records=[])
        handled.append((message["messageId"], taken))

    async with open_harness(*adapt(HandlerPetal(handle))) as harness:
        with harness.responses() as responses:
            harness.send("petal/fetch_records", message_id="1", waitResponse=False)
            await harness.call("petal/fetch_records", message_id="2")
        assert [response["messageId"] for response in responses] == ["2"]
    assert handled == [("1", True), ("2", True)]


# -- Testing MQTT Commands


async def test_the_test_command_has_the_expected_response(autojump_clock: Any) -> None:
    async with open_harness(*adapt(GuidePetal())) as harness:
        with harness.responses() as responses:
            harness.send_raw(TEST_COMMAND)
            (response,) = await responses.wait(1)
    # And the device's ID, which every version of the host writes into all that it sends.
    assert response == {**TEST_RESPONSE, "deviceId": "Instance-1"}


async def test_a_test_handler_puts_in_data_of_its_own_and_calls_the_real_one(
    autojump_clock: Any,
) -> None:
    class Tested(GuidePetal):
        _test_called = False

        def _setup_command_handlers(self) -> dict[str, Callable[..., Any]]:
            table = super()._setup_command_handlers()
            return {**table, f"{self.name}/test": self._test_handler}

        async def _test_handler(self, topic: str, message: Message) -> None:
            if self._test_called:
                return
            self._test_called = True
            test_message = message.copy()
            test_message["data"] = {"name": "Tester"}
            await self._hello_handler(topic, test_message)

    async with open_harness(*adapt(Tested()), settings=QUICK) as harness:
        response = await harness.call("example-petal/test", {"name": "Somebody"})
        assert response["message"] == "Hello, Tester!"
        # The second time it says nothing, and its caller is told so in place of waiting.
        assert (await harness.call("example-petal/test")).error_code == "NO_RESPONSE"


# -- Best Practices


async def test_a_command_waits_for_a_set_up_that_takes_its_time(autojump_clock: Any) -> None:
    class Slow(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            await asyncio.sleep(20)
            await super()._setup_mqtt_topics()

    async with open_harness(*adapt(Slow())) as harness:
        assert (await harness.call("example-petal/hello")).success
        assert trio.current_time() >= 20


async def test_a_handler_never_runs_without_an_organization_id(autojump_clock: Any) -> None:
    seen: list[str | None] = []

    async def handle(petal: HandlerPetal, message: Message) -> None:
        seen.append(petal.proxy.organization_id)
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(handle)), organization_id=None) as harness:
        for organization in ("acme", "other"):
            await harness.set_organization(organization)
            await harness.wait_connected()
            assert (await harness.call("petal/go")).success
    assert seen == ["acme", "other"]


async def test_what_a_handler_does_not_catch_stays_on_the_device(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(petal: HandlerPetal, message: Message) -> None:
        raise LookupError("/etc/secret is not there")

    async with open_harness(*adapt(HandlerPetal(fail))) as harness:
        response = await harness.call("petal/go")
    assert response.error_code == "HANDLER_ERROR"
    assert "secret" not in str(dict(response))
    assert response["error_id"] in caplog.text
    assert "LookupError: /etc/secret is not there" in caplog.text


async def test_what_a_handler_catches_is_said_in_its_own_words(autojump_clock: Any) -> None:
    async with open_harness(*adapt(GuidePetal())) as harness:
        response = await harness.call("example-petal/fail", message_id="7")
    assert dict(response) == {
        "messageId": "7",
        "timestamp": response["timestamp"],
        "success": False,
        "error": "no such record",
        "deviceId": "Instance-1",
    }


async def test_a_descriptive_name_tells_two_petals_apart(autojump_clock: Any) -> None:
    """And a generic one is served all the same, by the one petal that has it."""

    class Generic(GuidePetal):
        def _setup_command_handlers(self) -> dict[str, Callable[..., Any]]:
            return {"fetch": self._hello_handler}

    async with open_harness(*adapt(GuidePetal(), Generic("generic"))) as harness:
        assert (await harness.call("example-petal/hello")).success
        assert (await harness.call("fetch")).success
        assert (await harness.call("generic/hello")).error_code == "UNKNOWN_COMMAND"


async def test_what_a_petal_of_the_guide_logs_names_its_command(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from petalkit._authoring.context import CommandLogFilter

    caplog.handler.addFilter(CommandLogFilter())
    caplog.set_level(logging.INFO)

    class Telling(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            logging.getLogger("telling").info("it is done")
            await super()._hello_handler(topic, message)

    async with open_harness(*adapt(Telling())) as harness:
        await harness.call("example-petal/hello", message_id="7")
    (record,) = [record for record in caplog.records if record.name == "telling"]
    assert record.__dict__["petal"] == "example-petal"
    assert record.__dict__["command"] == "example-petal/hello"
    assert record.__dict__["message_id"] == "7"
    said = [one.getMessage() for one in caplog.records if one.name == "petalkit.commands"]
    assert said == ["received", "answered"]


# -- Troubleshooting


async def test_the_log_says_when_a_petal_is_set_up(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_harness(*adapt(GuidePetal())) as harness:
        await harness.call("example-petal/hello")
    assert "petal 'example-petal' is set up" in [one.getMessage() for one in caplog.records]


async def test_a_set_up_that_fails_is_said_and_its_petal_is_out_of_service(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            raise OSError("no table")

    other = HandlerPetal(greet)
    async with open_harness(*adapt(Broken(), other)) as harness:
        assert (await harness.call("example-petal/hello")).error_code == "UNAVAILABLE"
        assert (await harness.call("petal/hello")).success
    assert "_setup_mqtt_topics() raised OSError: no table" in caplog.text


async def test_a_misspelt_command_is_told_which_there_are(autojump_clock: Any) -> None:
    async with open_harness(*adapt(Quiet()), settings=QUICK) as harness:
        response = await harness.call("example-petal/helo")
    assert response["did_you_mean"] == "example-petal/hello"


async def test_the_log_says_what_the_organization_id_is_waited_for(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(*adapt(GuidePetal()), organization_id=None):
        await trio.sleep(1)
    assert "waiting for the organization ID" in caplog.text
    assert "Nothing is connected before it is known" in caplog.text


async def test_the_organization_manager_needs_no_initialization(autojump_clock: Any) -> None:
    manager = get_organization_manager()
    waited: list[str | None] = []

    class Waiting(Petal):
        name = "waiting-petal"
        version = "1"

        async def async_startup(self) -> None:
            waited.append(await get_organization_manager().wait_for_organization_id(timeout=20))

    async with open_harness(*adapt(Waiting()), organization_id=None) as harness:
        await trio.sleep(10)
        assert waited == []
        await harness.set_organization("acme")
        await trio.sleep(1)
        assert waited == ["acme"]
        assert manager.organization_id == "acme"


async def test_a_handler_that_does_not_answer_is_answered_for(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def forget(petal: HandlerPetal, message: Message) -> None:
        pass

    async with open_harness(*adapt(HandlerPetal(forget))) as harness:
        response = await harness.call("petal/go")
    assert response.error_code == "NO_RESPONSE"
    assert trio.current_time() == pytest.approx(10, abs=1)
    assert "a handler ended without an answer" in caplog.text


async def test_a_response_under_a_wrong_id_is_not_sent_and_says_so(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def mistake(petal: HandlerPetal, message: Message) -> None:
        await petal.proxy.send_command_response("unknown", {"success": True})

    async with open_harness(*adapt(HandlerPetal(mistake)), settings=QUICK) as harness:
        with harness.responses() as responses:
            await harness.call("petal/go", message_id="7")
        assert [response["messageId"] for response in responses] == ["7"]
    assert "a response was not sent: nobody waits for one to this messageId" in caplog.text
