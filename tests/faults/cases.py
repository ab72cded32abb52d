"""What the promises P1 to P4 say of one command, and of what excuses it.

The rule: what is not proved to be excused is a violation. The excuses are a killed process, where
there is no journal or the command may be run again; an orderly stop; and a session that the broker
forgot.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from petalkit._serving.intake.recovery import STARTS_MAX

from .history import (
    Acknowledged,
    Effect,
    Event,
    Invoked,
    ProcessEnded,
    Recorded,
    Response,
    SessionLost,
    Taken,
)

NO_EFFECTS = {"petalkit", "jobs"}  # commands of these petals leave none, or not all of them
# Refusals before the start, which are not recorded: a later copy is judged anew.
NOT_FINAL = {"BUSY", "DROPPED", "SHUTTING_DOWN", "UNAVAILABLE"}
# Said without calling the handler, or instead of its result.
_NOT_BY_HANDLER = {
    *NOT_FINAL, "CANCELLED", "EXPIRED", "INTERRUPTED", "INVALID_COMMAND", "INVALID_DATA",
    "INVALID_JSON", "MESSAGE_ID_REUSED", "RETAINED", "TOO_LARGE", "UNAUTHORIZED", "UNKNOWN_COMMAND",
}  # fmt: skip
_BY_STOP = {"CANCELLED", "SHUTTING_DOWN"}


About: TypeAlias = Invoked | Taken | Acknowledged | Effect | Response | Recorded


@attrs.frozen(kw_only=True)
class Rules:
    """What the petals' commands are allowed.

    Attributes:
        journal: whether the device has one.
        settled: whether everything had the time to be answered.
        may_give_up: whether a response may be missing that the device has counted as given up, as
            it does with one that was in flight when three links in a row were lost.
        idempotent: commands that are run again when they were interrupted.
        urgent: commands that pass every order, and may be repeated across a crash.
        lines: commands that have a `concurrency` of their own, and so their own order.
        codes: error codes that a command may be answered with, None for a success, beside those
            of a stop and INTERRUPTED. A command that is not in it may be answered with any.
    """

    journal: bool
    settled: bool = True
    may_give_up: bool = False
    idempotent: Collection[str] = ()
    urgent: Collection[str] = ()
    lines: Collection[str] = ()
    codes: Mapping[str, Collection[str | None]] = attrs.field(factory=dict)


@attrs.define
class Case:
    """All about one messageId, each kind in order."""

    message_id: str
    invoked: list[Invoked] = attrs.field(factory=list)
    taken: list[Taken] = attrs.field(factory=list)
    acknowledged: list[Acknowledged] = attrs.field(factory=list)
    effects: list[Effect] = attrs.field(factory=list)
    responses: list[Response] = attrs.field(factory=list)
    recorded: list[Recorded] = attrs.field(factory=list)

    def add(self, event: About) -> None:
        match event:
            case Invoked():
                self.invoked.append(event)
            case Taken():
                self.taken.append(event)
            case Acknowledged():
                self.acknowledged.append(event)
            case Effect():
                self.effects.append(event)
            case Response():
                self.responses.append(event)
            case Recorded():
                self.recorded.append(event)

    @property
    def command(self) -> str:
        return self.invoked[0].command

    @property
    def finals(self) -> list[Response]:
        return [each for each in self.responses if each.code not in NOT_FINAL]

    @property
    def finished(self) -> list[Recorded]:
        return [each for each in self.recorded if each.state == "finished"]

    @property
    def wanted(self) -> bool:
        """Whether a response was asked for."""
        return any(each.wait_response for each in self.invoked)


@attrs.frozen
class Times:
    """When processes ended and sessions were lost."""

    ends: list[ProcessEnded]
    lost: list[SessionLost]

    @classmethod
    def of(cls, events: Iterable[Event]) -> Times:
        events = list(events)
        return cls(
            [each for each in events if isinstance(each, ProcessEnded)],
            [each for each in events if isinstance(each, SessionLost)],
        )

    def ended(self, after: float, before: float) -> bool:
        return any(after < end.at < before for end in self.ends)

    def killed(self, after: float, before: float = math.inf) -> int:
        """How often, or whether."""
        return sum(after < end.at < before for end in self.ends if end.how != "stopped")

    def stopping(self, by: float) -> bool:
        return any(end.at - end.took <= by for end in self.ends if end.how == "stopped")

    def may_be_lost(self, case: Case) -> bool:
        """Whether no copy of a command was safe from what the broker forgot."""

        def lost(copy: Invoked) -> bool:
            return any(
                copy.at < loss.until
                and not any(copy.at < ack.at < loss.at for ack in case.acknowledged)
                for loss in self.lost
            )

        return all(map(lost, case.invoked))


# -- P1, P4: nothing is lost


def _is_lost(case: Case, times: Times, rules: Rules) -> Iterator[str]:
    if not rules.settled or not case.acknowledged:
        return
    if case.responses or case.finished:
        return
    # A handler that ran shows that nothing was lost on the way to it.
    if case.effects and not (rules.journal and case.wanted):
        return
    if rules.journal or not times.killed(case.acknowledged[0].at):
        yield f"{case.command} was acknowledged to the broker, and has no final state"


def _is_not_answered(case: Case, times: Times, rules: Rules) -> Iterator[str]:
    if not rules.settled or case.responses or not case.taken or not case.wanted:
        return
    if times.may_be_lost(case):
        return
    acknowledged = case.acknowledged
    if not rules.journal and acknowledged and times.killed(acknowledged[0].at):
        return
    ran = "it ran" if case.effects else "it did not run"
    yield f"{case.command} was not answered; {ran}, {len(acknowledged)} times acknowledged"


# -- P2: at most once


def _may_repeat(case: Case, after: float, before: float, times: Times, rules: Rules) -> bool:
    """Whether what was known at one time may be forgotten at the other, finished or not."""
    if not rules.journal:
        return times.ended(after, before)
    return case.command in rules.urgent and times.killed(after, before)


def _runs_again(case: Case, times: Times, rules: Rules) -> Iterator[str]:
    for first, second in itertools.pairwise(case.effects):
        if first.incarnation == second.incarnation:
            yield f"{case.command} ran twice in process {first.incarnation}"
        elif _may_repeat(case, first.at, second.at, times, rules):
            pass
        elif case.command not in rules.idempotent:
            where = f"{first.incarnation} and {second.incarnation}"
            yield f"{case.command} ran in processes {where}"
        elif not times.killed(first.at, second.at):
            yield f"{case.command} ran again, and was not interrupted"
    answers: list[Response | Recorded] = [*case.finals, *case.finished]
    for effect in case.effects:
        for answer in answers:
            if answer.at < effect.at and not _may_repeat(case, answer.at, effect.at, times, rules):
                yield f"{case.command} ran in process {effect.incarnation} after its final state"
                break


# -- P3: one outcome, and the right one


def _outcomes_differ(case: Case, times: Times, rules: Rules) -> Iterator[str]:
    for first, second in itertools.pairwise(case.finals):
        if first.outcome != second.outcome and not _may_repeat(
            case, first.at, second.at, times, rules
        ):
            yield f"{case.command} was answered {first.fields}, and then {second.fields}"


def _is_answered_wrongly(case: Case, times: Times, rules: Rules) -> Iterator[str]:
    allowed = rules.codes.get(case.command)
    for response in case.responses:
        code = response.code
        if code in _BY_STOP:
            if not times.stopping(response.at):
                yield f"{case.command} was answered {code}, and nobody had asked for a stop"
        elif code != "INTERRUPTED" and allowed is not None and code not in allowed:
            yield f"{case.command} was answered {response.fields}"
        if code is None and response.fields.get("n", case.invoked[0].n) != case.invoked[0].n:
            yield f"{case.command} was answered as another: {response.fields}"
        by_handler = code not in _NOT_BY_HANDLER and case.invoked[0].petal not in NO_EFFECTS
        if by_handler and not any(effect.at <= response.at for effect in case.effects):
            yield f"{case.command} was answered {code or 'success'}, and had not run"


def _interrupted(case: Case, times: Times, rules: Rules) -> Iterator[str]:
    for response in case.responses:
        if response.code == "INTERRUPTED":
            before = [effect.at for effect in case.effects if effect.at < response.at]
            since = before[0] if before else case.invoked[0].at
            if not rules.journal:
                yield f"{case.command} was answered INTERRUPTED, and there is no journal"
            elif not times.killed(since, response.at):
                yield f"{case.command} was answered INTERRUPTED, and nothing was killed meanwhile"
            elif (
                case.command in rules.idempotent
                # One that is there whenever the process dies may be why it does.
                and times.killed(case.invoked[0].at, response.at) < STARTS_MAX
            ):
                yield f"{case.command} was answered INTERRUPTED, and not run again"


def _records_differ(case: Case, times: Times, rules: Rules) -> Iterator[str]:
    codes = {each.code for each in case.finished}
    if len(codes) > 1:
        yield f"{case.command} has several final states: {codes}"
    elif codes and case.finals and case.finals[-1].code not in codes:
        yield f"{case.command} is recorded as {codes}, and was answered {case.finals[-1].code}"


Judge: TypeAlias = Callable[[Case, Times, Rules], Iterator[str]]
JUDGES: Sequence[tuple[str, Judge]] = (
    ("P1", _is_lost),
    ("P2", _runs_again),
    ("P3", _outcomes_differ),
    ("P3", _is_answered_wrongly),
    ("P3", _interrupted),
    ("P3", _records_differ),
    ("P4", _is_not_answered),
)
