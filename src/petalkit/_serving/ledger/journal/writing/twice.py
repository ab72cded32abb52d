"""Waits for what is put down, and for what is put down because of that.

The trap: a copy of what is just being written may want an answer, which is put down when its first
is written. To wait for one batch would not wait for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Then: TypeAlias = Callable[[], object]


class Twice:
    """Calls `then` when it is called the second time, each time for what was put down by then."""

    __slots__ = ("_seen", "_then", "_when_written")

    def __init__(self, then: Then, when_written: Callable[[Then], None]) -> None:
        self._then: Then | None = then
        self._when_written = when_written
        self._seen = False

    def __call__(self) -> None:
        if self._seen:
            self.at_once()
        else:
            self._seen = True
            self._when_written(self)

    def at_once(self) -> None:
        """Call it now, unless it has been."""
        then, self._then = self._then, None
        if then is not None:
            then()
