"""MQTT 5 for users: answers on a Response Topic, expiries, and what a handler sees."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import msgspec
import pytest
import trio

from petalkit import Command, CommandContext, Message, Petal, Properties, Settings
from petalkit import command as petal_command
from petalkit._serving.sending.state.places import ALLOWANCE
from petalkit.testing import Harness, MemoryBroker, open_harness

from ..recorder import Recorder, settle, unacknowledged, until

pytestmark = pytest.mark.trio

V5 = Settings(protocol="5")
ONE_SLOT = attrs.evolve(V5, petal_concurrency=1)
USUAL = "org/acme/device/Instance-1/response"
MINE = "answers/me"
HOUR = 3600  # the default of `response_expiry`


def reply_to(topic: str = MINE, correlation: bytes | None = b"c", **more: Any) -> Properties:
    return Properties(response_topic=topic, correlation_data=correlation, **more)


def expiring(seconds: int) -> Properties:
    return Properties(message_expiry=seconds)


def decoded(message: Message) -> dict[str, Any]:
    return msgspec.json.decode(message.payload, type=dict[str, Any])


def said(message: Message) -> Properties:
    assert message.properties is not None
    return message.properties


@contextmanager
def answers(harness: Harness, topic: str = "answers/#") -> Iterator[Any]:
    with harness.broker.observe(topic) as seen:
        yield seen


def places(harness: Harness) -> tuple[int, int]:
    """Of the outbox: those that responses have, here or to come, and messages in it."""
    return harness.runtime._outbox.places.taken, harness.statistics().outbox


# -- what a handler sees


class Curious(Petal):
    name = "curious"

    @petal_command("look")
    async def look(self, context: CommandContext, command: Command) -> dict[str, Any]:
        return {
            "pairs": context.user_properties,
            "type": context.content_type,
            "correlation": str(command.properties.correlation_data),
        }


async def test_a_handler_sees_the_properties(autojump_clock: object) -> None:
    properties = Properties(
        content_type="application/json",
        correlation_data=b"c",
        user_properties=(("trace", "1"), ("trace", "2"), ("a", "b")),
    )
    async with open_harness(Curious(), settings=V5) as harness:
        seen = await harness.call("curious/look", properties=properties)
        assert seen["pairs"] == [["trace", "1"], ["trace", "2"], ["a", "b"]]
        assert (seen["type"], seen["correlation"]) == ("application/json", "b'c'")


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_a_command_without_properties_has_empty_ones(
    protocol: Any, autojump_clock: object
) -> None:
    async with open_harness(Curious(), settings=Settings(protocol=protocol)) as harness:
        seen = await harness.call("curious/look")
        assert (seen["pairs"], seen["type"], seen["correlation"]) == ([], None, "None")


# -- answers on the Response Topic


async def test_a_command_is_answered_on_both_topics(autojump_clock: object) -> None:
    async with open_harness(Recorder(), settings=V5) as harness:
        with answers(harness) as mine, harness.broker.observe(USUAL) as usual:
            harness.send("rec/note", {"n": 7}, message_id="m", properties=reply_to())
            await settle()
        assert len(mine) == len(usual) == 1
        assert mine[0].payload == usual[0].payload
        assert (decoded(mine[0])["n"], decoded(mine[0])["messageId"]) == (7, "m")
        assert (mine[0].qos, mine[0].retain) == (1, False)
        assert mine[0].properties == Properties(
            correlation_data=b"c", content_type="application/json", message_expiry=HOUR
        )
        assert usual[0].properties == expiring(HOUR)
        assert places(harness) == (0, 0)


async def test_a_response_topic_is_answered_though_no_response_is_waited_for(
    autojump_clock: object,
) -> None:
    async with open_harness(Recorder(), settings=V5) as harness:
        with answers(harness) as mine, harness.broker.observe(USUAL) as usual:
            properties = reply_to(correlation=None)
            harness.send("rec/note", waitResponse=False, properties=properties)
            await settle()
        assert (len(mine), len(usual)) == (1, 0)
        assert said(mine[0]).correlation_data is None
        assert places(harness) == (0, 0)


async def test_a_response_topic_that_is_the_usual_one_gets_one_answer(
    autojump_clock: object,
) -> None:
    async with open_harness(Recorder(), settings=V5) as harness:
        with harness.broker.observe(USUAL) as usual:
            harness.send("rec/note", message_id="m", properties=reply_to(USUAL))
            await settle()
            harness.send("rec/note", message_id="m", properties=reply_to(USUAL))
            await settle()
            harness.send("no/no", properties=reply_to(USUAL))
            harness.send_raw(
                b'{"messageId": "x", "waitResponse": true}', properties=reply_to(USUAL)
            )
            await settle()
        assert [said(message).correlation_data for message in usual] == [b"c"] * 4
        assert places(harness) == (0, 0)


async def test_a_failure_is_answered_there_too(autojump_clock: object) -> None:
    async with open_harness(Recorder(), settings=V5) as harness:
        with answers(harness) as mine:
            harness.send("rec/brief", waitResponse=False, properties=reply_to())
            harness.send("rec/note", {"n": "x"}, properties=reply_to())
            await until(lambda: len(mine) == 2)
        assert {decoded(message)["error_code"] for message in mine} == {"TIMEOUT", "INVALID_DATA"}
        assert places(harness) == (0, 0)


LIVE = '{"command": "rec/note", "messageId": "m", "waitResponse": false'


@pytest.mark.parametrize(
    ("payload", "message_id", "code"),
    [
        (b"", "unknown", "INVALID_JSON"),
        (b"{no", "unknown", "INVALID_JSON"),
        (b'{"messageId": "m"}', "m", "INVALID_COMMAND"),
        (b'"' + b"x" * 200_000 + b'"', "unknown", "TOO_LARGE"),
        (b'{"command": "no/no", "messageId": "m"}', "m", "UNKNOWN_COMMAND"),
        (LIVE.encode() + b', "expiresAt": "2020-01-01T00:00:00Z"}', "m", "EXPIRED"),
        (LIVE.encode() + b', "expiresAt": "soon"}', "m", "INVALID_COMMAND"),
    ],
)
async def test_every_refusal_is_answered_there(
    payload: bytes, message_id: str, code: str, autojump_clock: object
) -> None:
    async with open_harness(Recorder(), settings=V5) as harness:
        with (
            answers(harness) as mine,
            harness.broker.observe(USUAL) as usual,
            harness.debug() as debug,
        ):
            harness.send_raw(payload, properties=reply_to())
            await settle()
        [message] = mine
        assert (decoded(message)["messageId"], decoded(message)["error_code"]) == (message_id, code)
        assert said(message).correlation_data == b"c"
        assert (len(usual), len(debug)) == (0, 0)  # debug is for what nobody can be answered
        assert harness.statistics().refused == {code: 1}
        assert unacknowledged(harness) == 0


async def test_a_retained_command_is_refused_there(autojump_clock: object) -> None:
    broker = MemoryBroker()
    topic = "org/acme/device/Instance-1/command"
    broker.publish_nowait(topic, LIVE + "}", retain=True, properties=reply_to())
    with broker.observe(MINE) as mine:
        async with open_harness(Recorder(), settings=V5, broker=broker):
            await settle()
    assert [decoded(message)["error_code"] for message in mine] == ["RETAINED"]


async def test_an_unknown_command_is_answered_there_as_the_setting_says(
    autojump_clock: object,
) -> None:
    settings = attrs.evolve(V5, answer_unknown="none")
    async with open_harness(Recorder(), settings=settings) as harness:
        with answers(harness) as mine:
            harness.send("no/no", properties=reply_to())
            await settle()
        assert len(mine) == 0


async def test_an_urgent_command_is_answered_there(autojump_clock: object) -> None:
    settings = attrs.evolve(V5, response_capacity=1)
    async with open_harness(Recorder(), settings=settings) as harness:
        with answers(harness) as mine:
            harness.send("rec/hold")  # holds the only place
            harness.send("rec/stop", waitResponse=False, properties=reply_to())
            await settle()
            assert [decoded(message)["success"] for message in mine] == [True]
            assert places(harness) == (1, 0)


async def test_an_urgent_command_over_the_limit_is_refused_there(autojump_clock: object) -> None:
    class Slow(Petal):
        name = "slow"

        @petal_command("stop", urgent=True)
        async def stop(self) -> None:
            await trio.sleep(1)

    async with open_harness(Slow(), settings=attrs.evolve(V5, urgent_concurrency=1)) as harness:
        with answers(harness) as mine:
            harness.send("slow/stop")
            harness.send("slow/stop", properties=reply_to())
            await settle()
            assert [decoded(message)["error_code"] for message in mine] == ["BUSY"]
            assert places(harness) == (1, 0)


async def test_what_is_refused_for_want_of_room_is_told_so_there(autojump_clock: object) -> None:
    settings = attrs.evolve(ONE_SLOT, channel_capacity=1, overflow="reject")
    async with open_harness(Recorder(), settings=settings) as harness:
        with answers(harness) as mine:
            harness.send("rec/hold")
            await settle()
            harness.send("rec/hold")
            harness.send("rec/hold", waitResponse=False, properties=reply_to())
            await settle()
            assert [decoded(message)["error_code"] for message in mine] == ["BUSY"]


async def test_commands_are_told_there_that_the_device_stops(autojump_clock: object) -> None:
    petal = Recorder()
    settings = attrs.evolve(ONE_SLOT, channel_capacity=1, clean_start=True)
    broker = MemoryBroker()
    with broker.observe("answers/#") as mine:
        async with open_harness(petal, settings=settings, broker=broker) as harness:
            harness.send("rec/hold", properties=reply_to("answers/running"))
            await settle()
            for name in ("waiting", "held"):
                harness.send("rec/hold", properties=reply_to(f"answers/{name}"))
            await settle()
            assert harness.statistics().held == 1
    assert {(one.topic, decoded(one)["error_code"]) for one in mine} == {
        ("answers/running", "CANCELLED"),
        ("answers/waiting", "SHUTTING_DOWN"),
        ("answers/held", "SHUTTING_DOWN"),
    }


async def test_what_goes_back_to_the_broker_leaves_no_place_behind(autojump_clock: object) -> None:
    settings = attrs.evolve(ONE_SLOT, acknowledge="handled", grace=5.0)
    async with open_harness(Recorder(), settings=settings) as harness:
        harness.send("rec/hold")
        for _ in range(3):
            harness.send("rec/hold", properties=reply_to())
        await settle()
        assert places(harness) == (7, 0)
        harness.runtime.stop()
        await settle()
        assert places(harness) == (1, 0)  # of the one that runs in the grace


async def test_commands_of_the_old_identity_are_answered_there(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=attrs.evolve(ONE_SLOT, grace=1.0)) as harness:
        with answers(harness) as mine:
            harness.send("rec/hold", waitResponse=False, properties=reply_to("answers/running"))
            harness.send("rec/hold", waitResponse=False, properties=reply_to("answers/waiting"))
            await settle()
            await harness.set_organization("other")
            await until(lambda: len(mine) == 2)
        assert {one.topic for one in mine} == {"answers/running", "answers/waiting"}
        assert not any(decoded(one)["success"] for one in mine)
        assert places(harness)[0] == 0


# -- duplicates


async def test_a_copy_is_answered_again_where_the_copy_says(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=V5) as harness:
        with answers(harness) as mine, harness.broker.observe(USUAL) as usual:
            for name in ("first", "second"):
                harness.send(
                    "rec/note",
                    message_id="m",
                    waitResponse=False,
                    properties=reply_to(f"answers/{name}", name.encode()),
                )
                await settle()
        assert [(one.topic, said(one).correlation_data) for one in mine] == [
            ("answers/first", b"first"),
            ("answers/second", b"second"),
        ]
        assert mine[0].payload == mine[1].payload
        assert len(usual) == 0
        assert petal.started == [0]


async def test_copies_that_join_are_each_answered_where_they_say(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=V5) as harness:
        with answers(harness) as mine, harness.broker.observe(USUAL) as usual:
            for name, waits in (("a", False), ("b", True), ("a", False), ("c", True)):
                properties = reply_to(f"answers/{name}")
                harness.send("rec/hold", message_id="m", waitResponse=waits, properties=properties)
                await settle()
            assert places(harness) == (4, 0)
            petal.open()
            await settle()
        assert [one.topic for one in mine] == ["answers/a", "answers/b", "answers/c"]
        assert len(usual) == 1
        assert petal.started == [0]
        assert places(harness) == (0, 0)
        assert harness.statistics().duplicates_joined == 3


async def test_copies_cannot_make_one_command_answer_without_end(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=V5) as harness:
        with answers(harness) as mine:
            for n in range(20):
                properties = reply_to(f"answers/{n}")
                harness.send("rec/hold", message_id="m", waitResponse=False, properties=properties)
            await settle()
            assert [decoded(one)["error_code"] for one in mine] == ["BUSY"] * 4
            petal.open()
            await settle()
        assert len(mine) == 20
        assert len({one.topic for one in mine}) == 20
        assert places(harness) == (0, 0)


async def test_a_redelivery_finds_its_answer_on_its_way_and_needs_no_second_one(
    autojump_clock: object,
) -> None:
    async with open_harness(Recorder(), settings=V5) as harness:
        with answers(harness) as mine:
            harness.broker.swallow("PUBACK", 1)
            harness.send("rec/note", message_id="m", waitResponse=False, properties=reply_to())
            await settle()
            assert places(harness) == (1, 1)
            harness.send("rec/note", message_id="m", waitResponse=False, properties=reply_to())
            await settle()
            assert len(mine) == 1
            other = reply_to("answers/other")
            harness.send("rec/note", message_id="m", waitResponse=False, properties=other)
            await settle()
            assert [one.topic for one in mine] == [MINE, "answers/other"]


async def test_a_copy_of_a_held_command_with_another_topic_is_told_to_come_again(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    settings = attrs.evolve(ONE_SLOT, channel_capacity=1)
    async with open_harness(petal, settings=settings) as harness:
        with answers(harness) as mine:
            harness.send("rec/hold")
            await settle()
            harness.send("rec/hold")
            for name in ("a", "a", "b"):
                properties = reply_to(f"answers/{name}")
                harness.send("rec/note", message_id="m", properties=properties)
            await settle()
            assert [(one.topic, decoded(one)["error_code"]) for one in mine] == [
                ("answers/b", "BUSY")
            ]
            petal.open()
            await settle()
            assert [one.topic for one in mine] == ["answers/b", "answers/a"]


# -- bounds


async def test_one_place_in_all_is_enough_for_two_answers(autojump_clock: object) -> None:
    settings = attrs.evolve(V5, response_capacity=1)
    async with open_harness(Recorder(), settings=settings) as harness:
        with answers(harness) as mine, harness.responses() as responses:
            for n in range(5):
                harness.send("rec/note", {"n": n}, properties=reply_to())
            await settle()
            assert (len(mine), len(responses)) == (5, 5)
        assert places(harness) == (0, 0)


async def test_without_pubacks_the_places_are_bounded(autojump_clock: object) -> None:
    settings = attrs.evolve(V5, response_capacity=10)
    async with open_harness(Recorder(), settings=settings) as harness:
        harness.broker.swallow("PUBACK", 10_000)
        for n in range(500):
            harness.send("rec/note", {"n": n}, properties=reply_to())
            await settle()
        assert sum(places(harness)) <= 11 + ALLOWANCE


async def test_the_bytes_of_held_commands_count_their_properties(autojump_clock: object) -> None:
    petal = Recorder()
    settings = attrs.evolve(ONE_SLOT, channel_capacity=1)
    async with open_harness(petal, settings=settings) as harness:
        harness.send("rec/hold")
        await settle()
        harness.send("rec/hold")
        await settle()
        line = harness.runtime._intake.admission.parked
        harness.send_raw(LIVE.encode() + b"}", properties=reply_to())
        await settle()
        assert line.size == len(LIVE) + 1 + len(MINE) + 1
        petal.open()
        await settle()
        assert line.size == 0


async def test_large_properties_are_refused_and_not_answered_there(
    autojump_clock: object,
) -> None:
    settings = attrs.evolve(V5, properties_max=100)
    just = reply_to(correlation=b"x" * (100 - len(MINE)))
    over = reply_to(correlation=b"x" * (101 - len(MINE)))
    async with open_harness(Recorder(), settings=settings) as harness:
        with answers(harness) as mine:
            assert (await harness.call("rec/note", properties=just)).success
            assert len(mine) == 1
            no = await harness.call("rec/note", properties=over)
            assert (no.error_code, len(mine)) == ("TOO_LARGE", 1)
        assert harness.statistics().response_topics_refused == 1


# -- the confused deputy


@pytest.mark.parametrize(
    "topic",
    [
        "answers/+",
        "answers/#",
        "",
        "bad\x01",
        "$SYS/broker",
        "$share/group/answers",
        "org/acme/device/Instance-1/command",
        "org/acme/device/Instance-1/command/edge",
        "org/other/device/Instance-2/command",
        "org/acme/device/Instance-2/response",
        "org/acme/device/Instance-2/status",
        "org/acme/device/Instance-1/status",
        "org/acme/device/Instance-1/command/web",
        "org.acme.device.Instance-2.status",
        "/" * 300,
    ],
)
async def test_a_dangerous_response_topic_is_not_answered(
    topic: str, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    settings = attrs.evolve(V5, reply_topics=("#", "$SYS/#"))
    async with open_harness(Recorder(), settings=settings) as harness:
        published = harness.statistics().published
        with caplog.at_level(logging.WARNING, "petalkit.intake"):
            response = await harness.call("rec/note", properties=reply_to(topic))
            await settle()
        assert response.success  # on the usual topic
        statistics = harness.statistics()
        assert (statistics.response_topics_refused, statistics.received) == (1, 1)
        assert statistics.published == published + 1
        assert "not answered on its Response Topic" in caplog.text


FORGED = "org/acme/device/Instance-2/status"


async def test_a_command_that_nobody_would_hear_of_is_not_run_and_told_so_on_response(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=V5) as harness:
        with harness.broker.observe(USUAL) as usual, harness.broker.observe(FORGED) as forged:
            for name in ("rec/note", "rec/stop", "no/no"):
                harness.send(name, waitResponse=False, properties=reply_to(FORGED))
                await settle()
        first, second, third = map(decoded, usual)
        assert (first["error_code"], first["retryable"]) == ("UNAUTHORIZED", False)
        assert first["error"] == (
            f"not run: its Response Topic is refused: {FORGED!r} is in the tree of a device, where "
            "only that device says something"
        )
        assert second["success"]  # an urgent one is run, whatever its sender names
        assert third["error_code"] == "UNKNOWN_COMMAND"
        assert petal.started == ["stop"]
        assert len(forged) == 0
        assert harness.statistics().response_topics_refused == 3
        assert places(harness) == (0, 0)


async def test_a_copy_that_names_a_refused_topic_has_the_answer_on_response(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=V5) as harness:
        with answers(harness) as mine, harness.broker.observe(USUAL) as usual:
            for topic in (MINE, FORGED):
                harness.send("rec/note", message_id="m", waitResponse=False,
                             properties=reply_to(topic))  # fmt: skip
                await settle()
        assert [decoded(one)["success"] for one in (*mine, *usual)] == [True, True]
        assert petal.started == [0]


async def test_what_cannot_be_read_is_told_so_on_response_where_its_topic_is_refused(
    autojump_clock: object,
) -> None:
    settings = attrs.evolve(V5, properties_max=100)
    large = reply_to(MINE, correlation=b"x" * 101)
    async with open_harness(Recorder(), settings=settings) as harness:
        with harness.broker.observe(USUAL) as usual, harness.debug() as debug:
            harness.send_raw(b'{"messageId": "a"}', properties=reply_to(FORGED))
            harness.send_raw(b"{no", properties=reply_to(FORGED))  # an answer to nobody's ID
            harness.send("rec/note", message_id="c", waitResponse=False, properties=large)
            await settle()
        found = [(decoded(one)["messageId"], decoded(one)["error_code"]) for one in usual]
        assert found == [("a", "INVALID_COMMAND"), ("c", "TOO_LARGE")]
        assert len(debug) == 1


async def test_refused_topics_are_told_at_a_bounded_rate(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Recorder(), settings=V5) as harness:
        for _ in range(50):
            await harness.call("rec/note", properties=reply_to(FORGED))
        await trio.sleep(11)
        await harness.call("rec/note", properties=reply_to(FORGED))
    told = [one.getMessage() for one in caplog.records if "Response Topic" in one.getMessage()]
    lines = [one for one in told if one.startswith("a command is not answered")]
    assert len(lines) == 11
    assert any(one.startswith("40 more") for one in told)


async def test_an_id_may_be_a_part_of_a_level(autojump_clock: object) -> None:
    settings = attrs.evolve(V5, base_topic="devices/{organization_id}-{device_id}")
    async with open_harness(Recorder(), settings=settings) as harness:
        with answers(harness) as mine:
            for topic in (MINE, "devices/acme-Instance-1/command", "devices/acme-2/command"):
                await harness.call("rec/note", properties=reply_to(topic))
            await settle()
            assert [one.topic for one in mine] == [MINE]
        assert harness.statistics().response_topics_refused == 2


async def test_only_allowed_topics_are_answered(autojump_clock: object) -> None:
    settings = attrs.evolve(V5, reply_topics=("answers/+",))
    async with open_harness(Recorder(), settings=settings) as harness:
        with harness.broker.observe("answers/#") as mine:
            for topic in ("answers/a", "answers/a/b", "other"):
                await harness.call("rec/note", properties=reply_to(topic))
            await settle()
            assert [one.topic for one in mine] == ["answers/a"]
        assert harness.statistics().response_topics_refused == 2


# -- expiry of commands


async def test_a_command_whose_interval_ran_out_while_it_waited_is_not_run(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=ONE_SLOT) as harness:
        await trio.sleep(1000)
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="0")
            harness.send("rec/note", {"n": 5}, message_id="5", properties=expiring(5))
            harness.send("rec/note", {"n": 6}, message_id="6", properties=expiring(6))
            await trio.sleep(5)
            petal.open()
            await settle()
            assert {r["messageId"]: r.get("error_code") for r in responses} == {
                "0": None,
                "5": "EXPIRED",
                "6": None,
            }
        assert petal.started == [0, 6]


async def test_a_held_command_expires_too(autojump_clock: object) -> None:
    petal = Recorder()
    settings = attrs.evolve(ONE_SLOT, channel_capacity=1)
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold")
            await settle()
            harness.send("rec/hold")
            harness.send("rec/note", {"n": 9}, message_id="9", properties=expiring(5))
            await settle()
            assert harness.statistics().held == 1
            await trio.sleep(5)
            petal.open()
            await settle()
            assert [r["messageId"] for r in responses if not r["success"]] == ["9"]
        assert petal.started == [0, 0]
        assert harness.statistics().refused == {"EXPIRED": 1}


async def test_a_command_with_nothing_left_is_refused(autojump_clock: object) -> None:
    async with open_harness(Recorder(), settings=V5) as harness:
        response = await harness.call("rec/note", properties=expiring(0))
        assert response.error_code == "EXPIRED"


@pytest.mark.parametrize(("interval", "until_second"), [(5, 60), (60, 5)])
async def test_of_both_expiries_the_earlier_wins(
    interval: int, until_second: int, autojump_clock: object
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=ONE_SLOT) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold")
            harness.send(
                "rec/note",
                expiresAt=f"2026-01-01T00:{until_second // 60:02d}:{until_second % 60:02d}Z",
                properties=expiring(interval),
            )
            await trio.sleep(6)
            petal.open()
            await settle()
            assert [r.get("error_code") for r in responses] == [None, "EXPIRED"]


async def test_what_the_broker_took_off_is_gone(autojump_clock: object) -> None:
    petal = Recorder()
    broker = MemoryBroker()
    async with open_harness(petal, settings=ONE_SLOT, broker=broker) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold")
            await settle()
            harness.drop_link()
            harness.send("rec/note", {"n": 1}, properties=expiring(10))
            await harness.wait_connected()
            waited = trio.current_time()
            assert waited > 0.4
            await trio.sleep(9.5 - waited)  # 9 s were left when it was read, after about half a one
            petal.open()
            await responses.wait(2)
            assert [r.get("error_code") for r in responses] == [None, "EXPIRED"]


# -- expiry of answers and events


async def test_an_answer_says_what_is_left_of_its_expiry(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=V5) as harness:
        with answers(harness) as mine, harness.broker.observe(USUAL) as usual:
            harness.send("rec/hold", properties=reply_to())
            await settle()
            harness.broker.stop()
            petal.open()
            await trio.sleep(100.5)
            harness.broker.start()
            await until(lambda: len(mine) == len(usual) == 1)
        now = trio.current_time()
        [mine_left] = [said(message).message_expiry for message in mine]
        [usual_left] = [said(message).message_expiry for message in usual]
        assert mine_left is not None
        assert mine_left == usual_left
        assert HOUR - now <= mine_left <= HOUR - 100
        assert said(mine[0]).correlation_data == b"c"


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_an_answer_has_an_expiry_only_where_the_wire_has(
    protocol: Any, autojump_clock: object
) -> None:
    settings = Settings(protocol=protocol, response_expiry=90.5)
    async with open_harness(Recorder(), settings=settings) as harness:
        with harness.broker.observe(USUAL) as usual:
            await harness.call("rec/note")
            await harness.call("no/no")
        expected = expiring(91) if protocol == "5" else None
        assert [message.properties for message in usual] == [expected, expected]


async def test_an_expiry_longer_than_the_wire_can_say_is_none(autojump_clock: object) -> None:
    async with open_harness(Recorder(), settings=attrs.evolve(V5, response_expiry=1e10)) as harness:
        with harness.broker.observe(USUAL) as usual, answers(harness) as mine:
            await harness.call("rec/note", properties=reply_to())
        assert said(usual[0]).message_expiry is None
        assert said(mine[0]).message_expiry is None


class Teller(Petal):
    name = "teller"


EVENTS = "org/acme/device/Instance-1/command/web"


async def test_an_event_with_an_expiry_is_not_sent_after_it(autojump_clock: object) -> None:
    petal = Teller()
    async with open_harness(petal, settings=V5) as harness:
        with harness.broker.observe(EVENTS) as events:
            await petal.publish_message({"n": 1}, expiry=9.5)
            await settle()
            harness.broker.stop()
            await petal.publish_message({"n": 2}, expiry=10)
            await petal.publish_message({"n": 3}, expiry=100)
            await petal.publish_message({"n": 4})
            await trio.sleep(20)
            harness.broker.start()
            await events.wait(3)
            now = trio.current_time()
            await settle()
        assert [decoded(event)["n"] for event in events] == [1, 3, 4]
        first, third, fourth = [event.properties for event in events]
        assert (first, fourth) == (expiring(10), None)
        assert third is not None
        assert third.message_expiry in range(int(100 - now), 81)
        assert harness.statistics().publish_expired == 1


async def test_an_event_from_before_the_identity_keeps_its_expiry(autojump_clock: object) -> None:
    petal = Teller()
    async with open_harness(petal, settings=V5, organization_id=None) as harness:
        await petal.publish_message({}, expiry=100)
        await trio.sleep(10)
        with harness.broker.observe(EVENTS) as events:
            await harness.set_organization("acme")
            [event] = await events.wait(1)
            assert said(event).message_expiry == 90


async def test_an_expired_event_makes_room_though_it_is_not_the_oldest(
    autojump_clock: object,
) -> None:
    """Each has an expiry of its own, so the first to expire may stand behind others."""
    petal = Teller()
    settings = attrs.evolve(V5, event_capacity=3)
    async with open_harness(petal, settings=settings) as harness:
        with harness.broker.observe(EVENTS) as events:
            harness.broker.stop()
            await petal.publish_message({"n": 1})
            for n in (2, 3):
                await petal.publish_message({"n": n}, expiry=10)
            await trio.sleep(10)
            for n in (4, 5):
                with trio.fail_after(0.1):
                    await petal.publish_message({"n": n})
            assert harness.statistics().publish_expired == 2
            harness.broker.start()
            await events.wait(3)
        assert [decoded(event)["n"] for event in events] == [1, 4, 5]


async def test_what_was_in_flight_expires_behind_others_too(autojump_clock: object) -> None:
    petal = Teller()
    settings = attrs.evolve(V5, event_capacity=3, publish_maximum=3)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.swallow("PUBACK", 2)
        await petal.publish_message({"n": 1})
        await petal.publish_message({"n": 2}, expiry=10)
        await petal.publish_message({"n": 3})  # waits in the queue: two are in flight
        await trio.sleep(10)
        with trio.move_on_after(1) as scope:
            await petal.publish_message({"n": 4})  # looks for what is too old, and finds nothing
        assert scope.cancelled_caught
        harness.broker.stop()
        await settle()
        with trio.fail_after(0.1):
            await petal.publish_message({"n": 4})
        assert harness.statistics().publish_expired == 1
        harness.broker.start()
        await harness.wait_connected()
        await settle()
        assert harness.statistics().outbox == 0


async def test_an_event_cannot_outlive_the_setting_or_be_dead_at_birth(
    autojump_clock: object,
) -> None:
    petal = Teller()
    async with open_harness(petal, settings=V5) as harness:
        with harness.broker.observe(EVENTS) as events:
            await petal.publish_message({}, expiry=1e9)
            await settle()
            with pytest.raises(ValueError, match="above 0"):
                await petal.publish_message({}, expiry=0)
        assert [event.properties for event in events] == [expiring(HOUR)]


# -- the harness


async def test_the_harness_does_not_swallow_properties() -> None:
    async with open_harness(Recorder()) as harness:
        with pytest.raises(ValueError, match="protocol"):
            harness.send("rec/note", properties=reply_to())
