"""Fuzzed bytes as decisions: what the first bytes choose, and the rest is the input itself.

Small on purpose: the same input has to mean the same with and without a fuzzer. What is asked for
beyond the end is nothing and zero.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_NUMBERS = (0.0, -0.5, 1.9, 1e308, 1e-9, 2**53 + 1, -(2**63), 2**64, 10**40, 1.8e12, 1.8e9, 1e400)
_TEXTS = (
    "", "hello", "\x00", "\ud800", "\U0001f681", "a/b", "unknown", "true", "1", "1.5", "NaN",
    "2030-01-01T00:00:00Z", "2030-01-01T00:00:00", "0001-01-01T00:00:00+23:59", "2030-01-01",
    "12:30:00", "aGVsbG8=", "aGVsbG8", "12345678-1234-5678-1234-567812345678", "red", "success",
    "error", "ack",
)  # fmt: skip


class Reader:
    """Takes one thing after another.

    Args:
        data: the input.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """So many bytes, or as many as there are."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def byte(self) -> int:
        """One byte as a number; 0 at the end."""
        return (self.take(1) or b"\0")[0]

    def choice(self, choices: Sequence[T]) -> T:
        """One of these."""
        return choices[self.byte() % len(choices)]

    def sized(self) -> bytes:
        """A length byte, and so many bytes."""
        return self.take(self.byte())

    def text(self) -> str:
        """The same as text; what is not UTF-8 becomes lone surrogates, as in file names."""
        return self.sized().decode("utf-8", "surrogateescape")

    def json(self, names: Sequence[str], depth: int = 4) -> Any:
        """A value that JSON has, or nearly; objects have mostly these names."""
        kind = self.byte()
        match kind % 12:
            case 0:
                return None
            case 1 | 2:
                return kind % 12 == 1
            case 3:
                return self.byte() - 128
            case 4:
                return int.from_bytes(self.sized()[:9], signed=True)
            case 5:
                return self.choice(_NUMBERS)
            case 6:
                return self.choice(_TEXTS)
            case 7:
                return self.text()
            case 8 if depth:
                return [self.json(names, depth - 1) for _ in range(kind // 12 % 5)]
            case _ if depth:
                return self.json_object(names, depth)
            case _:
                return {}

    def json_object(self, names: Sequence[str], depth: int = 4) -> dict[str, Any]:
        """An object of such values."""
        found: dict[str, Any] = {}
        for _ in range(self.byte() % 8):
            number = self.byte()
            name = names[number] if number < len(names) else self.text()
            found[name] = self.json(names, depth - 1)
        return found

    def json_text(self, names: Sequence[str]) -> bytes:
        """Such an object as text, or the rest of the input as it is, which one bit chooses."""
        if self.byte() & 1:
            return self.rest()
        return json.dumps(self.json_object(names)).encode("utf-8", "surrogatepass")

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._data))
