"""Operations as bytes, and back: a record is what is on disk together, or not at all.

    magic, length, CRC-32, generation, sequence; then the operations, as MessagePack

The rule: a record counts when its CRC fits, over all that follows the CRC and its length; so one
that the power has torn is none, and neither is what an earlier use of the same place has left. The
trap: callers choose what is in a payload, and could make it look like a record; so the CRC begins
with a secret of the log.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import msgspec

from ..operations import Operation

MAGIC = b"PKR1"
_HEAD = struct.Struct("<4sIIIQ")  # magic, length of what follows the head, CRC, and what it is of
_KEY = struct.Struct("<IIQ")  # length, generation, sequence: what the CRC begins with
HEAD = _HEAD.size

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Operation]).decode


class Record(msgspec.Struct, frozen=True, gc=False):
    """One that was read.

    Attributes:
        sequence: its number: each record's is one more than that of the one before.
        body: the operations, encoded.
        end: where it ends, from the beginning of what was read.
    """

    sequence: int
    body: bytes
    end: int

    def operations(self) -> list[Operation]:
        """What it holds.

        Raises:
            msgspec.MsgspecError: it was not written by this version.
        """
        return _decode(self.body)


def seed_of(name: bytes) -> int:
    """With what the CRC of each record begins in the log of that name."""
    return zlib.crc32(name)


def encode(operations: Sequence[Operation]) -> tuple[Sequence[Operation], bytes]:
    """The body of a record, and what it says."""
    try:
        return operations, _encode(operations)
    except UnicodeEncodeError:  # half of a surrogate pair: no text of UTF-8
        operations = [_as_utf_8(operation) for operation in operations]
        return operations, _encode(operations)


def head_of(body: bytes, seed: int, generation: int, sequence: int) -> bytes:
    """What stands before it; of a log with that seed."""
    length = len(body)
    crc = zlib.crc32(body, zlib.crc32(_KEY.pack(length, generation, sequence), seed))
    return _HEAD.pack(MAGIC, length, crc, generation, sequence)


def read_record(data: memoryview, start: int, seed: int) -> tuple[int, Record] | None:
    """The generation and the record that begins there; None where there is no whole one."""
    if start + HEAD > len(data):
        return None
    magic, length, crc, generation, sequence = _HEAD.unpack_from(data, start)
    end = start + HEAD + length
    if magic != MAGIC or end > len(data):
        return None
    body = data[start + HEAD : end]
    if zlib.crc32(body, zlib.crc32(_KEY.pack(length, generation, sequence), seed)) != crc:
        return None
    return generation, Record(sequence, bytes(body), end)


def _as_utf_8(operation: Operation) -> Operation:
    changes = {
        name: value.encode(errors="backslashreplace").decode()
        for name in operation.__struct_fields__
        if isinstance(value := getattr(operation, name), str)
    }
    return msgspec.structs.replace(operation, **changes)
