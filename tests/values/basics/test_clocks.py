"""Wall clocks: what senders write, and which clock cannot be right."""

from __future__ import annotations

from typing import Any

import pytest

from petalkit._values.basics.clocks import (
    CLOCK_SET_SINCE,
    moment_of,
    moment_of_text,
    wall_clock_is_set,
)

NOON = 1_762_344_000  # 2025-11-05T12:00:00Z


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2025-11-05T12:00:00Z", NOON),  # the guide's
        ("2025-11-05T12:00:00.142Z", NOON + 0.142),  # a web client's
        ("2025-11-05T12:00:00.123456789Z", NOON + 0.123456),
        ("2025-11-05T12:00:00+00:00", NOON),
        ("2025-11-05T14:00:00+02:00", NOON),
        ("2025-11-05T07:00:00-05:00", NOON),
        (NOON, NOON),
        (NOON + 0.5, NOON + 0.5),
        (NOON * 1000, NOON),
        (NOON * 1000 + 142, NOON + 0.142),
        (0, 0.0),
        (99_999_999_999, 99_999_999_999.0),
        (100_000_000_000, 100_000_000.0),
    ],
)
def test_a_moment_is_read_as_senders_write_it(stamp: Any, seconds: float) -> None:
    assert moment_of(stamp) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "stamp",
    [
        None,
        "",
        "noon",
        "2025-11-05T12:00:00",  # whose noon?
        "2025-11-05",
        "1762344000",
        "0001-01-01T00:00:00+99:00",
        True,
        -1,
        NOON * 1_000_000,  # microseconds
        1e300,
        10**400,
        [],
        {},
    ],
)
def test_what_is_no_moment_is_none(stamp: Any) -> None:
    assert moment_of(stamp) is None
    assert moment_of_text(stamp) is None


def test_a_number_is_no_text() -> None:
    assert moment_of_text(NOON) is None


@pytest.mark.parametrize(
    ("now", "can_be_right"),
    [
        (0.0, False),
        (-1.0, False),
        (CLOCK_SET_SINCE - 1, False),
        (CLOCK_SET_SINCE, True),
        (NOON, True),
    ],
)
def test_a_clock_before_any_petalkit_is_not_set(now: float, can_be_right: bool) -> None:
    assert wall_clock_is_set(now) is can_be_right
