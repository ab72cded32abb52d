# ruff: noqa: S608 - the SQL is put together from parts of our own
"""Many operations as few SQL statements, since each step of SQLite costs a fight for the GIL.

The thread that folds lets the GIL go at every step and gets it back only when the event loop's
thread gives it up. So rows are written many at a time, by one statement for each kind of operation.

That reorders the operations of a batch, so what is about one command or message is put together
first: a command that is accepted and started in one batch is one row, a message that is posted
and settled in one is none. What is left has no order. So a batch is also what is known of those
commands before it is in the database: see `overlay`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...records import Accepted
from ..forgetting.owed import Owed, OwedLater
from ..operations import (
    Finished,
    Forgotten,
    Noted,
    Operation,
    Posted,
    Requeued,
    Settled,
    Started,
    Wanted,
)
from .statements import SIZES, STATEMENT_BYTES, Statement, delete, insert, many, rows_of

# Of a row in the table of commands: the places of what a batch changes before it is written.
_STATE, _STARTS, _STARTED_AT, _WAIT_RESPONSE, _OUTCOME, _EXTRAS = 2, 3, 5, 7, 8, 14

# Python's module takes int, float, str and bytearray as they are, and looks for an adapter for
# each None, bool and bytes, which takes longer than all else here. So none of those is given:
# where there is nothing, there is what the column never has.
_NONE = 0
_NO_TIME = ""
_NULL = f"nullif(?, {_NONE})"
_NULL_TIME = f"nullif(?, '{_NO_TIME}')"
_COMMAND = [
    *("?", _NULL, "?", "?", "?", "?", _NULL_TIME, "?", _NULL, "?", "?", "?", "?", "?", _NULL, "?"),
]
_RESULT = ["?", "?", "?", _NULL, "?", "?"]
_MESSAGE = ["?", _NULL, "?", "?", _NULL, _NULL, _NULL, _NULL]

_ROW = 200  # bytes, about, of a row beside its payload

_ACCEPT = insert("commands", _COMMAND)
_FINISH = insert("results", _RESULT)
_POST = insert("outbox", _MESSAGE)
_START = {
    size: "UPDATE commands SET state = v.column2, starts = starts + v.column3,"
    f" started_at = coalesce({_NULL_TIME.replace('?', 'v.column4')}, started_at)"
    f" FROM (VALUES {rows_of('????', size)}) AS v WHERE number = v.column1"
    for size in SIZES
}
_OUTCOMES = {
    size: "UPDATE commands SET outcome = v.column2"
    f" FROM (VALUES {rows_of('??', size)}) AS v WHERE number = v.column1"
    for size in SIZES
}
_WANT = f"UPDATE commands SET wait_response = ?, extras = {_NULL} WHERE number = ?"
_NOTE = insert("notes", ("?", "?"))
_UNNOTE = delete("notes")
_SETTLE = delete("outbox")
_FORGET = (delete("commands"), delete("results"))


class Batch:
    """Operations, put together per command and message.

    Args:
        ended: how many commands have finished so far; each that finishes here gets the next.
        owed: the messages that are not settled; they follow what is added.

    Attributes:
        accepted: rows of commands, by command.
        started: of commands that were there before, by command: the number, what their state
            becomes, by how much `starts` grows, and `started_at`.
        outcomes: of the same: their number and why a message was given up.
        wanted: of the same: what is wanted, and their number.
        forgotten: of the same: their number.
        finished: rows of results, by command.
        posted: rows of the outbox, by message: the second value is the command it answers, or 0.
        settled: messages that were there before.
        noted: rows of notes, by number.
        unnoted: numbers of notes that are kept no more.
        size: about how many bytes they add.
        ended: how many commands have finished so far.
    """

    def __init__(self, ended: int, owed: Owed | OwedLater) -> None:
        self.accepted: dict[int, list[Any]] = {}
        self.started: dict[int, list[Any]] = {}
        self.outcomes: dict[int, tuple[int, str]] = {}
        self.wanted: dict[int, tuple[int, Any, int]] = {}
        self.forgotten: dict[int, tuple[int]] = {}
        self.finished: dict[int, tuple[Any, ...]] = {}
        self.posted: dict[int, tuple[Any, ...]] = {}
        self.settled: list[tuple[int]] = []
        self.noted: dict[int, tuple[int, bytearray]] = {}
        self.unnoted: list[tuple[int]] = []
        self.size = 0
        self.ended = ended
        self._owed = owed

    def add(self, operations: Sequence[Operation]) -> None:
        """Put down operations, in the order in which they were made, after all before."""
        accepted = self.accepted
        for operation in operations:
            # The usual ones first; types are compared since that is fast.
            if type(operation) is Started:
                row = accepted.get(operation.number)
                if row is None:
                    self._start_again(operation.number, operation.at)
                else:
                    row[_STATE] = 1
                    row[_STARTS] += 1
                    row[_STARTED_AT] = operation.at
            elif type(operation) is Accepted:
                self._accept(operation)
            elif type(operation) is Finished:
                self._finish(operation)
            elif type(operation) is Posted:
                self._post(operation)
            elif type(operation) is Settled:
                self._settle(operation)
            elif type(operation) is Requeued:
                self._requeue(operation.number)
            elif type(operation) is Wanted:
                self._want(operation)
            elif type(operation) is Forgotten:
                self._forget(operation.number)
            elif type(operation) is Noted:
                self._note(operation)

    def _finish(self, it: Finished) -> None:
        self.ended += 1
        self.finished[it.number] = (
            it.number,
            self.ended,
            it.at,
            _NONE if it.code is None else it.code,
            1 if it.remembered else 0,
            bytearray(it.response),
        )
        self.size += len(it.response) + _ROW
        if it.post:
            extras = _bytes(it.extras)
            message = it.post, it.number, it.expires_at, 1, it.topic, _NONE, extras, _NONE
            self.posted[it.post] = message
            self._owed.add(it.post, it.number)
            self.size += _ROW

    def _accept(self, it: Accepted) -> None:
        payload, started_at = it.payload, it.started_at
        started = 0 if started_at is None else 1
        self.accepted[it.number] = [
            it.number,
            _NONE if it.message_id is None else it.message_id,
            started,
            started,
            it.at,
            it.at if started_at is None else started_at,  # of the size of what may follow
            _NO_TIME if it.expires_at is None else it.expires_at,
            1 if it.wait_response else 0,
            _NONE,
            it.command,
            it.topic,
            it.organization_id,
            it.device_id,
            it.base_topic,
            _bytes(it.extras),
            bytearray(payload),
        ]
        self.size += len(payload) + _ROW

    def _post(self, it: Posted) -> None:
        payload = it.payload
        self.posted[it.number] = (
            it.number,
            _NONE if it.answers is None else it.answers,
            it.expires_at,
            it.qos,
            _NONE if it.topic is None else it.topic,
            _NONE if it.name is None else it.name,
            _bytes(it.extras),
            _bytes(payload),
        )
        if it.answers is not None:
            self._owed.add(it.number, it.answers)
        self.size += _ROW if payload is None else _ROW + len(payload)

    def _settle(self, it: Settled) -> None:
        if self.posted.pop(it.number, None) is None:
            self.settled.append((it.number,))
        command = self._owed.settle(it.number)
        if it.outcome is not None and command is not None:  # not of an event: nobody asks for that
            row = self.accepted.get(command)
            if row is None:
                self.outcomes[command] = (command, it.outcome)
            else:
                row[_OUTCOME] = it.outcome

    def _start_again(self, number: int, at: float) -> None:
        """Start what was accepted in an earlier batch."""
        before = self.started.get(number)
        starts = 1 if before is None else before[2] + 1
        self.started[number] = [number, 1, starts, at]

    def _requeue(self, number: int) -> None:
        row = self.accepted.get(number)
        if row is not None:
            row[_STATE] = 0
        elif number in self.started:
            self.started[number][1] = 0
        else:
            self.started[number] = [number, 0, 0, _NO_TIME]

    def _want(self, it: Wanted) -> None:
        wanted, extras = 1 if it.wait_response else 0, _bytes(it.extras)
        row = self.accepted.get(it.number)
        if row is None:
            self.wanted[it.number] = wanted, extras, it.number
        else:
            row[_WAIT_RESPONSE], row[_EXTRAS] = wanted, extras

    def _forget(self, number: int) -> None:
        self.finished.pop(number, None)
        if self.accepted.pop(number, None) is None:
            self.forgotten[number] = (number,)

    def _note(self, it: Noted) -> None:
        if it.value is None:
            self.noted.pop(it.number, None)
            self.unnoted.append((it.number,))
        else:
            self.noted[it.number] = it.number, bytearray(it.value)
            self.size += len(it.value) + _ROW

    def statements(self) -> Iterator[Statement]:
        """The SQL that writes it, with its parameters."""
        large = self.size > STATEMENT_BYTES
        yield from many(_ACCEPT, list(self.accepted.values()), large=large)
        yield from many(_START, list(self.started.values()))
        yield from many(_FINISH, list(self.finished.values()), large=large)
        yield from many(_POST, list(self.posted.values()), large=large)
        yield from many(_SETTLE, self.settled)
        yield from many(_OUTCOMES, list(self.outcomes.values()))
        for one in self.wanted.values():
            yield _WANT, one
        yield from many(_UNNOTE, self.unnoted)
        yield from many(_NOTE, list(self.noted.values()), large=large)
        for sqls in _FORGET:
            yield from many(sqls, list(self.forgotten.values()))


def _bytes(value: bytes | None) -> Any:
    return _NONE if value is None else bytearray(value)
