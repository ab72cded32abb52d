"""DATA-JSON: the arguments of a command, from the command line, a file or standard input.

The bound: no more is read than a command may hold.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import msgspec

from .._errors import UsageError


def read_data(text: str, limit: int) -> Mapping[str, Any]:
    """DATA-JSON as a mapping.

    Args:
        text: as it was typed: JSON, `@FILE`, or `@-` for standard input.
        limit: bytes, at most.

    Raises:
        UsageError: it is no JSON object.
    """
    where = "DATA-JSON"
    raw = text.encode(errors="surrogateescape")
    if text.startswith("@"):
        where = "standard input" if text == "@-" else text[1:]
        try:
            with nullcontext(sys.stdin.buffer) if text == "@-" else open(where, "rb") as file:
                raw = file.read(limit + 1)
        except OSError as error:
            raise UsageError(f"cannot read {where!r}: {error.strerror}") from None
        if len(raw) > limit:
            raise UsageError(f"{where} has more than {limit} bytes, which is the payload_max")
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        example = '\'{"name": "Developer"}\''
        raise UsageError(f"{where} is not JSON: {error}; write it like {example}") from None
    if not isinstance(value, dict):
        raise UsageError(f'{where} must be a JSON object, such as \'{{"name": "Developer"}}\'')
    return value  # pyright: ignore[reportUnknownVariableType]
