r"""A second reading of a payload that msgspec does not decode: what it is, and what stands in it.

msgspec refuses some JSON that is valid: numbers that no float holds, integers of thousands of
digits, lone surrogates, which Python's own `json.dumps` writes. Its words for them are of no use to
a sender (`"\ud800"` is "truncated"), and whoever waits for an answer would not get one.

The bounds: only what has failed is read again, and of that only what has `MAX_BYTES`; the time that
it takes grows as those do, since no number is made that is longer than Python makes in a moment.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from ..types.invalid import MAX_KEY, MAX_REPORTED_ERRORS, one_line

MAX_BYTES = 65_536
MAX_VALUES = 10_000  # that are looked at for what is wrong with them
MAX_DIGITS = 4300  # as Python has it, whatever the process has set
_SURROGATE = re.compile("[\ud800-\udfff]")


class SecondReading(NamedTuple):
    """What was read.

    Attributes:
        value: what stands in the payload; where something is wrong, an object of no JSON type.
        faults: path and text of what is wrong, 20 at most.
        is_json: whether it is JSON at all; with NaN in it, it is none.
    """

    value: Any
    faults: list[tuple[str, str]]
    is_json: bool


class _Fault:
    """Stands in for what cannot be taken."""

    def __init__(self, text: str, *, is_json: bool = True) -> None:
        self.text = text
        self.is_json = is_json


def has_surrogate(text: str) -> bool:
    """Whether a text holds half of a pair, which UTF-8 cannot."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def read_again(payload: bytes) -> SecondReading | None:
    """Read JSON, and what Python writes for it; None when it is neither, or too long."""
    if len(payload) > MAX_BYTES:
        return None
    try:
        value = json.loads(
            payload.decode(), parse_float=_float, parse_int=_int, parse_constant=_constant
        )
    except (ValueError, RecursionError):
        return None
    faults = [(_path(place), fault) for place, fault in _faults(value)]
    is_json = all(one.is_json for _, one in faults)
    return SecondReading(value, [(path, one.text) for path, one in faults], is_json)


def _faults(value: Any) -> list[tuple[_Place, _Fault]]:
    found: list[tuple[_Place, _Fault]] = []
    level: list[tuple[_Place, Any]] = [((), value)]
    left = MAX_VALUES
    while level and left > 0 and len(found) < MAX_REPORTED_ERRORS:
        place, one = level.pop()
        left -= len(one) if type(one) in (dict, list) else 1
        kind = type(one)
        if kind is dict:
            if any(map(has_surrogate, one)):
                found.append((place, _Fault("has a key with a lone surrogate, which is no text")))
            items: Any = one.items()
        elif kind is list:
            items = enumerate(one)
        else:
            if kind is _Fault:
                found.append((place, one))
            elif kind is str and has_surrogate(one):
                found.append((place, _Fault("holds a lone surrogate, which is no text")))
            continue
        inner = [((place, key), each) for key, each in items if type(each) in _LOOKED_AT]
        level.extend(reversed(inner))
    return found


_LOOKED_AT = frozenset({dict, list, str, _Fault})
# Of what it stands in, and the key or the index there; empty for the whole. Few are ever written.
_Place = tuple[Any, ...]


def _path(place: _Place) -> str:
    segments: list[str] = []
    while place:
        place, key = place
        if isinstance(key, int):
            segments.append(f"[{key}]")
        else:
            name = one_line(_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", key[:MAX_KEY]))
            segments.append(f".{name}")
    return "".join(reversed(segments)).removeprefix(".")


def _float(text: str) -> Any:
    value = float(text)
    return value if math.isfinite(value) else _Fault("is a number too large for a float")


def _int(text: str) -> Any:
    if len(text) > MAX_DIGITS:
        return _Fault(f"is a number of {len(text)} digits; {MAX_DIGITS} are allowed")
    try:
        return int(text)
    except ValueError:  # the process has set fewer
        return _Fault(f"is a number of {len(text)} digits, which is too many")


def _constant(text: str) -> Any:
    return _Fault(f"is {text}, which JSON does not have", is_json=False)
