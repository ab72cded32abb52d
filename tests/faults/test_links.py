"""Hundreds of commands through links that go wrong: every promise holds while the process lives."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio

from ..brokers import find_mosquitto
from .checker import check
from .driver import drive
from .faults import KINDS, Schedule
from .plan import Plan

pytestmark = [
    pytest.mark.trio,
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.skipif(find_mosquitto() is None, reason="NO MOSQUITTO"),
]

LIMIT = 120.0  # seconds; a run in which something is lost waits long for it
WIRES = {
    "3.1.1": ("--protocol", "3.1.1"),
    "5": ("--protocol", "5"),
    "native": ("--transport", "native"),
}


@pytest.mark.parametrize(("seed", "wire"), [(1, "3.1.1"), (2, "native"), (3, "5")])
async def test_every_promise_holds_over_links_that_go_wrong(
    tmp_path: Path, seed: int, wire: str
) -> None:
    """Every kind of fault at least once, and all slots of one petal taken once."""
    faults = list(Schedule(seed, count=len(KINDS) + 3, gap=(10, 60)))
    plan = Plan(seed=seed, commands=500, faults=faults, hinder=True, options=WIRES[wire])
    with trio.fail_after(LIMIT):
        outcome = await drive(plan, tmp_path)
    # A response that was in flight at three lost links is given up, and counted.
    violations = check(outcome.history, attrs.evolve(plan.rules, may_give_up=True))
    assert not violations, outcome.explain() + outcome.log
    assert outcome.faults.total() >= len(KINDS)
    assert outcome.counts["redeliveries"]
    assert outcome.counts["session losses"]


async def test_without_a_journal_a_kill_loses_what_a_journal_would_keep(tmp_path: Path) -> None:
    """And so the checker can fail on what a real process does."""
    plan = Plan(seed=4, commands=300, ends=("kill", "stop", "kill"), options=WIRES["5"])
    with trio.fail_after(LIMIT):
        outcome = await drive(plan, tmp_path)
    assert not outcome.violations, outcome.explain() + outcome.log
    assert (outcome.counts["killed"], outcome.counts["stopped"]) == (2, 2)
    found = check(outcome.history, attrs.evolve(plan.rules, journal=True))
    assert {violation.promise for violation in found} >= {"P2"}


async def test_a_process_that_kills_itself_at_a_named_point(tmp_path: Path) -> None:
    plan = Plan(seed=5, commands=200, crashes=("effect-done:10", "effect-done:30"))
    with trio.fail_after(LIMIT):
        outcome = await drive(plan, tmp_path)
    assert not outcome.violations, outcome.explain() + outcome.log
    assert outcome.counts["killed"] == 2
