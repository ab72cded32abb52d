"""The reference model: what may be seen of a device from outside, by P1 to P8 of the design.

A `History` is what the world saw: what was sent, acknowledged, started and answered, and what was
done to the device meanwhile. `check` reads it and says which promise was broken, if one was.
Nothing here knows how petalkit works. What it may do is written down in the small functions below,
one for each promise, and in `REASONS`, which says for each error code what has to have happened
before it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs

IDEMPOTENT_STARTS_MAX = 3  # after so many that ended in a crash, it is not tried again


@attrs.frozen(kw_only=True)
class Kind:
    """A kind of command.

    Attributes:
        held: it lasts until it is released.
        fails: its handler says no.
        recorded: it is in the journal.
        idempotent, urgent: as of `@command`.
        group: of which one runs at a time.
        concurrency: how many of it run at once.
        timeout: seconds.
    """

    held: bool = False
    fails: bool = False
    recorded: bool = True
    idempotent: bool = False
    urgent: bool = False
    group: str | None = None
    concurrency: int | None = None
    timeout: float = math.inf

    @property
    def is_strict(self) -> bool:
        """Whether it is started once, whatever happens."""
        return self.recorded and not self.idempotent and not self.urgent


KINDS = {
    "quick": Kind(),
    "hold": Kind(held=True),
    "brief": Kind(held=True, timeout=5.0),
    "fail": Kind(fails=True),
    "again": Kind(held=True, idempotent=True),
    "alone": Kind(held=True, group="motor"),
    "one": Kind(held=True, concurrency=1),
    "stop": Kind(urgent=True),
    "land": Kind(urgent=True, held=True),
    "free": Kind(recorded=False),
    "watch": Kind(recorded=False, held=True),
}


# -- what is seen


@attrs.define(eq=False)
class Life:
    """One process, from its start to its end.

    Attributes:
        number: how many there were before it.
        disk_failed: whether the disk failed at any time of it.
        moved: whether the organization changed during it.
        stopping: whether it was told to stop.
        over: whether it has ended.
        forgot: whether it ended without writing down what it had done: by a crash, or because the
            disk failed to its end.
        unsent: answers that it could not send, and had not recorded.
        given_up: answers that it gave up, with a counter.
    """

    number: int
    disk_failed: bool = False
    moved: bool = False
    stopping: bool = False
    over: bool = False
    forgot: bool = False
    unsent: int = 0
    given_up: int = 0


@attrs.frozen
class Event:
    """Something that was seen, at a time of the clock, in a life of the device."""

    at: float
    life: Life


@attrs.frozen
class Sent(Event):
    """A copy of a command was sent; `serial` counts all copies of all commands."""

    serial: int
    message_id: str
    petal: str
    kind: str
    variant: int
    wait: bool
    organization: str
    expires_at: float
    expires_by_property: bool


@attrs.frozen
class Acknowledged(Event):
    """The device acknowledged that copy."""

    sent: Sent


@attrs.frozen
class Started(Event):
    """A handler was called; `run` counts all calls."""

    message_id: str
    variant: int
    run: int


@attrs.frozen
class Ended(Event):
    """That call is over; `done` unless it was cancelled."""

    message_id: str
    run: int
    done: bool


@attrs.frozen
class Answered(Event):
    """A response came to the broker."""

    message_id: str
    payload: bytes
    fields: dict[str, Any]

    @property
    def code(self) -> str | None:
        return self.fields.get("error_code")

    @property
    def run(self) -> int | None:
        """The call whose outcome it tells."""
        return self.fields.get("run")

    @property
    def is_outcome(self) -> bool:
        """Whether only a start leads to it."""
        return self.run is not None or self.code in ("TIMEOUT", "INTERRUPTED")


@attrs.frozen
class DiskFailed(Event):
    pass


@attrs.frozen
class Moved(Event):
    """The device belongs to another organization."""


@attrs.frozen
class Stopping(Event):
    """It was told to stop."""


@attrs.frozen
class Over(Event):
    """The process has ended."""


@attrs.define
class History:
    """All events, in their order.

    Attributes:
        overflow: the setting.
    """

    overflow: str = "wait"
    events: list[Event] = attrs.field(factory=list)
    lives: list[Life] = attrs.field(factory=list)

    def of(self, message_id: str) -> list[Event]:
        """Those of one ID."""
        return [event for event in self.events if _id_of(event) == message_id]

    def ids(self) -> dict[str, list[Event]]:
        """Events by ID."""
        found: dict[str, list[Event]] = {}
        for event in self.events:
            message_id = _id_of(event)
            if message_id is not None:
                found.setdefault(message_id, []).append(event)
        return found

    def before(self, event: Event) -> Iterator[Event]:
        """What was seen before it."""
        for each in self.events:
            if each is event:
                return
            yield each


def _id_of(event: Event) -> str | None:
    if isinstance(event, Acknowledged):
        return event.sent.message_id
    return getattr(event, "message_id", None)


def _outcomes(events: list[Event]) -> list[Answered]:
    return [answer for answer in _only(events, Answered) if answer.is_outcome]


def _only(events: list[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if type(event) is kind]


# -- what is promised


class BrokenPromiseError(AssertionError):
    """The device did what it may not do."""


def require(holds: object, promise: str, *about: object) -> None:
    """Say which promise is broken."""
    if not holds:
        raise BrokenPromiseError(f"{promise}: " + ", ".join(map(str, about)))


def starts_once(history: History) -> None:
    """P2: a `messageId` starts once; idempotent, urgent and unrecorded ones once in a life.

    They start again only where the earlier life forgot: it crashed, or what was not recorded,
    because it never is or because the disk failed, ended with the process.
    """
    for events in history.ids().values():
        starts: list[Started] = _only(events, Started)
        if len(starts) < 2:
            continue
        kind = KINDS[_only(events, Sent)[0].kind]
        require(not kind.is_strict, "P2 starts once", *starts)
        for one, next_ in itertools.pairwise(starts):
            forgot = one.life.forgot or one.life.disk_failed or not kind.recorded
            require(one.life is not next_.life and one.life.over and forgot, "P2", one, next_)


def starts_nothing_after_its_answer(history: History) -> None:
    """P2: who has seen the outcome of a recorded command sees no start any more."""
    for events in history.ids().values():
        kind = KINDS[_only(events, Sent)[0].kind]
        outcome: Answered | None = None
        for event in events:
            if isinstance(event, Answered) and event.is_outcome:
                outcome = event
            elif isinstance(event, Started) and outcome is not None and kind.recorded:
                require(
                    _unrecorded_by_failure(history, events), "P2 after its answer", outcome, event
                )


def _unrecorded_by_failure(history: History, events: list[Event]) -> bool:
    """Whether a command that does not wait for the disk may have run while that failed."""
    kind = KINDS[_only(events, Sent)[0].kind]
    lives = {event.life.number for event in _only(events, Started)}
    failed = any(history.lives[number].disk_failed for number in lives)
    return not kind.is_strict and failed


def starts_in_order(history: History) -> None:
    """P8: commands of a petal start in the order in which they came, urgent ones aside.

    One with its own concurrency has its own order. Of copies it is not known here which one was
    accepted, so only what is certain counts. What is not recorded loses its place with the process,
    and what was refused and comes again is the last.
    """
    lines: dict[object, list[tuple[Started, list[Sent]]]] = {}
    for events in history.ids().values():
        copies: list[Sent] = _only(events, Sent)
        sent, kind = copies[0], KINDS[copies[0].kind]
        for start in _only(events, Started)[:1]:
            if not kind.urgent:
                own = sent.kind if kind.concurrency is not None else ""
                line = (sent.petal, own, sent.organization)
                if all(copy.organization == sent.organization for copy in copies):
                    lines.setdefault(line, []).append((start, copies))
    place = {id(event): index for index, event in enumerate(history.events)}
    for line in lines.values():
        line.sort(key=lambda one: place[id(one[0])])
        for index, (early, early_copies) in enumerate(line):
            for late, late_copies in line[index + 1 :]:
                keeps = _keeps_places(early_copies, late_copies, late)
                if not keeps or _may_come_again(history, late_copies):
                    continue
                in_order = early_copies[0].serial < late_copies[-1].serial
                require(in_order, "P8 starts in order", early, late)


def _may_come_again(history: History, copies: list[Sent]) -> bool:
    """Whether one may have been refused, and the broker may have delivered it again."""
    first = copies[0].life.number
    troubled = any(life.disk_failed or life.moved for life in history.lives[first:])
    # Every story ends with two orderly stops, at which nothing is there to be refused.
    stopped = any(life.stopping for life in history.lives[first:-2])
    may_be_busy = KINDS[copies[0].kind].group is not None or history.overflow != "wait"
    return troubled or stopped or may_be_busy


def _keeps_places(one: list[Sent], other: list[Sent], last: Started) -> bool:
    recorded = KINDS[one[0].kind].recorded and KINDS[other[0].kind].recorded
    return recorded or all(sent.life is last.life for sent in (*one, *other))


def runs_one_of_a_group(history: History) -> None:
    """Of a group one runs at a time, and of a command with its own concurrency so many."""
    running: dict[object, set[int]] = {}
    where: dict[int, set[int]] = {}
    kinds = {key: _only(events, Sent)[0] for key, events in history.ids().items()}
    for event in history.events:
        if isinstance(event, Started):
            sent = kinds[event.message_id]
            kind = KINDS[sent.kind]
            group = kind.group or (kind.concurrency and (sent.petal, sent.kind))
            if group:
                line = where[event.run] = running.setdefault((event.life.number, group), set())
                line.add(event.run)
                require(len(line) <= (kind.concurrency or 1), "one at a time", event)
        elif isinstance(event, Ended) and event.run in where:
            where.pop(event.run).discard(event.run)


def nothing_expired_starts(history: History) -> None:
    """A command is not started after the moment that its sender gave it."""
    for events in history.ids().values():
        copies: list[Sent] = _only(events, Sent)
        for start in _only(events, Started):
            latest = max(sent.expires_at for sent in copies if sent.at <= start.at)
            require(start.at <= latest, "starts nothing expired", start, latest)


# -- answers

Reason = Callable[[History, list[Event], Answered], bool]


def _disk_failed(history: History, events: list[Event], answer: Answered) -> bool:
    return any(type(event) is DiskFailed for event in history.before(answer))


def _expired(history: History, events: list[Event], answer: Answered) -> bool:
    # A broker counts whole seconds.
    moments = [sent.expires_at - sent.expires_by_property for sent in _only(events, Sent)]
    return answer.at >= min(moments)


def _group_or_full_or_left(history: History, events: list[Event], answer: Answered) -> bool:
    kind = KINDS[_only(events, Sent)[0].kind]
    # What is not recorded cannot wait on disk, whatever the overflow.
    full = history.overflow == "reject" or not kind.recorded
    return full or kind.group is not None or _was_left(events, answer) or _on_disk(history, answer)


def _on_disk(history: History, answer: Answered) -> bool:
    """Whether the oldest may be out of reach: one on its way to its slot, all others on disk."""
    before = list(history.before(answer))
    waiting = {sent.message_id for sent in _only(before, Sent) if KINDS[sent.kind].recorded}
    waiting -= {ended.message_id for ended in _outcomes(before)} | {answer.message_id}
    return history.overflow == "drop-oldest" and len(waiting) > 1


def _was_left(events: list[Event], answer: Answered) -> bool:
    """Whether a copy came that wanted more than one that an earlier process had left."""
    copies: list[Sent] = _only(events, Sent)
    left = [copy for copy in copies if copy.life.forgot and copy.life is not answer.life]
    return bool(left) and not left[0].wait


def _full(history: History, events: list[Event], answer: Answered) -> bool:
    return history.overflow == "drop-oldest"


def _stopping(history: History, events: list[Event], answer: Answered) -> bool:
    return any(type(event) is Stopping for event in history.before(answer))


def _stopping_or_moved(history: History, events: list[Event], answer: Answered) -> bool:
    return any(type(event) in (Stopping, Moved) for event in history.before(answer))


def _two_variants(history: History, events: list[Event], answer: Answered) -> bool:
    return len({sent.variant for sent in _only(events, Sent)}) > 1


def _timed_out(history: History, events: list[Event], answer: Answered) -> bool:
    timeout = KINDS[_only(events, Sent)[0].kind].timeout
    return any(start.at + timeout <= answer.at + 0.01 for start in _only(events, Started))


def _forgot(history: History, events: list[Event], answer: Answered) -> bool:
    """P3: `INTERRUPTED` only if a process ended between the start and the record of the end.

    The start may be on disk and not be seen here. An idempotent one is tried again, and a process
    that ended before the command was sent interrupted something else.
    """
    first = _only(events, Sent)[0]
    since = [
        event
        for event in history.before(answer)
        if type(event) is Over and event.life.forgot and event.life.number >= first.life.number
    ]
    kind = KINDS[first.kind]
    return kind.recorded and len(since) >= (IDEMPOTENT_STARTS_MAX if kind.idempotent else 1)


REASONS: dict[str, Reason] = {
    "UNAVAILABLE": _disk_failed,
    "EXPIRED": _expired,
    "BUSY": _group_or_full_or_left,
    "DROPPED": _full,
    "SHUTTING_DOWN": _stopping,
    "CANCELLED": _stopping_or_moved,
    "MESSAGE_ID_REUSED": _two_variants,
    "TIMEOUT": _timed_out,
    "INTERRUPTED": _forgot,
}


def answers_have_reasons(history: History) -> None:
    """P3, P5: an outcome is that of a call that was seen to end, and a refusal has its reason."""
    for events in history.ids().values():
        ended = set[int]()
        variants = {start.run: start.variant for start in _only(events, Started)}
        wanted = False
        for event in events:
            if isinstance(event, Sent):
                wanted = wanted or event.wait
            elif isinstance(event, Ended) and event.done:
                ended.add(event.run)
            elif isinstance(event, Answered):
                require(wanted, "answers who asked for it", event)
                if event.run is not None:
                    require(event.run in ended, "no answer without its effect", event)
                    same = variants[event.run] == event.fields["variant"]
                    require(same, "the answer of its own data", event)
                else:
                    require(event.code in REASONS, "a code that can be", event)
                    reason = REASONS[str(event.code)]
                    require(reason(history, events, event), f"a reason for {event.code}", event)


def outcomes_are_equal(history: History) -> None:
    """P3: all answers that tell an outcome tell the same one, to the byte."""
    for events in history.ids().values():
        kind = KINDS[_only(events, Sent)[0].kind]
        outcomes = {answer.payload: answer for answer in _outcomes(events)}
        if kind.recorded and not _unrecorded_by_failure(history, events):
            require(len(outcomes) <= 1, "P3 one outcome", *outcomes.values())
        for one in outcomes.values():
            for other in outcomes.values():
                if one is not other and one.life is other.life and one.run is not None:
                    require(one.run != other.run, "P3 one outcome of a call", one, other)


def what_was_acknowledged_is_answered(history: History) -> None:
    """P1, P4: who wants an answer, and had its command acknowledged, has one in the end."""
    if any(life.given_up for life in history.lives):
        return
    for events in history.ids().values():
        if _only(events, Answered):
            continue
        for acknowledged in _only(events, Acknowledged):
            if acknowledged.sent.wait:
                lost = _may_be_lost(history, events, acknowledged)
                require(lost, "P1, P4 an answer to what was acknowledged", acknowledged)


def _may_be_lost(history: History, events: list[Event], acknowledged: Acknowledged) -> bool:
    """Whether its answer may have been in memory only, when the process ended.

    That is where the answers of commands are that are not recorded, and of those that were refused
    before they were accepted.
    """
    life = acknowledged.life
    if not (life.over and (life.forgot or life.unsent)):
        return False
    sent = acknowledged.sent
    wanted_more = any(not copy.wait and copy.life.forgot for copy in _only(events, Sent))
    return (
        not KINDS[sent.kind].recorded
        or (wanted_more and any(each.forgot for each in history.lives[: life.number]))
        or life.disk_failed
        or life.moved
        or life.stopping
        or history.overflow == "reject"
        or math.isfinite(sent.expires_at)
        or len({copy.variant for copy in _only(events, Sent)}) > 1
    )


PROMISES = (
    starts_once,
    starts_nothing_after_its_answer,
    starts_in_order,
    runs_one_of_a_group,
    nothing_expired_starts,
    answers_have_reasons,
    outcomes_are_equal,
    what_was_acknowledged_is_answered,
)


def check(history: History) -> None:
    """Hold a history against every promise.

    Raises:
        BrokenPromiseError: the first that is broken.
    """
    for promise in PROMISES:
        promise(history)


# -- what is left at the end


@attrs.frozen(kw_only=True)
class Row:
    """A command in the journal, when all is over."""

    number: int
    message_id: str
    starts: int
    finished: bool
    code: str | None
    response: bytes | None
    remembered: bool


def check_journal(history: History, rows: list[Row], owed: int) -> None:
    """P3: every command in the journal is finished, once, and as its sender was told.

    Args:
        history: that led to it.
        rows: of the commands.
        owed: messages that are still to be sent.
    """
    require(owed == 0, "P4 nothing is owed", owed)
    remembered: dict[str, Row] = {}
    for row in rows:
        require(row.finished, "P3 a final state", row)
        if row.remembered:
            require(row.message_id not in remembered, "P2 one record of an ID", row)
            remembered[row.message_id] = row
    for message_id, events in history.ids().items():
        kind = KINDS[_only(events, Sent)[0].kind]
        starts = _only(events, Started)
        if not kind.recorded or _unrecorded_by_failure(history, events):
            continue
        row = remembered.get(message_id)
        outcomes = _outcomes(events)
        # Others may start before that is on disk, or be given up after a crash.
        is_needed = bool(starts if kind.is_strict else outcomes)
        require(row is not None or not is_needed, "P3 what was started is recorded", *starts)
        if row is None:
            continue
        require(row.starts <= IDEMPOTENT_STARTS_MAX, "P2 gives up in the end", row)
        if kind.is_strict:
            require(len(starts) <= row.starts, "P1 a start is on disk before", row, *starts)
        for answer in outcomes:
            require(answer.payload == row.response, "P3 told as recorded", row, answer)
