"""Commands that wait in the ledger only: accepted, and too many for the channel.

Backlog        none: a ledger in memory has no more room than the channel
LedgerBacklog  see `in_ledger`
"""

from __future__ import annotations

from collections.abc import Collection

import attrs

from ...._authoring.registry import CommandSpec
from ...._values.errors import ErrorCode
from ...._values.messages import Command, Identity
from ...ledger.entry import Left
from ..refusals import Request


@attrs.frozen
class Waiting:
    """What is known of one of them. Attributes as of `CommandRecord`."""

    number: int
    command: str
    payload: bytes = attrs.field(repr=False)
    wait_response: bool
    extras: bytes | None = attrs.field(repr=False)


class Backlog:
    """See the module. Commands of a petal are taken up in their order, as room comes for it."""

    @property
    def count(self) -> int:
        """How many wait."""
        return 0

    def has_room(self, petal: str) -> bool:
        """Whether one more command of a petal may wait here."""
        return False

    def is_before(self, petal: str, command: Command) -> bool:
        """Whether what waits here of a petal comes before a command that is new."""
        return False

    def restore(self, count: int) -> None:
        """So many wait here since an earlier run."""

    def add(self, request: Request, spec: CommandSpec) -> None:
        """Let a command wait here. There must be room. It is acknowledged when it is safe.

        Args:
            request: it.
            spec: of who serves it now.
        """
        raise NotImplementedError

    def take_back(self, numbers: Collection[int]) -> list[Request]:
        """The ledger fails: give back those of them that are not safe."""
        return []

    def find(self, left: Left) -> Waiting | None:
        """One that the ledger has, if it waits here."""
        return None

    def join(self, waiting: Waiting, request: Request) -> bool:
        """Let a copy share its answer, wherever it wants it; False when those are too many."""
        raise NotImplementedError

    def cancel(self, left: Left, code: ErrorCode, text: str) -> bool:
        """Give one that waits here its end; False when it is not safe yet.

        Args:
            left: it; `find` has found it here.
            code: why.
            text: the same for people.
        """
        raise NotImplementedError

    def end_identity(self, identity: Identity) -> None:
        """The device is another now, and has waited long enough."""

    def refill(self) -> None:
        """Take up what there is room for, some of it now and the rest in a moment."""
