"""Processes that are really killed, with a journal: every promise holds across all of them."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio

from ..brokers import find_mosquitto
from .checker import check
from .crash_points import NOTE_POINTS, POINTS
from .driver import drive
from .faults import Schedule
from .plan import End, Plan
from .test_links import WIRES

pytestmark = [
    pytest.mark.trio,
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.skipif(find_mosquitto() is None, reason="NO MOSQUITTO"),
]

FOLDS = ("mid-commit", "folded")  # of many commands together
LIMIT = 180.0  # seconds; a run in which something is lost waits long for it


@pytest.mark.parametrize("number", range(len(POINTS)), ids=POINTS)
async def test_a_kill_at_each_state_of_a_command(tmp_path: Path, number: int) -> None:
    """At the first of them, and at two when there is load."""
    point = POINTS[number]
    crashes = tuple(f"{point}:{count}" for count in ((1, 2, 4) if point in FOLDS else (1, 5, 15)))
    wire = list(WIRES.values())[number % len(WIRES)]
    plan = Plan(seed=number, commands=200, journal=True, crashes=crashes, options=wire)
    with trio.fail_after(LIMIT):
        outcome = await drive(plan, tmp_path)
    assert not outcome.violations, outcome.explain() + outcome.log
    assert outcome.counts["killed"] == len(crashes)


@pytest.mark.parametrize(("seed", "wire"), [(1, "native"), (2, "3.1.1")])
async def test_every_promise_holds_over_bad_links_and_kills(
    tmp_path: Path, seed: int, wire: str
) -> None:
    plan = Plan(
        seed=seed,
        commands=2000,
        window=60,
        journal=True,
        faults=list(Schedule(seed, count=40, gap=(20, 120))),
        ends=("kill",) * 9,  # the last process is stopped
        crashes=[f"{name}:{5 if name in FOLDS else 20 * seed}" for name in POINTS],
        options=WIRES[wire],
    )
    with trio.fail_after(LIMIT):
        outcome = await drive(plan, tmp_path)
    # A response that was in flight at three lost links is given up, and counted.
    violations = check(outcome.history, attrs.evolve(plan.rules, may_give_up=True))
    assert not violations, outcome.explain() + outcome.log
    assert outcome.counts["killed"] >= 15


JOB_CRASHES = (*(f"{name}:30" for name in (*NOTE_POINTS, "effect-done")), "mid-commit:5")


# A stop is not to meet a crash point: it would be no stop.
@pytest.mark.parametrize(
    ("seed", "wire", "ends", "crashes"),
    [
        (3, "native", ("kill",), JOB_CRASHES),
        (4, "3.1.1", ("kill", "stop", "kill", "stop", "kill"), ()),
    ],
)
async def test_every_job_has_one_end_across_kills_and_stops(
    tmp_path: Path, seed: int, wire: str, ends: tuple[End, ...], crashes: tuple[str, ...]
) -> None:
    plan = Plan(
        seed=seed,
        commands=100,
        journal=True,
        jobs=500,
        ends=ends,
        crashes=crashes,
        options=WIRES[wire],
    )
    with trio.fail_after(LIMIT):
        outcome = await drive(plan, tmp_path)
    assert not outcome.violations, outcome.explain() + outcome.log
    assert outcome.counts["killed"] >= 3
    assert outcome.counters["jobs_ended"]
