"""What goes on beside commands, and is ended with them: jobs and streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...._values.errors import ErrorCode
from ...._values.messages import Identity
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

    def end_identity(self, identity: Identity) -> None:
        """The device is another now: what was read under this identity is so no longer."""

    def stuck(self) -> list[str]:
        """Names of what is cancelled and has not ended."""
        ...

    def stop_begins(self) -> None:
        """The device stops: nothing begins any more."""

    def may_begin(self) -> None:
        """A group is free, or a petal in service: what waits for it begins."""

    def link_is_up(self) -> None:
        """There is a link: what must not go on without one may begin."""

    def link_is_gone(self) -> None:
        """There is no link any more: what must not go on without one ends."""
