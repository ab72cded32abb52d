"""Lines of the log that a sender can cause without end are few, and the counters are exact."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest
import trio
import trio.testing

from petalkit import Properties, Settings
from petalkit._serving.line_limit import TOLD_EVERY, LineLimit
from petalkit._values.statistics import Statistics
from petalkit.testing import Harness, open_harness

from .recorder import Recorder, settle

pytestmark = pytest.mark.trio

SENT = 200
AT_ONCE = 10
KIND = "refused: UNKNOWN_COMMAND"

logger = logging.getLogger("petalkit.test")


def allowed(limit: LineLimit, count: int, kind: str = KIND) -> int:
    return sum(limit.allows(logger, logging.WARNING, kind) for _ in range(count))


async def test_so_many_are_written_at_once_and_a_second(
    mock_clock: trio.testing.MockClock,
) -> None:
    limit = LineLimit(10.0)
    assert allowed(limit, 100) == 10
    mock_clock.jump(0.55)
    assert allowed(limit, 100) == 5
    mock_clock.jump(1000)
    assert allowed(limit, 100) == 10


async def test_one_kind_takes_no_room_from_another(mock_clock: trio.testing.MockClock) -> None:
    limit = LineLimit(10.0)
    allowed(limit, 100)
    assert allowed(limit, 1, "refused: TOO_LARGE") == 1


async def test_a_rate_below_one_is_one_line_now_and_then(
    mock_clock: trio.testing.MockClock,
) -> None:
    limit = LineLimit(0.1)
    assert allowed(limit, 5) == 1
    mock_clock.jump(9)
    assert allowed(limit, 5) == 0
    mock_clock.jump(2)
    assert allowed(limit, 5) == 1


async def test_the_rest_is_told_although_nothing_more_comes(
    nursery: trio.Nursery, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    limit = LineLimit(10.0)
    nursery.start_soon(limit.run)
    allowed(limit, 100)
    await trio.sleep(TOLD_EVERY + 1)
    assert [record.getMessage() for record in caplog.records] == [
        f"90 more are not shown one by one: {KIND}"
    ]
    await trio.sleep(10 * TOLD_EVERY)
    assert len(caplog.records) == 1


async def test_the_rest_is_told_at_the_end(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    limit = LineLimit(0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit.run)
        await trio.testing.wait_all_tasks_blocked()
        allowed(limit, 7)
        nursery.cancel_scope.cancel()
    (line,) = caplog.messages
    assert line.startswith("7 more")


async def test_lines_that_nobody_would_see_are_not_told_of(
    nursery: trio.Nursery, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    limit = LineLimit(1.0)
    nursery.start_soon(limit.run)
    assert not any(limit.allows(logger, logging.DEBUG, KIND) for _ in range(100))
    await trio.sleep(TOLD_EVERY + 1)
    assert not caplog.messages


Send = Callable[[Harness, int], object]
Count = Callable[[Statistics], int]


def refused(code: str) -> Count:
    return lambda statistics: statistics.refused[code]


def to_another_place(harness: Harness, number: int) -> None:
    properties = Properties(response_topic="not/allowed")
    harness.send("rec/note", message_id=f"t{number}", properties=properties)


def again(harness: Harness, number: int) -> None:
    harness.send("rec/note", {"n": 1}, message_id="first")


HOSTILE: dict[str, tuple[Send, Count]] = {
    "unknown": (lambda h, n: h.send("rec/nothing"), refused("UNKNOWN_COMMAND")),
    "malformed": (lambda h, n: h.send_raw(b"{"), refused("INVALID_JSON")),
    "no command": (lambda h, n: h.send_raw(b"[]"), refused("INVALID_COMMAND")),
    "too large": (lambda h, n: h.send_raw(b" " * 5000), refused("TOO_LARGE")),
    "expired": (
        lambda h, n: h.send("rec/note", expiresAt="2020-01-01T00:00:00Z"),
        refused("EXPIRED"),
    ),
    "reused": (
        lambda h, n: h.send("rec/note", {"n": n + 2}, message_id="first"),
        refused("MESSAGE_ID_REUSED"),
    ),
    "busy": (lambda h, n: h.send("rec/hold"), refused("BUSY")),
    "copies": (again, lambda statistics: statistics.duplicates_answered),
    "response topics": (
        to_another_place,
        lambda statistics: statistics.response_topics_refused,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_flood_is_a_few_lines_and_exact_counters(
    name: str, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "petalkit")
    send, count = HOSTILE[name]
    settings = Settings(
        transport="native",
        protocol="5",
        payload_max=1000,
        reply_topics=("only/here",),
        overflow="reject",
        channel_capacity=1,
        petal_concurrency=1,
    )
    async with open_harness(Recorder(), settings=settings) as harness:
        await harness.call("rec/note", {"n": 1}, message_id="first")
        if name == "busy":
            for _ in range(2):
                harness.send("rec/hold")
                await settle()
        began = len(caplog.records)
        for number in range(SENT):
            send(harness, number)
            await settle()
        assert count(harness.statistics()) == SENT
        lines = [
            record.getMessage()
            for record in caplog.records[began:]
            if record.name in ("petalkit.answers", "petalkit.intake")
        ]
        assert len(lines) == AT_ONCE, lines
        await trio.sleep(TOLD_EVERY + 1)
        more = re.compile(rf"{SENT - AT_ONCE} more are not shown one by one: ")
        assert len([text for text in caplog.messages if more.match(text)]) == 1


async def test_a_user_may_want_more_of_them(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "petalkit")
    async with open_harness(Recorder(), settings=Settings(refusals_logged=1000.0)) as harness:
        for _ in range(SENT):
            harness.send("rec/nothing")
        await settle()
    assert len([text for text in caplog.messages if text.startswith("refused:")]) == SENT
