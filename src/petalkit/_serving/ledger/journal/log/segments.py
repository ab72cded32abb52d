"""What stands where in a log, and in which order it is read again.

    | head: whose log it is | segment 0: record, record, ... | segment 1: record, record, ... |

Records follow each other in one segment while the other is being folded into the database. Each use
of a segment has a generation, higher than all before; each record has a sequence number, and the
database says up to which one it has them. So nothing is ever erased: what is folded is written
over, and what is left of it is of an older generation, or has no CRC that fits.

The rule of recovery: in the order of generations, records count while each follows the one before;
where a later generation begins with a number again, that was a second attempt, and counts. What
stops short before a record that counts is damage, and is told: it was on disk once.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from ...records import JournalError
from .records import MAGIC, Record, read_record, seed_of

SEGMENTS = 2
SEGMENT_SIZE = 2 * 1024 * 1024  # bytes
HEADER_SIZE = 4096  # bytes: a page of the disk to itself
LOG_SIZE = HEADER_SIZE + SEGMENTS * SEGMENT_SIZE

_HEADER = struct.Struct("<8s16sII")  # magic, name, bytes of a segment, CRC of all before
_MAGIC = b"PETKLOG2"
_EARLIER = b"PETKLOG1"  # whose records say the same with fewer fields
_OURS = b"PETKLOG"  # and of a later version, which cannot be read


def begin_of(segment: int) -> int:
    """Where a segment begins in the file."""
    return HEADER_SIZE + segment * SEGMENT_SIZE


def header(name: bytes) -> bytes:
    """The beginning of the file of that name: 16 bytes by which the database knows it."""
    packed = _HEADER.pack(_MAGIC, name, SEGMENT_SIZE, 0)[:-4]
    return (packed + struct.pack("<I", zlib.crc32(packed))).ljust(HEADER_SIZE, b"\0")


@attrs.frozen
class LogContent:
    """What was read of a log.

    Attributes:
        name: of it; None of an empty file.
        generation: the highest that was ever used.
        records: those that count, in order.
        highest: the highest number of any record.
        is_earlier: an earlier version made it, which must not find records of this one in it.
    """

    name: bytes | None
    generation: int
    records: Sequence[Record]
    highest: int = 0
    is_earlier: bool = False


def read_log(path: Path, data: bytes) -> LogContent:
    """Read a whole log.

    Args:
        path: of the journal.
        data: all bytes of its log.

    Raises:
        JournalError: it is none, or damaged.
    """
    if not data.strip(b"\0"):
        return LogContent(None, 0, ())
    if len(data) < HEADER_SIZE or not data.startswith(_OURS):
        raise JournalError(path, "what stands beside it as its log (-log) is none of petalkit")
    if data[:8] not in (_MAGIC, _EARLIER):
        reason = "its log (-log) was written by a newer version of petalkit: start that version"
        raise JournalError(path, reason)
    _, name, size, crc = _HEADER.unpack_from(data)
    if crc != zlib.crc32(data[: _HEADER.size - 4]):
        raise JournalError(path, _damaged("its head cannot be read"))
    if size != SEGMENT_SIZE:
        raise JournalError(path, "its log (-log) is of another version of petalkit")
    view, seed = memoryview(data), seed_of(name)
    found = [one for number in range(SEGMENTS) if (one := _segment(view, number, seed))[1]]
    found.sort()
    records: list[Record] = []
    for _, segment in found:
        first = segment[0].sequence
        while records and records[-1].sequence >= first:
            records.pop()  # it was written again, since that attempt had failed
        records += segment
    generation = max((one for one, _ in found), default=0)
    highest = _highest(view[HEADER_SIZE:], seed)
    return LogContent(name, generation, records, highest, data[:8] == _EARLIER)


def check_follow(path: Path, found: LogContent, folded: int) -> Iterator[Record]:
    """Those that the database does not have yet.

    Args:
        path: of the journal.
        found: in its log.
        folded: the number of the last that it has.

    Raises:
        JournalError: one is missing.
    """
    last = folded
    for record in found.records:
        if record.sequence <= folded:
            continue
        if record.sequence != last + 1:
            raise JournalError(path, _damaged(f"record {last + 1} is missing"))
        last = record.sequence
        yield record
    if found.highest > last:
        raise JournalError(path, _damaged(f"record {last + 1} cannot be read"))


def _segment(data: memoryview, number: int, seed: int) -> tuple[int, list[Record]]:
    """The generation and the records of a segment."""
    start = begin_of(number)
    part = data[: start + SEGMENT_SIZE]
    records: list[Record] = []
    generation = -1
    while (found := read_record(part, start, seed)) is not None:
        of, record = found
        if generation == -1:
            generation = of
        if of != generation or (records and record.sequence != records[-1].sequence + 1):
            break
        records.append(record)
        start = record.end
    return generation, records


def _highest(data: memoryview, seed: int) -> int:
    """The highest number of a record that is there, wherever it stands."""
    rest = bytes(data)
    highest = 0
    at = rest.find(MAGIC)
    while at != -1:
        found = read_record(data, at, seed)
        highest = highest if found is None else max(highest, found[1].sequence)
        at = rest.find(MAGIC, at + 1)
    return highest


def _damaged(what: str) -> str:
    return f"its log (-log) is damaged: {what}; move it away with all its files to begin anew"
