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

_START, _REQUEUE, _WANT, _OUTCOME_IS, _FORGET = range(5)

# Columns of the view: those of each table, of a change, and of a message that is settled.
_WIDTHS = {"c": 16, "h": 4, "r": 6, "o": 8, "s": 2}
_COLUMNS = [f"{part}{number}" for part, width in _WIDTHS.items() for number in range(width)]
_PADS = [(None,) * width for width in _WIDTHS.values()]

# Rows of one statement: few sizes, so that SQLite's compiled ones are used again.
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
ROWS_MAX = _SIZES[-1]

_ROW = 200  # bytes, about, of a row beside its payload


def _values(part: str) -> str:
    return ", ".join(f"NEW.{part}{number}" for number in range(_WIDTHS[part]))


# OR REPLACE: a batch whose writing failed is written again, whatever became of it.
_TRIGGERS = {
    "accept": ("NEW.c0 IS NOT NULL", f"INSERT OR REPLACE INTO commands VALUES ({_values('c')});"),
    "start": (
        f"NEW.h1 = {_START}",
        "UPDATE commands SET state = 1, starts = starts + 1, started_at = NEW.h2"
        " WHERE number = NEW.h0;",
    ),
    "change": (
        f"NEW.h1 > {_START}",
        f"""
        UPDATE commands SET state = 0 WHERE NEW.h1 = {_REQUEUE} AND number = NEW.h0;
        UPDATE commands SET wait_response = NEW.h2, extras = NEW.h3
            WHERE NEW.h1 = {_WANT} AND number = NEW.h0;
        UPDATE commands SET outcome = NEW.h2 WHERE NEW.h1 = {_OUTCOME_IS} AND number = NEW.h0;
        DELETE FROM commands WHERE NEW.h1 = {_FORGET} AND number = NEW.h0;
        DELETE FROM results WHERE NEW.h1 = {_FORGET} AND number = NEW.h0;
        """,
    ),
    "finish": ("NEW.r0 IS NOT NULL", f"INSERT OR REPLACE INTO results VALUES ({_values('r')});"),
    "post": ("NEW.o0 IS NOT NULL", f"INSERT OR REPLACE INTO outbox VALUES ({_values('o')});"),
    "settle": (
        "NEW.s0 IS NOT NULL AND NEW.s1 IS NULL",
        "DELETE FROM outbox WHERE number = NEW.s0;",
    ),
    "give_up": (
        "NEW.s1 IS NOT NULL",
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
