"""What goes on beside commands, and is ended with them: jobs and streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...._values.errors import ErrorCode
from ..execution import Execution


class Beside(Protocol):
    """What the dispatcher asks of it."""

    def is_quiet(self, petal: str | None) -> bool:
        """Whether nothing runs (of a petal)."""
        ...

    def cancel_running(
        self, code: ErrorCode, text: str, which: Callable[[Execution], bool]
    ) -> None:
        """End what runs, as soon as it has cleaned up."""

    def refuse_waiting(
        self, code: ErrorCode, text: str, which: Callable[[Execution], bool]
    ) -> None:
        """End what waits for its turn."""

    def stop_begins(self) -> None:
        """The device stops: nothing begins any more."""

    def group_is_free(self) -> None:
        """An exclusive group is free: what waits for it may begin."""

    def link_is_gone(self) -> None:
        """There is no link any more: what must not go on without one ends."""
