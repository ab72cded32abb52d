"""A journal as programs beside the runtime see it: to look, to forget, to make it smaller.

It is safe while a runtime uses the file: SQLite keeps readers and writers apart, and the runtime
reads a record anew each time a copy comes, so one that is gone is gone for it. What it must not
lose, commands that are not finished, can be forgotten only while no runtime runs; and an answer
that is still owed stays in the outbox.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import attrs

from ..records import FINISHED, NOT_STARTED, RUNNING, CommandRecord, JournalError
from .folding.fold import forget_by_hand
from .folding.rows import COMMANDS, COMMANDS_WITHOUT_DATA, command_record
from .folding.view import take_off
from .log.place import close_log, fold_beside, lay_log_over, log_path
from .place.files import exists
from .place.lock import JournalInUse, alone, check_unused
from .schema import (
    STEPS,
    check_sqlite,
    check_version,
    check_whole,
    connect,
    explained,
    one,
    transaction,
)

_STATES = {
    FINISHED: "r.number IS NOT NULL",
    RUNNING: "r.number IS NULL AND c.state = 1",
    NOT_STARTED: "r.number IS NULL AND c.state = 0",
}
_COUNT = "SELECT count(*) FROM commands c LEFT JOIN results r USING (number)"
_OWED = "SELECT count(*) FROM outbox WHERE answers = ?"
_ALL_OWED = "SELECT answers, count(*) FROM outbox WHERE answers IS NOT NULL GROUP BY answers"


@attrs.frozen(kw_only=True)
class Summary:
    """What a journal holds.

    Attributes:
        device_id: whose it is.
        commands: how many, by state.
        owed: messages that answer a command and are not settled.
        events: other messages that are not settled.
        notes: jobs, their readers, and second phases that are owed.
        used: bytes of the file that hold something.
        size: bytes of the file.
    """

    device_id: str
    commands: dict[str, int]
    owed: int
    events: int
    notes: int
    used: int
    size: int


class JournalNotReady(JournalError):
    """The next runtime makes what there is into a journal that can be looked at."""


class JournalFile:
    """A journal that some other process may be using. Made by `open`.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._in_log: Container[int] = ()  # numbers of what the log says something of

    def _lay_over(self) -> None:
        """Let queries find what is in the log too."""
        self._in_log = lay_log_over(self._connection, self.path)

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, *, untouched: bool = False) -> Iterator[JournalFile]:
        """Open an existing journal while the block runs.

        Args:
            path: the file.
            untouched: see `connect`.

        Raises:
            FileNotFoundError: there is none.
            JournalError: it is none, or cannot be opened.
        """
        path = Path(os.path.realpath(path))  # its lock is beside the file, whatever leads there
        check_sqlite(path)
        if not exists(path):
            raise FileNotFoundError(path)
        with contextlib.closing(connect(path, untouched=untouched)) as connection, explained(path):
            version = check_version(connection, path, newest=len(STEPS))
            if version == 0:
                text = "is empty: no runtime has used it yet; start it, or name another file"
                raise JournalNotReady(path, text)
            if version < len(STEPS):
                reason = f"is of version {version}; start the runtime once, which brings it up"
                raise JournalNotReady(path, f"{reason} to version {len(STEPS)}")
            connection.execute("PRAGMA secure_delete = ON").fetchall()
            file = cls(path, connection)
            file._lay_over()
            yield file

    # -- to look

    def used_by(self) -> int | None:
        """The number of the process that uses it: 0 for an unknown one; None for nobody.

        Raises:
            JournalError: it cannot be known.
        """
        try:
            check_unused(self.path)
        except JournalInUse as error:
            return error.process or 0
        return None

    def check(self) -> None:
        """Read the file from end to end.

        Raises:
            JournalError: it is damaged.
        """
        with explained(self.path):
            check_whole(self._connection, self.path)

    def summary(self) -> Summary:
        """Counts and sizes.

        Raises:
            JournalError: it cannot be read.
        """
        with explained(self.path):
            counts = {state: self._one(f"{_COUNT} WHERE {sql}") for state, sql in _STATES.items()}
            page = self._one("PRAGMA page_size")
            pages = self._one("PRAGMA page_count")
            free = self._one("PRAGMA freelist_count")
            return Summary(
                device_id=self._one("SELECT value FROM meta WHERE name = 'device_id'"),
                commands=counts,
                owed=self._one("SELECT count(*) FROM outbox WHERE answers IS NOT NULL"),
                events=self._one("SELECT count(*) FROM outbox WHERE answers IS NULL"),
                notes=self._one("SELECT count(*) FROM notes"),
                used=page * (pages - free),
                size=page * pages,
            )

    def commands(
        self,
        *,
        state: str | None = None,
        petal: str | None = None,
        message_id: str | None = None,
        limit: int | None = None,
    ) -> list[CommandRecord]:
        """Commands, the newest first, without payload and response.

        Args:
            state: only of this one.
            petal: only those whose name starts with this and a slash.
            message_id: only those whose `messageId` starts with this.
            limit: how many at most.

        Raises:
            JournalError: it cannot be read.
        """
        wanted: list[str] = ["1"]
        parameters: list[object] = []
        if state is not None:
            wanted.append(_STATES[state])
        for column, prefix in (("command", petal and f"{petal}/"), ("message_id", message_id)):
            if prefix:
                wanted.append(f"substr(c.{column}, 1, ?) = ?")
                parameters += [len(prefix), prefix]
        sql = f"{COMMANDS_WITHOUT_DATA} WHERE {' AND '.join(wanted)} ORDER BY c.number DESC LIMIT ?"
        with explained(self.path):
            owed: dict[int, int] = dict(self._connection.execute(_ALL_OWED).fetchall())
            rows = self._connection.execute(sql, (*parameters, -1 if limit is None else limit))
            return [command_record(row, owed.get(row[0], 0)) for row in rows.fetchall()]

    def find(self, message_id: str) -> list[CommandRecord]:
        """The commands of a `messageId`, the newest first; mostly one or none.

        Raises:
            JournalError: it cannot be read.
        """
        with explained(self.path):
            rows = self._connection.execute(
                f"{COMMANDS} WHERE c.message_id = ? ORDER BY c.number DESC", (message_id,)
            ).fetchall()
            return [command_record(row, self._one(_OWED, row[0])) for row in rows]

    def notes(self) -> dict[int, bytes]:
        """What is kept beside the commands, the newest first, in words of those who keep it.

        Raises:
            JournalError: it cannot be read.
        """
        with explained(self.path):
            sql = "SELECT number, value FROM notes ORDER BY number DESC"
            return dict(self._connection.execute(sql).fetchall())

    # -- to change

    def forget_note(self, number: int) -> None:
        """Keep nothing under that number any more, once no runtime uses the file.

        Raises:
            JournalError: a runtime runs, which has it in memory; or it cannot be written.
        """
        with self._alone() as is_alone, explained(self.path):
            if not is_alone:
                reason = "a runtime uses the journal, and knows the job: stop it first"
                raise JournalError(self.path, reason)
            self._connection.execute("DELETE FROM notes WHERE number = ?", (number,))

    def forget(self, message_id: str) -> int:
        """Forget the commands of a `messageId`, so that a copy is a new command.

        While a runtime uses the file, only what is finished. An answer that is owed is still sent.

        Returns:
            How many were forgotten.

        Raises:
            JournalError: one is not finished, and a runtime runs; or it cannot be written. Nothing
                is forgotten then.
        """
        with self._alone() as is_alone, explained(self.path), transaction(self._connection):
            found = self._connection.execute(
                "SELECT c.number, r.number IS NOT NULL FROM commands c"
                " LEFT JOIN results r USING (number) WHERE c.message_id = ?",
                (message_id,),
            ).fetchall()
            if not is_alone and not all(finished for _, finished in found):
                reason = f"{message_id!r} is not finished, and a runtime uses the journal"
                raise JournalError(self.path, f"{reason}: stop it first, or wait")
            for number, _ in found:
                forget_by_hand(self._connection, number, in_log=number in self._in_log)
        return len(found)

    def vacuum(self) -> tuple[int, int]:
        """Give the free space of the file back to the disk. Writing waits meanwhile.

        Returns:
            Bytes of the file, before and after.

        Raises:
            JournalError: there is no room for a copy, or somebody writes without a pause.
        """
        before = self.path.stat().st_size
        with explained(self.path):
            self._connection.execute("VACUUM").fetchall()
            # Only now does the file get shorter; where a reader is in the way, at the next one.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return before, self.path.stat().st_size

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Keep runtimes out while the block runs; false where one is in."""
        with alone(self.path) as found:
            if found:
                self._take_in()
            yield found

    def _take_in(self) -> None:
        """Put what a crash has left in the log into the database, as the next start would."""
        if not log_path(self.path).exists():
            return
        with explained(self.path):
            take_off(self._connection)
            fold_beside(self._connection, self.path)
            close_log(self._connection, self.path)
            self._in_log = ()

    def _one(self, sql: str, *parameters: object) -> Any:
        return one(self._connection, sql, parameters)
