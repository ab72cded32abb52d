"""What the promises say of jobs, and of commands that are answered before they end.

The law: each job of which a start was answered has exactly one end, and whoever asks is told that
one, always; a second phase is told at least once, and is one. `interrupted` needs a process that
was killed, `cancelled` somebody who asked for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import attrs

from .cases import Case, Rules, Times
from .history import Cancelled, Event, JobRan, SecondPhase, Told

JOBS = "jobs"  # the petal of long work
RESUMED = {"sync"}  # jobs that go on after a kill
STARTS = {"jobs/copy", "jobs/sync"}
TWO_PHASE = {"jobs/detect"}
ENDS = {"succeeded", "failed", "cancelled", "timed_out", "interrupted"}

Found: TypeAlias = Iterator[tuple[str, str, str]]  # promise, text, and the ID


@attrs.define
class JobCase:
    """All about one job, each kind in order."""

    job_id: str
    start: Case | None = None
    told: list[Told] = attrs.field(factory=list)
    ran: list[JobRan] = attrs.field(factory=list)
    cancelled: list[Cancelled] = attrs.field(factory=list)

    @property
    def ends(self) -> list[Told]:
        return [one for one in self.told if one.fields.get("state") in ENDS]


def judge_long_work(
    events: list[Event], cases: Iterable[Case], times: Times, rules: Rules
) -> Found:
    """Everything that this history shows to be wrong with long work."""
    cases = list(cases)
    for case in _jobs(events, cases).values():
        yield from ((*one, case.job_id) for one in _judge_job(case, times, rules))
    phases: dict[str, list[SecondPhase]] = {}
    for event in events:
        if isinstance(event, SecondPhase):
            phases.setdefault(event.message_id, []).append(event)
    for start in cases:
        if start.invoked and start.command in TWO_PHASE:
            found = _judge_phases(start, phases.pop(start.message_id, []), times, rules)
            yield from ((*one, start.message_id) for one in found)
    for message_id in phases:
        yield "P3", "a second phase came of what nobody had sent", message_id


def _jobs(events: list[Event], cases: Iterable[Case]) -> dict[str, JobCase]:
    jobs: dict[str, JobCase] = {}

    def of(job_id: str) -> JobCase:
        return jobs.setdefault(job_id, JobCase(job_id))

    for case in cases:
        if case.invoked and case.command in STARTS:
            for response in case.responses:
                if "job_id" in response.fields:
                    of(response.fields["job_id"]).start = case
    for event in events:
        match event:
            case Told():
                of(event.job_id).told.append(event)
            case JobRan():
                of(event.job_id).ran.append(event)
            case Cancelled():
                of(event.job_id).cancelled.append(event)
    return jobs


def _judge_job(case: JobCase, times: Times, rules: Rules) -> Iterator[tuple[str, str]]:
    ends = case.ends
    if len({str(_outcome(one.fields)) for one in ends}) > 1:
        yield "P3", f"it has several ends: {[_outcome(one.fields) for one in ends]}"
    if any(one.fields.get("error_code") == "UNKNOWN_JOB" for one in case.told):
        yield "P1", "its start was answered, and nobody knows it"
    if rules.settled and case.start is not None:
        if not ends:
            yield "P4", "it has no end"
        elif not any(one.to_readers for one in ends) and not rules.may_give_up:
            yield "P4", "its readers were not told its end"
    asked = [one for one in case.told if not one.to_readers]
    for first, second in itertools.pairwise(asked):
        if first.fields.get("state") in ENDS and second.fields.get("state") not in ENDS:
            yield "P3", f"it is {second.fields} after its end"
    yield from _judge_ends(case, times)
    yield from _judge_runs(case, times)


def _judge_ends(case: JobCase, times: Times) -> Iterator[tuple[str, str]]:
    since = min([one.at for one in (*case.ran, *case.told)], default=0.0)
    if case.start is not None:
        since = case.start.invoked[0].at
    for end in case.ends:
        state = end.fields["state"]
        stopped = times.stopping(end.at)
        asked = any(one.at < end.at for one in case.cancelled)
        if state == "interrupted":
            if not times.killed(since, end.at):
                yield "P3", "it is interrupted, and nothing was killed"
            elif case.ran and case.ran[0].name in RESUMED and not asked:
                yield "P3", "it is interrupted, and could go on"
        elif state == "cancelled":
            if not asked and not stopped:
                yield "P3", "it is cancelled, and nobody had asked for that"
        elif state == "succeeded":
            if not any(one.at < end.at for one in case.ran):
                yield "P3", "it has succeeded, and had not run"
            n = None if case.start is None else case.start.invoked[0].n
            if n is not None and end.fields["result"]["n"] != n:
                yield "P3", f"it has the result of another: {end.fields}"
        else:
            yield "P3", f"it has ended as {end.fields}"


def _judge_runs(case: JobCase, times: Times) -> Iterator[tuple[str, str]]:
    for first, second in itertools.pairwise(case.ran):
        if first.incarnation == second.incarnation:
            yield "P2", f"it ran twice in process {first.incarnation}"
        elif first.name not in RESUMED:
            yield "P2", f"it ran in processes {first.incarnation} and {second.incarnation}"
        elif not times.ended(first.at, second.at):
            yield "P2", "it ran again, and was not interrupted"
    for ran in case.ran:
        if any(end.at < ran.at for end in case.ends):
            yield "P2", f"it ran in process {ran.incarnation} after its end was told"


def _judge_phases(
    case: Case, phases: list[SecondPhase], times: Times, rules: Rules
) -> Iterator[tuple[str, str]]:
    accepted = [one for one in case.responses if one.fields.get("pending") is True]
    if accepted and not phases and rules.settled:
        yield "P4", "its second phase was not told"
    if len({str(one.fields) for one in phases}) > 1:
        yield "P3", f"it has several second phases: {[one.fields for one in phases]}"
    for one in phases:
        code = one.fields.get("error_code")
        if code == "INTERRUPTED":
            if not times.killed(case.invoked[0].at, one.at):
                yield "P3", "its second phase is INTERRUPTED, and nothing was killed"
        elif code is not None and not times.stopping(one.at):
            yield "P3", f"its second phase is {one.fields}"
    if phases and case.finals and not accepted:
        yield "P3", f"it was answered {case.finals[0].fields}, and has a second phase"


def _outcome(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields.get(name) for name in ("state", "result", "job_error_code")}
