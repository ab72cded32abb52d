"""What a ledger with a journal only asks it, or tells it: `disk` has the life of a command."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from ..._authoring.registry import CommandSpec
from .contract import Ledger
from .entry import E
from .journal.operations import Requeued, Wanted
from .journal.write_ahead import Journal
from .notes import RecordedNotes
from .owed_messages import OwedMessages
from .records import CommandRecord, Found
from .remembered.duplicate_window import DuplicateWindow


class JournalBacked(RecordedNotes, Ledger[E]):
    """See the module, and `Ledger`.

    Args:
        window: what is known of commands that are not recorded.
        owed: messages, recorded.
        journal: where the others are.
    """

    may_wait = keeps_waiting = True

    def __init__(self, window: DuplicateWindow[E], owed: OwedMessages, journal: Journal) -> None:
        super().__init__(window, owed)
        self._journal = journal

    # -- how it stands

    @property
    def has_room(self) -> bool:
        return self._journal.has_room

    @property
    def failing(self) -> bool:
        return self._journal.failing

    def takes(self, spec: CommandSpec) -> bool:
        """See `Ledger`."""
        return spec.journal

    @property
    def place(self) -> str:
        """See `Ledger`."""
        return str(self._journal.path)

    @property
    def sync(self) -> str:
        """See `Ledger`."""
        return self._journal.sync

    # -- when it is safe

    def when_safe(self, then: Callable[[], object]) -> None:
        """See `Ledger`."""
        self._journal.when_written(then)

    def when_safe_or_failing(self, then: Callable[[], object]) -> None:
        """See `Ledger`."""
        self._journal.when_written_or_failing(then)

    # -- commands that wait here only

    def want_of_kept(self, number: int, wait_response: bool, extras: bytes | None) -> None:
        """See `Ledger`."""
        self._journal.add(Wanted(number, wait_response, extras))

    def waiting(self, numbers: Sequence[int]) -> Sequence[CommandRecord]:
        """See `Ledger`."""
        return self._journal.waiting(numbers)

    def look_again(self, *, at_once: bool = False) -> None:
        """See `Ledger`."""
        self._journal.look_again(at_once=at_once)

    # -- what an earlier process has left

    @property
    def earlier_to(self) -> int:
        """See `Ledger`."""
        return self._journal.earlier_to

    def not_started(self, after: int, limit: int) -> Sequence[CommandRecord]:
        """See `Ledger`."""
        return self._journal.not_started(after, limit)

    def requeue(self, record: CommandRecord) -> None:
        """See `Ledger`."""
        self._journal.add(Requeued(record.number))

    # -- life

    @contextlib.asynccontextmanager
    async def open(self, give_up: Callable[[], Awaitable[object]]) -> AsyncGenerator[Found]:
        """See `Ledger`."""
        async with self._journal.open(give_up) as found:
            yield found

    async def wait_written(self) -> None:
        """See `Ledger`."""
        await self._journal.wait_written()
