"""Commands that are too old, by which clock, and what happens while that clock is not set."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

import attrs
import pytest
import trio

from petalkit import Properties, Settings
from petalkit._values.settings.replay_gap import replay_gap
from petalkit.testing import Harness, open_harness
from petalkit.testing._harness import EPOCH

from ..recorder import Recorder, settle, unacknowledged

pytestmark = pytest.mark.trio

MINUTE = Settings(command_age_max=60, clock_skew_max=30, petal_concurrency=1)
ONE_SLOT = Settings(petal_concurrency=1)
REFUSE = attrs.evolve(ONE_SLOT, clock_unset="refuse")
LOG = "petalkit.intake"


class Clock:
    """The device's own wall clock: as wrong as the test says."""

    def __init__(self, *, is_set: bool = True) -> None:
        self.wrong_by = 0.0
        if not is_set:
            self.reset()

    def __call__(self) -> float:
        return EPOCH.timestamp() + trio.current_time() + self.wrong_by

    def reset(self) -> None:
        """What a board without a battery says."""
        self.wrong_by = -EPOCH.timestamp()

    def set(self) -> None:
        """What a time server does."""
        self.wrong_by = 0.0


def at(harness: Harness, seconds: float) -> str:
    """A moment, so many seconds from now, as senders write it."""
    return (harness.now() + dt.timedelta(seconds=seconds)).isoformat()


async def ask(harness: Harness, name: str = "rec/note", **envelope: Any) -> str:
    """Send a command; the code that it is answered with, or "ok"."""
    response = await harness.call(name, **envelope)
    return response.error_code or "ok"


def codes(responses: Any) -> dict[str, str]:
    return {each["messageId"]: each.get("error_code", "ok") for each in responses}


# -- age


@pytest.mark.parametrize("stamp", [None, "noon", "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z", 5])
async def test_without_a_bound_a_timestamp_says_nothing(stamp: Any, autojump_clock: object) -> None:
    async with open_harness(Recorder()) as harness:
        assert await ask(harness, timestamp=stamp) == "ok"


async def test_a_command_that_is_too_old_is_not_run(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=MINUTE) as harness:
        await trio.sleep(1000)
        late = await harness.call("rec/note", {"n": 1}, timestamp=at(harness, -91))
        assert (late.error_code, late.retryable) == ("EXPIRED", False)
        assert late.error == (
            "it is 91.0 s old, by its timestamp and the device's clock; "
            "60 s are allowed, and 30 s for clocks that differ"
        )
        assert (await harness.call("rec/note", {"n": 2}, timestamp=at(harness, -89))).success
        assert petal.started == [2]
        assert harness.statistics().refused == {"EXPIRED": 1}
        assert unacknowledged(harness) == 0


@pytest.mark.parametrize(("age", "code"), [(10, "ok"), (1000, "EXPIRED")])
@pytest.mark.parametrize("form", ["text", "offset", "seconds", "float", "milliseconds"])
async def test_a_timestamp_may_be_a_text_or_a_number(
    form: str, age: float, code: str, autojump_clock: object
) -> None:
    async with open_harness(Recorder(), settings=MINUTE) as harness:
        moment = harness.now() - dt.timedelta(seconds=age)
        seconds = moment.timestamp()
        stamp = {
            "text": moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",  # a web client's
            "offset": moment.astimezone(dt.timezone(dt.timedelta(hours=5))).isoformat(),
            "seconds": int(seconds),
            "float": seconds,
            "milliseconds": int(seconds * 1000),
        }[form]
        assert await ask(harness, timestamp=stamp) == code


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        (None, "is required"),
        ("noon", "expected an RFC 3339 time with its offset"),
        ("2026-01-01T00:00:00", "expected an RFC 3339 time with its offset"),
        (True, "expected an RFC 3339 time"),
        ({}, "expected an RFC 3339 time"),
        (1e300, "or seconds or milliseconds since 1970"),
    ],
)
async def test_without_a_timestamp_that_can_be_read_a_command_has_no_age(
    stamp: Any, words: str, autojump_clock: object
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=MINUTE) as harness:
        no = await harness.call("rec/note", timestamp=stamp)
        assert (no.error_code, no.retryable) == ("INVALID_COMMAND", False)
        [error] = no["errors"]
        assert error["path"] == "timestamp"
        assert words in error["message"]
        assert no.error == f"not a command: timestamp {error['message']}"
        assert petal.started == []
        assert unacknowledged(harness) == 0


async def test_a_command_from_the_future_could_be_a_replay_to_come(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=MINUTE) as harness:
        assert await ask(harness, timestamp=at(harness, 29)) == "ok"
        no = await harness.call("rec/note", timestamp=at(harness, 90))
        assert (no.error_code, no.retryable) == ("INVALID_COMMAND", False)
        assert no.error == "timestamp is 90.0 s ahead of the device's clock; 30 s are allowed"
        assert no["errors"] == [{"path": "timestamp", "message": no.error[len("timestamp ") :]}]
        assert petal.started == [0]


@pytest.mark.parametrize("wrong_by", [-20.0, 20.0])
async def test_clocks_may_differ_a_little(wrong_by: float, autojump_clock: object) -> None:
    clock = Clock()
    clock.wrong_by = wrong_by
    async with open_harness(Recorder(), settings=MINUTE, now=clock) as harness:
        assert await ask(harness) == "ok"
        assert await ask(harness, timestamp=at(harness, -65)) == "ok"


async def test_a_command_that_waits_too_long_is_too_old_at_its_start(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=MINUTE) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="runs")
            await settle()
            harness.send("rec/note", message_id="waits")
            await trio.sleep(91)
            petal.open()
            await settle()
            assert codes(responses) == {"runs": "ok", "waits": "EXPIRED"}
            assert "it expired before it could start: 1.0 s ago" in responses[1]["error"]
        assert petal.started == [0]


async def test_a_command_that_is_held_too_long_is_too_old(autojump_clock: object) -> None:
    petal = Recorder()
    settings = attrs.evolve(MINUTE, channel_capacity=1)
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="runs")
            await settle()
            harness.send("rec/note", message_id="waits", timestamp=at(harness, 29))
            harness.send("rec/note", message_id="held")
            await trio.sleep(91)
            assert harness.statistics().held == 1
            petal.open()
            await settle()
            assert codes(responses) == {"runs": "ok", "waits": "ok", "held": "EXPIRED"}
        assert harness.statistics().refused == {"EXPIRED": 1}


async def test_of_age_and_expiry_the_earlier_counts(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=MINUTE) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="runs")
            await settle()
            harness.send("rec/note", message_id="soon", expiresAt=at(harness, 10))
            harness.send("rec/note", message_id="late", expiresAt=at(harness, 1000))
            await trio.sleep(50)
            petal.open()
            await settle()
            assert codes(responses) == {"runs": "ok", "soon": "EXPIRED", "late": "ok"}
        old = at(harness, -100)
        assert await ask(harness, timestamp=old, expiresAt=at(harness, 1000)) == "EXPIRED"


async def test_a_copy_that_comes_too_late_has_the_answer_of_the_first(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=MINUTE) as harness:
        sent = at(harness, 0)
        assert await ask(harness, message_id="m", timestamp=sent) == "ok"
        await trio.sleep(500)
        assert await ask(harness, message_id="m", timestamp=sent) == "ok"
        assert petal.started == [0]
        assert harness.statistics().duplicates_answered == 1


async def test_a_replay_that_the_window_has_forgotten_is_too_old(autojump_clock: object) -> None:
    petal = Recorder()
    settings = attrs.evolve(MINUTE, duplicate_age=120)
    assert replay_gap(settings) is None
    async with open_harness(petal, settings=settings) as harness:
        sent = at(harness, 30)  # by a clock that is ahead by all that is allowed
        assert await ask(harness, message_id="m", timestamp=sent) == "ok"
        answers: set[str] = set()
        for _ in range(150):
            await trio.sleep(1)
            answers.add(await ask(harness, message_id="m", timestamp=sent))
        assert petal.started == [0]
        assert answers == {"ok", "EXPIRED"}


async def test_nobody_else_is_told_of_a_timestamp(autojump_clock: object) -> None:
    """What another program may serve is not ours to refuse."""
    settings = attrs.evolve(MINUTE, answer_unknown="own")
    async with open_harness(Recorder(), settings=settings) as harness:
        with harness.responses() as responses:
            harness.send("others/x", timestamp=None)
            harness.send("rec/nope", timestamp=None)
            await settle()
            assert [each["error_code"] for each in responses] == ["UNKNOWN_COMMAND"]


# -- urgent commands


@pytest.mark.parametrize("name", ["rec/stop", "petalkit/ping"])
@pytest.mark.parametrize("stamp", [None, "noon", "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
async def test_an_urgent_command_has_no_age(name: str, stamp: Any, autojump_clock: object) -> None:
    async with open_harness(Recorder(), settings=MINUTE) as harness:
        assert await ask(harness, name, timestamp=stamp) == "ok"


async def test_an_urgent_command_can_expire_if_its_sender_says_so(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=MINUTE) as harness:
        assert await ask(harness, "rec/stop", expiresAt=at(harness, -1)) == "EXPIRED"
        assert await ask(harness, "rec/stop", expiresAt=at(harness, 1)) == "ok"
        assert petal.started == ["stop"]


@pytest.mark.parametrize("settings", [REFUSE, attrs.evolve(MINUTE, clock_unset="refuse")])
async def test_an_urgent_command_is_not_refused_for_a_clock_that_is_not_set(
    settings: Settings, autojump_clock: object
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings, now=Clock(is_set=False)) as harness:
        assert await ask(harness, "rec/stop", expiresAt=at(harness, -1)) == "ok"
        assert petal.started == ["stop"]
        assert harness.statistics().expiry_unjudged == 1


# -- expiresAt


async def test_expires_at_is_exact_and_the_refusal_says_by_how_much(autojump_clock: object) -> None:
    async with open_harness(Recorder()) as harness:
        assert await ask(harness, expiresAt=at(harness, 0)) == "ok"
        late = await harness.call("rec/note", expiresAt=at(harness, -2))
        assert late.error == "it had expired when it came: 2.0 s ago, by the device's clock"


# -- a clock that is not set


async def test_a_clock_that_is_not_set_judges_nothing(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(is_set=False)
    with caplog.at_level(logging.INFO, LOG):
        async with open_harness(Recorder(), settings=MINUTE, now=clock) as harness:
            assert not harness.statistics().clock_set
            assert await ask(harness, expiresAt=at(harness, -1)) == "ok"
            assert await ask(harness, timestamp=at(harness, -500)) == "ok"
            assert await ask(harness, timestamp=at(harness, 500)) == "ok"
            assert harness.statistics().expiry_unjudged == 3
            assert await ask(harness, timestamp="noon") == "INVALID_COMMAND"
            clock.set()
            assert harness.statistics().clock_set
            assert await ask(harness, expiresAt=at(harness, -1)) == "EXPIRED"
            assert await ask(harness, timestamp=at(harness, -500)) == "EXPIRED"
            assert await ask(harness) == "ok"
            assert harness.statistics().expiry_unjudged == 3
    said = [record.getMessage() for record in caplog.records if "clock" in record.getMessage()]
    assert said == [
        "the device's clock is not set, it says 1970-01-01T00:00:00.000Z: commands that it would "
        "have to judge are accepted unjudged",
        "the device's clock is set now, and judges expiresAt and age",
    ]


async def test_the_log_says_at_the_start_that_the_clock_is_not_set(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Recorder(), now=Clock(is_set=False)):
        [record] = [each for each in caplog.records if "clock is not set" in each.getMessage()]
        assert record.levelno == logging.WARNING


async def test_what_a_clock_need_not_judge_is_not_counted(autojump_clock: object) -> None:
    async with open_harness(Recorder(), settings=REFUSE, now=Clock(is_set=False)) as harness:
        assert await ask(harness) == "ok"
        assert await ask(harness, expiresAt=None) == "ok"
        assert await ask(harness, "rec/nope", expiresAt=at(harness, -1)) == "UNKNOWN_COMMAND"
        assert harness.statistics().refused == {"UNKNOWN_COMMAND": 1}


async def test_commands_that_need_a_clock_can_be_refused_until_it_is_set(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal, clock = Recorder(), Clock(is_set=False)
    async with open_harness(petal, settings=REFUSE, now=clock) as harness:
        soon = at(harness, 100)
        no = await harness.call("rec/note", {"n": 1}, message_id="m", expiresAt=soon)
        assert (no.error_code, no.retryable) == ("UNAVAILABLE", True)
        assert no.error is not None
        assert no.error.startswith("the device's clock is not set")
        assert (await harness.call("rec/note", {"n": 2})).success  # needs none
        assert harness.statistics().expiry_unjudged == 0
        clock.set()
        assert (await harness.call("rec/note", {"n": 1}, message_id="m", expiresAt=soon)).success
        assert petal.started == [2, 1]
    assert "are refused" in caplog.text


async def test_with_a_bound_on_age_all_commands_need_a_clock(autojump_clock: object) -> None:
    settings = attrs.evolve(MINUTE, clock_unset="refuse")
    async with open_harness(Recorder(), settings=settings, now=Clock(is_set=False)) as harness:
        assert await ask(harness) == "UNAVAILABLE"
        assert await ask(harness, timestamp=None) == "INVALID_COMMAND"


async def test_the_expiry_of_mqtt_5_needs_no_wall_clock(autojump_clock: object) -> None:
    petal = Recorder()
    settings = attrs.evolve(REFUSE, protocol="5")
    async with open_harness(petal, settings=settings, now=Clock(is_set=False)) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="runs")
            for seconds in (5, 50):
                properties = Properties(message_expiry=seconds)
                harness.send("rec/note", message_id=str(seconds), properties=properties)
            await trio.sleep(20)
            petal.open()
            await settle()
            assert codes(responses) == {"runs": "ok", "5": "EXPIRED", "50": "ok"}


# -- a clock that jumps while a command waits


@pytest.mark.parametrize("capacity", [1, 100])
async def test_what_was_accepted_unjudged_is_judged_when_the_clock_is_set(
    capacity: int, autojump_clock: object
) -> None:
    petal, clock = Recorder(), Clock(is_set=False)
    settings = attrs.evolve(ONE_SLOT, channel_capacity=capacity)  # with 1, all but one are held
    async with open_harness(petal, settings=settings, now=clock) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="runs")
            await settle()
            harness.send("rec/note", message_id="waits")
            harness.send("rec/note", message_id="long over", expiresAt=at(harness, -3600))
            harness.send("rec/note", message_id="over", expiresAt=at(harness, 5))
            harness.send("rec/note", message_id="in time", expiresAt=at(harness, 50))
            await settle()
            assert harness.statistics().expiry_unjudged == 3
            await trio.sleep(10)
            clock.set()
            petal.open()
            await settle()
            assert codes(responses) == {
                "runs": "ok",
                "waits": "ok",
                "long over": "EXPIRED",
                "over": "EXPIRED",
                "in time": "ok",
            }


async def test_the_age_of_what_was_accepted_unjudged_is_judged_too(autojump_clock: object) -> None:
    petal, clock = Recorder(), Clock(is_set=False)
    async with open_harness(petal, settings=MINUTE, now=clock) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="runs")
            await settle()
            harness.send("rec/note", message_id="old", timestamp=at(harness, -85))
            harness.send("rec/note", message_id="fresh")
            await trio.sleep(10)
            clock.set()
            petal.open()
            await settle()
            assert codes(responses) == {"runs": "ok", "old": "EXPIRED", "fresh": "ok"}


async def test_while_the_clock_is_still_not_set_nothing_has_expired(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=ONE_SLOT, now=Clock(is_set=False)) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="runs")
            harness.send("rec/note", message_id="waits", expiresAt=at(harness, 5))
            # By its own wrong clock, as a sender without one would write it.
            harness.send("rec/note", message_id="1970", expiresAt="1970-01-01T00:00:05Z")
            await trio.sleep(10)
            petal.open()
            await settle()
            assert codes(responses) == {"runs": "ok", "waits": "ok", "1970": "ok"}


@pytest.mark.parametrize(("rule", "code"), [("accept", "ok"), ("refuse", "UNAVAILABLE")])
async def test_a_clock_that_is_lost_while_a_command_waits_judges_nothing(
    rule: Any, code: str, autojump_clock: object
) -> None:
    petal, clock = Recorder(), Clock()
    settings = attrs.evolve(ONE_SLOT, clock_unset=rule)
    async with open_harness(petal, settings=settings, now=clock) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="runs")
            await settle()
            harness.send("rec/note", message_id="m", expiresAt=at(harness, 100))
            harness.send("rec/note", message_id="needs none")
            await settle()
            clock.reset()
            petal.open()
            await settle()
            assert codes(responses) == {"runs": "ok", "m": code, "needs none": "ok"}
        clock.set()
        assert await ask(harness, message_id="m", expiresAt=at(harness, 100)) == "ok"


# -- replays


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"command_age_max": 0, "duplicate_age": 0}, None),
        ({"command_age_max": 60}, None),
        ({"command_age_max": 60, "clock_skew_max": 30, "duplicate_age": 120}, None),
        ({"command_age_max": 60, "clock_skew_max": 30, "duplicate_age": 119}, "119 s (duplicate"),
        ({"command_age_max": 3600}, "3600 s (duplicate_age)"),
        ({"command_age_max": 60, "duplicate_window": 0}, "0 s (duplicate_age)"),
        ({"command_age_max": 60, "duplicate_bytes": 0}, "0 s (duplicate_age)"),
        ({"command_age_max": 60, "journal": "j"}, None),
        ({"command_age_max": 60, "journal": "j", "journal_age": 119}, "119 s (journal_age)"),
        ({"command_age_max": 60, "journal": "j", "journal_count": 0}, "0 s (journal_age)"),
        ({"command_age_max": 3600, "journal": "j"}, "3600 s (duplicate_age, if it is not"),
    ],
)
async def test_a_replay_is_too_old_before_its_id_is_forgotten(
    changes: dict[str, Any], words: str | None
) -> None:
    gap = replay_gap(Settings(**changes))
    assert gap is None if words is None else words in (gap or "")


async def test_a_gap_between_age_and_window_is_told_at_the_start(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Recorder(), settings=attrs.evolve(MINUTE, duplicate_age=90)):
        pass
    [record] = [record for record in caplog.records if "run again" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert "fresh for 120 s" in record.getMessage()
    assert "remembered for 90 s" in record.getMessage()
