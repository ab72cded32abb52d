"""Bodies that are on their way: for how long each may be, and which gives its place up first.

The rule: one has `BODY_MAX`. While a further connection waits for a place, one has `CROWDED_MAX`
only, and those beyond their share of the places have less: see `CallbackServer`. The trap: whoever
sends half a body and stops would keep a place for as long as a body may take, and open the next.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import trio

BODY_MAX = 10.0  # seconds for a body to come in whole
CROWDED_MAX = 1.0  # seconds for the same while others wait


class Bodies:
    """See the module. The longest first."""

    def __init__(self) -> None:
        self._since: dict[trio.CancelScope, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    @contextmanager
    def reading(self) -> Generator[None]:
        """Read one in this block; it is left when the time is over, or others need the place."""
        now = trio.current_time()
        with trio.CancelScope(deadline=now + BODY_MAX) as scope:
            self._since[scope] = now
            try:
                yield
            finally:
                self._since.pop(scope, None)

    def cut(self, age: float, at_most: int | None = None) -> int:
        """End the longest ones; returns how many.

        Args:
            age: seconds that they are on their way, at least.
            at_most: how many; None for all.
        """
        before = trio.current_time() - age
        found = [scope for scope, since in self._since.items() if since <= before][:at_most]
        for scope in found:
            del self._since[scope]
            scope.cancel()
        return len(found)
