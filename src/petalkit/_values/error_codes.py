"""Error codes in the words of those who read them: a petal's older clients may know others.

The rule: what is on the wire can be read back, so each code has one word, and no two have the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .basics.near import near
from .errors import ErrorCode

LENGTH_MAX = 64  # characters
_NOT_IN_WORDS = frozenset(" ,=")
OWN_WORDS: Mapping[str, str] = MappingProxyType({})
"""None is said in another word."""


def frozen(codes: Any) -> Any:
    """The mapping of a setting as one that nobody changes; what is none, as it is."""
    if not isinstance(codes, Mapping):
        return codes
    return MappingProxyType({str(ours): theirs for ours, theirs in codes.items()})


def objection(codes: Any) -> str | None:
    """What is wrong with a mapping of our codes to others; None when nothing is."""
    if not isinstance(codes, Mapping):
        return f"must be a mapping of our codes to others, not {codes!r}"
    ours = {str(code) for code in ErrorCode}
    for one, other in codes.items():
        if one not in ours:
            hint = near(str(one).upper(), ours)
            text = f"has {one!r}, which is no code of petalkit's"
            return text if hint is None else f"{text}; did you mean {hint}?"
        # What several of them look like, where one was to stand, is no word either.
        good = isinstance(other, str) and other.isprintable() and _NOT_IN_WORDS.isdisjoint(other)
        if not (good and 0 < len(other) <= LENGTH_MAX):
            text = f"a word of 1 to {LENGTH_MAX} characters is needed, without commas and ="
            return f"has {other!r} for {one}: {text}"
    said: dict[str, str] = {}
    for one in sorted(ours):
        other = codes.get(one, one)
        if other in said:
            return f"says {other} for {said[other]} and for {one}, and nobody could tell them apart"
        said[other] = one
    return None


def backwards(codes: Mapping[str, str]) -> Mapping[str, str]:
    """Their words to our codes."""
    return {theirs: ours for ours, theirs in codes.items()}
