# ruff: noqa: S608 - the SQL is put together from parts of our own
"""What is in the database and in the log beside it, for a program that only looks.

Tables of the connection's own take the names of the database's: what the log touches stands in them
with all that the log says of it, and views put both together. So a query says what the runtime
knows, and nothing is changed.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator

from ..schema import TABLES
from .batch import Batch

_TABLES = ("commands", "results", "outbox", "notes")  # each with a number as its key
_GONE = "AND number NOT IN (SELECT number FROM main.forgotten)"


def touched_by(batch: Batch) -> set[int]:
    """The numbers of all that a batch says something of."""
    found: set[int] = set()
    for where in (
        batch.accepted, batch.started, batch.outcomes, batch.wanted, batch.forgotten,
        batch.finished, batch.posted, batch.noted,
    ):  # fmt: skip
        found.update(where)
    for gone in (batch.settled, batch.unnoted):
        found.update(number for (number,) in gone)
    return found


@contextlib.contextmanager
def one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """Within it the database is as it was at the first look, whatever others write.

    What a batch makes of a database that has it already would be wrong: a start would count twice.
    """
    connection.execute("PRAGMA temp_store = MEMORY").fetchall()  # not within a transaction
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def lay_over(connection: sqlite3.Connection, batch: Batch) -> None:
    """Let queries of this connection find what a batch would make of the database.

    Within `one_moment`, in which the batch was made.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    numbers = (json.dumps(sorted(touched_by(batch))),)
    execute = connection.execute
    execute("CREATE TEMP TABLE touched (number INTEGER PRIMARY KEY)")
    execute("INSERT INTO touched SELECT value FROM json_each(?)", numbers)
    for table in _TABLES:
        execute(TABLES[table].replace("CREATE TABLE", "CREATE TEMP TABLE", 1))
        execute(
            f"INSERT INTO temp.{table} SELECT * FROM main.{table}"
            " WHERE number IN (SELECT number FROM touched)"
        )
    for sql, row in batch.statements():  # names that are not qualified are those of `temp`
        execute(sql, row)
    for table in _TABLES:
        gone = _GONE if table in ("commands", "results") else ""
        execute(f"ALTER TABLE temp.{table} RENAME TO log_{table}")
        execute(
            f"CREATE TEMP VIEW {table} AS"
            f" SELECT * FROM temp.log_{table} WHERE 1 {gone} UNION ALL SELECT * FROM main.{table}"
            f" WHERE number NOT IN (SELECT number FROM temp.touched) {gone}"
        )


def take_off(connection: sqlite3.Connection) -> None:
    """Let queries find the database alone again."""
    for table in _TABLES:
        connection.execute(f"DROP VIEW IF EXISTS temp.{table}")
        connection.execute(f"DROP TABLE IF EXISTS temp.log_{table}")
    connection.execute("DROP TABLE IF EXISTS temp.touched")
