"""What is too old is told by the wall clock only while that goes on as time does."""

from __future__ import annotations

from petalkit._serving.ledger.journal.age import TRUSTED_AFTER, Age

AGE = 7 * 86_400.0
NOON = 1_800_000_000.0
YEARS = 5 * 365 * 86_400.0


def test_an_ordinary_start_and_run() -> None:
    age = Age(AGE, NOON, 0.0)
    assert age.oldest(NOON + 60, 0.0) == NOON + 60 - AGE
    assert age.oldest(NOON + 60 + AGE, AGE) == NOON + 60


def test_a_new_journal_has_nothing_to_be_careful_of() -> None:
    assert Age(AGE, None, 0.0).oldest(NOON, 0.0) == NOON - AGE


def test_a_start_with_a_clock_years_ahead_forgets_nothing_before_it_is_set() -> None:
    age = Age(AGE, NOON, 0.0)
    assert age.oldest(NOON + YEARS, 1.0) is None
    assert age.oldest(NOON + YEARS + 120, 121.0) is None
    assert age.oldest(NOON + 200, 200.0) is None  # set: back, and soon trusted
    assert age.oldest(NOON + TRUSTED_AFTER + 1, TRUSTED_AFTER + 1) == NOON + TRUSTED_AFTER + 1 - AGE


def test_a_leap_while_it_runs_is_the_same() -> None:
    age = Age(AGE, NOON, 0.0)
    age.oldest(NOON, 0.0)
    assert age.oldest(NOON + YEARS, 10.0) is None


def test_a_device_that_was_away_for_long_forgets_an_hour_later() -> None:
    age = Age(AGE, NOON, 0.0)
    assert age.oldest(NOON + 2 * AGE, 0.0) is None
    assert age.oldest(NOON + 2 * AGE + TRUSTED_AFTER, TRUSTED_AFTER) == NOON + AGE + TRUSTED_AFTER


def test_a_clock_that_falls_back_makes_nothing_old() -> None:
    age = Age(AGE, NOON, 0.0)
    assert age.oldest(NOON - YEARS, 0.0) == NOON - YEARS - AGE
