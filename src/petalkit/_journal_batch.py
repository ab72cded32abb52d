# ruff: noqa: S608 - the SQL is put together from parts of our own
"""Many operations as few SQL statements, since each step of SQLite costs a fight for the GIL.

The writer's thread lets the GIL go at every step and gets it back only when the event loop's
thread gives it up, which is up to 5 ms later. So rows are written many at a time, by one statement
for each kind of operation.

That reorders the operations of a batch, so what is about one command or message is put together
first: a command that is accepted and started in one batch is one row, a message that is posted
and settled in one is none. What is left has no order, but for changes, which keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ._journal_records import (
    Accepted,
    Finished,
    Forgotten,
    Operation,
    Posted,
    Requeued,
    Settled,
    Started,
    Wanted,
)

# Of a row in the table of commands: the places of what a batch changes before it is written.
_STATE, _STARTS, _STARTED_AT, _WAIT_RESPONSE, _OUTCOME, _EXTRAS = 2, 3, 5, 7, 8, 14

_START, _REQUEUE, _WANT, _OUTCOME_IS, _FORGET = range(1, 6)
_VALUES = {_REQUEUE: 0, _WANT: 2, _OUTCOME_IS: 1, _FORGET: 0}

# Python's module takes int, float, str and bytearray as they are, and looks for an adapter for
# each None, bool and bytes, which takes longer than all else here. So none of those is given:
# where there is nothing, there is what the column never has.
_NONE = 0
_NO_TIME = ""
_VALUE = f"nullif(?, {_NONE})"
_TIME = f"nullif(?, '{_NO_TIME}')"
_COMMAND = [
    *("?", _VALUE, "?", "?", "?", "?", _TIME, "?", _VALUE, "?", "?", "?", "?", "?", _VALUE, "?"),
]
_RESULT = ["?", "?", "?", _VALUE, "?", "?"]
_MESSAGE = ["?", _VALUE, "?", "?", _VALUE, _VALUE, _VALUE, _VALUE]

# Rows of one statement: few sizes, so that SQLite's compiled ones are used again.
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
ROWS_MAX = _SIZES[-1]

_ROW = 200  # bytes, about, of a row beside its payload

Statement = tuple[str, Sequence[Any]]


def _rows(row: Sequence[str], count: int) -> str:
    return ", ".join([f"({', '.join(row)})"] * count)


# OR REPLACE: a batch whose writing failed is written again, whatever became of it; and a batch is
# filled up to one of the sizes by its last row again.
def _insert(table: str, row: Sequence[str]) -> dict[int, str]:
    return {size: f"INSERT OR REPLACE INTO {table} VALUES {_rows(row, size)}" for size in _SIZES}


_ACCEPT = _insert("commands", _COMMAND)
_FINISH = _insert("results", _RESULT)
_POST = _insert("outbox", _MESSAGE)
_STARTS_OF = {
    size: "UPDATE commands SET state = 1, starts = starts + 1, started_at = v.column2"
    f" FROM (VALUES {_rows(['?', '?'], size)}) AS v WHERE number = v.column1"
    for size in _SIZES
}
_SETTLE = {size: f"DELETE FROM outbox WHERE number IN ({', '.join('?' * size)})" for size in _SIZES}
_GIVE_UP = (
    "UPDATE commands SET outcome = ? WHERE number = (SELECT answers FROM outbox WHERE number = ?)"
)
_CHANGES = {
    _REQUEUE: ("UPDATE commands SET state = 0 WHERE number = ?",),
    _WANT: (f"UPDATE commands SET wait_response = ?, extras = {_VALUE} WHERE number = ?",),
    _OUTCOME_IS: ("UPDATE commands SET outcome = ? WHERE number = ?",),
    _FORGET: (
        "DELETE FROM commands WHERE number = ?",
        "DELETE FROM results WHERE number = ?",
    ),
}


def _many(
    sqls: Mapping[int, str], rows: Sequence[Sequence[Any]], pad: Sequence[Any] | None = None
) -> Iterator[Statement]:
    """Statements that write these rows; what is missing to a size is `pad`, or the last row."""
    for start in range(0, len(rows), ROWS_MAX):
        now = rows[start : start + ROWS_MAX]
        size = next(size for size in _SIZES if size >= len(now))
        filling = [now[-1] if pad is None else pad] * (size - len(now))
        yield sqls[size], list(chain.from_iterable((*now, *filling)))


class Batch:
    """Operations, put together per command and message.

    Args:
        operations: in the order in which they were made.
        ended: how many commands have finished so far; each that finishes here gets the next.

    Attributes:
        accepted: rows of commands, by command.
        changes: what becomes of commands that were in the file before, in order.
        finished: rows of results, by command.
        posted: rows of the outbox, by message: the second value is the command it answers, or 0.
        settled: messages that were in the outbox before, and what they became.
        size: about how many bytes they add.
    """

    def __init__(self, operations: Sequence[Operation], ended: int) -> None:
        self.accepted: dict[int, list[Any]] = {}
        self.changes: list[tuple[Any, ...]] = []
        self.finished: dict[int, tuple[Any, ...]] = {}
        self.posted: dict[int, tuple[Any, ...]] = {}
        self.settled: list[tuple[int, str | int]] = []
        self.size = 0
        accepted, finished = self.accepted, self.finished
        for operation in operations:
            # The usual ones first; types are compared since that is fast.
            if type(operation) is Started:
                row = accepted.get(operation.number)
                if row is None:
                    self.changes.append((operation.number, _START, operation.at, _NONE))
                else:
                    row[_STATE] = 1
                    row[_STARTS] += 1
                    row[_STARTED_AT] = operation.at
            elif type(operation) is Accepted:
                self._accept(operation)
            elif type(operation) is Finished:
                ended += 1
                finished[operation.number] = (
                    operation.number,
                    ended,
                    operation.at,
                    _NONE if operation.code is None else operation.code,
                    1 if operation.remembered else 0,
                    bytearray(operation.response),
                )
                self.size += len(operation.response) + _ROW
            elif type(operation) is Posted:
                self._post(operation)
            elif type(operation) is Settled:
                self._settle(operation)
            elif type(operation) is Requeued:
                self._change(operation.number, _REQUEUE)
            elif type(operation) is Wanted:
                wanted = 1 if operation.wait_response else 0
                self._change(operation.number, _WANT, wanted, _bytes(operation.extras))
            elif type(operation) is Forgotten:
                self._change(operation.number, _FORGET)

    def _accept(self, it: Accepted) -> None:
        payload = it.payload
        self.accepted[it.number] = [
            it.number,
            _NONE if it.message_id is None else it.message_id,
            0,
            0,
            it.at,
            it.at,  # of the size of what may follow
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
        self.size += _ROW if payload is None else _ROW + len(payload)

    def _settle(self, it: Settled) -> None:
        message = self.posted.pop(it.number, None)
        if message is None:
            self.settled.append((it.number, _NONE if it.outcome is None else it.outcome))
        elif it.outcome is not None and message[1]:  # not of an event: nobody asks for that
            self._change(message[1], _OUTCOME_IS, it.outcome)

    def _change(self, number: int, kind: int, one: Any = _NONE, two: Any = _NONE) -> None:
        """Change a command's row where it is: here, or in the file."""
        if kind == _FORGET:
            self.finished.pop(number, None)
        row = self.accepted.get(number)
        if row is None:
            self.changes.append((number, kind, one, two))
        elif kind == _REQUEUE:
            row[_STATE] = 0
        elif kind == _WANT:
            row[_WAIT_RESPONSE], row[_EXTRAS] = one, two
        elif kind == _OUTCOME_IS:
            row[_OUTCOME] = one
        else:
            del self.accepted[number]

    def statements(self) -> Iterator[Statement]:
        """The SQL that writes it, with its parameters."""
        yield from _many(_ACCEPT, list(self.accepted.values()))
        starts: list[tuple[Any, ...]] = []
        for number, kind, one, two in self.changes:
            if kind == _START:
                starts.append((number, one))
                continue
            yield from _many(_STARTS_OF, starts, (_NONE, _NONE))
            starts = []
            for sql in _CHANGES[kind]:
                yield sql, (*(one, two)[: _VALUES[kind]], number)
        yield from _many(_STARTS_OF, starts, (_NONE, _NONE))
        yield from _many(_FINISH, list(self.finished.values()))
        yield from _many(_POST, list(self.posted.values()))
        for number, outcome in self.settled:
            if outcome != _NONE:
                yield _GIVE_UP, (outcome, number)
        yield from _many(_SETTLE, [(number,) for number, _ in self.settled], (_NONE,))


def _bytes(value: bytes | None) -> Any:
    return _NONE if value is None else bytearray(value)
