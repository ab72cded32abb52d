"""Refusals that cannot be answered: held unacknowledged under `overflow="wait"`, within bounds."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
import trio

from petalkit import Petal, Properties, Settings, command
from petalkit._values.messages import Message
from petalkit.testing import open_harness

from ..recorder import CLIENT_ID, Recorder, settle, until

pytestmark = pytest.mark.trio

SMALL: dict[str, Any] = {"refusal_capacity": 4, "flush_timeout": 1.0, "puback_margin": 0.0}


def unacknowledged(harness: Any) -> int:
    return len(harness.broker.unacknowledged(CLIENT_ID))


async def test_what_cannot_be_answered_is_not_acknowledged_and_answered_when_it_can_be(
    autojump_clock: object,
) -> None:
    async with open_harness(Recorder(), settings=Settings(**SMALL)) as harness:
        harness.broker.delay = 1.0  # of PUBACKs too
        with harness.responses() as responses:
            sent = [harness.send("rec/nothing") for _ in range(200)]
            await trio.sleep(1.5)
            assert harness.statistics().held > 0
            await responses.wait(200)
        assert sorted(one["messageId"] for one in responses) == sorted(sent)
        statistics = harness.statistics()
        assert statistics.unanswered == 0
        await trio.sleep(5)
        assert (harness.statistics().held, unacknowledged(harness)) == (0, 0)


@pytest.mark.parametrize("overflow", ["wait", "reject", "drop-oldest"])
async def test_only_wait_makes_them_wait(overflow: Any, autojump_clock: object) -> None:
    settings = Settings(overflow=overflow, **SMALL)
    async with open_harness(Recorder(), settings=settings) as harness:
        harness.broker.swallow("PUBACK", 1000)
        for _ in range(10):
            harness.send("rec/nothing")
        await settle()
        held = 6 if overflow == "wait" else 0
        statistics = harness.statistics()
        assert (statistics.held, unacknowledged(harness)) == (held, held)
        assert statistics.unanswered == 6 - held


async def test_they_do_not_hold_up_what_is_behind_them_for_ever(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A window full of junk, on a link that acknowledges nothing, and a stop behind it."""
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**SMALL)) as harness:
        harness.broker.swallow("PUBACK", 10_000)
        for _ in range(300):
            harness.send("rec/nothing")
        harness.send("rec/stop")
        await settle()
        assert harness.statistics().succeeded == 0  # the broker keeps it back
        start = trio.current_time()
        await until(lambda: harness.statistics().succeeded == 1)
        assert trio.current_time() - start <= 5.1
        assert harness.statistics().unanswered == 296
        lines = [line for line in caplog.messages if "answers that are not sent" in line]
        assert len(lines) == 1


async def test_those_that_are_lost_are_told_soon_though_no_more_come(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    def told_by_now() -> list[int]:
        text = "answers that are not sent since the last such line: "
        lines = [line for line in caplog.messages if line.startswith(text)]
        return [int(line.removeprefix(text).partition(".")[0]) for line in lines]

    settings = Settings(overflow="reject", **SMALL)
    async with open_harness(Recorder(), settings=settings) as harness:
        harness.broker.swallow("PUBACK", 10_000)
        for _ in range(300):
            harness.send("rec/nothing")
        await settle()
        assert told_by_now() == [1]
        await trio.sleep(1.1)
        assert told_by_now() == [1, 295]
        harness.send("rec/nothing")
        harness.send("rec/nothing")
        await trio.sleep(8)
        assert told_by_now() == [1, 295]
        await trio.sleep(3)
        assert told_by_now() == [1, 295, 2]
        await trio.sleep(60)
        harness.send("rec/nothing")
        await settle()
        assert told_by_now() == [1, 295, 2, 1]


async def test_after_that_they_are_held_again_when_a_place_has_come(
    autojump_clock: object,
) -> None:
    async with open_harness(Recorder(), settings=Settings(**SMALL)) as harness:
        harness.broker.swallow("PUBACK", 4)
        for _ in range(10):
            harness.send("rec/nothing")
        await trio.sleep(6)
        assert harness.statistics().unanswered == 6
        harness.send("rec/nothing")
        await settle()
        assert harness.statistics().unanswered == 7  # none is held now
        harness.drop_link()
        await harness.wait_connected()
        await until(lambda: harness.statistics().outbox == 0)
        harness.broker.swallow("PUBACK", 4)
        for _ in range(10):
            harness.send("rec/nothing")
        await settle()
        assert harness.statistics().held == 6


async def test_those_of_a_lost_link_come_again_and_are_answered_once(
    autojump_clock: object,
) -> None:
    async with open_harness(Recorder(), settings=Settings(**SMALL)) as harness:
        harness.broker.swallow("PUBACK", 4)
        with harness.responses() as responses:
            sent = [harness.send("rec/nothing") for _ in range(10)]
            await settle()
            assert harness.statistics().held == 6
            harness.drop_link()
            await harness.wait_connected()
            await trio.sleep(1)
        statistics = harness.statistics()
        assert (statistics.given_back, statistics.unanswered, statistics.held) == (6, 0, 0)
        # Four had reached the broker before the link was lost, and were sent again.
        assert {one["messageId"] for one in responses} == set(sent)
        assert len(responses) == 14


# -- a copy of one that has not been told


def told(responses: Any, message_id: str) -> list[str]:
    """What its caller was told, in order."""
    found = [one for one in responses if one["messageId"] == message_id]
    return [one.get("error_code", "success") for one in found]


def send(harness: Any, n: int, message_id: str, qos: int = 1) -> None:
    """The same bytes each time."""
    more = {"message_id": message_id, "timestamp": "2026-01-01T00:00:00.000Z"}
    harness.send("rec/hold", {"n": n}, qos=qos, **more)


def narrow(**others: Any) -> Settings:
    """One runs, one waits, and the next is refused at once."""
    bounds = {"channel_capacity": 2, "petal_concurrency": 1, "petal_overflow_wait": 0.0}
    return Settings(**bounds, **others)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_copy_of_one_whose_answer_is_on_its_way_is_refused_too(
    autojump_clock: object, qos: int
) -> None:
    """Its caller cannot have seen that, and so has not tried again: its client, or the broker."""
    petal = Recorder()
    async with open_harness(petal, Recorder("other"), settings=narrow()) as harness:
        for n in range(2):
            harness.send("rec/hold", {"n": n})
            await settle()
        harness.broker.delay = 1.0
        with harness.responses() as responses:
            send(harness, 2, "m", qos)
            await trio.sleep(0.5)
            send(harness, 2, "m", qos)
            await trio.sleep(0.7)
            assert told(responses, "m") == ["BUSY"]  # its PUBACK is to come
            petal.open()
            await trio.sleep(10)
            assert told(responses, "m") == ["BUSY", "BUSY"]
            assert petal.started == [0, 1]
            send(harness, 2, "m", qos)  # now it has seen it
            await trio.sleep(10)
            assert told(responses, "m") == ["BUSY", "BUSY", "success"]
    assert petal.started == [0, 1, 2]


async def test_a_copy_of_one_whose_answer_waits_for_a_place_is_refused_too(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, Recorder("other"), settings=narrow(**SMALL)) as harness:
        for n in range(2):
            harness.send("rec/hold", {"n": n})
            await settle()
        with harness.responses() as responses:
            harness.broker.delay = 1.0
            for _ in range(8):
                harness.send("rec/nothing")
            send(harness, 2, "m")
            await trio.sleep(0.1)
            send(harness, 2, "m")
            await trio.sleep(0.95)
            assert harness.statistics().held == 5
            petal.open()
            await trio.sleep(30)
            assert told(responses, "m") == ["BUSY", "BUSY"]
    assert petal.started == [0, 1]


async def test_one_that_was_held_and_comes_again_is_judged_anew(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, Recorder("other"), settings=narrow(**SMALL)) as harness:
        for n in range(2):
            harness.send("rec/hold", {"n": n})
            await settle()
        harness.broker.swallow("PUBACK", 4)
        with harness.responses() as responses:
            for _ in range(4):
                harness.send("rec/nothing")
            send(harness, 2, "m")
            await settle()
            assert harness.statistics().held == 1
            petal.open()
            await settle()
            harness.drop_link()
            await trio.sleep(30)
            assert told(responses, "m") == ["success"]
    assert petal.started == [0, 1, 2]


async def test_a_copy_of_one_that_was_dropped_is_not_run_while_the_answer_is_on_its_way(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    bounds = {"concurrency": 1, "petal_concurrency": 1, "channel_capacity": 1}
    settings = Settings(overflow="drop-oldest", **bounds)
    async with open_harness(petal, settings=settings) as harness:
        for n in range(2):
            send(harness, n, f"m{n}")
            await settle()
        harness.broker.delay = 1.0
        with harness.responses() as responses:
            send(harness, 2, "m2")  # m1 is dropped
            await trio.sleep(0.5)
            send(harness, 1, "m1")
            await trio.sleep(0.7)
            petal.open()
            await trio.sleep(10)
            assert told(responses, "m1") == ["DROPPED", "DROPPED"]
    assert petal.started == [0, 2]


def json_of(message: Message) -> Any:
    return msgspec.json.decode(message.payload)


class Long(Petal):
    name = "long"

    @command("fly", urgent=True, timeout=math.inf)
    async def fly(self) -> None:
        await trio.sleep_forever()


async def test_a_refusal_that_is_remembered_counts_as_said_only_when_it_was(
    autojump_clock: object,
) -> None:
    """Or one that was held, and comes again, would be taken for answered, and met by silence."""
    async with open_harness(Recorder(), settings=Settings(**SMALL)) as harness:
        harness.broker.swallow("PUBACK", 4)
        with harness.responses() as responses:
            sent = [harness.send("rec/note", expiresAt="2020-01-01T00:00:00Z") for _ in range(10)]
            await settle()
            assert harness.statistics().held == 6
            harness.drop_link()
            await harness.wait_connected()
            await trio.sleep(1)
            assert {one["messageId"] for one in responses} == set(sent)


async def test_what_was_acknowledged_before_it_was_refused_is_answered_over_the_next_link(
    autojump_clock: object,
) -> None:
    settings = Settings(urgent_concurrency=1, grace=0.1, **SMALL)
    async with open_harness(Long(), settings=settings) as harness:
        harness.broker.swallow("PUBACK", 4)
        with harness.responses() as responses:
            harness.send("long/fly")
            sent = [harness.send("long/fly") for _ in range(10)]
            await settle()
            assert harness.statistics().held == 6
            harness.drop_link()
            await harness.wait_connected()
            await trio.sleep(1)
            assert harness.statistics().unanswered == 0
            assert {one["messageId"] for one in responses} == set(sent)


async def test_at_a_stop_they_are_left_to_the_session(autojump_clock: object) -> None:
    async with open_harness(Recorder(), settings=Settings(**SMALL)) as harness:
        broker = harness.broker
        broker.swallow("PUBACK", 1000)
        for _ in range(10):
            harness.send("rec/nothing")
        await settle()
        runtime = harness.runtime
    assert runtime.statistics().given_back == 6
    assert len(broker.unacknowledged(CLIENT_ID)) == 6


async def test_what_is_held_is_bounded_in_bytes_and_keeps_no_payload(
    autojump_clock: object,
) -> None:
    settings = Settings(**SMALL, refusal_bytes=12_000)
    async with open_harness(Recorder(), settings=settings) as harness:
        harness.broker.swallow("PUBACK", 10_000)
        for _ in range(200):
            harness.send("rec/nothing", {"text": "x" * 100_000})
            await settle()
        held = harness.runtime._intake._held
        assert 0 < len(held) <= 12
        assert all(one.delivery.payload == b"" for one in held._line)
        statistics = harness.statistics()
        assert statistics.unanswered == statistics.received - 4 - len(held) > 0


async def test_the_time_does_not_count_while_nothing_can_leave(autojump_clock: object) -> None:
    """As before the SUBACK, which may stand behind a session that is replayed for minutes."""
    async with open_harness(Recorder(), settings=Settings(**SMALL)) as harness:
        harness.broker.swallow("PUBACK", 4)
        harness.runtime._outbox.hold()
        with harness.responses() as responses:
            sent = [harness.send("rec/nothing") for _ in range(10)]
            await trio.sleep(60)
            assert harness.statistics().held == 6
            harness.drop_link()
            await harness.wait_connected()
            await responses.wait(10)
        assert {one["messageId"] for one in responses} == set(sent)
        assert harness.statistics().unanswered == 0


async def test_both_answers_of_one_that_was_held_leave_where_there_is_one_place_in_all(
    autojump_clock: object,
) -> None:
    settings = Settings(protocol="5", refusal_capacity=1, puback_margin=0.0)
    async with open_harness(Recorder(), settings=settings) as harness:
        harness.broker.delay = 1.0
        with harness.broker.observe("answers/#") as replies, harness.responses() as responses:
            harness.send("rec/nothing")
            both = Properties(response_topic="answers/a")
            sent = harness.send("rec/nothing", properties=both)
            other = Properties(response_topic="answers/b")
            last = harness.send("rec/nothing", properties=other)
            await trio.sleep(20)
            usual = [answer["messageId"] for answer in responses]
            assert (sent in usual, last in usual) == (True, True)
            assert [reply.topic for reply in replies] == ["answers/a", "answers/b"]
        assert harness.statistics().unanswered == 0


async def test_one_that_comes_again_has_not_been_refused_to_half_of_those_who_wait(
    autojump_clock: object,
) -> None:
    """Or they would hear of two outcomes, when it is run the second time."""
    settings = Settings(protocol="5", refusal_capacity=1, puback_margin=0.0)
    async with open_harness(Recorder(), settings=settings) as harness:
        harness.broker.swallow("PUBACK", 1)
        petal = harness.runtime._dispatcher.backlog.petals["rec"]
        with harness.broker.observe("answers/#") as replies, harness.responses() as responses:
            petal.failed = True
            harness.send(
                "rec/note", message_id="m", properties=Properties(response_topic="answers/a")
            )
            await settle()
            petal.failed = False
            harness.drop_link()
            await trio.sleep(60)
            assert {one["success"] for one in responses} == {False}
            assert {json_of(one)["success"] for one in replies} == {False}


async def test_what_stands_behind_them_is_served_when_the_session_is_left(
    autojump_clock: object,
) -> None:
    """It was sent before the topics were unsubscribed, and the session is ended after that."""
    petal = Recorder()
    settings = Settings(
        protocol="5", receive_maximum=3, refusal_capacity=1, refusal_bytes=100_000, puback_margin=0
    )
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.swallow("PUBACK", 1)
        with harness.broker.observe("org/acme/device/+/response") as seen:
            sent = [harness.send("rec/nothing") for _ in range(20)]
            sent += [harness.send("rec/note", {"n": n}) for n in range(5)]
            await settle()
            assert harness.statistics().held == 3
            await harness.set_organization("other")
            await trio.sleep(60)
            answered = {msgspec.json.decode(one.payload)["messageId"] for one in seen}
    assert petal.started == list(range(5))
    assert answered == set(sent)


@pytest.mark.parametrize("said_before", [False, True])
async def test_a_copy_does_not_run_while_the_refusal_waits_for_a_place(
    autojump_clock: object, *, said_before: bool
) -> None:
    """Also where no refusal of any command is remembered, or an older one of this is."""
    slow, other = Recorder("slow"), Recorder("other")
    narrow = Settings(**SMALL, channel_capacity=2, petal_concurrency=1)
    async with open_harness(slow, other, settings=narrow) as harness:
        third = msgspec.json.encode(
            {"command": "slow/hold", "messageId": "m3", "waitResponse": True, "data": {"n": 3}}
        )
        for n in (1, 2):  # one runs, one waits
            harness.send("slow/hold", {"n": n})
        if said_before:
            harness.send_raw(third)
            await until(lambda: harness.statistics().refused == {"BUSY": 1})
            await settle()
        harness.broker.swallow("PUBACK", 1000)
        for _ in range(4):  # no refusal of an unknown command is remembered
            harness.send("other/nothing")
        harness.send_raw(third)
        await until(lambda: harness.statistics().refused.get("BUSY") == 1 + said_before)
        assert harness.statistics().held == 1
        slow.open()
        await settle()
        harness.send_raw(third)
        await settle()
        assert slow.started == [1, 2]
        assert harness.statistics().duplicates_answered == 1
