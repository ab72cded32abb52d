"""The journal: what has to be on disk before something else may happen, and who waits for it.

Operations are put down in order and written in batches: see `writing`. When the disk fails nothing
is dropped: it is tried again until it is written, and what waits for it waits. Meanwhile `failing`
is true, and nothing is accepted that has to be recorded.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import cast

import trio

from ...._values.codec import Timestamps
from ...._values.settings.settings import Settings
from ...._values.statistics import Counters
from ..records import Accepted, CommandRecord, Found, JournalError
from .operations import Finished, Forgotten, Operation, Started
from .store import JournalStore
from .writing.folding import Folding
from .writing.group_commit import GroupCommit
from .writing.known import KnownCommands
from .writing.twice import Then
from .writing.upkeep import Upkeep
from .writing.writer import DiskWork

logger = logging.getLogger("petalkit.journal")

QUEUED_MAX = 4096  # commands accepted and not yet written
OPERATIONS_MAX = 3 * QUEUED_MAX  # put down and not written, beyond which nothing is that need not


class Journal:
    """See the module. `open` brackets everything that uses it.

    Args:
        settings: where it is, and its bounds.
        device_id: whose it is; that of another device is not opened.
        counters: where it counts.
        timestamps: the wall clock.

    Attributes:
        earlier_to: the number of the last command of an earlier run.
    """

    def __init__(
        self, settings: Settings, device_id: str, counters: Counters, timestamps: Timestamps
    ) -> None:
        self.path = cast(Path, settings.journal)  # whoever makes one has asked
        self._settings = settings
        self._device_id = device_id
        self._timestamps = timestamps
        self._store: JournalStore | None = None
        self._known = KnownCommands()
        self._upkeep = Upkeep(settings, timestamps, self._known)
        self._commits = GroupCommit(settings, counters, self._known, self._upkeep)
        self._folding = Folding(settings, self._known, self._upkeep)
        self._commits.on_due = self._folding.want
        self._last = 0
        self.earlier_to = 0

    def watch(self, on_room: Then, on_failing: Callable[[Collection[int]], object]) -> None:
        """Be told of what changes.

        Args:
            on_room: called when more can be accepted than before: after each batch.
            on_failing: called when the disk begins to fail, with the numbers of the commands that
                are accepted and not on disk: nothing more is put down of them.
        """
        self._commits.on_room, self._commits.on_failing = on_room, on_failing
        self._folding.on_room = on_room

    # -- how it stands

    @property
    def failing(self) -> bool:
        """Whether the disk did not take the last batch."""
        return self._commits.error is not None

    @property
    def has_room(self) -> bool:
        """Whether one more command can be accepted now."""
        settings, known = self._settings, self._known
        return (
            self._commits.error is None
            and known.queued < QUEUED_MAX
            and known.queued_bytes < settings.channel_bytes
            and self._store is not None
            and self._store.fill + 2 * known.queued_bytes / settings.journal_size < 1.0
        )

    @property
    def is_crowded(self) -> bool:
        """See `Ledger.is_crowded`."""
        known = self._known
        return self._store is not None and self._store.is_crowded(len(known), known.under_way)

    @property
    def takes_more(self) -> bool:
        """Whether more may be put down of what is not accepted by `has_room`.

        Else it goes on without a record: what comes in such a time has no bound.
        """
        return (
            self._commits.error is None
            and len(self._commits) < OPERATIONS_MAX
            and self._store is not None
            and self._store.fill < 1.0
        )

    @property
    def remembered(self) -> int:
        """How many `messageId`s it knows."""
        return len(self._known)

    @property
    def sync(self) -> str:
        """See `Statistics.journal_sync`."""
        return "" if self._store is None else self._store.how

    def wall(self) -> float:
        """The wall clock."""
        return self._timestamps.now()

    # -- what it knows

    def knows(self, message_id: str) -> bool:
        """Whether there may be a command of that ID."""
        return message_id in self._known

    def number_of(self, message_id: str) -> int | None:
        """The number of the last command of that ID."""
        return self._known.number(message_id)

    def find(self, message_id: str) -> CommandRecord | None:
        """The command of that ID as it is on disk; None when it is not, or not yet.

        Reads the disk in the event loop: so only for what is known, which is rare.

        Raises:
            JournalError: it cannot be read.
        """
        number = self._known.number(message_id)
        if number is None or self._store is None:
            return None
        record = self._store.read(number)
        if record is None and number <= self._known.written_to:
            self._known.forget(message_id, number)  # somebody made it forget, from outside
        return record

    def not_started(self, after: int, limit: int) -> Sequence[CommandRecord]:
        """Commands on disk that have not started, in order.

        Args:
            after: of higher numbers only.
            limit: how many at most.

        Raises:
            JournalError: it cannot be read.
        """
        return () if self._store is None else self._store.not_started(after, limit)

    def waiting(self, numbers: Sequence[int]) -> Sequence[CommandRecord]:
        """Those of some commands that are on disk and have not started, in order.

        Args:
            numbers: of them; a few dozen.

        Raises:
            JournalError: it cannot be read.
        """
        return () if self._store is None else self._store.waiting(numbers)

    # -- what is put down

    def next_number(self) -> int:
        """A number higher than all before, also those of earlier runs."""
        self._last += 1
        return self._last

    def add(self, operation: Operation, then: Then | None = None) -> None:
        """Put an operation down; `then` is called in Trio when it is on disk.

        What is put down without a checkpoint in between is on disk together or not at all.
        """
        self._commits.add(operation, then)
        kind = type(operation)
        if kind is Accepted:
            self._known.accept(operation)  # type: ignore[arg-type]
        elif kind is Finished or kind is Forgotten:
            self._known.finish()

    def start(self, number: int, then: Then | None) -> None:
        """Put down that a command starts: with its acceptance where that was the step before."""
        if not self._commits.add_start(number, then):
            self._commits.add(Started(number, self.wall()), then)

    def add_lazily(self, operation: Operation) -> None:
        """Put down what nobody waits for: it is written with the next batch, or soon."""
        self._commits.add_lazily(operation)

    def forget(self, message_id: str, number: int) -> None:
        """A later command of that ID is no duplicate of that one."""
        self._known.forget(message_id, number)

    def when_written(self, then: Then) -> None:
        """Call `then` when all that was put down so far is on disk: at once if it is."""
        self._commits.when_written(then)

    def when_written_or_failing(self, then: Then) -> None:
        """Call `then`, once, when all that was put down so far is on disk, or the disk fails.

        And what is put down because of that: a copy of what has just finished may want an answer.
        """
        self._commits.when_written_or_failing(then)

    def look_again(self, *, at_once: bool = False) -> None:
        """Call `on_room` though nothing is written, in a while or when others had their turn."""
        self._commits.look_again(at_once=at_once)

    async def wait_written(self) -> None:
        """Wait until nothing is left to write. The caller bounds it."""
        await self._commits.wait_written()

    # -- life

    @contextlib.asynccontextmanager
    async def open(
        self, give_up: Callable[[], Awaitable[object]] = trio.sleep_forever
    ) -> AsyncGenerator[Found]:
        """Open the file, and write what is put down until the block is left.

        On leaving, also by cancellation, what is left is written, for at most `journal_timeout`.

        Args:
            give_up: returns when a file that is not open yet is not to be waited for any more.

        Raises:
            JournalError: it cannot be opened; the text says why, and what to do.
        """
        settings = self._settings
        opening = functools.partial(
            JournalStore.open,
            self.path,
            device_id=self._device_id,
            size_max=settings.journal_size,
            window=settings.replay_window,
            count_max=settings.journal_count + settings.replay_count,
            clock=trio.lowlevel.current_clock().current_time,
        )
        disk = self._commits.disk = DiskWork(thread=settings.journal_thread)
        store: JournalStore | None = await disk.do_first(opening, give_up, JournalStore.close)
        if store is None:
            raise JournalError(self.path, "the start was given up before the disk answered")
        folding = self._folding.disk = DiskWork(thread=settings.journal_thread)
        self._store = self._upkeep.store = store
        try:
            found: Found = await disk.do(store.load)
            self._upkeep.begin(await disk.do(store.newest))
            self._known.restore(found)
            await self._upkeep.prune_all(disk)
            self._last = self.earlier_to = found.last
            logger.info("the journal is %s", self.path)
            # A cancellation from outside ends the block; the writer goes on until it is left.
            running, folds = trio.CancelScope(shield=True), trio.CancelScope(shield=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._commits.run, running, name="journal")
                nursery.start_soon(self._folding.run, folds, name="journal, folding")
                try:
                    yield found
                finally:
                    with trio.move_on_after(settings.journal_timeout, shield=True):
                        await self.wait_written()
                    running.cancel()
                    folds.cancel()
        finally:
            await self._close(disk, store)
            folding.close()

    async def _close(self, disk: DiskWork, store: JournalStore) -> None:
        self._store = self._upkeep.store = None
        left = self._commits.unwritten
        if left:
            logger.error("stopped before %d records could be written to the journal", left)
        elif self._commits.error is not None:
            logger.warning("stopped while the journal cannot be written; nothing waited for that")
        with trio.move_on_after(self._settings.journal_timeout) as scope:
            scope.shield = True
            try:
                await disk.do(store.close)
            except JournalError as error:
                logger.warning("%s", error)
        if scope.cancelled_caught:
            logger.error("the disk does not answer: the journal is left unclosed")
        disk.close()
