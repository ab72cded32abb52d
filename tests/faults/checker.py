"""Judges a history by the promises P1 to P9, as far as a history can show that one is broken.

A pure function: it can be given a history that is known to be bad, and has to say so. P6 (memory)
is not in a history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from .cases import JUDGES, Case, Rules, Times
from .history import (
    ASK,
    Acknowledged,
    CountersRead,
    Effect,
    Event,
    Hindered,
    Invoked,
    Recorded,
    Relieved,
    Response,
    Taken,
)
from .job_cases import judge_long_work

GIVEN_UP = ("publish_set_aside", "publish_rejected", "publish_expired")
# What has to be the same number as what, of the counters of `petalkit/statistics`.
SUMS = (
    (
        ("received",),
        ("accepted", "refused", "duplicates_joined", "duplicates_answered", "unexpected_topic",
         "malformed", "held", "given_back"),
    ),
    (
        ("accepted", "restored", "interrupted"),
        ("succeeded", "failed", "waiting", "waiting_on_disk", "running"),
    ),
    (("jobs_started", "jobs_restored"), ("jobs_ended", "jobs_waiting", "jobs_running")),
)  # fmt: skip
OTHERS_GO_ON = 10.0  # seconds in which a command of a petal that nobody hinders is served


@attrs.frozen
class Violation:
    """A promise that was broken.

    Attributes:
        promise: which.
        text: how.
        message_id: of the command; None where it is not about one.
    """

    promise: str
    text: str
    message_id: str | None = None

    def __str__(self) -> str:
        about = "" if self.message_id is None else f" {self.message_id}:"
        return f"{self.promise}{about} {self.text}"


def check(history: Iterable[Event], rules: Rules) -> list[Violation]:
    """Every promise that this history shows to be broken; empty when there is none."""
    events = list(history)
    times = Times.of(events)
    cases = _cases(events)
    sent = [case for case in cases if case.invoked]
    found = [
        Violation(promise, text, case.message_id)
        for promise, judge in JUDGES
        for case in sent
        for text in judge(case, times, rules)
    ]
    if rules.may_give_up:
        found = _without_given_up(found, events)
    found += _strangers(cases)
    found += _counters(events)
    found += _ends(times)
    found += _order(sent, times, rules)
    found += _others(events, sent, times)
    long_work = judge_long_work(events, cases, times, rules)
    found += [Violation(promise, text, one) for promise, text, one in long_work]
    return found


def _cases(events: Iterable[Event]) -> list[Case]:
    cases: dict[str, Case] = {}
    for event in events:
        if isinstance(event, Invoked | Taken | Acknowledged | Effect | Response | Recorded):
            if event.message_id.startswith(ASK):
                continue
            cases.setdefault(event.message_id, Case(event.message_id)).add(event)
    return list(cases.values())


def _without_given_up(found: list[Violation], events: Iterable[Event]) -> list[Violation]:
    """Take away as many missing responses as were counted."""
    counted = sum(
        event.values.get(name, 0)
        for event in events
        if isinstance(event, CountersRead)
        for name in GIVEN_UP
    )
    missing = [violation for violation in found if violation.promise == "P4"]
    return [violation for violation in found if violation not in missing[:counted]]


def _strangers(cases: Iterable[Case]) -> Iterator[Violation]:
    for case in cases:
        if not case.invoked:
            if case.effects:
                yield Violation("P2", "it ran, and nobody had sent it", case.message_id)
            if case.responses:
                yield Violation("P3", "it was answered, and nobody had sent it", case.message_id)


# -- P5: counters


def _counters(events: Iterable[Event]) -> Iterator[Violation]:
    for event in events:
        if isinstance(event, CountersRead):
            for wholes, parts in SUMS:
                counted = {name: _total(event.values.get(name, 0)) for name in (*wholes, *parts)}
                if sum(counted[name] for name in wholes) != sum(counted[name] for name in parts):
                    yield Violation("P5", f"process {event.incarnation}: {counted}")


def _total(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(value.values())
    assert isinstance(value, int)
    return value


# -- P7: ends


def _ends(times: Times) -> Iterator[Violation]:
    for end in times.ends:
        process = f"process {end.incarnation}"
        if end.how == "crashed":
            yield Violation("P9", f"{process} ended by itself with {end.code}")
        elif end.how == "stopped":
            if end.code:
                yield Violation("P7", f"{process} was stopped, and ended with {end.code}")
            if end.took > end.limit:
                text = f"{process} took {end.took:.1f} s to stop, of {end.limit:.1f}"
                yield Violation("P7", text)


# -- P8: order


def _order(cases: Iterable[Case], times: Times, rules: Rules) -> Iterator[Violation]:
    lines: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        if case.effects and case.command not in rules.urgent:
            # Of what was sent again before it ran, nobody knows which copy ran; and a copy of what
            # was refused is judged anew when it comes, also when it is the broker's own.
            again = len(case.invoked) > 1 and case.invoked[1].at < case.effects[0].at
            if again or case.finals != case.responses or _may_miss_refusal(case, times, rules):
                continue
            first = case.invoked[0]
            line = case.command if case.command in rules.lines else first.petal
            lines.setdefault((line, first.sender), []).append(case)
    for (line, _), ran in lines.items():
        ran.sort(key=lambda case: case.effects[0].at)
        latest = ran[0]
        for case in ran:
            if case.invoked[0].at < latest.invoked[0].at:
                text = f"of {line}: started after {latest.message_id}, which was sent later"
                yield Violation("P8", text, case.message_id)
            else:
                latest = case


def _may_miss_refusal(case: Case, times: Times, rules: Rules) -> bool:
    """Whether it may have been refused, and that answer was lost with a process."""
    acknowledged = case.acknowledged
    if rules.journal or not acknowledged or "BUSY" not in rules.codes.get(case.command, ()):
        return False
    return times.killed(acknowledged[0].at) > 0


# -- P9: the others go on


def _others(events: list[Event], cases: Iterable[Case], times: Times) -> Iterator[Violation]:
    cases = [case for case in cases if case.taken]
    for start in events:
        if not isinstance(start, Hindered):
            continue
        ends = (
            event.at
            for event in events
            if isinstance(event, Relieved) and event.petal == start.petal and event.at > start.at
        )
        end = next(ends, events[-1].at)
        if times.ended(start.at, end):
            continue
        for case in cases:
            first = case.invoked[0]
            if first.petal == start.petal or not start.at <= first.at <= end - OTHERS_GO_ON:
                continue
            done = [each.at for each in (*case.effects, *case.responses)]
            if not any(at <= end for at in done) and not times.may_be_lost(case):
                text = f"{first.command} waited while petal {start.petal} was busy"
                yield Violation("P9", text, case.message_id)
