"""Stories that broke a promise once, as short as they can be told. See `test_model.py`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from .promises import Answered, History, Started
from .world import (
    Copy,
    Crash,
    DiskFails,
    DiskMended,
    LinkLost,
    Operation,
    Pass,
    Release,
    Restart,
    Scene,
    Send,
    Settle,
    Steps,
    Swallow,
    run,
)


def codes(history: History, message_id: str = "m0") -> list[str | None]:
    """What was answered to a command."""
    return [event.code for event in history.of(message_id) if isinstance(event, Answered)]


def starts(history: History, message_id: str = "m0") -> int:
    return sum(isinstance(event, Started) for event in history.of(message_id))


RUNS = [Send("hold", wait=False), Settle()]


@pytest.mark.parametrize(
    "story",
    [
        pytest.param([*RUNS, Crash("before a write"), Copy(0), Settle()], id="while it runs"),
        pytest.param(
            [Crash("before a write", 2), Send("hold", wait=False), Steps(1), Copy(0), Settle()],
            id="while its acceptance is written",
        ),
        pytest.param(
            [*RUNS, Release(0), Steps(1), Crash("before a write", 2), Copy(0), Settle()],
            id="while its end is written",
        ),
    ],
)
def test_a_copy_is_acknowledged_when_what_it_wants_is_on_disk(story: Sequence[Operation]) -> None:
    """The first wants no answer, the copy does, and the process dies in between."""
    for order in range(5):
        assert codes(run(story, Scene(order=order)))


@pytest.mark.parametrize("steps", range(4))
def test_a_recorded_answer_that_a_copy_wants_outlives_the_process(steps: int) -> None:
    story = [Send("quick", wait=False), Settle(), Copy(0), Steps(steps), Crash()]
    assert set(codes(run(story))) == {None}


def test_a_recorded_answer_that_waits_behind_others_outlives_the_process() -> None:
    others = [Swallow("PUBACK"), Send("quick"), Settle()]
    story = [Send("quick", wait=False), Settle(), *others, Copy(0), Settle(), Crash()]
    assert codes(run(story, Scene(publish_maximum=2))) == [None]


def test_what_expires_while_its_start_is_recorded_is_not_started() -> None:
    waits = [Send("hold"), Settle(), Send("quick", expires=3.0), Settle()]
    story = [*waits, DiskFails(), Release(0), Settle(), Pass(4.0), DiskMended()]
    history = run(story, Scene(petal_concurrency=1))
    assert (codes(history, "m1"), starts(history, "m1")) == (["EXPIRED"], 0)


@pytest.mark.parametrize("kind", ["hold", "again"])
def test_a_copy_of_what_was_left_that_wants_more_has_to_come_again(kind: str) -> None:
    left = [Send(kind, wait=False), Settle(), DiskFails(), Crash()]
    history = run([*left, Copy(0), Pass(5), DiskMended(), Pass(60), Release(0), Settle(), Copy(0)])
    assert set(codes(history)) == {"BUSY", None if kind == "again" else "INTERRUPTED"}


def test_other_data_under_the_id_of_what_was_left_are_refused() -> None:
    left = [Send("hold"), Settle(), DiskFails(), Crash()]
    history = run([*left, Copy(0, variant=1), Pass(5), DiskMended()])
    assert sorted(map(str, codes(history))) == ["INTERRUPTED", "MESSAGE_ID_REUSED"]


def test_a_copy_that_comes_at_a_stop_and_wants_more_is_left_to_the_next_start() -> None:
    waits = [Send("one", wait=False), Send("one", wait=False), Settle()]
    history = run([*waits, Restart(), Settle(), Copy(1), Settle()])
    assert codes(history, "m1") == [None]


def test_a_second_try_of_what_was_refused_is_not_taken_for_the_brokers_own() -> None:
    """It was on its way when the link was lost, and so the broker marks it DUP."""
    tries = [DiskFails(), Send("quick"), Pass(1), DiskMended(), Pass(60), Copy(0), LinkLost()]
    assert codes(run(tries, Scene(delay=0.05))) == ["UNAVAILABLE", None]
