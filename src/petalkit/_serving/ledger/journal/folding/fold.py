"""A batch, put into the database in one transaction, with the number of its last record.

The rule: whatever kills this between two steps, the database has all of it or nothing, and says
which. So it can be done again, from memory or from the log, and counts once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from ..forgetting.owed import Owed
from ..schema import explained, one, transaction
from .batch import Batch

_FOLDED = "UPDATE meta SET value = ? WHERE name = 'folded'"
# Of what was forgotten by hand while it was in the log only.
_FORGET = (
    "UPDATE outbox SET payload = (SELECT response FROM results WHERE number = answers)"
    " WHERE payload IS NULL AND answers IN (SELECT number FROM forgotten)",
    "DELETE FROM results WHERE number IN (SELECT number FROM forgotten)",
    "DELETE FROM commands WHERE number IN (SELECT number FROM forgotten)",
)


def folded_to(connection: sqlite3.Connection) -> int:
    """The number of the last record that a database has."""
    return int(one(connection, "SELECT value FROM meta WHERE name = 'folded'"))


def fold(
    connection: sqlite3.Connection,
    path: Path,
    batch: Batch,
    sequence: int,
    pause: Callable[[], object] = lambda: None,
) -> None:
    """Put a batch into the database. It is on disk when this returns.

    Args:
        connection: that writes.
        path: of the journal.
        batch: what follows all that the database has.
        sequence: the number of its last record.
        pause: called after each statement.

    Raises:
        JournalError: nothing of it is there; the same can be folded again later.
    """
    with explained(path), transaction(connection):
        for sql, row in batch.statements():
            connection.execute(sql, row)
            pause()
        if one(connection, "SELECT count(*) FROM forgotten"):
            for sql in _FORGET:
                connection.execute(sql)
        connection.execute(_FOLDED, (str(sequence),))


def load_owed(connection: sqlite3.Connection, owed: Owed) -> int:
    """Learn which messages of the database answer a command; how many commands have finished."""
    found = connection.execute("SELECT number, answers FROM outbox WHERE answers IS NOT NULL")
    for number, answers in found.fetchall():
        owed.add(number, answers)
    ended: int = one(connection, "SELECT coalesce(max(ended), 0) FROM results")
    return ended


def forget_by_hand(connection: sqlite3.Connection, number: int, *, in_log: bool) -> None:
    """Delete a command; an answer that is owed is sent all the same.

    Args:
        connection: within a transaction.
        number: of the command.
        in_log: whether a runtime may have it in its log, and deletes it when that is folded.
    """
    connection.execute(
        "UPDATE main.outbox SET payload = (SELECT response FROM main.results WHERE number = ?)"
        " WHERE answers = ? AND payload IS NULL",
        (number, number),
    )
    connection.execute("DELETE FROM main.results WHERE number = ?", (number,))
    connection.execute("DELETE FROM main.commands WHERE number = ?", (number,))
    if in_log:
        connection.execute("INSERT OR IGNORE INTO main.forgotten VALUES (?)", (number,))
