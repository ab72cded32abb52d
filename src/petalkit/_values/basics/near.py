"""The known name that a misspelt one may have meant, found in little time.

The rule: a sender chooses how often it is asked and with what, so the time does not grow with what
is served, nor with how long the word is. Two names are compared by what they have in common at
their beginnings and at their ends, and out of many only those are compared that stand beside the
word in the order of either. The trap: to look for the best of 5000 as `difflib` does takes 85 ms.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

MAX_WORD = 200  # characters of what was asked for that are compared
LIKE = 0.6  # of what both have, the part that has to be the same
_MAX_SWAPPED = 8  # letters
_BESIDE = 8  # names on each side of the word, in each order
_MAX_KNOWN = 256  # names that are compared one by one


def likeness(one: bytes, other: bytes) -> float:
    """The part of two names that is the same, at the beginning and at the end: 0 to 1."""
    least = min(len(one), len(other))
    if not least:
        return 0.0
    # As numbers, whose difference has as many digits as follow the first that is another.
    apart = int.from_bytes(one[:least], "big") ^ int.from_bytes(other[:least], "big")
    first = least - (apart.bit_length() + 7) // 8
    apart = int.from_bytes(one[-least:], "little") ^ int.from_bytes(other[-least:], "little")
    last = min(least - (apart.bit_length() + 7) // 8, least - first)
    same = first + last
    between, within = one[first : len(one) - last], other[first : len(other) - last]
    if len(between) == len(within) <= _MAX_SWAPPED and sorted(between) == sorted(within):
        same += max(0, len(between) - 1)  # two letters have changed places
    return 2 * same / (len(one) + len(other))


def near(word: str, known: Iterable[str]) -> str | None:
    """Of few names the one that is most like a word; None when none is like it."""
    asked = _encoded(word[:MAX_WORD])
    best: tuple[float, str] | None = None
    for name in sorted(known)[:_MAX_KNOWN]:
        found = likeness(asked, _encoded(name))
        if found >= LIKE and (best is None or found > best[0]):
            best = found, name
    return None if best is None else best[1]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


class NameIndex:
    """Many names, made ready once.

    Args:
        names: sorted.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._reversed = sorted((name[::-1], name) for name in names)
        self._by_end = sorted((_end_first(name), name) for name in names)
        self._last: dict[str, str] = {}
        for name in names:
            self._last.setdefault(name.rpartition("/")[2].lower(), name)
            self._last.setdefault(name.lower(), name)

    def near(self, word: str) -> str | None:
        """The name that is most like a word; None when none is like it."""
        word = word[:MAX_WORD]
        found: list[str] = []
        place = bisect.bisect_left(self._names, word)
        found += self._names[max(0, place - _BESIDE) : place + _BESIDE]
        for order, key in ((self._reversed, word[::-1]), (self._by_end, _end_first(word))):
            place = bisect.bisect_left(order, (key, ""))
            found += [name for _, name in order[max(0, place - _BESIDE) : place + _BESIDE]]
        for same in (word.lower(), word.rpartition("/")[2].lower()):
            if same in self._last:  # in other letters, or under another prefix
                found.append(self._last[same])
        best = max(dict.fromkeys(found), key=lambda name: _score(word, name), default=None)
        return best if best is not None and _score(word, best) >= LIKE else None


def _end_first(name: str) -> str:
    """Within each prefix, by how the names end."""
    prefix, slash, own = name.rpartition("/")
    return prefix + slash + own[::-1]


def _score(word: str, name: str) -> float:
    """How like a command's name is: of the same prefix, that says nothing."""
    prefix, _, own = name.rpartition("/")
    asked, _, last = word.rpartition("/")
    if own.lower() == last.lower():
        return 1.0 if asked == prefix else 0.9
    if asked == prefix:
        return likeness(_encoded(last), _encoded(own))
    return likeness(_encoded(word), _encoded(name))
