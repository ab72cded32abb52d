"""Group commit: what gathers while one batch is on its way to the disk is the next one.

So the more there is to do, the less each costs. One batch is under way at a time.

When the disk fails nothing is dropped: the batch is tried again until it is written, and what
waits for it waits. Only what is accepted and not on disk is taken back.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Collection, Sequence

import trio

from ....._values.settings.settings import Settings
from ....._values.statistics import Counters
from ...records import Accepted, JournalError
from ..operations import Forgotten, Operation, Posted
from .known import KnownCommands
from .telling import call_each, guarded
from .twice import Then, Twice
from .upkeep import Upkeep
from .writer import DiskWork, Job

logger = logging.getLogger("petalkit.journal")

RETRY_MAX = 30.0  # seconds between two attempts to write, at most
FILL_FROM = 8  # commands under way from which a batch waits for more
FILL_MAX = 256  # operations that it waits for at most
LAZY_DELAY = 0.5  # seconds that what nobody waits for waits for others
LAZY_MAX = 256  # how many such


class GroupCommit:
    """See the module. `run` writes.

    Args:
        settings: limits and delays.
        counters: where it counts.
        known: what is put down, and what of it is on disk.
        upkeep: writes a batch, and makes room.

    Attributes:
        disk: does the work; set before `run`.
        on_room: called after each batch.
        on_due: called when something is to be folded, or to make room.
        on_failing: called when the disk begins to fail, with the numbers of what is taken back.
        error: why the last batch could not be written; None when it was.
    """

    disk: DiskWork

    def __init__(
        self, settings: Settings, counters: Counters, known: KnownCommands, upkeep: Upkeep
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._known = known
        self._upkeep = upkeep
        self.on_room: Then = lambda: None
        self.on_due: Then = lambda: None
        self.on_failing: Callable[[Collection[int]], object] = lambda _: None
        self.error: JournalError | None = None
        self._queue: list[Operation] = []
        self._then: list[Then] = []  # called when what is in the queue is written
        self._under_way: list[Then] | None = None  # the same of the batch that is being written
        self._in_batch = 0  # operations of the batch that is being written
        self._left: list[Operation] = []  # of a batch that could not be written
        self._taken_back: list[Operation] = []  # makes sure that what was taken back is not there
        self._awake = False  # the task is to write what is in the queue
        self._idle = trio.lowlevel.ParkingLot()  # the task, while there is nothing to write
        self._rests = False  # the task waits, and for no time
        self._quiet: trio.Event | None = None  # set when all is written, if somebody waits
        self._try_now = trio.Event()  # ends the wait before the next attempt
        self._look_again = False

    def __len__(self) -> int:
        """How many operations wait for the next batch."""
        return len(self._queue)

    @property
    def unwritten(self) -> int:
        """Operations that are not on disk, as far as is known."""
        return len(self._queue) + self._in_batch

    # -- what is put down

    def add(self, operation: Operation, then: Then | None) -> None:
        """See `Journal.add`."""
        self._wake()
        self._queue.append(operation)
        if then is not None:
            self._then.append(then)

    def add_start(self, number: int, then: Then | None) -> bool:
        """Say it with the acceptance of the command, if that was the step before; else False."""
        last = self._queue[-1] if self._queue else None
        if type(last) is not Accepted or last.number != number:
            return False
        last.started_at = last.at
        if then is not None:
            self._then.append(then)
        return True

    def add_lazily(self, operation: Operation) -> None:
        """See `Journal.add_lazily`."""
        if self._rests:
            self._idle.unpark()  # only to look at the clock
        self._queue.append(operation)
        if len(self._queue) >= LAZY_MAX:
            self._wake()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._idle.unpark()

    def look_again(self, *, at_once: bool) -> None:
        """See `Journal.look_again`."""
        if at_once:
            self._wake()
        else:
            self._look_again = True
            self._idle.unpark()

    def when_written(self, then: Then) -> None:
        """See `Journal.when_written`."""
        if self._awake:
            self._then.append(then)
        elif self._under_way is not None:
            self._under_way.append(then)
        else:
            then()

    def when_written_or_failing(self, then: Then) -> None:
        """See `Journal.when_written_or_failing`."""
        if self.error is None:
            self.when_written(Twice(then, self.when_written))
        else:
            then()

    async def wait_written(self) -> None:
        """Wait until nothing is left to write. The caller bounds it."""
        while self._queue or self._under_way is not None:
            if self._queue:  # or there would be an empty batch, and after it another
                self._wake()
            self._try_now.set()  # it may be the last attempt
            if self._quiet is None:
                self._quiet = trio.Event()
            await self._quiet.wait()

    # -- the task

    async def run(self, running: trio.CancelScope) -> None:
        """Write batch after batch until `running` is cancelled."""
        with running:
            while True:
                await self._wait_for_work()
                await self._write_batch()

    async def _write_batch(self) -> None:
        batch, self._queue = self._queue, []
        self._under_way, self._then = self._then, []
        self._awake = False
        delay = self._settings.journal_retry
        self._in_batch = len(batch)
        while not await self._try_to_write(batch):
            batch = [*self._left, *self._queue]  # what is put down since may make room
            self._in_batch = len(batch)
            self._under_way.extend(self._then)
            self._queue, self._then = [], []
            self._awake = False
            self._try_now = trio.Event()
            with trio.move_on_after(delay):
                await self._try_now.wait()
            delay = min(2 * delay, max(RETRY_MAX, self._settings.journal_retry))

    async def _wait_for_work(self) -> None:
        while not self._awake:
            limit = math.inf
            if self._queue:  # only what nobody waits for
                limit = LAZY_DELAY
            elif self._look_again or self._upkeep.nearly_full:
                limit = self._settings.journal_retry
            self._rests = limit == math.inf
            with trio.move_on_after(limit):
                await self._idle.park()
            self._rests = False
            if limit < math.inf and not self._awake:
                break
        self._look_again = False
        # With many commands under way a batch waits for more: fewer cost less. By turns of the
        # event loop, not by a timer, which is a millisecond late: a turn in which nothing came ends
        # the wait. With few it does not, because then somebody waits for the only one.
        if self._known.under_way < FILL_FROM:
            return
        until = trio.current_time() + self._settings.journal_commit_delay
        before = 0
        while before < len(self._queue) < FILL_MAX and trio.current_time() < until:
            before = len(self._queue)
            await trio.lowlevel.checkpoint()

    async def _try_to_write(self, batch: list[Operation]) -> bool:
        """Write a batch, and tell who waits; False when the disk does not take it."""
        limit = self._settings.journal_timeout
        self._taken_back = []
        if not self.disk.is_thread:
            await trio.lowlevel.checkpoint()  # others have their turn, as with a thread
        if not batch:
            self._written(batch)
            return True
        hung = told = False

        def tell(job: Job) -> None:
            nonlocal told
            if not (hung or told or job.has_failed):
                told = True
                store.took(staged)
                self._written(batch)

        try:
            store = self._upkeep.opened
            staged = store.stage(batch)
            # With a thread at once, or whoever waits would wait a turn of the event loop longer.
            then = tell if self.disk.is_thread else None
            job = self.disk.start(functools.partial(store.put, staged), then)
            with trio.move_on_after(limit) as scope:
                await job.wait()
            if hung := scope.cancelled_caught and not told:
                text = f"the disk has not answered for {limit:g} s"
                self._fail(JournalError(self._settings.journal, text), batch)
                await job.wait()  # no limit: nothing else can be written before it
            job.outcome()
        except JournalError as error:
            if not hung:
                self._fail(error, batch)
            logger.debug("%s", error)
            return False
        hung = False
        tell(job)
        if self._taken_back:
            # It was written after all, and must not be started by a later run.
            self._queue = [*self._taken_back, *self._queue]
            self._wake()
        return True

    def _written(self, batch: Sequence[Operation]) -> None:
        if self.error is not None:
            logger.warning("the journal can be written again")
            self.error = None
        self._counters.journal_batches += bool(batch)
        self._counters.journal_operations += len(batch)
        self._known.written(batch)
        if self._upkeep.is_due:
            self.on_due()
        self._in_batch = 0
        assert self._under_way is not None
        while self._under_way:
            tell, self._under_way = self._under_way, []
            call_each(tell)
        self._under_way = None
        guarded(self.on_room)
        if self._quiet is not None and not self._queue:
            self._quiet.set()
            self._quiet = None

    # -- the disk fails

    def _fail(self, error: JournalError, batch: Sequence[Operation]) -> None:
        self._counters.journal_failures += 1
        if self.error is not None:
            self._left = list(batch)
            return
        self.error = error
        logger.error(
            "%s; commands are answered UNAVAILABLE until it can be written, which is tried again "
            "and again: make room on the disk, or set another journal and start anew",
            error,
        )
        self._take_back(batch)

    def _take_back(self, batch: Sequence[Operation]) -> None:
        """Give back what is accepted and not on disk. What is left of a batch is `_left`."""
        unwritten = self._known.take_back((*batch, *self._queue))

        def is_left(operation: Operation) -> bool:
            of = operation.answers if type(operation) is Posted else operation.number
            return of not in unwritten

        guarded(self.on_failing, unwritten)
        for then in (*self._then, *(self._under_way or ())):
            if isinstance(then, Twice):
                guarded(then.at_once)
        self._queue = list(filter(is_left, self._queue))
        # A batch that failed may be on disk all the same, for all that can be known.
        self._taken_back = [Forgotten(number) for number in sorted(unwritten)]
        self._left = [*self._taken_back, *filter(is_left, batch)]
