"""The checker on any good history of a device on paper, and on that with one thing changed."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from .cases import Rules
from .checker import check
from .history import (
    Acknowledged,
    Effect,
    Event,
    Invoked,
    ProcessEnded,
    Response,
)
from .model import Model

pytestmark = pytest.mark.exhaustive

JOURNAL = pytest.mark.parametrize("journal", [True, False])
chances = st.integers(0, 2**32).map(random.Random)


@JOURNAL
@given(chance=chances)
def test_whatever_a_good_device_does_breaks_nothing(journal: bool, chance: random.Random) -> None:
    model = Model(chance, journal)
    assert check(model.run(), model.rules) == []


def replaced(event: Any, **fields: Any) -> Any:
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    return type(event)(**values | fields)


def told_by(chance: random.Random, journal: bool) -> tuple[list[Event], Rules]:
    model = Model(chance, journal)
    return model.run(), model.rules


def promises(events: list[Event], rules: Rules) -> set[str]:
    return {violation.promise for violation in check(events, rules)}


def pick(chance: random.Random, events: list[Event], kind: type) -> Any:
    found = [event for event in events if isinstance(event, kind)]
    assume(found)
    return chance.choice(found)


@JOURNAL
@given(chance=chances)
def test_a_doubled_effect_is_found(journal: bool, chance: random.Random) -> None:
    events, rules = told_by(chance, journal)
    found = pick(chance, events, Effect)
    events.insert(events.index(found), found)
    assert "P2" in promises(events, rules)


@JOURNAL
@given(chance=chances)
def test_dropped_responses_are_found(journal: bool, chance: random.Random) -> None:
    events, rules = told_by(chance, journal)
    name = pick(chance, events, Response).message_id
    kept = [
        event for event in events if not (isinstance(event, Response) and event.message_id == name)
    ]
    killed_after_ack = not journal and any(
        isinstance(event, ProcessEnded) and event.at > ack.at
        for event in events
        for ack in events
        if isinstance(ack, Acknowledged) and ack.message_id == name
    )
    assert ("P4" in promises(kept, rules)) is not killed_after_ack


@JOURNAL
@given(chance=chances)
def test_a_changed_outcome_is_found(journal: bool, chance: random.Random) -> None:
    events, rules = told_by(chance, journal)
    found = pick(chance, events, Response)
    changed = replaced(found, at=found.at, fields={**found.fields, "changed": True})
    events.insert(events.index(found) + 1, changed)
    assert "P3" in promises(events, rules)


@JOURNAL
@given(chance=chances)
def test_a_swapped_order_is_found(journal: bool, chance: random.Random) -> None:
    events, rules = told_by(chance, journal)
    seen: set[str] = set()
    last: dict[str, Any] = {}
    copied = {
        event.message_id
        for event in events
        if isinstance(event, Invoked)
        and sum(isinstance(e, Invoked) and e.message_id == event.message_id for e in events) > 1
    }
    pairs: list[tuple[Any, Any]] = []
    for event in events:
        if isinstance(event, Effect) and event.message_id not in seen | copied:
            seen.add(event.message_id)
            line = event.command if event.command in rules.lines else event.command[:4]
            if line in last and last[line].incarnation == event.incarnation:
                pairs.append((last[line], event))
            last[line] = event
    assume(pairs)
    first, second = chance.choice(pairs)
    one, two = events.index(first), events.index(second)
    events[one] = replaced(second, at=first.at)
    events[two] = replaced(first, at=second.at)
    assert "P8" in promises(events, rules)


@JOURNAL
@given(chance=chances)
def test_a_success_without_its_effect_is_found(journal: bool, chance: random.Random) -> None:
    events, rules = told_by(chance, journal)
    successes = [e for e in events if isinstance(e, Response) and e.code is None]
    assume(successes)
    name = chance.choice(successes).message_id
    kept = [e for e in events if not (isinstance(e, Effect) and e.message_id == name)]
    assert "P3" in promises(kept, rules)


@given(chance=chances)
def test_with_a_journal_what_is_lost_by_a_kill_is_found(chance: random.Random) -> None:
    """The histories of a device without a journal are bad ones for a device with one."""
    events, _ = told_by(chance, journal=False)
    strict = Model(random.Random(), journal=True).rules
    acked = {e.message_id for e in events if isinstance(e, Acknowledged)}
    answered = {e.message_id for e in events if isinstance(e, Response)}
    assert ("P1" in promises(events, strict)) == bool(acked - answered)
