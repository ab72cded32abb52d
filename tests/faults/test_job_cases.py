"""The checker says of each history of long work that is known to be bad what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from .cases import Rules
from .checker import check
from .history import (
    ASK,
    Acknowledged,
    Cancelled,
    Event,
    Invoked,
    JobRan,
    ProcessEnded,
    Response,
    SecondPhase,
    Taken,
    Told,
)

DONE = {"state": "succeeded", "result": {"n": 1}}
KILL = ProcessEnded(at=5.0, incarnation=1, how="killed", code=-9)


def started(command: str = "jobs/copy", **fields: Any) -> list[Event]:
    fields = {"success": True, "messageId": "m", **(fields or {"job_id": "j"})}
    return [
        Invoked(at=1.0, message_id="m", command=command, n=1),
        Taken(at=1.1, message_id="m"),
        Acknowledged(at=1.2, message_id="m", link=1),
        Response(at=2.0, message_id="m", fields=fields),
    ]


def ran(at: float = 3.0, process: int = 1, name: str = "copy") -> JobRan:
    return JobRan(at=at, job_id="j", name=name, incarnation=process)


def told(at: float, to_readers: bool = False, **fields: Any) -> Told:
    return Told(at=at, job_id="j", fields=fields, to_readers=to_readers)


def ended(state: str, at: float = 8.0) -> list[Event]:
    return [told(at, True, state=state), told(at, state=state)]


def second(at: float = 8.0, **fields: Any) -> SecondPhase:
    return SecondPhase(at=at, message_id="m", fields=fields)


def found(*events: Event) -> list[str]:
    return [one.text for one in check(list(events), Rules(journal=True))]


def test_a_job_that_keeps_the_law() -> None:
    good = [told(8.0, True, **DONE), told(9.0, **DONE), told(9.5, **DONE)]
    assert found(*started(), ran(), *good) == []
    assert found(*started(), ran(), KILL, *ended("interrupted")) == []
    assert found(*started(), Cancelled(at=4.0, job_id="j"), *ended("cancelled")) == []
    resumed = [ran(name="sync"), KILL, ran(6.0, 2, "sync")]
    assert found(*started("jobs/sync"), *resumed, *good) == []
    question = Response(at=3.0, message_id=f"{ASK}1", fields={"success": True})
    assert found(question) == []


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([ran()], "it has no end"),
        ([ran(), told(8.0, **DONE)], "its readers were not told its end"),
        ([ran(), told(4.0, **DONE), KILL, *ended("interrupted")], "it has several ends"),
        ([ran(), *ended("interrupted")], "nothing was killed"),
        ([ran(), *ended("cancelled")], "nobody had asked for that"),
        ([ran(), *ended("timed_out")], "it has ended as"),
        ([told(8.0, True, **DONE)], "had not run"),
        ([ran(), told(8.0, True, state="succeeded", result={"n": 2})], "the result of another"),
        ([ran(), told(8.0, True, **DONE), told(8.0, **DONE), told(9.0, state="running")], "after"),
        ([ran(), told(8.0, error_code="UNKNOWN_JOB")], "nobody knows it"),
        ([ran(), KILL, ran(6.0, 2), told(8.0, True, **DONE)], "it ran in processes 1 and 2"),
        ([ran(), ran(6.0), told(8.0, True, **DONE)], "it ran twice in process 1"),
        ([ran(), told(4.0, True, **DONE), ran(9.0, 2)], "after its end was told"),
        ([ran(name="sync"), KILL, *ended("interrupted")], "could go on"),
        ([ran(name="sync"), ran(6.0, 2, "sync"), told(8.0, True, **DONE)], "not interrupted"),
    ],
)
def test_a_job_that_breaks_it(events: list[Event], text: str) -> None:
    assert any(text in one for one in found(*started(), *events))


def test_a_second_phase_that_keeps_the_law() -> None:
    first = started("jobs/detect", pending=True)
    assert found(*first, second(success=True, n=1), second(9.0, success=True, n=1)) == []
    assert found(*first, KILL, second(error_code="INTERRUPTED")) == []


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([], "its second phase was not told"),
        ([second(n=1), KILL, second(9.0, error_code="INTERRUPTED")], "several second phases"),
        ([second(error_code="INTERRUPTED")], "nothing was killed"),
        ([second(error_code="CANCELLED")], "its second phase is"),
    ],
)
def test_a_second_phase_that_breaks_it(events: list[Event], text: str) -> None:
    assert any(text in one for one in found(*started("jobs/detect", pending=True), *events))


def test_a_second_phase_of_what_was_not_sent_or_not_accepted() -> None:
    assert found(second(n=1)) == ["a second phase came of what nobody had sent"]
    refused = started("jobs/detect", error_code="BUSY", success=False)
    assert found(*refused, second(n=1)) == []  # a copy of it may have been accepted
    failed = started("jobs/detect", error_code="NO", success=False)
    assert any("and has a second phase" in one for one in found(*failed, second(n=1)))
