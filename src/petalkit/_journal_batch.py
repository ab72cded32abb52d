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

_START, _REQUEUE, _WANT, _OUTCOME_IS, _FORGET = range(5)
_VALUES = {_REQUEUE: 0, _WANT: 2, _OUTCOME_IS: 1, _FORGET: 0}

# Rows of one statement: few sizes, so that SQLite's compiled ones are used again.
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
ROWS_MAX = _SIZES[-1]

_ROW = 200  # bytes, about, of a row beside its payload

Statement = tuple[str, Sequence[Any]]


def _rows(width: int, count: int) -> str:
    return ", ".join([f"({', '.join('?' * width)})"] * count)


# OR REPLACE: a batch whose writing failed is written again, whatever became of it; and a batch is
# filled up to one of the sizes by its last row again.
def _insert(table: str, width: int) -> dict[int, str]:
    return {size: f"INSERT OR REPLACE INTO {table} VALUES {_rows(width, size)}" for size in _SIZES}


_ACCEPT = _insert("commands", 16)
_FINISH = _insert("results", 6)
_POST = _insert("outbox", 8)
_STARTS_OF = {
    size: "UPDATE commands SET state = 1, starts = starts + 1, started_at = v.column2"
    f" FROM (VALUES {_rows(2, size)}) AS v WHERE number = v.column1"
    for size in _SIZES
}
_SETTLE = {size: f"DELETE FROM outbox WHERE number IN ({', '.join('?' * size)})" for size in _SIZES}
_GIVE_UP = (
    "UPDATE commands SET outcome = ? WHERE number = (SELECT answers FROM outbox WHERE number = ?)"
)
_CHANGES = {
    _REQUEUE: ("UPDATE commands SET state = 0 WHERE number = ?",),
    _WANT: ("UPDATE commands SET wait_response = ?, extras = ? WHERE number = ?",),
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
        posted: rows of the outbox, by message: the second value is the command it answers.
        settled: messages that were in the outbox before, and what they became.
        size: about how many bytes they add.
    """

    def __init__(self, operations: Sequence[Operation], ended: int) -> None:
        self.accepted: dict[int, list[Any]] = {}
        self.changes: list[tuple[Any, ...]] = []
        self.finished: dict[int, tuple[Any, ...]] = {}
        self.posted: dict[int, tuple[Any, ...]] = {}
        self.settled: list[tuple[int, str | None]] = []
        self.size = 0
        for operation in operations:
            match operation:  # the usual ones first
                case Started(number, at):
                    row = self.accepted.get(number)
                    if row is None:
                        self.changes.append((number, _START, at, None))
                    else:
                        row[_STATE] = 1
                        row[_STARTS] += 1
                        row[_STARTED_AT] = at
                case Accepted():
                    self._accept(operation)
                case Finished(number, code, response, remembered, at):
                    ended += 1
                    self.finished[number] = (number, ended, at, code, remembered, response)
                    self.size += len(response) + _ROW
                case Posted():
                    self._post(operation)
                case Settled(number, outcome):
                    message = self.posted.pop(number, None)
                    if message is None:
                        self.settled.append((number, outcome))
                    elif outcome is not None:
                        self._change(message[1], _OUTCOME_IS, outcome)
                case Requeued(number):
                    self._change(number, _REQUEUE)
                case Wanted(number, wait_response, extras):
                    self._change(number, _WANT, wait_response, extras)
                case Forgotten(number):
                    self._change(number, _FORGET)

    def _accept(self, it: Accepted) -> None:
        self.accepted[it.number] = [
            it.number,
            it.message_id,
            0,
            0,
            it.at,
            it.at,  # of the size of what may follow
            it.expires_at,
            it.wait_response,
            None,
            it.command,
            it.topic,
            it.organization_id,
            it.device_id,
            it.base_topic,
            it.extras,
            it.payload,
        ]
        self.size += len(it.payload) + _ROW

    def _post(self, it: Posted) -> None:
        self.posted[it.number] = (
            it.number,
            it.answers,
            it.expires_at,
            it.qos,
            it.topic,
            it.name,
            it.extras,
            it.payload,
        )
        self.size += _ROW + (0 if it.payload is None else len(it.payload))

    def _change(self, number: int | None, kind: int, one: Any = None, two: Any = None) -> None:
        """Change a command's row where it is: here, or in the file."""
        if number is None:  # the outcome of an event, which nobody asks for
            return
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

    @property
    def forgotten(self) -> Iterator[int]:
        """Commands of the file that are to go."""
        return (change[0] for change in self.changes if change[1] == _FORGET)

    def statements(self) -> Iterator[Statement]:
        """The SQL that writes it, with its parameters."""
        yield from _many(_ACCEPT, list(self.accepted.values()))
        starts: list[tuple[Any, ...]] = []
        for number, kind, *values in self.changes:
            if kind == _START:
                starts.append((number, values[0]))
        # A command that is requeued is so at the start of a run, and starts in a later batch.
        for number, kind, one, two in self.changes:
            if kind != _START:
                values = [one, two][: _VALUES[kind]]
                for sql in _CHANGES[kind]:
                    yield sql, (*values, number)
        yield from _many(_STARTS_OF, starts, (None, None))
        yield from _many(_FINISH, list(self.finished.values()))
        yield from _many(_POST, list(self.posted.values()))
        for number, outcome in self.settled:
            if outcome is not None:
                yield _GIVE_UP, (outcome, number)
        yield from _many(_SETTLE, [(number,) for number, _ in self.settled], (None,))
