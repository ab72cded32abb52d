"""What a petal of the guide says is the answer: once, in its own words, or ours for its silence."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import Properties, Settings
from petalkit.compat import Petal, adapt, mqtt_action
from petalkit.testing import open_harness

from .petals import QUICK, ActionPetal, GuidePetal, HandlerPetal, Message

pytestmark = pytest.mark.trio

HOST = Settings(dialect="host-0.2", compat_answer_timeout=1.0)


# -- in its own words


async def test_a_petals_words_in_the_guides_dialect(autojump_clock: Any) -> None:
    petals = adapt(GuidePetal(), ActionPetal())
    async with open_harness(*petals, settings=Settings(dialect="guide")) as harness:
        hello = await harness.call("example-petal/hello", message_id="test-123")
        failed = await harness.call("example-petal/fail", message_id="test-124")
        action = await harness.call("action-petal/geometry", {"rotor_count": 4})
        wrong = await harness.call("action-petal/geometry", {"rotor_count": "four"})
    assert dict(hello) == {
        "messageId": "test-123",
        "timestamp": hello["timestamp"],
        "success": True,
        "message": "Hello, World!",
        "deviceId": "Instance-1",
    }
    assert dict(failed) == {
        "messageId": "test-124",
        "timestamp": failed["timestamp"],
        "success": False,
        "error": "no such record",
        "deviceId": "Instance-1",
    }
    assert (action.success, action["status"]) == (True, "success")
    assert action["message"] == "CA_ROTOR_COUNT set to 4"
    assert (wrong.success, wrong.error_code) == (False, "VALIDATION_ERROR")
    assert wrong.error == "rotor_count: not a whole number"


@pytest.mark.parametrize("wait_response", [True, False])
async def test_who_names_a_response_topic_is_answered_there(
    wait_response: bool, autojump_clock: Any
) -> None:
    """Handlers of the guide answer for `waitResponse` alone."""
    properties = Properties(response_topic="rr/7", correlation_data=b"7")
    petals = adapt(GuidePetal(), ActionPetal())
    async with open_harness(*petals, settings=Settings(protocol="5")) as harness:
        with harness.broker.observe("rr/7") as answers:
            for name in ("example-petal/hello", "action-petal/geometry"):
                data = {"rotor_count": 4}
                harness.send(name, data, properties=properties, waitResponse=wait_response)
            hello, action = await answers.wait(2)
    assert b'"message":"Hello, World!"' in hello.payload
    assert b"CA_ROTOR_COUNT set to 4" in action.payload


class AttachingPetal(Petal):
    """Marks its handlers by hand, when it starts: only its code tells that it will."""

    name = "attaching"
    version = "1"

    def startup(self) -> None:
        async def late(topic: str, message: Message) -> None:
            await self._proxies["mqtt"].send_command_response(
                message["messageId"], {"status": "success", "deviceId": "another"}
            )

        late.__mqtt_action__ = {"command": "late", "cpu_heavy": False}  # type: ignore[attr-defined]
        self.late = late


@pytest.mark.parametrize(
    ("petals", "dialect", "words"),
    [
        ([GuidePetal], None, "guide"),
        ([GuidePetal, ActionPetal], None, "host-0.2"),
        ([AttachingPetal], None, "host-0.2"),
        ([GuidePetal, ActionPetal], "guide", "guide"),
        ([GuidePetal], "host-0.2", "host-0.2"),
    ],
)
async def test_the_dialect_is_that_of_the_petals_unless_one_is_set(
    petals: list[Callable[[], Petal]], dialect: Any, words: str, autojump_clock: Any
) -> None:
    """Published petals use `@mqtt_action`, and their clients read what the host writes since."""
    adapted = adapt(*(make() for make in petals))
    async with open_harness(*adapted, settings=Settings(dialect=dialect)) as harness:
        name = "example-petal/hello" if GuidePetal in petals else "attaching/late"
        with harness.broker.observe("+/+/+/+/ack") as receipts:
            response = await harness.call(name, waitAck=True)
        assert response.get("phase") == ("result" if words == "host-0.2" else None)
        assert response["deviceId"] == "Instance-1"
        assert len(receipts) == (words == "host-0.2")


async def test_a_petals_words_in_the_hosts_dialect(autojump_clock: Any) -> None:
    async with open_harness(*adapt(GuidePetal(), ActionPetal()), settings=HOST) as harness:
        action = await harness.call("action-petal/geometry", {"rotor_count": 4}, message_id="a")
        hello = await harness.call("example-petal/hello")
        failed = await harness.call("example-petal/fail")
    assert dict(action) == {
        "messageId": "a",
        "phase": "result",
        "timestamp": action["timestamp"],
        "deviceId": "Instance-1",
        "status": "success",
        "message": "CA_ROTOR_COUNT set to 4",
    }
    assert (hello["status"], hello["message"]) == ("success", "Hello, World!")
    assert (failed["status"], failed["message"]) == ("error", "no such record")


async def test_failures_are_counted_by_the_petals_own_code(autojump_clock: Any) -> None:
    async with open_harness(*adapt(GuidePetal(), ActionPetal())) as harness:
        await harness.call("example-petal/hello")
        await harness.call("example-petal/fail")
        await harness.call("action-petal/geometry", {})
        statistics = harness.statistics()
    assert statistics.succeeded == 1
    assert statistics.failed == {"HANDLER_ERROR": 1, "VALIDATION_ERROR": 1}


async def test_a_response_cannot_pass_for_anothers(autojump_clock: Any) -> None:
    async def forge(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True, messageId="another", timestamp="never", n=1)

    async with open_harness(*adapt(HandlerPetal(forge))) as harness:
        response = await harness.call("petal/x", message_id="mine")
    assert response["messageId"] == "mine"
    assert response["timestamp"].startswith("2026-01-01T")
    assert response["n"] == 1


async def test_what_was_sent_is_what_it_held_then(autojump_clock: Any) -> None:
    records = [1, 2, 3]

    async def clear(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True, records=records)
        records.clear()

    async with open_harness(*adapt(HandlerPetal(clear))) as harness:
        assert (await harness.call("petal/x"))["records"] == [1, 2, 3]


async def test_what_json_cannot_say_is_an_error_and_not_silence(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[bool] = []

    async def say(petal: HandlerPetal, message: Message) -> None:
        sent.append(await petal.answer(message, success=True, value=object()))

    async with open_harness(*adapt(HandlerPetal(say))) as harness:
        assert (await harness.call("petal/x")).error_code == "HANDLER_ERROR"
    assert sent == [False]
    assert "cannot be encoded as JSON" in caplog.text


async def test_a_response_that_is_too_large_is_answered_so(autojump_clock: Any) -> None:
    async def say(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True, value="x" * 200_000)

    async with open_harness(*adapt(HandlerPetal(say))) as harness:
        assert (await harness.call("petal/x")).error_code == "TOO_LARGE"


# -- once


async def test_the_answer_does_not_wait_for_the_handlers_end(autojump_clock: Any) -> None:
    ended: list[float] = []

    async def go_on(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True)
        await asyncio.sleep(50)
        ended.append(trio.current_time())

    async with open_harness(*adapt(HandlerPetal(go_on))) as harness:
        assert (await harness.call("petal/x")).success
        assert trio.current_time() < 1
        assert harness.statistics().running == 0  # the command is done; what goes on is the petal's
        await harness.advance(60)
    assert len(ended) == 1


async def test_a_second_answer_goes_nowhere(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[bool] = []

    async def twice(petal: HandlerPetal, message: Message) -> None:
        sent.append(await petal.answer(message, success=True, n=1))
        sent.append(await petal.answer(message, success=True, n=2))
        await asyncio.sleep(5)
        sent.append(await petal.answer(message, success=True, n=3))

    async with open_harness(*adapt(HandlerPetal(twice))) as harness:
        with harness.responses() as sink:
            harness.send("petal/x")
            await trio.sleep(20)
            assert [one["n"] for one in sink] == [1]
    assert sent == [True, False, False]
    assert caplog.text.count("a second response to one command was not sent") == 2


async def test_a_copy_is_answered_with_the_first_and_run_once(autojump_clock: Any) -> None:
    ran: list[str] = []

    async def slow(petal: HandlerPetal, message: Message) -> None:
        ran.append(message["messageId"])
        await asyncio.sleep(5)
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(slow))) as harness:
        with harness.responses() as sink:
            harness.send("petal/x", message_id="a")
            harness.send("petal/x", message_id="a")  # joins the first
            await sink.wait(1)
            harness.send("petal/x", message_id="a")  # is answered from the record
            await trio.sleep(20)
            assert len(sink) == 2
            assert sink[0] == sink[1]
    assert ran == ["a"]


async def test_nobody_is_answered_who_did_not_ask(autojump_clock: Any) -> None:
    async def answer_anyway(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(answer_anyway))) as harness:
        with harness.responses() as sink:
            harness.send("petal/x", waitResponse=False)
            await trio.sleep(20)
            assert list(sink) == []
        assert harness.statistics().succeeded == 1


async def test_commands_without_an_id_get_their_own_answers(autojump_clock: Any) -> None:
    async def slow(petal: HandlerPetal, message: Message) -> None:
        n = message["data"]["n"]
        await asyncio.sleep(10 - n)
        await petal.answer(message, success=True, n=n)

    async with open_harness(*adapt(HandlerPetal(slow))) as harness:
        with harness.responses() as sink:
            for n in range(3):
                payload = b'{"command": "petal/x", "waitResponse": true, "data": {"n": %d}}' % n
                harness.send_raw(payload)
            responses = await sink.wait(3)
    assert [(one["messageId"], one["n"]) for one in responses] == [
        ("unknown", 2),
        ("unknown", 1),
        ("unknown", 0),
    ]


# -- from elsewhere than the handler


async def test_a_task_that_the_handler_left_may_answer(autojump_clock: Any) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def work(petal: HandlerPetal, message: Message) -> None:
        await asyncio.sleep(50)  # longer than a handler without tasks is waited for
        await petal.answer(message, success=True)

    async def start(petal: HandlerPetal, message: Message) -> None:
        tasks.append(asyncio.create_task(work(petal, message)))

    async with open_harness(*adapt(HandlerPetal(start)), settings=QUICK) as harness:
        assert (await harness.call("petal/x")).success


async def test_a_callback_may_answer_within_its_time(autojump_clock: Any) -> None:
    async def later(petal: HandlerPetal, message: Message) -> None:
        loop = asyncio.get_running_loop()

        def come_back() -> None:
            petal.task = loop.create_task(petal.answer(message, success=True))  # type: ignore[attr-defined]

        loop.call_later(8, come_back)

    async with open_harness(*adapt(HandlerPetal(later))) as harness:
        assert (await harness.call("petal/x")).success
        assert 8 <= trio.current_time() < 9


async def test_the_petals_own_task_may_answer(autojump_clock: Any) -> None:
    from .petals import BackgroundPetal

    async with open_harness(*adapt(BackgroundPetal())) as harness:
        assert (await harness.call("background-petal/beats")).success


# -- not at all


async def test_a_handler_that_never_answers_is_answered_for(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def forget(petal: HandlerPetal, message: Message) -> None:
        pass

    async with open_harness(*adapt(HandlerPetal(forget))) as harness:
        response = await harness.call("petal/x")
        assert response.error_code == "NO_RESPONSE"
        assert response.retryable is False
        assert 10 <= trio.current_time() < 11
        assert harness.statistics().failed == {"NO_RESPONSE": 1}
    (record,) = [one for one in caplog.records if "without an answer" in one.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.__dict__["command"] == "petal/x"


async def test_a_handler_that_nobody_waits_for_need_not_answer(autojump_clock: Any) -> None:
    async def forget(petal: HandlerPetal, message: Message) -> None:
        pass

    async with open_harness(*adapt(HandlerPetal(forget))) as harness:
        harness.send("petal/x", waitResponse=False)
        await harness.advance(1)
        assert harness.statistics().succeeded == 1


async def test_an_answer_that_comes_too_late_goes_nowhere(autojump_clock: Any) -> None:
    sent: list[bool] = []

    async def later(petal: HandlerPetal, message: Message) -> None:
        async def answer() -> None:
            sent.append(await petal.answer(message, success=True))

        loop = asyncio.get_running_loop()
        loop.call_later(30, lambda: petal.__dict__.update(task=loop.create_task(answer())))

    async with open_harness(*adapt(HandlerPetal(later))) as harness:
        with harness.responses() as sink:
            harness.send("petal/x")
            await trio.sleep(60)
            assert [one["error_code"] for one in sink] == ["NO_RESPONSE"]
    assert sent == [False]


async def test_a_handler_that_raises_is_answered_without_the_text(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(petal: HandlerPetal, message: Message) -> None:
        raise LookupError("the password is hunter2")

    async with open_harness(*adapt(HandlerPetal(fail))) as harness:
        response = await harness.call("petal/x")
        assert trio.current_time() < 1
    assert response.error_code == "HANDLER_ERROR"
    assert "hunter2" not in str(dict(response))
    assert response["error_id"] in caplog.text
    assert "hunter2" in caplog.text  # with its traceback, on the device


async def test_an_error_after_the_answer_is_logged(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_at_once(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True)
        raise LookupError("at once")

    async def fail_later(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True)
        await asyncio.sleep(5)
        raise LookupError("later")

    petals = adapt(HandlerPetal(fail_at_once, "a"), HandlerPetal(fail_later, "b"))
    async with open_harness(*petals) as harness:
        assert (await harness.call("a/x")).success
        assert (await harness.call("b/x")).success
        await harness.advance(10)
    records = [one for one in caplog.records if "beside its answer" in one.getMessage()]
    assert [one.__dict__["command"] for one in records] == ["a/x", "b/x"]


async def test_a_handler_that_takes_too_long_is_cancelled_and_answered_for(
    autojump_clock: Any,
) -> None:
    ended: list[str] = []

    async def hang(petal: HandlerPetal, message: Message) -> None:
        try:
            await asyncio.sleep(10_000)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    settings = Settings(compat_timeout=120.0)
    async with open_harness(*adapt(HandlerPetal(hang)), settings=settings) as harness:
        response = await harness.call("petal/x", timeout=200)
        assert response.error_code == "TIMEOUT"
        assert 120 <= trio.current_time() < 121
    assert ended == ["cancelled"]


async def test_a_handler_that_ends_itself_with_the_program_ends_nothing(
    autojump_clock: Any,
) -> None:
    async def leave(petal: HandlerPetal, message: Message) -> None:
        raise SystemExit(3)

    async with open_harness(*adapt(HandlerPetal(leave))) as harness:
        assert (await harness.call("petal/x")).error_code == "HANDLER_ERROR"
        assert (await harness.call("petal/x")).error_code == "HANDLER_ERROR"


async def test_too_many_handlers_that_go_on_are_refused(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petalkit.compat._petal.asking.LEFT_MAX", 3)
    gate = asyncio.Event()

    async def go_on(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True)
        await gate.wait()

    async with open_harness(*adapt(HandlerPetal(go_on))) as harness:
        for _ in range(3):
            assert (await harness.call("petal/x")).success
        response = await harness.call("petal/x")
        assert (response.error_code, response.retryable) == ("BUSY", True)
        gate.set()
        await harness.advance(1)
        assert (await harness.call("petal/x")).success


# -- what the handler gets


async def test_the_message_as_handlers_of_both_kinds_read_it(autojump_clock: Any) -> None:
    seen: list[Message] = []

    async def look(petal: HandlerPetal, message: Message) -> None:
        seen.append(dict(message))
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(look))) as harness:
        await harness.call("petal/x", {"n": 1}, message_id="a", priority="high")
        harness.send_raw(b'{"command": "petal/x", "payload": {"n": 2}, "deviceId": "web"}')
        await harness.advance(1)
    first, second = seen
    assert first == {
        "command": "petal/x",
        "messageId": "a",
        "waitResponse": True,
        "data": {"n": 1},
        "payload": {"n": 1},
        "deviceId": "Instance-1",
        "timestamp": first["timestamp"],
        "priority": "high",
    }
    assert first["timestamp"].startswith("2026-01-01")
    assert second["data"] == second["payload"] == {"n": 2}
    assert (second["deviceId"], second["messageId"]) == ("web", "unknown")
    assert second["waitResponse"] is False


# -- threads: real time, and bounded


async def call_for_real(petal: Petal, name: str, settings: Settings | None = None) -> Any:
    async with open_harness(*adapt(petal), settings=settings) as harness:
        with trio.fail_after(30):
            return await harness.call(name, timeout=20)


async def test_a_plain_handler_runs_in_a_thread_and_can_answer() -> None:
    threads: list[int] = []

    def work(petal: HandlerPetal, message: Message) -> None:
        threads.append(threading.get_ident())
        answering = petal.answer(message, success=True)
        assert petal._loop is not None
        assert asyncio.run_coroutine_threadsafe(answering, petal._loop).result(10) is True

    assert (await call_for_real(HandlerPetal(work), "petal/x")).success
    assert threads != [threading.get_ident()]


async def test_a_plain_action_runs_in_a_thread_and_can_answer() -> None:
    class Plain(Petal):
        name = "plain"
        version = "1"

        @mqtt_action("work")
        def work(self, topic: str, message: Message) -> None:
            answering = self._proxies["mqtt"].send_command_response(
                message["messageId"], {"success": True, "thread": threading.get_ident()}
            )
            assert self._loop is not None
            assert asyncio.run_coroutine_threadsafe(answering, self._loop).result(10) is True

    response = await call_for_real(Plain(), "plain/work")
    assert response["thread"] != threading.get_ident()


async def test_a_cpu_heavy_action_answers_and_holds_up_nobody() -> None:
    beats: list[float] = []

    class Heavy(Petal):
        name = "heavy"
        version = "1"

        def startup(self) -> None:
            self.task = asyncio.create_task(self._beat())

        async def _beat(self) -> None:
            while True:
                beats.append(time.monotonic())
                await asyncio.sleep(0.01)

        @mqtt_action("work", cpu_heavy=True)
        async def work(self, topic: str, message: Message) -> None:
            before = len(beats)
            limit = time.monotonic() + 10
            while len(beats) < before + 5 and time.monotonic() < limit:
                time.sleep(0.01)  # noqa: ASYNC251 - blocks, and the loop beats on
            await asyncio.sleep(0)  # in a loop of its own
            proxy = self._proxies["mqtt"]
            fields = {"success": True, "beats": len(beats) - before}
            assert await proxy.send_command_response(message["messageId"], fields)

    response = await call_for_real(Heavy(), "heavy/work")
    assert response["beats"] >= 5


async def test_a_cpu_heavy_handler_is_cancelled_where_it_awaits() -> None:
    ended = threading.Event()

    async def hang(petal: HandlerPetal, message: Message) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.set()
            raise

    petal = HandlerPetal(hang, cpu_heavy=True)
    response = await call_for_real(petal, "petal/x", Settings(compat_timeout=0.05))
    assert response.error_code == "TIMEOUT"
    assert ended.wait(10)


async def test_a_handler_may_use_an_executor_of_the_petals_own() -> None:
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="own") as executor:

        async def work(petal: HandlerPetal, message: Message) -> None:
            loop = asyncio.get_running_loop()

            def name() -> str:
                return threading.current_thread().name

            own = await loop.run_in_executor(executor, name)
            default = await loop.run_in_executor(None, name)
            await petal.answer(message, success=True, own=own, default=default)

        response = await call_for_real(HandlerPetal(work), "petal/x")
    assert response["own"].startswith("own")
    assert not response["default"].startswith("own")


async def test_a_thread_of_the_petals_own_may_answer() -> None:
    def in_a_thread(petal: HandlerPetal, message: Message) -> None:
        asyncio.run(petal.answer(message, success=True))  # in a loop of its own

    async def start(petal: HandlerPetal, message: Message) -> None:
        thread = threading.Thread(target=in_a_thread, args=(petal, message))
        thread.start()
        petal.thread = thread  # type: ignore[attr-defined]

    petal = HandlerPetal(start)
    assert (await call_for_real(petal, "petal/x")).success
    petal.thread.join(10)  # type: ignore[attr-defined]


Handle = Callable[[HandlerPetal, Message], Any]
