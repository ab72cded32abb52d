"""Steps of a job: any number of them, from any thread, and the sum never goes back."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from petalkit._authoring.jobs.progress import Progress, Step


def step_of(whole: Progress, name: str, weight: float) -> Step:
    return Step(whole, whole, name, weight)


def test_ten_thousand_steps_add_up_and_are_not_kept() -> None:
    whole = Progress(lambda: None)
    seen = []
    for n in range(10_000):
        with step_of(whole, str(n), 1 / 10_000) as step:
            step.report(0.5)
        if n % 100 == 99:
            seen.append(whole.fraction)
    assert seen == sorted(seen, key=float)  # type: ignore[arg-type]
    assert whole.fraction == 1.0
    assert len(whole._steps) == 0
    with pytest.raises(ValueError, match="of the whole"):
        step_of(whole, "more", 0.1)
    with pytest.raises(ValueError, match="its steps say"):
        whole.report(0.5)


def test_the_fraction_never_goes_back_when_a_step_with_steps_ends() -> None:
    seen: list[Any] = []
    whole = Progress(lambda: seen.append(whole.fraction))
    with step_of(whole, "a", 0.5) as outer:
        for name in "bc":
            with outer.step(name, 0.5) as inner:
                inner.report(0.7)
    with step_of(whole, "d", 0.5):
        pass
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_two_threads_that_begin_steps_at_once_have_both() -> None:
    whole = Progress(lambda: None)
    others: list[threading.Thread] = []

    class Weight(float):
        """Is slow to be added up: the other thread comes in between, if it can."""

        def __radd__(self, other: float) -> float:
            thread = threading.Thread(target=step_of, args=(whole, "other", 0.25))
            others.append(thread)
            thread.start()
            thread.join(0.05)
            return other + float(self)

    step_of(whole, "slow", Weight(0.25))
    for thread in others:
        thread.join(5)
    assert sorted(one.name for one in whole._steps) == ["other", "slow"]
    assert whole._taken == 0.5


def test_a_step_that_ends_in_an_error_stays_where_it_was() -> None:
    whole = Progress(lambda: None)
    with pytest.raises(KeyError), step_of(whole, "a", 0.5) as step:
        step.report(0.5)
        raise KeyError
    assert whole.fraction == 0.25
