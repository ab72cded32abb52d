"""The runtime: its parts, the nurseries they live in, and the order in which they die.

    outer nursery          in the caller's task, so that its cancellation reaches the body at once
      journal (shielded)   open around all that has to be recorded
      services (shielded)  outlives that cancellation, until the stop sequence has run; bounded
        identity waiter, watchdog
        petals             lifespans, each with a nursery of its own; and what they share
        dispatcher         the workers
        supervisor         one link at a time, with its intake inside

Stopping is one sequence in one place, `_stop_in_order`, whatever the cause: leaving the block,
`stop()`, a signal, or cancellation, which only takes away the grace.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Sequence

import trio

from .._authoring.petal import Petal
from .._values.basics.clocks import wall_clock_is_set
from .._values.errors import ErrorCode, PetalkitError
from .._values.messages import Identity
from .._values.settings.settings import Settings
from .._values.statistics import Statistics
from ..transports import Transport
from .ledger.records import Found, JournalError
from .loggers import dropped_lines
from .memory import memory_bound
from .waiting import wait_any
from .watchdog import watch_event_loop
from .wiring import Outside, put_together

logger = logging.getLogger("petalkit.runtime")


class AllPetalsFailed(PetalkitError):
    """No petal is left, so there is nothing to serve. The log has each one's reason."""


class Runtime:
    """Petals being served. Made by `open_runtime`, `serve` and `run`."""

    def __init__(
        self, petals: Sequence[Petal], settings: Settings, transport: Transport, outside: Outside
    ) -> None:
        self.settings = settings
        # Kept for whoever ends the process.
        self.parts = parts = put_together(petals, settings, transport, outside, self.statistics)
        self._identity, self._ledger = parts.identity, parts.ledger
        self._responses, self._outbox = parts.responses, parts.responses.outbox
        self._dispatcher, self._recovery = parts.dispatcher, parts.recovery
        self.jobs, self._tasks, self._long_work = parts.jobs, parts.tasks, parts.long_work
        self._supervisor, self._links = parts.supervisor, parts.supervisor.service
        self._intake, self._lives, self._services = parts.intake, parts.lives, parts.services
        self._stop_requested, self._hurry, self._stopped = trio.Event(), trio.Event(), trio.Event()
        self.stop_done = trio.Event()  # all of the stop but the end of what does not end
        self._served = False
        self.crash: Exception | None = None

    # -- what users see

    @property
    def identity(self) -> Identity | None:
        """Who the device is now; None while the organization ID is not known."""
        return self._identity.current

    @property
    def serving(self) -> Identity | None:
        """Whose topics are subscribed on a live link; None while there is none."""
        return self._links.serving

    async def wait_identity(self) -> Identity:
        """Wait until the organization ID is known. No limit of its own."""
        return await self._identity.wait()

    async def ask_identity(self) -> None:
        """Ask the source of the organization ID now, not at the next poll."""
        await self._identity.ask()

    async def wait_connected(self) -> None:
        """Wait until commands have been subscribed to once. No limit of its own.

        Links may be lost and made again after it; ask `statistics().connected` for now.

        Raises:
            trio.ClosedResourceError: the runtime stopped before there was a link.
        """
        await wait_any(self._links.up.wait, self._stopped.wait)
        if not self._links.up.is_set():
            raise trio.ClosedResourceError("the runtime has stopped")

    @property
    def all_failed(self) -> bool:
        """Whether every petal is out of service, and none is started again."""
        return all(life.out_of_service.is_set() for life in self._lives)

    async def wait_all_failed(self) -> None:
        """Wait until every petal is out of service for good. No limit: most never are."""
        for life in self._lives:
            await life.out_of_service.wait()

    @property
    def thread_limiter(self) -> trio.CapacityLimiter:
        """Counts the threads of `thread=True` commands; for tests. It never makes one wait."""
        return self._dispatcher.thread_limiter

    def stop(self) -> None:
        """Begin to stop gracefully, and return at once; the owning block ends by itself.

        Does nothing when called again.
        """
        self._stop_requested.set()

    async def wait_stopped(self) -> None:
        """Wait until the stop sequence has run. No limit of its own: the sequence has."""
        await self._stopped.wait()

    def statistics(self) -> Statistics:
        """Totals since the start, and how it stands now."""
        return Statistics(
            **self.parts.counters.totals(),
            **self._long_work(),
            paused_seconds=round(self._intake.paused_seconds, 3),
            connected=self.serving is not None,
            log_dropped=dropped_lines.total,
            clock_set=wall_clock_is_set(self._responses.timestamps.now()),
            identity_known=self.identity is not None,
            waiting=self._dispatcher.backlog.waiting,
            waiting_bytes=self._dispatcher.backlog.waiting_bytes,
            held=self._intake.held,
            waiting_on_disk=self.parts.backlog.count,
            journal_failing=self._ledger.failing,
            journal_sync=self._ledger.sync,
            running=len(self._dispatcher.slots),
            outbox=len(self._outbox),
            outbox_bytes=self._outbox.size,
            remembered=self._ledger.remembered,
            memory_bound=memory_bound(self.settings),
            unavailable_petals=self.parts.unavailable(),
        )

    # -- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop()`; `started` when the petals' lifespans are entered.

        Shielded: end it by `hurry()`, which takes away the grace.

        Raises:
            AllPetalsFailed: none could be started.
            ConfigError: the transport cannot work with these settings.
        """
        self._intake.admission.freshness.announce()
        with trio.CancelScope(shield=True):
            try:
                async with self._ledger.open(self._hurry.wait) as found:
                    self._recovery.restore_messages(found)
                    await self._serve(found, task_status)
            except JournalError:
                if not self._hurry.is_set():  # else the start was cut short, which is said below
                    raise
            finally:
                self._outbox.close()
                logger.info("stopped")
                self._stopped.set()
        if self.crash is not None:
            raise self.crash
        if not self._served:
            await trio.lowlevel.checkpoint_if_cancelled()  # the start was cut short by that
            names = ", ".join(life.petal.name for life in self._lives)
            raise AllPetalsFailed(f"no petal could be started: {names}")

    async def _enter_lifespans(self, services: trio.Nursery) -> None:
        for beneath in self.parts.beneath():
            await services.start(beneath.run, self.settings)
        async with trio.open_nursery() as entering:
            for life in self._lives:
                entering.start_soon(services.start, life.run, name=f"start {life.petal.name}")

    async def _abandon_start(self) -> None:
        """When there is a hurry before the lifespans are entered, do not wait for them."""
        await self._hurry.wait()
        for life in self._lives:
            life.abandon_start()
        await trio.sleep_forever()  # `_enter_lifespans` ends now

    async def _serve(self, found: Found, task_status: trio.TaskStatus[None]) -> None:
        """Serve until `stop()`.

        Args:
            found: what an earlier run has left.
            task_status: told when the lifespans are entered.
        """
        try:
            async with trio.open_nursery() as services:
                services.start_soon(self._identity.run, name="organization-ID waiter")
                services.start_soon(self._responses.lines.run, name="lines of the log")
                if self.settings.watchdog > 0:
                    services.start_soon(watch_event_loop, self.settings.watchdog, name="watchdog")
                await services.start(self._dispatcher.run)
                await services.start(self._tasks.run)
                services.start_soon(self._services.run, self.settings, name="petals' services")
                await wait_any(
                    functools.partial(self._enter_lifespans, services), self._abandon_start
                )
                if not self.all_failed:
                    await wait_any(
                        functools.partial(self.parts.job_recovery.take_up, found.notes),
                        self._hurry.wait,
                    )
                    task_status.started()
                    left = self._recovery.take_up(found)
                    async with trio.open_nursery() as linked:
                        linked.start_soon(self._supervise, left, name="supervisor")
                        await self._stop_requested.wait()
                        await self._stop_in_order()
                    self._served = True
                    self.stop_done.set()
                services.cancel_scope.cancel()
        finally:
            self._dispatcher.slots.answer_stuck()

    async def _supervise(self, left: int) -> None:
        """Whatever ends the supervisor, the stop sequence still runs.

        Args:
            left: commands of an earlier run. They start before new ones, under the identity that
                is known then.
        """
        try:
            if left:
                await wait_any(self._identity.wait, self._stop_requested.wait)
                self._intake.restore(left)
            await self._supervisor.run()
        except Exception as error:
            self.crash = error
            self.hurry()

    def hurry(self) -> None:
        """Stop without grace."""
        self._hurry.set()
        self._stop_requested.set()

    async def _stop_in_order(self) -> None:
        settings, dispatcher = self.settings, self._dispatcher
        logger.info(
            "stopping: %d running, %d waiting", len(dispatcher.slots), dispatcher.backlog.waiting
        )
        if self._supervisor.is_leaving_session:
            self._intake.session_ends()  # it is being left: no later start takes it up
        self._intake.close()
        self._services.close()
        kept = self._intake.session_kept
        dispatcher.refuse_waiting(
            keep=lambda execution: execution.on_disk or (kept and bool(execution.deliveries))
        )
        await self._within(settings.grace, self._wait_quiet, hurried=True)
        self._intake.close_to_urgent()
        dispatcher.cancel_running(ErrorCode.CANCELLED, "the device is shutting down")
        self._services.cancel()
        await self._within(settings.cleanup_timeout, self._wait_cancelled)
        for name in dispatcher.slots.answer_stuck():
            logger.error("%s does not end although it is cancelled", name)
        for life in self._lives:
            life.stop()
        await self._within(2 * settings.cleanup_timeout, self._wait_lives)
        await self._within(settings.journal_timeout, self._ledger.wait_written)
        if self._links.link_of is not None:
            await self._within(settings.flush_timeout, self._wait_flushed)
        self._supervisor.leave()

    async def _wait_quiet(self) -> None:
        """Wait until nothing runs, answered or not."""
        await self._dispatcher.slots.wait_quiet()
        await self._services.wait_quiet()
        for life in self._lives:
            await life.petal.__petalkit_wait_work_done__()

    async def _wait_cancelled(self) -> None:
        await self._dispatcher.slots.wait_quiet()
        await self._services.wait_ended()

    async def _wait_lives(self) -> None:
        for life in self._lives:
            await life.ended.wait()

    async def _wait_flushed(self) -> None:
        """Wait until the outbox is empty, or there is no link to empty it."""
        await wait_any(self._outbox.wait_empty, self._links.down.wait)

    async def _within(
        self, seconds: float, wait: Callable[[], Awaitable[object]], *, hurried: bool = False
    ) -> None:
        """Wait for something, so long at most; with `hurried` only until `hurry()`."""
        with trio.move_on_after(seconds):
            await wait_any(wait, *([self._hurry.wait] if hurried else []))
