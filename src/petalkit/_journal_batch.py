# ruff: noqa: S608 - the SQL is put together from parts of our own
"""Many operations as one SQL statement, since each step of SQLite costs a fight for the GIL.

The writer's thread lets the GIL go at every step and gets it back only when the event loop's
thread gives it up, which is up to 5 ms later. So a batch is one multi-row `INSERT` into a view
that has no rows, and its triggers do the work: one step, with the transaction and the `fsync`
in it. A row of the view has room for one operation of each kind, so N commands that go through
all their states side by side are N rows.

That reorders the operations of a batch, so what is about one command or message is put together
first: a command that is accepted and started in one batch is one row, a message that is posted
and settled in one is none. What is left has no order, but for changes, which keep theirs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
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

# Columns of the view: those of each table, of a change, and of a message that is settled.
_WIDTHS = {"c": 16, "h": 4, "r": 6, "o": 8, "s": 2}
_COLUMNS = [f"{part}{number}" for part, width in _WIDTHS.items() for number in range(width)]

# Python's module takes int, float, str and bytearray as they are, and looks for an adapter for
# each None, bool and bytes, which takes longer than all else here. So none of those is given:
# where there is nothing, there is what the column never has.
_NONE = 0
_NO_TIME = ""
_NULLABLE = {"c1", "c8", "c14", "r3", "o1", "o4", "o5", "o6", "o7"}
_NULLABLE_TIMES = {"c6"}
_PADS = [(_NONE,) * width for width in _WIDTHS.values()]

# Rows of one statement: few sizes, so that SQLite's compiled ones are used again.
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
ROWS_MAX = _SIZES[-1]

_ROW = 200  # bytes, about, of a row beside its payload


def _value(column: str) -> str:
    if column in _NULLABLE:
        return f"nullif(NEW.{column}, {_NONE})"
    if column in _NULLABLE_TIMES:
        return f"nullif(NEW.{column}, '{_NO_TIME}')"
    return f"NEW.{column}"


def _values(part: str) -> str:
    return ", ".join(_value(f"{part}{number}") for number in range(_WIDTHS[part]))


# OR REPLACE: a batch whose writing failed is written again, whatever became of it.
_TRIGGERS = {
    "accept": ("NEW.c0", f"INSERT OR REPLACE INTO commands VALUES ({_values('c')});"),
    "start": (
        f"NEW.h1 = {_START}",
        "UPDATE commands SET state = 1, starts = starts + 1, started_at = NEW.h2"
        " WHERE number = NEW.h0;",
    ),
    "change": (
        f"NEW.h1 > {_START}",
        f"""
        UPDATE commands SET state = 0 WHERE NEW.h1 = {_REQUEUE} AND number = NEW.h0;
        UPDATE commands SET wait_response = NEW.h2, extras = nullif(NEW.h3, {_NONE})
            WHERE NEW.h1 = {_WANT} AND number = NEW.h0;
        UPDATE commands SET outcome = NEW.h2 WHERE NEW.h1 = {_OUTCOME_IS} AND number = NEW.h0;
        DELETE FROM commands WHERE NEW.h1 = {_FORGET} AND number = NEW.h0;
        DELETE FROM results WHERE NEW.h1 = {_FORGET} AND number = NEW.h0;
        """,
    ),
    "finish": ("NEW.r0", f"INSERT OR REPLACE INTO results VALUES ({_values('r')});"),
    "post": ("NEW.o0", f"INSERT OR REPLACE INTO outbox VALUES ({_values('o')});"),
    "settle": (
        f"NEW.s0 AND NEW.s1 = {_NONE}",
        "DELETE FROM outbox WHERE number = NEW.s0;",
    ),
    "give_up": (
        f"NEW.s1 <> {_NONE}",
        """
        UPDATE commands SET outcome = NEW.s1
            WHERE number = (SELECT answers FROM outbox WHERE number = NEW.s0);
        DELETE FROM outbox WHERE number = NEW.s0;
        """,
    ),
}


def _statement(rows: int) -> str:
    row = f"({', '.join('?' * len(_COLUMNS))})"
    return f"INSERT INTO batch VALUES {', '.join([row] * rows)}"


_STATEMENTS = {rows: _statement(rows) for rows in _SIZES}


def install(connection: sqlite3.Connection) -> None:
    """Make the view and its triggers, for this connection only: the file has none of it."""
    nothing = ", ".join(["NULL"] * len(_COLUMNS))
    connection.execute(f"CREATE TEMP VIEW batch ({', '.join(_COLUMNS)}) AS SELECT {nothing}")
    for name, (condition, body) in _TRIGGERS.items():
        connection.execute(
            f"CREATE TEMP TRIGGER batch_{name} INSTEAD OF INSERT ON batch"
            f" WHEN {condition} BEGIN {body} END"
        )


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

    def statements(self) -> Iterator[tuple[str, list[Any]]]:
        """The SQL that writes it, with its parameters: one statement, or as few as can be."""
        parts: list[Sequence[Sequence[Any]]] = [
            list(self.accepted.values()),
            self.changes,
            list(self.finished.values()),
            list(self.posted.values()),
            self.settled,
        ]
        for start in range(0, max(map(len, parts)), ROWS_MAX):
            now = [part[start : start + ROWS_MAX] for part in parts]
            longest = max(map(len, now))
            rows = next(size for size in _SIZES if size >= longest)
            padded = [
                [*part, *[pad] * (rows - len(part))] for part, pad in zip(now, _PADS, strict=True)
            ]
            cells = chain.from_iterable(zip(*padded, strict=True))
            yield _STATEMENTS[rows], list(chain.from_iterable(cells))


def _bytes(value: bytes | None) -> Any:
    return _NONE if value is None else bytearray(value)
