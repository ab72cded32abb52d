"""The dialects in the runtime: the same answers in other words, and receipts for `waitAck`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import msgspec
import pytest
import trio

from petalkit import CommandError, Identity, Petal, Properties, Settings, command, open_client
from petalkit.testing import Harness, MemoryTransport, open_harness

from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio

GUIDE = Settings()
HOST = Settings(dialect="host-0.2")
BOTH = pytest.mark.parametrize("settings", [GUIDE, HOST], ids=["guide", "host-0.2"])
ONE_SLOT = attrs.evolve(HOST, petal_concurrency=1, channel_capacity=1)
HOUR = 3600  # the default of `response_expiry`


class Talker(Petal):
    name = "talker-petal"
    prefix = "talker"

    @command("add")
    async def add(self, a: int, b: int) -> dict[str, Any]:
        return {"sum": a + b}

    @command("number")
    async def number(self) -> int:
        return 7

    @command("refuse")
    async def refuse(self) -> None:
        raise CommandError("NO_FILM", "there is no film", details={"frames": 0})

    @command("fail")
    async def fail(self) -> None:
        raise ValueError("inside")

    @command("overwrite")
    async def overwrite(self) -> dict[str, Any]:
        return {"deviceId": "other"}

    @command("fill")
    async def fill(self) -> dict[str, Any]:
        return {"x": "x" * 5000}

    @command("sleep", timeout=1.0)
    async def sleep(self) -> None:
        await trio.sleep_forever()

    @command("tell")
    async def tell(self, count: int = 1) -> None:
        for n in range(count):
            await self.publish_message({"n": n, "deviceId": "other"})
        await self.publish_debug({"debug": True})


class Broken(Petal):
    name = "broken"

    @command("x")
    async def x(self) -> None:
        pass

    def lifespan(self) -> Any:
        raise OSError("no such device")


def without_time(response: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(response).items() if key != "timestamp"}


def said_by(settings: Settings, text: str, code: str, *, retryable: bool = False) -> dict[str, Any]:
    """The fields of a failure, without the time stamp."""
    if settings.dialect != "host-0.2":
        return {"success": False, "error": text, "error_code": code, "retryable": retryable}
    return {
        "phase": "result",
        "deviceId": "Instance-1",
        "status": "error",
        "message": text,
        "error_code": code,
        "retryable": retryable,
    }


# -- answers


@BOTH
async def test_a_petal_answers_in_the_dialect_that_is_set(
    settings: Settings, autojump_clock: object
) -> None:
    yes: dict[str, Any] = (
        {"success": True}
        if settings.dialect != "host-0.2"
        else {"phase": "result", "deviceId": "Instance-1", "status": "success"}
    )
    async with open_harness(Talker(), settings=settings) as harness:
        response = await harness.call("talker/add", {"a": 1, "b": 2}, message_id="m")
        assert without_time(response) == {"messageId": "m", **yes, "sum": 3}
        assert response["timestamp"] == "2026-01-01T00:00:00.000Z"
        response = await harness.call("talker/number", message_id="n")
        assert without_time(response) == {"messageId": "n", **yes, "result": 7}
        response = await harness.call("talker/refuse", message_id="o")
        no = said_by(settings, "there is no film", "NO_FILM")
        assert without_time(response) == {"messageId": "o", **no, "frames": 0}


@BOTH
async def test_every_refusal_is_said_in_the_dialect_that_is_set(
    settings: Settings, autojump_clock: object
) -> None:
    """All that petalkit says by itself, in one life of a device."""
    rec = Recorder()
    settings = attrs.evolve(settings, petal_concurrency=1, channel_capacity=1, payload_max=4096)
    settings = attrs.evolve(settings, overflow="reject", grace=1.0)
    said: dict[str, Any] = {}
    async with open_harness(rec, Talker(), Broken(), settings=settings) as harness:
        with harness.responses() as responses:

            async def ask(command: str, **more: Any) -> None:
                harness.send(command, **more)
                await settle()

            harness.send_raw(b'{"command": 5, "messageId": "x", "waitResponse": true}')
            await ask("rec/nope")
            await ask("broken/x")
            await ask("rec/note", data={"n": "one"})
            await ask("talker/fail")
            await ask("talker/fill")
            await ask("talker/sleep")
            await trio.sleep(2)
            await ask("rec/note", expiresAt="2020-01-01T00:00:00Z")
            await ask("rec/note", message_id="twice")
            await ask("rec/note", message_id="twice", data={"n": 2})
            await ask("rec/hold", message_id="running")
            await ask("rec/note", message_id="waiting")
            await ask("rec/note", message_id="too-many")
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
            for response in responses:
                said.setdefault(response.get("error_code", ""), response)
    expected = {
        "INVALID_COMMAND": ("not a command: command expected a string of 1 to 256", False),
        "UNKNOWN_COMMAND": ("Unknown command: rec/nope", False),
        "UNAVAILABLE": ("petal 'broken' is not available", True),
        "INVALID_DATA": (None, False),
        "HANDLER_ERROR": (None, False),
        "TOO_LARGE": (None, False),
        "TIMEOUT": ("talker/sleep did not finish within 1 s", True),
        "EXPIRED": (None, False),
        "MESSAGE_ID_REUSED": ("this messageId was used for another command or other data", False),
        "BUSY": ("too many commands are waiting", True),
        "SHUTTING_DOWN": ("the device is shutting down", True),
        "CANCELLED": ("the device is shutting down", True),
    }
    assert said.pop("")
    assert set(said) == set(expected)
    for code, (text, retryable) in expected.items():
        response = said[code]
        text = text or response["error" if settings.dialect != "host-0.2" else "message"]
        fields = said_by(settings, text, code, retryable=retryable)
        if retryable:
            fields["retry"] = "new_id" if code in ("TIMEOUT", "CANCELLED") else "same_id"
        assert response.items() >= fields.items()
        more = set(response) - set(fields) - {"messageId", "timestamp"}
        assert more == {
            "UNKNOWN_COMMAND": {"available_commands", "did_you_mean"},
            "INVALID_COMMAND": {"errors"},
            "INVALID_DATA": {"errors"},
            "HANDLER_ERROR": {"error_id"},
        }.get(code, set())


async def test_what_is_dropped_or_kept_by_the_broker_is_refused_in_the_hosts_words(
    autojump_clock: object,
) -> None:
    rec = Recorder()
    settings = attrs.evolve(ONE_SLOT, overflow="drop-oldest")
    async with open_harness(rec, settings=settings, connected=False) as harness:
        harness.send("rec/hold", message_id="kept", retain=True)
        with harness.responses() as responses:
            await responses.wait(1)
            for name in ("running", "oldest", "newest"):
                harness.send("rec/hold", message_id=name)
                await settle()
            assert [(one["messageId"], one["error_code"]) for one in responses] == [
                ("kept", "RETAINED"),
                ("oldest", "DROPPED"),
            ]
            assert {(one["phase"], one["status"]) for one in responses} == {("result", "error")}
        rec.open()


async def test_a_result_cannot_say_which_device_it_is_of(autojump_clock: object) -> None:
    async with open_harness(Talker(), settings=HOST) as harness:
        response = await harness.call("talker/overwrite")
        assert response.error_code == "HANDLER_ERROR"
        assert response["deviceId"] == "Instance-1"
    async with open_harness(Talker()) as harness:
        assert (await harness.call("talker/overwrite"))["deviceId"] == "other"


async def test_own_words_are_sent_within_the_bound_of_a_payload(autojump_clock: object) -> None:
    settings = attrs.evolve(HOST, payload_max=1000)
    async with open_harness(Talker(), settings=settings) as harness:
        answers = harness.runtime._responses
        response = msgspec.json.decode(answers.own_words("m", {"job": 1}, None))
        assert without_time(response) == {
            "messageId": "m",
            "phase": "result",
            "deviceId": "Instance-1",
            "status": "success",
            "job": 1,
        }
        with pytest.raises(Exception, match="1000 are allowed") as caught:
            answers.own_words("m", {"x": "x" * 1000}, None)
        assert caught.value.code == "TOO_LARGE"  # type: ignore[attr-defined]


# -- events


@BOTH
async def test_events_and_debug_messages_say_the_device_as_the_host_does(
    settings: Settings, autojump_clock: object
) -> None:
    async with open_harness(Talker(), settings=settings) as harness:
        with harness.events() as events, harness.debug() as debug:
            assert (await harness.call("talker/tell")).success
            harness.send_raw(b"no json")
            await settle()
            if settings.dialect != "host-0.2":
                assert list(events) == [{"n": 0, "deviceId": "other"}]
                assert debug[0] == {"debug": True}
                assert "deviceId" not in debug[1]
            else:
                assert list(events) == [{"n": 0, "deviceId": "Instance-1"}]
                assert debug[0] == {"debug": True, "deviceId": "Instance-1"}
                assert (debug[1]["error_code"], debug[1]["deviceId"]) == (
                    "INVALID_JSON",
                    "Instance-1",
                )


# -- calling


@BOTH
async def test_a_client_understands_either_and_sends_what_a_petal_understands(
    settings: Settings, autojump_clock: object
) -> None:
    async with open_harness(Talker(), settings=settings) as harness:
        transport = MemoryTransport(harness.broker)
        identity = harness.runtime.identity
        async with open_client(settings, identity=identity, transport=transport) as client:
            response = await client.request("talker/add", {"a": 1, "b": 2})
            assert (response.success, response["sum"]) == (True, 3)
            assert (response.error, response.error_code) == (None, None)
            response = await client.request("talker/refuse")
            assert not response.success
            assert (response.error, response.error_code) == ("there is no film", "NO_FILM")
            response = await client.request("talker/nope")
            assert (response.error_code, response.retryable) == ("UNKNOWN_COMMAND", False)


# -- receipts


@contextmanager
def observe(harness: Harness, topic: str = "ack") -> Iterator[Any]:
    with harness.broker.observe(f"org/+/device/Instance-1/{topic}") as seen:
        yield seen


def receipts(seen: Any) -> list[str]:
    """The message IDs of receipts, in order."""
    return [msgspec.json.decode(message.payload)["messageId"] for message in seen]


async def test_a_receipt_goes_out_when_the_command_is_accepted_and_before_its_response(
    autojump_clock: object,
) -> None:
    async with open_harness(Talker(), settings=HOST) as harness:
        with observe(harness, "+") as seen:
            harness.send("talker/number", message_id="m", waitAck=True)
            await settle()
        topics = [message.topic.rpartition("/")[2] for message in seen]
        assert topics == ["command", "ack", "response"]
        assert msgspec.json.decode(seen[1].payload) == {
            "messageId": "m",
            "phase": "ack",
            "ackType": "service-received",
            "service": "talker-petal",
            "timestamp": "2026-01-01T00:00:00.000Z",
            "deviceId": "Instance-1",
        }
        assert (seen[1].qos, seen[1].retain, seen[1].properties) == (1, False, None)
        assert harness.runtime._outbox.places.taken == 0
        assert harness.statistics().outbox == 0


async def test_a_receipt_does_not_wait_for_the_handler_nor_for_a_response_to_be_wanted(
    autojump_clock: object,
) -> None:
    rec = Recorder()
    async with open_harness(rec, settings=HOST) as harness:
        with observe(harness) as seen, harness.responses() as responses:
            harness.send("rec/hold", message_id="m", waitAck=True, waitResponse=False)
            await settle()
            assert receipts(seen) == ["m"]
            rec.open()
            await settle()
            assert (receipts(seen), len(responses)) == (["m"], 0)
        assert harness.runtime._outbox.places.taken == 0


@pytest.mark.parametrize("wait_ack", [False, None, "true", 1, [], {"a": 1}])
async def test_a_wait_ack_that_is_not_true_asks_for_nothing_and_is_no_error(
    wait_ack: Any, autojump_clock: object
) -> None:
    async with open_harness(Recorder(), settings=HOST) as harness:
        with observe(harness) as seen:
            assert (await harness.call("rec/note", waitAck=wait_ack)).success
        assert receipts(seen) == []


async def test_the_guide_knows_no_receipts(autojump_clock: object) -> None:
    async with open_harness(Recorder()) as harness:
        with observe(harness) as seen:
            assert (await harness.call("rec/note", message_id="m", waitAck=True)).success
            assert (await harness.call("rec/note", message_id="m", waitAck=True)).success
            assert (await harness.call("rec/stop", waitAck=True)).success
        assert receipts(seen) == []


async def test_a_copy_is_acknowledged_again_whatever_became_of_the_first(
    autojump_clock: object,
) -> None:
    rec = Recorder()
    async with open_harness(rec, settings=HOST) as harness:
        with observe(harness) as seen, harness.responses() as responses:
            for _ in range(2):  # runs
                harness.send("rec/hold", message_id="m", waitAck=True)
                await settle()
            harness.send("rec/hold", message_id="m")
            await settle()
            assert (receipts(seen), len(responses)) == (["m"] * 2, 0)
            rec.open()
            await settle()
            harness.send("rec/hold", message_id="m", waitAck=True)  # finished
            await settle()
            assert (receipts(seen), len(responses)) == (["m"] * 3, 2)
            harness.send("rec/hold", message_id="m")
            await settle()
            assert (receipts(seen), len(responses)) == (["m"] * 3, 3)
        assert rec.started == [0]
        assert harness.runtime._outbox.places.taken == 0


async def test_a_copy_of_a_command_that_is_served_no_longer_is_acknowledged_under_its_prefix(
    autojump_clock: object,
) -> None:
    petal = Talker()
    async with open_harness(petal, settings=HOST) as harness:
        with observe(harness) as seen:
            await harness.call("talker/number", message_id="m", waitAck=True)
            await harness.call("talker/number", message_id="m", waitAck=True)
            petal.remove_command("number")
            await harness.call("talker/number", message_id="m", waitAck=True)
        services = [msgspec.json.decode(message.payload)["service"] for message in seen]
        assert services == ["talker-petal", "talker-petal", "talker"]


async def test_urgent_and_built_in_commands_have_their_receipt_when_they_start(
    autojump_clock: object,
) -> None:
    rec = Recorder()
    async with open_harness(rec, settings=attrs.evolve(ONE_SLOT, overflow="reject")) as harness:
        for _ in range(2):
            harness.send("rec/hold")
            await settle()
        with observe(harness, "+") as seen:
            assert (await harness.call("rec/stop", message_id="stop", waitAck=True)).success
            await harness.call("petalkit/ping", message_id="ping", waitAck=True)
        assert rec.started == [0, "stop"]
        told = [message for message in seen if message.topic.endswith("ack")]
        assert receipts(told) == ["stop", "ping"]
        assert msgspec.json.decode(told[1].payload)["service"] == "petalkit"
        assert seen[1] is told[0]
        rec.open()


async def test_what_is_refused_or_served_by_nobody_has_no_receipt(autojump_clock: object) -> None:
    rec = Recorder()
    settings = attrs.evolve(ONE_SLOT, overflow="reject", urgent_concurrency=1)
    async with open_harness(rec, Broken(), settings=settings) as harness:
        await harness.call("rec/note", message_id="used")
        for n in range(2):
            harness.send("rec/hold", message_id=f"m{n}")
            await settle()
        with observe(harness) as seen, harness.responses() as responses:
            harness.send("rec/nope", waitAck=True)
            harness.send("broken/x", waitAck=True)
            harness.send("rec/note", waitAck=True)
            harness.send("rec/note", message_id="used", data={"n": 1}, waitAck=True)
            harness.send("rec/note", expiresAt="2020-01-01T00:00:00Z", waitAck=True)
            harness.send_raw(b'{"command": "rec/note", "data": 5, "waitAck": true}')
            await settle()
            assert {response["error_code"] for response in responses} == {
                *("UNKNOWN_COMMAND", "UNAVAILABLE", "BUSY", "MESSAGE_ID_REUSED", "EXPIRED"),
            }
            assert receipts(seen) == []
        rec.open()


async def test_a_held_command_has_one_receipt_once_it_is_accepted(autojump_clock: object) -> None:
    rec = Recorder()
    async with open_harness(rec, settings=ONE_SLOT) as harness:
        with observe(harness) as seen:
            for name in ("running", "waiting", "held"):
                harness.send("rec/hold", message_id=name, waitAck=True)
                await settle()
            harness.send("rec/hold", message_id="asked-later")
            await settle()
            harness.send("rec/hold", message_id="asked-later", waitAck=True)
            harness.send("rec/hold", message_id="held", waitAck=True)
            await settle()
            assert harness.statistics().held == 2
            assert receipts(seen) == ["running", "waiting"]
            rec.open()
            await settle()
            assert receipts(seen) == ["running", "waiting", "held", "asked-later"]
        assert harness.statistics().acks_unsent == 0
        assert harness.runtime._outbox.places.taken == 0


@pytest.mark.parametrize("acknowledge", ["accepted", "handled"])
async def test_what_is_delivered_again_after_a_lost_link_is_acknowledged_again(
    acknowledge: Any, autojump_clock: object
) -> None:
    rec = Recorder()
    async with open_harness(rec, settings=attrs.evolve(HOST, acknowledge=acknowledge)) as harness:
        with observe(harness) as seen, harness.responses() as responses:
            harness.broker.swallow("client PUBACK")
            harness.send("rec/hold", message_id="m", waitAck=True)
            await settle()
            assert receipts(seen) == ["m"]
            harness.broker.swallow("client PUBACK", 0)
            harness.drop_link()
            await harness.wait_connected()
            await settle()
            assert receipts(seen) == ["m", "m"]
            rec.open()
            await settle()
            assert len(responses) == 1
        assert rec.started == [0]


async def test_a_receipt_outlives_its_link_and_keeps_its_identity(autojump_clock: object) -> None:
    settings = attrs.evolve(HOST, ack_topic="notes/receipts")
    async with open_harness(Recorder(), settings=settings) as harness:
        acknowledge = harness.runtime._responses.acknowledge
        with observe(harness, "notes/receipts") as seen:
            harness.drop_link()
            await settle()
            assert acknowledge(Identity("old", "Instance-1"), "m", "rec")
            assert receipts(seen) == []
            await harness.wait_connected()
            await settle()
            assert receipts(seen) == ["m"]
        assert seen[0].topic == "org/old/device/Instance-1/notes/receipts"


async def test_a_receipt_expires_as_a_response_does_and_goes_to_no_response_topic(
    autojump_clock: object,
) -> None:
    settings = attrs.evolve(HOST, protocol="5")
    async with open_harness(Recorder(), settings=settings) as harness:
        with observe(harness) as seen, harness.broker.observe("mine") as mine:
            reply = Properties(response_topic="mine", correlation_data=b"c")
            harness.send("rec/note", waitAck=True, properties=reply)
            await settle()
        assert [message.properties for message in seen] == [Properties(message_expiry=HOUR)]
        assert [msgspec.json.decode(message.payload)["phase"] for message in mine] == ["result"]
        assert harness.runtime._outbox.places.taken == 0


# -- their place in the outbox


async def test_a_command_waits_for_the_place_of_its_receipt(autojump_clock: object) -> None:
    rec = Recorder()
    async with open_harness(rec, settings=attrs.evolve(HOST, response_capacity=1)) as harness:
        with observe(harness) as seen:
            harness.send("rec/hold", message_id="a", waitAck=True)
            await settle()
            harness.send("rec/hold", message_id="b", waitAck=True, waitResponse=False)
            await settle()
            assert (receipts(seen), harness.statistics().held) == (["a"], 1)
            rec.open()
            await settle()
            assert receipts(seen) == ["a", "b"]
        assert harness.statistics().acks_unsent == 0
        assert harness.runtime._outbox.places.taken == 0


async def test_what_has_no_place_for_its_receipt_is_counted_and_goes_on_without(
    autojump_clock: object,
) -> None:
    rec = Recorder()
    async with open_harness(rec, settings=attrs.evolve(HOST, response_capacity=1)) as harness:
        with observe(harness) as seen:
            harness.send("rec/hold", message_id="m", waitAck=True)
            await settle()
            harness.send("rec/hold", message_id="m", waitAck=True)  # a copy
            await settle()
            assert harness.statistics().acks_unsent == 1
            assert (await harness.call("rec/stop", waitAck=True)).success
            assert harness.statistics().acks_unsent == 2
            assert not harness.runtime._responses.acknowledge(
                Identity("acme", "Instance-1"), "m", "rec"
            )
            assert harness.statistics().acks_unsent == 3
            assert receipts(seen) == ["m"]
            rec.open()
            await settle()
        assert harness.statistics().duplicates_joined == 1
        assert harness.runtime._outbox.places.taken == 0


async def test_publishers_that_wait_for_room_hold_up_no_receipt(autojump_clock: object) -> None:
    settings = attrs.evolve(HOST, event_capacity=1)
    async with open_harness(Talker(), settings=settings) as harness:
        with observe(harness) as seen, harness.events() as events:
            harness.broker.swallow("PUBACK", 1000)
            harness.send("talker/tell", {"count": 5})
            await settle()
            assert len(events) == 1
            harness.send("talker/number", message_id="m", waitAck=True)
            await settle()
            assert receipts(seen) == ["m"]
            harness.broker.swallow("PUBACK", 0)


async def test_a_receipt_over_the_bound_of_a_payload_is_not_sent(autojump_clock: object) -> None:
    settings = attrs.evolve(HOST, payload_max=128, device_id="d" * 40)
    rec = Recorder()
    async with open_harness(rec, settings=settings) as harness:
        for name in ("note", "stop"):
            harness.send_raw(b'{"command": "rec/%s", "messageId": "%s", "waitAck": true}'
                             % ((name.encode(),) * 2))  # fmt: skip
        await settle()
        assert rec.started == [0, "stop"] or rec.started == ["stop", 0]
        assert harness.statistics().acks_unsent == 2
        assert harness.runtime._outbox.places.taken == 0


async def test_a_receipt_that_is_too_large_for_the_broker_is_not_replaced(
    autojump_clock: object,
) -> None:
    settings = attrs.evolve(HOST, protocol="5")
    async with open_harness(Recorder(), settings=settings) as harness:
        harness.broker.reject_publish("org/acme/device/Instance-1/ack", 0x95)
        message_id = "é" * 250
        assert (await harness.call("rec/note", message_id=message_id, waitAck=True)).success
        statistics = harness.statistics()
        assert (statistics.publish_rejected, statistics.unanswered) == (1, 0)
        assert statistics.outbox == 0


async def test_a_flood_of_receipts_stays_within_the_bounds(autojump_clock: object) -> None:
    rec = Recorder()
    settings = attrs.evolve(HOST, response_capacity=10, publish_timeout=math.inf)
    async with open_harness(rec, settings=settings) as harness:
        harness.broker.swallow("PUBACK", 100_000)
        harness.send("rec/hold", message_id="m", waitAck=True)
        await settle()
        for _ in range(100):
            harness.send("rec/hold", message_id="m", waitAck=True)
            await settle()
        statistics = harness.statistics()
        assert (statistics.outbox, statistics.acks_unsent) == (9, 92)
        # Answers have what lies beyond the capacity to themselves.
        assert (await harness.call("rec/stop", message_id="stop")).success
        harness.broker.swallow("PUBACK", 0)
        harness.drop_link()
        rec.open()
