# ruff: noqa: S608 - the SQL is put together from parts of our own
"""SQL statements of many rows each, and how many rows are one.

The rule: few sizes, so that SQLite's compiled statements are used again; and few bytes. The trap:
Python's module keeps compiled statements and never clears what was bound to them, so each keeps a
copy of its last rows for as long as it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # rows of one
ROWS_MAX = SIZES[-1]
STATEMENT_BYTES = 128 * 1024  # of one of several rows

Statement = tuple[str, Sequence[Any]]


def rows_of(row: Iterable[str], count: int) -> str:
    """So many rows of these placeholders."""
    return ", ".join([f"({', '.join(row)})"] * count)


def insert(table: str, row: Sequence[str]) -> dict[int, str]:
    """Statements that put rows into a table, by their number.

    OR REPLACE: a batch whose writing failed is written again, whatever became of it; and a batch is
    filled up to one of the sizes by its last row again.
    """
    return {size: f"INSERT OR REPLACE INTO {table} VALUES {rows_of(row, size)}" for size in SIZES}


def delete(table: str) -> dict[int, str]:
    """The same that delete rows by their numbers."""
    return {
        size: f"DELETE FROM {table} WHERE number IN ({', '.join('?' * size)})" for size in SIZES
    }


def many(
    sqls: Mapping[int, str], rows: Sequence[Sequence[Any]], *, large: bool = False
) -> Iterator[Statement]:
    """Statements that write rows.

    Args:
        sqls: by the number of their rows.
        rows: in their order.
        large: whether they may have more than `STATEMENT_BYTES` together.
    """
    if large:
        for part in _parts(rows):
            yield from many(sqls, part)
        return
    for start in range(0, len(rows), ROWS_MAX):
        now = rows[start : start + ROWS_MAX]
        size = next(size for size in SIZES if size >= len(now))
        filling = [now[-1]] * (size - len(now))
        yield sqls[size], list(chain.from_iterable((*now, *filling)))


def _parts(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """Rows that follow each other, as many as one statement may have bytes of, or one."""
    part: list[Sequence[Any]] = []
    size = 0
    for row in rows:
        added = sum(len(value) for value in row if type(value) is bytearray)
        if part and size + added > STATEMENT_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += added
    if part:
        yield part
