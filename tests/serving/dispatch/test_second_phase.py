"""Two-phase commands: answered now, and told later what they came to, under the same ID."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from petalkit import CommandContext, CommandError, Message, Petal, Properties, Settings, command
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from ..on_disk import after_crash, settings
from ..recorder import settle

pytestmark = pytest.mark.trio


class Detector(Petal):
    name = "detector"

    def __init__(self) -> None:
        self.found = trio.Event()
        self.fails = False
        self.twice = False

    @command("detect", timeout=1000)
    async def detect(self, context: CommandContext, what: str = "cone") -> dict[str, Any]:
        await context.accept(looking_for=what)
        if self.twice:
            await context.accept()
        await self.found.wait()
        if self.fails:
            raise CommandError("NOTHING", "there is none")
        return {"found": what}


def second(events: Any) -> dict[str, Any]:
    (event,) = events
    return dict(event)


async def test_it_is_answered_now_and_told_later(autojump_clock: object) -> None:
    detector = Detector()
    async with open_harness(detector) as harness:
        with harness.events() as events:
            first = await harness.call("detector/detect", {"what": "tree"}, message_id="m")
            assert (first["success"], first["pending"]) == (True, True)
            assert first["looking_for"] == "tree"
            assert len(events) == 0
            detector.found.set()
            await settle()
            event = second(events)
        assert (event["messageId"], event["command"]) == ("m", "/detector/detect")
        assert event["data"] == {"success": True, "found": "tree"}


async def test_in_the_hosts_dialect(autojump_clock: object) -> None:
    detector = Detector()
    async with open_harness(detector, settings=Settings(dialect="host-0.2")) as harness:
        with harness.events() as events:
            first = await harness.call("detector/detect", message_id="m")
            assert first["status"] == "success"
            detector.found.set()
            await settle()
        assert second(events)["payload"] == {"status": "success", "found": "cone"}


async def test_what_it_raises_is_told_too(autojump_clock: object) -> None:
    detector = Detector()
    detector.fails = True
    async with open_harness(detector) as harness:
        with harness.events() as events:
            await harness.call("detector/detect", message_id="m")
            detector.found.set()
            await settle()
        data = second(events)["data"]
        assert (data["success"], data["error_code"]) == (False, "NOTHING")


async def test_a_copy_gets_the_first_answer_again_and_starts_nothing(
    autojump_clock: object,
) -> None:
    detector = Detector()
    async with open_harness(detector) as harness:
        with harness.events() as events:
            for _ in range(2):
                answer = await harness.call("detector/detect", message_id="m")
                assert answer["pending"] is True
            detector.found.set()
            await settle()
            assert (await harness.call("detector/detect", message_id="m"))["pending"] is True
        assert len(events) == 1
        assert harness.statistics().started == 1


async def test_a_second_accept_is_a_mistake_that_is_told(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    detector = Detector()
    detector.twice = True
    async with open_harness(detector) as harness:
        with harness.events() as events:
            await harness.call("detector/detect", message_id="m")
            await settle()
        assert second(events)["data"]["error_code"] == "HANDLER_ERROR"
        assert "has its first answer already" in caplog.text


async def test_a_stop_gives_it_its_grace_and_tells_what_it_came_to(autojump_clock: object) -> None:
    detector = Detector()
    broker = MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        async with open_harness(detector, broker=broker) as harness:
            await harness.call("detector/detect", message_id="m")
            harness.runtime.stop()
            await trio.sleep(5)
            detector.found.set()
        (message,) = await seen.wait(1)
        assert b'"found":"cone"' in message.payload


async def test_a_stop_that_is_longer_than_its_grace_tells_so(autojump_clock: object) -> None:
    broker = MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        async with open_harness(Detector(), broker=broker, settings=Settings(grace=1)) as harness:
            await harness.call("detector/detect", message_id="m")
        (message,) = await seen.wait(1)
        assert b'"error_code":"CANCELLED"' in message.payload


async def test_it_is_cancelled_on_the_wire(autojump_clock: object) -> None:
    async with open_harness(Detector()) as harness:
        with harness.events() as events:
            await harness.call("detector/detect", message_id="m")
            await harness.call("petalkit/cancel", {"messageId": "m"})
            await settle()
        assert second(events)["data"]["error_code"] == "CANCELLED"


async def test_after_a_crash_it_is_interrupted_and_that_is_told_once(
    autojump_clock: object, path: Path
) -> None:
    async with open_harness(Detector(), settings=settings(path)) as harness:
        await harness.call("detector/detect", message_id="m")
        crashed = after_crash(path)
        harness.runtime.hurry()
    broker = MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        for _ in range(2):
            async with open_harness(
                Detector(), settings=settings(crashed), broker=broker
            ) as harness:
                await settle()
                again = await harness.call("detector/detect", message_id="m")
                assert again["pending"] is True
        (message,) = await seen.wait(1)
        assert b'"messageId":"m"' in message.payload
        assert b'"error_code":"INTERRUPTED"' in message.payload


async def test_a_caller_with_a_response_topic_gets_both_there(autojump_clock: object) -> None:
    detector = Detector()
    five = attrs.evolve(Settings(), protocol="5")
    async with open_harness(detector, settings=five) as harness:
        with harness.broker.observe("me/answers") as seen:
            properties = Properties(response_topic="me/answers", correlation_data=b"7")
            harness.send("detector/detect", message_id="m", properties=properties)
            await settle()
            detector.found.set()
            await settle()
            answers: list[Message] = await seen.wait(2)
        assert [b"pending" in one.payload for one in answers] == [True, False]
        assert all(one.properties.correlation_data == b"7" for one in answers if one.properties)


async def test_outside_a_runtime_it_says_so() -> None:
    from petalkit import Command, Identity

    context = CommandContext(Command("a/b"), Identity("o", "d"), "a", 1.0)
    with pytest.raises(RuntimeError, match="that a runtime serves"):
        await context.accept()
