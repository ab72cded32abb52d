"""How long the machine was suspended, by two clocks of which one goes on meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from petalkit._values.basics import clocks


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What the clocks say, in the order in which they are asked."""
    monkeypatch.setattr(clocks, "_AWAKE_ONLY", 1)
    monkeypatch.setattr(clocks, "_ASLEEP_TOO", 7)
    given: list[tuple[str, float]] = []

    def read(clock: int) -> float:
        which, value = given.pop(0)
        assert which == {1: "awake", 7: "always"}[clock]
        return value

    monkeypatch.setattr(time, "clock_gettime", read)
    return given


def taken(*each: tuple[float, float, float]) -> Iterator[tuple[str, float]]:
    for before, always, after in each:
        yield from (("awake", before), ("always", always), ("awake", after))


def test_it_is_the_difference_of_the_two(readings: list[tuple[str, float]]) -> None:
    readings += taken((100.0, 400.0, 100.0), (101.0, 401.0, 101.0), (102.0, 402.0, 102.0))
    assert clocks.seconds_suspended() == 300.0


def test_a_process_that_was_held_up_between_them_does_not_count_that(
    readings: list[tuple[str, float]],
) -> None:
    readings += taken((100.0, 400.0, 100.5), (101.0, 401.0, 101.0), (102.0, 402.4, 102.4))
    assert clocks.seconds_suspended() == 300.0


def test_it_is_0_where_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "_ASLEEP_TOO", None)
    assert clocks.seconds_suspended() == 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="the clocks of Linux")
def test_on_this_machine_it_does_not_go_back_while_it_is_awake() -> None:
    first, second = clocks.seconds_suspended(), clocks.seconds_suspended()
    assert abs(second - first) < 0.01
