"""Identifiers, texts and comments of generated code.

The rule: what a device says is data. A name becomes an identifier of ASCII letters, digits and `_`,
a text becomes a literal that JSON, TypeScript and Python read alike, and a description becomes a
comment that nothing in it can end. The trap: U+2028 ends a line in some languages, `*/` a comment,
and what turns the direction of writing shows code that is not there.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

DOC_LINES_MAX = 40
DOC_LINE_MAX = 500  # characters
IDENTIFIER_MAX = 80  # characters
_WORD = re.compile(r"[A-Za-z0-9]+")
_NO_WORDS = re.compile(r"[^A-Za-z0-9_]+")

# What is something else than a method or a property on any object of JavaScript.
_TYPESCRIPT = frozenset(
    {
        *("constructor", "then", "prototype", "toString", "toLocaleString", "toJSON", "valueOf"),
        *("hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable"),
    }
)


def literal(text: str) -> str:
    """A text as a literal in ASCII, of JSON, TypeScript and Python."""
    return json.dumps(text)


def doc_lines(text: object) -> list[str]:
    """A description as lines that can be shown anywhere; nothing in them steers anything."""
    if not isinstance(text, str):
        return []
    found = [
        "".join(one if one.isprintable() else " " for one in line[:DOC_LINE_MAX]).rstrip()
        for line in text.splitlines()[:DOC_LINES_MAX]
    ]
    while found and not found[-1]:
        found.pop()
    return found


def pascal(name: str) -> str:
    """`flight-log/fetch_records` as `FlightLogFetchRecords`; empty where nothing is left."""
    return "".join(word[0].upper() + word[1:] for word in _WORD.findall(name))[:IDENTIFIER_MAX]


def typescript_member(name: str) -> str:
    """A name as a method or a property of TypeScript."""
    found = pascal(name)
    found = found[:1].lower() + found[1:]
    return _safe(found, name, _TYPESCRIPT)


def python_member(name: str) -> str:
    """A name as a method or an attribute of Python."""
    found = _NO_WORDS.sub("_", name).strip("_")[:IDENTIFIER_MAX]
    return _safe(found, name, keyword.kwlist)


def file_stem(name: str) -> str:
    """A name as that of a file."""
    return _safe(_NO_WORDS.sub("-", name).strip("-")[:IDENTIFIER_MAX], name, ())


def _safe(found: str, name: str, taken: Collection[str]) -> str:
    if not found:
        return f"unnamed_{short_hash(name)}"
    if found[0].isdigit():
        return f"n{found}"
    return f"{found}_" if found in taken else found


def short_hash(text: str) -> str:
    """Eight letters and digits that tell a text from others."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def distinct(
    names: Iterable[str], member: Callable[[str], str], taken: Collection[str] = ()
) -> Mapping[str, str]:
    """An identifier for each name. All that would have the same one get a suffix of their own.

    So what one is called does not depend on the order, and changes only when one joins it.

    Args:
        names: each once.
        member: makes an identifier.
        taken: what no name may become.
    """
    wanted = {name: member(name) for name in names}
    uses = Counter(wanted.values())
    return {
        name: f"{one}_{short_hash(name)}" if uses[one] > 1 or one in taken else one
        for name, one in wanted.items()
    }


class TypeNames:
    """Names of types, each of them once.

    Args:
        taken: names that mean something else in the module.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {*taken}
        self._numbers: Counter[str] = Counter()  # up to where they are taken

    def claim(self, *wanted: str) -> str:
        """The first of these that is free, or the last with what tells it from others."""
        names = [one[:1].upper() + one[1:] for one in wanted if one]
        for one in names:
            if one not in self._taken and not one[0].isdigit():
                self._taken.add(one)
                return one
        base = next((one for one in reversed(names) if not one[0].isdigit()), "Type")
        number = self._numbers[base] or 2
        while f"{base}{number}" in self._taken:
            number += 1
        self._numbers[base] = number + 1
        self._taken.add(f"{base}{number}")
        return f"{base}{number}"
