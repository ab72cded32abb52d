"""Where a process can be made to kill itself: `PETALKIT_TEST_CRASH="name:count"`.

`reached(name)` is called when the process is at a point; at the `count`th time it is killed, by
SIGKILL, so that nothing in it can do anything more. Without the variable nothing happens at all.

`install()` is called once by the module of the petals, before a runtime exists. It wraps the
methods of the journal and of the runtime that belong to a point, so that they call `reached`
before or after their work:

    accept-queued          a command is accepted, and its record is not written yet
    accept-written         its record is on disk, and its PUBACK has not left
    acknowledged           its PUBACK is handed to the link
    start-written          its start is on disk, and its handler was not called
    effect-done            its handler has had its effect, and has not returned
    finish-written         its final state is on disk, and its response has not left
    response-sent          its response is handed to the link
    response-acknowledged  the broker has its response; that is not on disk yet
    log-half               half of a record is in the log
    log-written            a record is in the log, and nobody knows that
    mid-commit             in the middle of a transaction: the log is half folded
    folded                 what was in the log is in the database, and nobody knows that

    note-queued            what is kept of a job is another, and that is not written yet
    note-written           that is on disk, and nobody knows it
    end-told               the readers of a job are told its end; that is not on disk yet

Only `effect-done` is there without a journal: the petals call it themselves.

What is in the log is folded after few commands, with or without the variable: a short run would
fold nothing until its end.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sqlite3
from collections.abc import Generator, Sequence

from petalkit._serving.jobs.ends import Ends
from petalkit._serving.ledger.disk import DiskLedger
from petalkit._serving.ledger.journal import schema as _journal_schema
from petalkit._serving.ledger.journal.folding import fold as _fold
from petalkit._serving.ledger.journal.folding.database import Database
from petalkit._serving.ledger.journal.log.device import LogDevice
from petalkit._serving.ledger.journal.operations import Finished, Noted, Started
from petalkit._serving.ledger.journal.writing import upkeep as _upkeep
from petalkit._serving.ledger.journal.writing.group_commit import GroupCommit
from petalkit._serving.ledger.journal.writing.known import KnownCommands
from petalkit._serving.ledger.owed_messages import RecordedMessages
from petalkit._serving.ledger.records import Accepted
from petalkit.transports import Delivery
from petalkit.transports.asyncio_mqtt._link import AsyncioLink
from petalkit.transports.native._link import NativeLink

VARIABLE = "PETALKIT_TEST_CRASH"
POINTS = (
    "accept-queued",
    "accept-written",
    "acknowledged",
    "start-written",
    "effect-done",
    "finish-written",
    "response-sent",
    "response-acknowledged",
    "log-half",
    "log-written",
    "mid-commit",
    "folded",
)
NOTE_POINTS = ("note-queued", "note-written", "end-told")  # only where there are jobs

_WRITTEN = {
    Accepted: "accept-written",
    Started: "start-written",
    Finished: "finish-written",
    Noted: "note-written",
}

FOLD_EVERY = 8  # commands

_wanted = ""
_left = 0


def parse(text: str) -> tuple[str, int]:
    """The name and the count of a crash point.

    Raises:
        ValueError: there is no such point.
    """
    name, _, count = text.partition(":")
    if name not in (*POINTS, *NOTE_POINTS):
        there_are = ", ".join((*POINTS, *NOTE_POINTS))
        raise ValueError(f"no crash point {name!r}; there are {there_are}")
    return name, int(count or 1)


def install() -> None:
    """Take the point from the environment, and wrap what belongs to it."""
    global _wanted, _left
    _upkeep.PRUNE_EVERY, _upkeep.PRUNE_PART = FOLD_EVERY, 1_000_000_000
    _upkeep.FOLD_PART = 1_000_000_000
    text = os.environ.get(VARIABLE)
    if text:
        _wanted, _left = parse(text)
        if _wanted != "effect-done":
            _wrap()


def _wrap() -> None:
    """Let everything that belongs to a point call `reached`."""
    for kind, name, point in (
        (KnownCommands, "accept", "accept-queued"),
        (Delivery, "ack", "acknowledged"),
        (AsyncioLink, "publish_nowait", "response-sent"),
        (NativeLink, "publish_nowait", "response-sent"),
    ):
        _after(kind, name, point)
    for name in ("note", "note_again"):
        _after(DiskLedger, name, "note-queued")
    _before(Ends, "_all_told", "end-told")
    _before(RecordedMessages, "settle", "response-acknowledged")
    written = GroupCommit._written

    def on_written(commits: GroupCommit, batch: Sequence[object]) -> None:
        # It is on disk, and nobody knows that yet.
        for operation in batch:
            point = _WRITTEN.get(type(operation))
            if point is not None:
                reached(point)
            if isinstance(operation, Accepted) and operation.started_at is not None:
                reached("start-written")  # both are one operation
        written(commits, batch)  # type: ignore[arg-type]

    GroupCommit._written = on_written  # type: ignore[assignment, method-assign]

    @contextlib.contextmanager
    def transaction(connection: sqlite3.Connection) -> Generator[None]:
        with _journal_schema.transaction(connection):
            yield
            reached("mid-commit")

    _fold.transaction = transaction
    _after(Database, "fold", "folded")
    write = LogDevice.write

    def on_write(log: LogDevice, parts: list[bytes], length: int, offset: int) -> None:
        if _wanted == "log-half":
            os.pwrite(log._descriptor, b"".join(parts)[: length // 2], offset)
            reached("log-half")
        write(log, parts, length, offset)
        reached("log-written")

    LogDevice.write = on_write  # type: ignore[assignment, method-assign]


def _after(kind: type, name: str, point: str) -> None:
    function = getattr(kind, name)

    @functools.wraps(function)
    def wrapped(*arguments: object, **named: object) -> object:
        result = function(*arguments, **named)
        reached(point)
        return result

    setattr(kind, name, wrapped)


def _before(kind: type, name: str, point: str) -> None:
    function = getattr(kind, name)

    @functools.wraps(function)
    def wrapped(*arguments: object, **named: object) -> object:
        reached(point)
        return function(*arguments, **named)

    setattr(kind, name, wrapped)


def reached(name: str) -> None:
    """The process is at this point."""
    global _left
    if name == _wanted:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
