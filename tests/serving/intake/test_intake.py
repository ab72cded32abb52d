"""The intake: what is accepted, refused or held, and what the broker is told."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import msgspec
import pytest
import trio

from petalkit import Petal, Settings, command
from petalkit._values.messages import Message
from petalkit.testing import Harness, MemoryBroker, open_harness
from petalkit.transports.memory._core import publication

from ..recorder import Recorder, settle, unacknowledged, until

pytestmark = pytest.mark.trio

# One slot; two in the channel; reserve of three.
TIGHT: dict[str, Any] = {
    "concurrency": 1,
    "petal_concurrency": 1,
    "channel_capacity": 2,
    "channel_reserve": 3,
}


ASKED = b'{"messageId": "m", "waitResponse": true, "command": "rec/note", "data": {"n": %s}}'


def hold(harness: Harness, count: int, *, first: int = 0) -> None:
    for n in range(first, first + count):
        harness.send("rec/hold", {"n": n}, message_id=f"m{n}")


# -- overflow


async def test_wait_withholds_acknowledgements_and_loses_nothing(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**TIGHT)) as harness:
        with harness.responses() as responses:
            hold(harness, 50)
            await settle()
            assert unacknowledged(harness) == 20  # the whole window of the broker
            statistics = harness.statistics()
            assert (statistics.running, statistics.waiting) == (1, 2)
            petal.open()
            await responses.wait(50)
            await settle()
            assert unacknowledged(harness) == 0
            assert petal.started == list(range(50))
            assert len(responses) == 50
            assert all(response["success"] for response in responses)


async def test_wait_leaves_qos_0_in_the_socket(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**TIGHT)) as harness:
        with harness.responses() as responses:
            for n in range(300):
                harness.send("rec/hold", {"n": n}, qos=0)
                if n % 50 == 0:
                    await settle()
            await settle()
            assert harness.statistics().received < 150
            petal.open()
            await responses.wait(300)
            assert petal.started == list(range(300))


async def test_reject_answers_busy(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**TIGHT, overflow="reject")) as harness:
        with harness.responses() as responses:
            hold(harness, 1)
            await settle()
            hold(harness, 4, first=1)
            await settle()
            assert [(r["messageId"], r["error_code"]) for r in responses] == [
                ("m3", "BUSY"),
                ("m4", "BUSY"),
            ]
            assert all(response["retryable"] for response in responses)
            assert unacknowledged(harness) == 0
            petal.open()
            await responses.wait(5)
        assert petal.started == [0, 1, 2]
        assert harness.statistics().refused == {"BUSY": 2}


async def test_drop_oldest_answers_dropped_to_the_oldest(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**TIGHT, overflow="drop-oldest")) as harness:
        with harness.responses() as responses:
            hold(harness, 1)
            await settle()
            hold(harness, 4, first=1)
            await settle()
            assert [(r["messageId"], r["error_code"]) for r in responses] == [
                ("m1", "DROPPED"),
                ("m2", "DROPPED"),
            ]
            petal.open()
            await responses.wait(5)
        assert petal.started == [0, 3, 4]
        assert harness.statistics().failed == {"DROPPED": 2}


async def test_capacity_is_counted_in_bytes_too(autojump_clock: object) -> None:
    petal = Recorder()
    settings = Settings(petal_concurrency=1, channel_bytes=3000, overflow="reject")
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold")
            await settle()
            for n in range(5):
                harness.send("rec/note", {"n": n, "padding": "x" * 1000})
            await settle()
            assert [response["error_code"] for response in responses] == ["BUSY", "BUSY"]
            assert harness.statistics().waiting == 3
            petal.open()
            await responses.wait(6)
            assert harness.statistics().waiting_bytes == 0


async def test_commands_are_accepted_only_while_there_is_a_place_for_the_response(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(response_capacity=2)) as harness:
        with harness.responses() as responses:
            hold(harness, 5)
            await settle()
            assert petal.started == [0, 1]
            petal.open()
            await responses.wait(5)
        assert petal.started == [0, 1, 2, 3, 4]


async def test_a_command_without_waited_response_needs_no_place(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(response_capacity=1)) as harness:
        with harness.responses() as responses:
            for n in range(5):
                harness.send("rec/hold", {"n": n}, waitResponse=False)
            await settle()
            assert petal.started == [0, 1, 2, 3, 4]
            petal.open()
            assert (await harness.call("rec/note")).success
            assert len(responses) == 1


# -- no deadlock


class Publisher(Petal):
    name = "pub"

    @command("events", timeout=math.inf)
    async def events(self, count: int = 20) -> None:
        for n in range(count):
            await self.publish_message({"n": n})


@pytest.mark.parametrize("overflow", ["wait", "drop-oldest", "reject"])
@pytest.mark.parametrize("delay", [0.0, 0.1])
async def test_handlers_that_publish_while_channel_and_outbox_are_full_do_not_deadlock(
    overflow: Any, delay: float, autojump_clock: object
) -> None:
    settings = Settings(
        concurrency=2,
        channel_capacity=3,
        channel_reserve=2,
        event_capacity=2,
        publish_maximum=1,
        overflow=overflow,
    )
    async with open_harness(Publisher(), settings=settings) as harness:
        harness.broker.delay = delay
        with harness.responses() as responses, harness.events() as events:
            for _ in range(60):
                harness.send("pub/events")
            with trio.fail_after(1000):
                await responses.wait(60)
            succeeded = sum(response["success"] for response in responses)
            assert len(responses) == 60
            assert len(events) == 20 * succeeded
            assert succeeded >= 3


# -- the link


async def test_a_link_that_is_lost_while_reading_is_paused_is_replaced(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**TIGHT)) as harness:
        hold(harness, 50)
        await settle()
        harness.drop_link()
        await until(lambda: harness.statistics().links == 2, within=60)
        with harness.responses() as responses:
            petal.open()
            await responses.wait(50)
        assert petal.started == list(range(50))


async def test_acknowledged_only_when_handled_if_so_set(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(acknowledge="handled")) as harness:
        harness.send("rec/hold", {"key": "a", "n": 1})
        harness.send("rec/hold", {"key": "b", "n": 2})
        await settle()
        assert unacknowledged(harness) == 2
        petal.open("b")
        await settle()
        assert petal.ended == [2]
        assert unacknowledged(harness) == 2  # in the order of arrival
        petal.open("a")
        await settle()
        assert unacknowledged(harness) == 0


async def test_acknowledged_at_once_by_default(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        hold(harness, 3)
        await settle()
        assert unacknowledged(harness) == 0
        assert petal.running == 3
        petal.open()


# -- refusals


@pytest.mark.parametrize("acknowledge", ["accepted", "handled"])
@pytest.mark.parametrize(
    ("payload", "code", "answered"),
    [
        (b"", "INVALID_JSON", False),
        (b"\xff\xfe", "INVALID_JSON", False),
        (b"[1]", "INVALID_COMMAND", False),
        (b'"text"', "INVALID_COMMAND", False),
        (b"null", "INVALID_COMMAND", False),
        (b"{}", "INVALID_COMMAND", False),
        (b'{"messageId": "m", "waitResponse": true}', "INVALID_COMMAND", True),
        (b'{"messageId": "m", "waitResponse": true, "command": 5}', "INVALID_COMMAND", True),
        (b'{"messageId": "m", "waitResponse": 1, "command": "rec/note"}', "INVALID_COMMAND", True),
        (b'{"messageId": 5, "waitResponse": true, "command": "a/b"}', "INVALID_COMMAND", True),
        (
            b'{"messageId": "m", "waitResponse": true, "command": "rec/note", "data": []}',
            "INVALID_COMMAND",
            True,
        ),
        (
            b'{"messageId": "m", "waitResponse": true, "command": "rec/note", "expiresAt": "soon"}',
            "INVALID_COMMAND",
            True,
        ),
        (
            b'{"messageId": "m", "waitResponse": true, "command": "rec/note", "data": {"n": "1"}}',
            "INVALID_DATA",
            True,
        ),
        (b'{"messageId": "m", "waitResponse": true, "command": "no/no"}', "UNKNOWN_COMMAND", True),
        (
            b'{"messageId": "m", "waitResponse": true, "command": "rec/note", "data": {"a": '
            + b"[" * 100
            + b"]" * 100
            + b"}}",
            "INVALID_COMMAND",
            True,
        ),
        (b"[" * 100_000, "INVALID_JSON", False),
        (ASKED % b"1e400", "INVALID_DATA", True),
        (ASKED % (b"1" * 4400), "INVALID_DATA", True),
        (ASKED % rb'"\ud800"', "INVALID_DATA", True),
        (ASKED % rb'[{"\udfff": 1}]', "INVALID_DATA", True),
        (ASKED % b"NaN", "INVALID_JSON", True),
        (ASKED % b"-Infinity", "INVALID_JSON", True),
        (ASKED % b"1e400, }", "INVALID_JSON", False),
        (
            rb'{"messageId": "\ud800", "waitResponse": true, "command": "rec/note"}',
            "INVALID_COMMAND",
            False,
        ),
        (
            rb'{"messageId": "m", "waitResponse": true, "command": "\ud800"}',
            "INVALID_COMMAND",
            True,
        ),
        (b"1e400", "INVALID_COMMAND", False),
        (b'{"a": "' + b"x" * 200_000 + b'"}', "TOO_LARGE", False),
    ],
)
async def test_what_cannot_be_run_is_refused_with_a_code_a_counter_and_an_acknowledgement(
    payload: bytes, code: str, answered: bool, acknowledge: Any, autojump_clock: object
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(acknowledge=acknowledge)) as harness:
        with harness.responses() as responses, harness.debug() as debug:
            harness.send_raw(payload)
            await settle()
            assert unacknowledged(harness) == 0
            sinks = (responses, debug) if answered else (debug, responses)
            assert [report["error_code"] for report in sinks[0]] == [code]
            assert len(sinks[1]) == 0
        statistics = harness.statistics()
        assert {**statistics.refused, **statistics.failed} == {code: 1}
        assert petal.started == []
        assert (await harness.call("rec/note")).success


async def test_unreadable_commands_are_reported_at_a_bounded_rate(autojump_clock: object) -> None:
    async with open_harness(Recorder()) as harness:
        with harness.debug() as debug:
            for _ in range(100):
                harness.send_raw(b"not json")
            await settle()
            burst = len(debug)
            assert 1 <= burst <= 20
            await trio.sleep(100)
            for _ in range(100):
                harness.send_raw(b"not json")
            await settle()
            assert burst < len(debug) <= 2 * burst
        statistics = harness.statistics()
        assert statistics.refused == {"INVALID_JSON": 200}
        assert statistics.unanswered + len(debug) == 200


async def test_a_retained_command_is_not_run(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, connected=False) as harness:
        harness.send("rec/note", retain=True)
        with harness.responses() as responses:
            await responses.wait(1)
            assert responses[0]["error_code"] == "RETAINED"
        await settle()
        assert petal.started == []
        assert unacknowledged(harness) == 0


async def test_an_expired_command_is_not_run_and_one_in_time_is(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        await trio.sleep(100)
        late = await harness.call("rec/note", {"n": 1}, expiresAt="2026-01-01T00:01:39Z")
        assert late.error_code == "EXPIRED"
        assert (await harness.call("rec/note", {"n": 2}, expiresAt="2026-01-01T00:01:41Z")).success
        assert petal.started == [2]


async def test_a_command_that_expires_while_it_waits_is_not_run(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold")
            harness.send("rec/note", message_id="late", expiresAt="2026-01-01T00:00:05Z")
            await trio.sleep(10)
            petal.open()
            await responses.wait(2)
            assert [r.get("error_code") for r in responses] == [None, "EXPIRED"]
        assert petal.started == [0]


async def test_an_unknown_command_is_answered_once_with_the_near_one_however_many_petals(
    autojump_clock: object,
) -> None:
    async with open_harness(Recorder("one"), Recorder("two"), Recorder("three")) as harness:
        with harness.responses() as responses:
            response = await harness.call("one/nte")
            await settle()
            assert len(responses) == 1
        assert response.error == "Unknown command: one/nte"
        assert response["did_you_mean"] == "one/note"
        assert "two/hold" in response["available_commands"]
        assert not any(name.startswith("petalkit/") for name in response["available_commands"])


@pytest.mark.parametrize(
    ("rule", "codes"), [("all", ["a/x", "rec/x"]), ("own", ["rec/x"]), ("none", [])]
)
async def test_which_unknown_commands_are_answered_is_a_setting(
    rule: Any, codes: list[str], autojump_clock: object
) -> None:
    async with open_harness(Recorder(), settings=Settings(answer_unknown=rule)) as harness:
        with harness.responses() as responses:
            harness.send("a/x", message_id="a/x")
            harness.send("rec/x", message_id="rec/x")
            await settle()
            assert [response["messageId"] for response in responses] == codes
        assert harness.statistics().refused == {"UNKNOWN_COMMAND": 2}
        assert unacknowledged(harness) == 0


async def test_a_command_without_message_id_is_answered_as_unknown(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            payload = msgspec.json.encode({"command": "rec/note", "waitResponse": True})
            harness.send_raw(payload)
            harness.send_raw(payload)
            await responses.wait(2)
            assert {response["messageId"] for response in responses} == {"unknown"}
        assert petal.started == [0, 0]


async def test_both_topics_and_both_names_of_the_arguments_are_served(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            harness.send("rec/note", {"n": 1}, topic="command")
            harness.send("rec/note", {"n": 2}, topic="command/edge")
            harness.send_raw(b'{"command":"rec/note","waitResponse":true,"payload":{"n":3}}')
            harness.send("rec/note", {"n": 4}, topic="command/web")  # ours, outgoing
            await responses.wait(3)
            await settle()
        assert petal.started == [1, 2, 3]


async def test_extra_fields_of_the_envelope_do_no_harm(autojump_clock: object) -> None:
    async with open_harness(Recorder()) as harness:
        response = await harness.call(
            "rec/note", {"n": 1}, deviceId="Instance-1", waitAck=True, userId=None, timestamp=17
        )
        assert response.success


async def test_thousands_of_expired_commands_are_refused_one_after_the_other(
    autojump_clock: object,
) -> None:
    """Each refusal makes room, and room admits what is held: that must not nest."""
    petal = Recorder()
    settings = Settings(petal_concurrency=1, channel_capacity=1, channel_reserve=2000)
    async with open_harness(petal, broker=MemoryBroker(window=5000), settings=settings) as harness:
        soon = (harness.now() + dt.timedelta(seconds=5)).isoformat()
        with harness.responses() as responses:
            harness.send("rec/hold")
            for _ in range(1500):
                harness.send("rec/note", expiresAt=soon)
            await trio.sleep(6)
            petal.open()
            await responses.wait(1501)
        assert (await harness.call("rec/note")).success
        assert harness.statistics().running == 0


async def test_a_copy_that_comes_after_its_expiry_belongs_to_the_first(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        soon = (harness.now() + dt.timedelta(seconds=5)).isoformat()
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="m", expiresAt=soon)
            await trio.sleep(6)
            harness.send("rec/hold", message_id="m", expiresAt=soon)
            petal.open()
            await responses.wait(1)
            harness.send("rec/hold", message_id="m", expiresAt=soon)
            await settle()
        assert [response["success"] for response in responses] == [True, True]
        assert petal.started == [0]


async def test_nothing_is_dropped_for_a_command_that_cannot_be_answered(
    autojump_clock: object,
) -> None:
    """Dropping frees no place for a response: the dropped one is answered."""
    petal = Recorder()
    settings = Settings(response_capacity=4, channel_capacity=3, overflow="drop-oldest")
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.swallow("PUBACK", 1000)
        for n in range(12):
            harness.send("rec/two", {"n": n})
            await settle()
        statistics = harness.statistics()
        assert (statistics.running, statistics.waiting) == (2, 2)
        assert statistics.failed == {}
        assert statistics.refused == {"BUSY": 8}


async def test_a_retained_copy_of_a_command_that_ran_is_not_answered_again(
    autojump_clock: object,
) -> None:
    """Published live it came without the flag and ran; the kept copy comes at each SUBSCRIBE."""
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            harness.send("rec/note", message_id="m", retain=True)
            await settle()
            harness.drop_link()
            await harness.wait_connected()
            await settle()
        assert [response["success"] for response in responses] == [True]
        assert harness.statistics().refused == {"RETAINED": 1}


# -- what the broker delivers again


async def test_a_refused_command_that_the_broker_delivers_again_is_not_run(
    autojump_clock: object,
) -> None:
    """Its acknowledgement was lost with the link, and nobody has sent it a second time."""
    petal = Recorder()
    # The first, which runs, holds back the acknowledgement of the second.
    async with open_harness(petal, settings=Settings(acknowledge="handled")) as harness:
        with harness.responses() as responses:
            harness.send("rec/alone", {"n": 1}, message_id="m1")
            harness.send("rec/alone", {"n": 2}, message_id="m2")
            await settle()
            assert [response["error_code"] for response in responses] == ["BUSY"]
            harness.drop_link()
            petal.open()
            await harness.wait_connected()
            await until(lambda: unacknowledged(harness) == 0)
            assert [response["messageId"] for response in responses].count("m2") == 1
            assert petal.started == [1]
            # Its sender may try again all the same.
            assert (await harness.call("rec/alone", {"n": 2}, message_id="m2")).success


async def test_what_was_held_when_the_link_was_lost_is_counted(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**TIGHT)) as harness:
        hold(harness, 6)
        await settle()
        assert harness.statistics().held == 3
        harness.drop_link()
        await settle()
        assert (harness.statistics().held, harness.statistics().given_back) == (0, 3)
        petal.open()
        await until(lambda: len(petal.ended) == 6)
        statistics = harness.statistics()
        assert statistics.received == (
            statistics.accepted + statistics.duplicates_joined + statistics.given_back
        )


async def test_a_broker_that_takes_a_dot_for_a_slash_is_told_of_once(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(organization_id="acme", device_id="drone-1.2")
    async with open_harness(Recorder(), settings=settings) as harness:
        link = harness.broker
        # As RabbitMQ gives it back: the session is subscribed, and the topic is another.
        [session] = link._core.sessions.values()
        for n in range(3):
            command = b'{"command": "rec/note", "messageId": "m%d", "waitResponse": true}' % n
            session.push(publication(Message("org/acme/device/drone-1/2/command", command)), 1)
        await settle()
        statistics = harness.runtime.statistics()
        assert statistics.unexpected_topic == 3
        assert statistics.accepted == 0
        assert link.unacknowledged(session.client_id) == ()
        session.push(publication(Message("org/acme/device/other/command", b"{}")), 1)
        await settle()
    told = [r.getMessage() for r in caplog.records if r.name == "petalkit.intake"]
    assert len(told) == 2
    assert "on 'org/acme/device/drone-1/2/command' and not on" in told[0]
    assert "IDs and topics must have no dot there" in told[0]
    assert told[1].startswith("ignored a message on the unexpected topic")
