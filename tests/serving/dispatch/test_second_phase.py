"""Two-phase commands: answered now, and told later what they came to, under the same ID."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from petalkit import CommandContext, CommandError, Message, Petal, Properties, Settings, command
from petalkit._serving.ledger.disk import DiskLedger
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from ..on_disk import Disk, after_crash, settings
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


async def test_a_second_phase_is_not_told_before_it_is_safe(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    """Or a crash in between would make it another."""
    detector, broker = Detector(), MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        async with open_harness(detector, settings=settings(path), broker=broker) as harness:
            await harness.call("detector/detect", message_id="m")
            disk.error = "it fails"
            detector.found.set()
            await trio.sleep(1)
            assert len(seen) == 0
            crashed = after_crash(path)
            disk.error = None
            await trio.sleep(60)
            assert len(seen) == 1
            assert harness.statistics().second_phases == 1
    assert b"INTERRUPTED" not in seen[0].payload
    broker = MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        async with open_harness(Detector(), settings=settings(crashed), broker=broker):
            (message,) = await seen.wait(1)
            assert b"INTERRUPTED" in message.payload


async def test_what_is_accepted_while_the_journal_is_full_has_a_second_phase_after_a_crash(
    autojump_clock: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_harness(Detector(), settings=settings(path)) as harness:
        monkeypatch.setattr(DiskLedger, "takes_notes", property(lambda _: False))
        await harness.call("detector/detect", message_id="m")
        crashed = after_crash(path)
        harness.runtime.hurry()
    broker = MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        async with open_harness(Detector(), settings=settings(crashed), broker=broker):
            (message,) = await seen.wait(1)
            assert b"INTERRUPTED" in message.payload


async def test_after_a_crash_a_caller_with_a_response_topic_is_told_there_too(
    autojump_clock: object, path: Path
) -> None:
    five = attrs.evolve(settings(path), protocol="5")
    async with open_harness(Detector(), settings=five) as harness:
        properties = Properties(response_topic="me/answers", correlation_data=b"7")
        harness.send("detector/detect", message_id="m", properties=properties)
        await settle()
        crashed = after_crash(path)
        harness.runtime.hurry()
    broker = MemoryBroker()
    with broker.observe("me/answers") as seen:
        five = attrs.evolve(settings(crashed), protocol="5")
        async with open_harness(Detector(), settings=five, broker=broker):
            await settle()
    answers: list[Message] = list(seen)
    assert [b"INTERRUPTED" in one.payload for one in answers] == [False, True]
    assert all(one.properties.correlation_data == b"7" for one in answers if one.properties)


async def test_after_a_crash_it_says_that_only_a_new_id_runs_it_again(
    autojump_clock: object, path: Path
) -> None:
    async with open_harness(Detector(), settings=settings(path)) as harness:
        await harness.call("detector/detect", message_id="m")
        crashed = after_crash(path)
        harness.runtime.hurry()
    broker = MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        async with open_harness(Detector(), settings=settings(crashed), broker=broker):
            (message,) = await seen.wait(1)
    assert b'"retry":"new_id"' in message.payload


class Lander(Petal):
    name = "lander"

    @command("land")
    async def land(self, context: CommandContext) -> dict[str, Any]:
        await context.accept()
        return {"phase": "flare", "deviceId": "leg-2"}

    @command("ask")
    async def ask(self, context: CommandContext) -> None:
        await context.accept(pending=False)


async def test_a_result_keeps_what_the_dialect_does_not_write_itself(
    autojump_clock: object,
) -> None:
    async with open_harness(Lander()) as harness:
        with harness.events() as events:
            await harness.call("lander/land")
            await settle()
        assert second(events)["data"] == {"success": True, "phase": "flare", "deviceId": "leg-2"}


async def test_a_petal_cannot_say_that_nothing_is_pending(autojump_clock: object) -> None:
    async with open_harness(Lander()) as harness:
        with harness.events() as events:
            assert (await harness.call("lander/ask")).error_code == "HANDLER_ERROR"
            await settle()
        assert len(events) == 0
