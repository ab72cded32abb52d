"""What is too old is told by the wall clock only while that goes on as time does."""

from __future__ import annotations

import pytest

from petalkit._serving.ledger.journal.forgetting.age import LEAP, STEADY_FOR, Age

AGE = 7 * 86_400.0
NOON = 1_800_000_000.0
YEARS = 5 * 365 * 86_400.0


def test_an_ordinary_start_and_run() -> None:
    age = Age(AGE, NOON, 0.0)
    assert age.oldest(NOON + 60, 0.0) == NOON - AGE  # the power may have been off, or not
    assert age.oldest(NOON + 60 + STEADY_FOR, STEADY_FOR) == NOON + 60 + STEADY_FOR - AGE
    assert age.oldest(NOON + 60 + AGE, AGE) == NOON + 60


def test_a_new_journal_has_nothing_to_be_careful_of() -> None:
    assert Age(AGE, None, 0.0).oldest(NOON, 0.0) == NOON - AGE


def test_a_start_with_a_clock_years_ahead_forgets_nothing_before_it_is_set() -> None:
    age = Age(AGE, NOON, 0.0)
    assert age.oldest(NOON + YEARS, 1.0) == NOON + 1 - AGE
    assert age.oldest(NOON + YEARS + 120, 121.0) == NOON + 121 - AGE
    assert age.oldest(NOON + 200, 200.0) == NOON + 200 - AGE  # set
    later = 200 + STEADY_FOR
    assert age.oldest(NOON + later, later) == NOON + later - AGE


def test_a_start_in_1970_that_is_set_later_forgets_nothing_too_early() -> None:
    age = Age(AGE, NOON, 0.0)
    assert age.oldest(10.0, 0.0) == 10.0 - AGE
    assert age.oldest(NOON + 2 * AGE, 30.0) == NOON + 30 - AGE  # it was off for so long, or not
    at = 30 + STEADY_FOR
    assert age.oldest(NOON + 2 * AGE + STEADY_FOR, at) == NOON + AGE + STEADY_FOR


@pytest.mark.parametrize("leap", [YEARS, 6 * 86_400.0, 2 * LEAP], ids=["years", "days", "minutes"])
def test_a_leap_while_it_runs_makes_nothing_older(leap: float) -> None:
    age = Age(AGE, NOON, 0.0)
    age.oldest(NOON, 0.0)
    age.oldest(NOON + STEADY_FOR, STEADY_FOR)
    now = STEADY_FOR + 10
    assert age.oldest(NOON + now + leap, now) == NOON + now - AGE
    assert age.oldest(NOON + now + leap + 2, now + 2) == NOON + now + 2 - AGE
    assert age.oldest(NOON + now + 4, now + 4) == NOON + now + 4 - AGE


def test_leaps_of_days_do_not_add_up() -> None:
    age = Age(AGE, NOON, 0.0)
    age.oldest(NOON, 0.0)
    for n in range(1, 20):  # each shorter than records are kept
        at = n * STEADY_FOR / 2
        assert age.oldest(NOON + at + n * 86_400.0, at) == NOON + at - AGE


def test_a_device_that_was_away_for_long_forgets_an_hour_later() -> None:
    age = Age(AGE, NOON, 0.0)
    assert age.oldest(NOON + 2 * AGE, 0.0) == NOON - AGE
    assert age.oldest(NOON + 2 * AGE + STEADY_FOR, STEADY_FOR) == NOON + AGE + STEADY_FOR


def test_a_record_of_a_clock_that_was_ahead_makes_nothing_older() -> None:
    """The clock was years ahead when the last record was made; it is right at the next start."""
    assert Age(AGE, NOON + YEARS, 0.0).oldest(NOON, 0.0) == NOON - AGE


def test_a_clock_that_falls_back_makes_nothing_old() -> None:
    age = Age(AGE, NOON, 0.0)
    assert age.oldest(NOON - YEARS, 0.0) == NOON - YEARS - AGE


def test_a_clock_that_is_slewed_does_not_leap() -> None:
    age = Age(AGE, NOON, 0.0)
    age.oldest(NOON, 0.0)
    for n in range(1, 100):
        at = n * STEADY_FOR / 50
        wall = NOON + at * 1.0005  # 500 ppm, which is all that adjtime(3) does
        oldest = age.oldest(wall, at)
    assert oldest == wall - AGE
