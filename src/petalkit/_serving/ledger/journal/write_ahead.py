"""The journal: what has to be on disk before something else may happen, and who waits for it.

Operations are put down in order and written in batches: whatever gathers while one batch is on
its way to the disk is the next one. So the more there is to do, the less each costs. One batch is
under way at a time, in a thread of its own, or for tests on a mock clock in the event loop.

When the disk fails nothing is dropped: the batch is tried again until it is written, and what
waits for it waits. Meanwhile `failing` is true, and nothing is accepted that has to be recorded.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from typing import Any, NoReturn

import trio

from ...._values.clocks import wall_clock_is_set
from ...._values.codec import Timestamps
from ...._values.settings.settings import Settings
from ...._values.statistics import Counters
from ....transports import Delivery
from ...waiting import wait_any
from .age import Age
from .records import (
    Accepted,
    CommandRecord,
    Finished,
    Forgotten,
    Found,
    JournalError,
    Operation,
    Posted,
)
from .store import PRUNED_AT_ONCE, JournalStore
from .writer import Job, Writer

logger = logging.getLogger("petalkit.journal")

PRUNE_EVERY = 256  # commands finished between two looks at what is too old or too much
RETRY_MAX = 30.0  # seconds between two attempts to write, at most
QUEUED_MAX = 4096  # commands accepted and not yet written
OPERATIONS_MAX = 3 * QUEUED_MAX  # put down and not written, beyond which nothing is that need not
FILL_FROM = 8  # commands under way from which a batch waits for more
FILL_MAX = 256  # operations that it waits for at most
NEARLY_FULL = 0.9  # of its size: from there on it is looked each time
LAZY_DELAY = 0.5  # seconds that what nobody waits for waits for others
LAZY_MAX = 256  # how many such

Then = Callable[[], object]
Pruned = Sequence[tuple[int, str | None]]


class Journal:
    """See the module. `open` brackets everything that uses it.

    Args:
        settings: where it is, and its bounds.
        device_id: whose it is; that of another device is not opened.
        counters: where it counts.
        timestamps: the wall clock.

    Attributes:
        on_room: called when more can be accepted than before: after each batch.
        on_failing: called when the disk begins to fail, with the numbers of the commands that
            are accepted and not on disk: nothing more is put down of them.
    """

    def __init__(
        self, settings: Settings, device_id: str, counters: Counters, timestamps: Timestamps
    ) -> None:
        assert settings.journal is not None
        self.path = settings.journal
        self.on_room: Then = lambda: None
        self.on_failing: Callable[[Collection[int]], object] = lambda _: None
        self._settings = settings
        self._device_id = device_id
        self._counters = counters
        self._timestamps = timestamps
        self._store: JournalStore | None = None
        self._writer: Writer | None = None
        self._queue: list[Operation] = []
        self._then: list[Then] = []  # called when what is in the queue is written
        self._under_way: list[Then] | None = None  # the same of the batch that is being written
        self._open = 0  # commands that were accepted, and have not finished
        self._target = -1  # so many operations a batch waits for, while it does
        self._awake = False  # the task is to write what is in the queue
        self._idle = trio.lowlevel.ParkingLot()  # the task, while there is nothing to write
        self._quiet: trio.Event | None = None  # set when all is written, if somebody waits
        self._numbers: dict[str, int] = {}
        self._last = 0
        self.earlier_to = 0  # the number of the last command of an earlier run
        self._accepted_to = 0  # the number of the last command that is on disk
        self._unpruned = 0  # commands finished since it was last looked
        self._error: JournalError | None = None
        self._in_batch = 0  # operations of the batch that is being written
        self._left: list[Operation] = []  # of a batch that could not be written
        self._taken_back: list[Operation] = []  # makes sure that what was taken back is not there
        self._try_now = trio.Event()  # ends the wait before the next attempt
        self._look_again = False
        self.queued = 0  # commands accepted, and not yet written
        self.queued_bytes = 0  # of their payloads

    # -- how it stands

    @property
    def failing(self) -> bool:
        """Whether the disk did not take the last batch."""
        return self._error is not None

    @property
    def has_room(self) -> bool:
        """Whether one more command can be accepted now."""
        settings = self._settings
        return (
            self._error is None
            and self.queued < QUEUED_MAX
            and self.queued_bytes < settings.channel_bytes
            and self._store is not None
            and self._store.fill + 2 * self.queued_bytes / settings.journal_size < 1.0
        )

    @property
    def takes_more(self) -> bool:
        """Whether more may be put down of what is not accepted by `has_room`.

        Else it goes on without a record: what comes in such a time has no bound.
        """
        return (
            self._error is None
            and len(self._queue) < OPERATIONS_MAX
            and self._store is not None
            and self._store.fill < 1.0
        )

    @property
    def remembered(self) -> int:
        """How many `messageId`s it knows."""
        return len(self._numbers)

    def wall(self) -> float:
        """The wall clock."""
        return self._timestamps.now()

    def seconds_until(self, moment: float) -> float:
        """From now to a moment on the wall clock; infinity when one of both means nothing."""
        wall = self.wall()
        if not (wall_clock_is_set(wall) and wall_clock_is_set(moment)):
            return math.inf
        return moment - wall

    # -- what it knows

    def knows(self, message_id: str) -> bool:
        """Whether there may be a command of that ID."""
        return message_id in self._numbers

    def number_of(self, message_id: str) -> int | None:
        """The number of the last command of that ID."""
        return self._numbers.get(message_id)

    def find(self, message_id: str) -> CommandRecord | None:
        """The command of that ID as it is on disk; None when it is not, or not yet.

        Reads the disk in the event loop: so only for what is known, which is rare.

        Raises:
            JournalError: it cannot be read.
        """
        number = self._numbers.get(message_id)
        if number is None or self._store is None:
            return None
        record = self._store.read(number)
        if record is None and number <= self._accepted_to:
            del self._numbers[message_id]  # somebody made it forget, from outside
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
        self._wake()
        queue = self._queue
        queue.append(operation)
        if len(queue) == self._target:
            self._idle.unpark()
        if then is not None:
            self._then.append(then)
        kind = type(operation)
        if kind is Accepted:
            self._add_accepted(operation)  # type: ignore[arg-type]
        elif kind is Finished or kind is Forgotten:
            self._unpruned += 1
            self._open -= 1

    def add_lazily(self, operation: Operation) -> None:
        """Put down what nobody waits for: it is written with the next batch, or soon."""
        if not self._queue:
            self._idle.unpark()  # only to look at the clock
        self._queue.append(operation)
        if len(self._queue) >= LAZY_MAX:
            self._wake()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._idle.unpark()

    def _add_accepted(self, operation: Accepted) -> None:
        self._open += 1
        self.queued += 1
        self.queued_bytes += len(operation.payload)
        if operation.message_id is not None:
            self._numbers[operation.message_id] = operation.number

    def forget(self, message_id: str, number: int) -> None:
        """A later command of that ID is no duplicate of that one."""
        if self._numbers.get(message_id) == number:
            del self._numbers[message_id]

    def when_written(self, then: Then) -> None:
        """Call `then` when all that was put down so far is on disk: at once if it is."""
        if self._awake:
            self._then.append(then)
        elif self._under_way is not None:
            self._under_way.append(then)
        else:
            then()

    def acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge when all that was put down so far is on disk, or the disk fails.

        And what is put down because of that: a copy of what has just finished may want an answer
        that is put down when the end is written.

        For a copy of what is on disk itself: to withhold that would hold up all behind it.
        """
        if self._error is None:
            self.when_written(Acknowledgement(delivery, self.when_written))
        else:
            delivery.ack()

    async def wait_written(self) -> None:
        """Wait until nothing is left to write. The caller bounds it."""
        while self._queue or self._under_way is not None:
            if self._queue:  # or there would be an empty batch, and after it another
                self._wake()
            self._try_now.set()  # it may be the last attempt
            if self._quiet is None:
                self._quiet = trio.Event()
            await self._quiet.wait()

    # -- life

    @contextlib.asynccontextmanager
    async def open(
        self, give_up: Callable[[], Awaitable[object]] = trio.sleep_forever
    ) -> AsyncGenerator[Found]:
        """Open the file, and write what is put down until the block is left.

        On leaving, also by cancellation, what is left is written, which takes `journal_timeout`
        at most.

        Args:
            give_up: returns when a file that is not open yet is not to be waited for any more.

        Raises:
            JournalError: it cannot be opened; the text says why, and what to do.
        """
        settings = self._settings
        opening = functools.partial(
            JournalStore.open, self.path, device_id=self._device_id, size_max=settings.journal_size
        )
        if settings.journal_thread:
            self._writer = Writer()
        store = await self._open_store(opening, give_up)
        self._store = store
        try:
            found: Found = await self._do(store.load)
            newest = await self._do(store.newest)
            self._age = Age(settings.journal_age, newest, trio.current_time())
            self._numbers = dict(found.remembered)
            while self._forget_pruned(
                await self._do(functools.partial(self._prune, store, self._oldest()))
            ):
                pass
            self._last = self._accepted_to = self.earlier_to = found.last
            logger.info("the journal is %s", self.path)
            self._open = found.not_started + len(found.running)
            # A cancellation from outside ends the block; the writer goes on until it is left.
            running = trio.CancelScope(shield=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run, running, name="journal")
                try:
                    yield found
                finally:
                    with trio.move_on_after(settings.journal_timeout, shield=True):
                        await self.wait_written()
                    running.cancel()
        finally:
            await self._close(store)

    async def _open_store(
        self, opening: Callable[[], JournalStore], give_up: Callable[[], Awaitable[object]]
    ) -> JournalStore:
        """Open it. Cancellation: a disk that hangs is not waited for; what it opens is closed."""
        job = self._start(opening)
        try:
            await wait_any(job.wait, give_up)
            if not job.is_done:
                raise JournalError(self.path, "the start was given up before the disk answered")
            store: JournalStore = job.outcome()
        except BaseException:
            job.abandon(JournalStore.close)
            self._end_writer()
            raise
        return store

    async def _close(self, store: JournalStore) -> None:
        self._store = None
        left = len(self._queue) + self._in_batch
        if left:
            logger.error("stopped before %d records could be written to the journal", left)
        elif self._error is not None:
            logger.warning("stopped while the journal cannot be written; nothing waited for that")
        with trio.move_on_after(self._settings.journal_timeout) as scope:
            scope.shield = True
            try:
                await self._do(store.close)
            except JournalError as error:
                logger.warning("%s", error)
        if scope.cancelled_caught:
            logger.error("the disk does not answer: the journal is left unclosed")
        self._end_writer()

    def _end_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _start(self, function: Callable[[], Any]) -> Job:
        """Begin a piece of work with the store, in the thread if there is one."""
        job = Job(function)
        if self._writer is None:
            job.run()
            job.finish()
        else:
            self._writer.start(job)
        return job

    async def _do(self, function: Callable[[], Any]) -> Any:
        """Do a piece of work. Cancellation: it is done all the same, and nobody waits for it."""
        job = self._start(function)
        await job.wait()
        return job.outcome()

    # -- writing

    async def _run(self, running: trio.CancelScope) -> None:
        """Write batch after batch until `running` is cancelled."""
        with running:
            await self._write_batches()

    async def _write_batches(self) -> NoReturn:
        while True:
            await self._wait_for_work()
            batch, self._queue = self._queue, []
            self._awake = False
            then, self._then = self._then, []
            self._under_way = then
            delay = self._settings.journal_retry
            self._in_batch = len(batch)
            while not await self._try_to_write(batch):
                batch = [*self._left, *self._queue]  # what is put down since may make room
                self._in_batch = len(batch)
                self._queue = []
                self._under_way.extend(self._then)
                self._then = []
                self._awake = False
                self._try_now = trio.Event()
                with trio.move_on_after(delay):
                    await self._try_now.wait()
                delay = min(2 * delay, max(RETRY_MAX, self._settings.journal_retry))

    async def _try_to_write(self, batch: list[Operation]) -> bool:
        """Write a batch, and tell who waits for it; False when the disk does not take it."""
        limit = self._settings.journal_timeout
        self._taken_back = []
        if self._writer is None:
            await trio.lowlevel.checkpoint()  # others have their turn, as with a thread
        job = self._start(functools.partial(self._write, batch, self._oldest()))
        with trio.move_on_after(limit) as scope:
            await job.wait()
        hung = scope.cancelled_caught
        if hung:
            text = f"the disk has not answered for {limit:g} s"
            self._fail(JournalError(self.path, text), batch)
            await job.wait()  # no limit: nothing else can be written before it
        try:
            pruned: Pruned = job.outcome()
        except JournalError as error:
            if not hung:
                self._fail(error, batch)
            logger.debug("%s", error)
            return False
        self._written(batch, pruned)
        if self._taken_back:
            # It was written after all, and must not be started by a later run.
            self._queue = [*self._taken_back, *self._queue]
            self._wake()
        return True

    async def _wait_for_work(self) -> None:
        while not self._awake:
            limit = math.inf
            if self._queue:  # only what nobody waits for
                limit = LAZY_DELAY
            elif self._look_again or (self._store is not None and self._store.fill >= NEARLY_FULL):
                limit = self._settings.journal_retry
            with trio.move_on_after(limit):
                await self._idle.park()
            if limit < math.inf and not self._awake:
                break
        self._look_again = False
        # With many commands under way a batch waits a little for more of them: fewer batches cost
        # less. With few it does not, because then somebody waits for the only one.
        target = 0 if self._open < FILL_FROM else min(2 * self._open, FILL_MAX)
        delay = self._settings.journal_commit_delay
        if delay > 0 and len(self._queue) < target:
            self._target = target
            with trio.move_on_after(delay):
                await self._idle.park()
            self._target = -1

    def _oldest(self) -> float | None:
        """Before when what has finished is too old to be remembered, if that is sure."""
        return self._age.oldest(self._timestamps.now(), trio.current_time())

    def _write(self, batch: Sequence[Operation], oldest: float | None) -> Pruned:
        """In the thread."""
        store = self._store
        assert store is not None
        store.write(batch)
        if self._unpruned < PRUNE_EVERY and store.fill < NEARLY_FULL:
            return ()
        self._unpruned = 0
        try:
            return self._prune(store, oldest)
        except JournalError as error:  # the batch is on disk all the same
            logger.warning("%s; nothing was made room for", error)
            return ()

    def _prune(self, store: JournalStore, oldest: float | None) -> Pruned:
        return store.prune(count=self._settings.journal_count, before=oldest)

    def _forget_pruned(self, pruned: Pruned) -> bool:
        """What was pruned is no longer known; whether there is more to prune."""
        for number, message_id in pruned:
            if message_id is not None:
                self.forget(message_id, number)
        return len(pruned) >= PRUNED_AT_ONCE

    def look_again(self, *, at_once: bool = False) -> None:
        """Call `on_room` though nothing is written: something could not be done yet.

        Args:
            at_once: when others have had their turn; else in a while.
        """
        if at_once:
            self._wake()
        else:
            self._look_again = True
            self._idle.unpark()

    def _fail(self, error: JournalError, batch: Sequence[Operation]) -> None:
        self._counters.journal_failures += 1
        if self._error is not None:
            self._left = list(batch)
            return
        self._error = error
        logger.error(
            "%s; trying again until it can be written. Meanwhile commands that have to be recorded "
            "are answered UNAVAILABLE, and the answers to others wait",
            error,
        )
        self._take_back(batch)

    def _take_back(self, batch: Sequence[Operation]) -> None:
        """Give back what is accepted and not on disk. What is left of a batch is `_left`."""
        unwritten: set[int] = set()
        finished: set[int] = set()
        for operation in (*batch, *self._queue):
            if type(operation) is Accepted:
                unwritten.add(operation.number)
                self._count_written(operation)
                if operation.message_id is not None:
                    self.forget(operation.message_id, operation.number)
            elif type(operation) is Finished or type(operation) is Forgotten:
                finished.add(operation.number)
        self._open -= len(unwritten - finished)

        def is_left(operation: Operation) -> bool:
            of = operation.answers if type(operation) is Posted else operation.number
            return of not in unwritten

        _guarded(self.on_failing, unwritten)
        for then in (*self._then, *(self._under_way or ())):
            if isinstance(then, Acknowledgement):
                then.delivery.ack()
        self._queue = list(filter(is_left, self._queue))
        # A batch that failed may be on disk all the same, for all that can be known.
        self._taken_back = [Forgotten(number) for number in sorted(unwritten)]
        self._left = [*self._taken_back, *filter(is_left, batch)]

    def _count_written(self, operation: Accepted) -> None:
        self.queued -= 1
        self.queued_bytes -= len(operation.payload)

    def _written(self, batch: Sequence[Operation], pruned: Pruned) -> None:
        if self._error is not None:
            logger.warning("the journal can be written again")
            self._error = None
        self._counters.journal_batches += bool(batch)
        self._counters.journal_operations += len(batch)
        for operation in batch:
            if type(operation) is Accepted:
                self._count_written(operation)
                self._accepted_to = operation.number
        if self._forget_pruned(pruned):
            self.look_again()
        self._in_batch = 0
        assert self._under_way is not None
        while self._under_way:
            tell, self._under_way = self._under_way, []
            for then in tell:
                _guarded(then)
        self._under_way = None
        _guarded(self.on_room)
        if self._quiet is not None and not self._queue:
            self._quiet.set()
            self._quiet = None


def _guarded(function: Callable[..., object], *arguments: object) -> None:
    """Call it. An error is our bug, or a petal's code; others are not to pay for it."""
    try:
        function(*arguments)
    except Exception:
        logger.exception("could not go on after the journal was written")


class Acknowledgement:
    """Acknowledges when it is called the second time, each time for what was put down by then."""

    __slots__ = ("_seen", "_when_written", "delivery")

    def __init__(self, delivery: Delivery, when_written: Callable[[Then], None]) -> None:
        self.delivery = delivery
        self._when_written = when_written
        self._seen = False

    def __call__(self) -> None:
        if self._seen:
            self.delivery.ack()
        else:
            self._seen = True
            self._when_written(self)
