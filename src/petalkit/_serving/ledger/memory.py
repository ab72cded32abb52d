"""The ledger of a device without a journal: everything is as safe as it gets when it is put down.

What is not finished when the process dies is the broker's to bring again, or lost: see
`acknowledgement`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import trio

from ..._authoring.registry import CommandSpec
from ..._values.messages import Message
from ..._values.request import Reply
from .contract import Ledger
from .entry import AnswerMessages, E, Ending, Left
from .owed_messages import OwedMessages
from .records import NOTHING_LEFT, Found
from .remembered.duplicate_window import DuplicateWindow, Finished, Spent


class MemoryLedger(Ledger[E]):
    """See the module, and `Ledger`.

    Args:
        window: what is known.
    """

    may_wait = keeps_waiting = False
    # Constants, since every command asks; of the room the channel has the bounds.
    has_room = True  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    failing = False  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]

    def __init__(self, window: DuplicateWindow[E]) -> None:
        super().__init__(window, OwedMessages())

    def takes(self, spec: CommandSpec) -> bool:
        """See `Ledger`."""
        return True

    def find(self, message_id: str, now: float) -> E | Finished | Spent | Left | None:
        """See `Ledger`."""
        return self.window.live(message_id) or self.window.finished(message_id, now)

    def accept(self, entry: E, then: Callable[[E], object]) -> None:
        """See `Ledger`."""
        if entry.command.message_id is not None:
            self.window.begin(entry.command.message_id, entry)
        then(entry)

    def start(self, entry: E, then: Callable[[E], object] | None) -> None:
        """See `Ledger`."""
        if then is not None:
            then(entry)

    def want(self, entry: E, replies: tuple[Reply, ...]) -> None:
        """See `Ledger`."""

    def finish(
        self,
        entry: E,
        ending: Ending,
        answers: Callable[[E, bytes], AnswerMessages],
        then: Callable[[E, Ending, float], object],
    ) -> None:
        """See `Ledger`."""
        self._remember(entry, ending, ending.at)
        then(entry, ending, ending.at)

    def withdraw(self, entry: E) -> None:
        """See `Ledger`."""
        self.give_back(entry)

    def post_of(self, entry: E, message: Message, reply: Reply | None) -> int | None:
        """See `Ledger`."""
        return None

    def when_safe(self, then: Callable[[], object]) -> None:
        """See `Ledger`."""
        then()

    def when_safe_or_failing(self, then: Callable[[], object]) -> None:
        """See `Ledger`."""
        then()

    @contextlib.asynccontextmanager
    async def open(self, give_up: Callable[[], Awaitable[object]]) -> AsyncGenerator[Found]:
        """See `Ledger`."""
        yield NOTHING_LEFT

    async def wait_written(self) -> None:
        """See `Ledger`."""
        await trio.lowlevel.checkpoint()
