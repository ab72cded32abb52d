"""The runtime: its parts, the nurseries they live in, and the order in which they die.

    outer nursery          in the caller's task, so that its cancellation reaches the body at once
      journal (shielded)   open around all that has to be recorded
      services (shielded)  outlives that cancellation, until the stop sequence has run; bounded
        identity waiter, watchdog
        petals             lifespans, each with a nursery of its own
        dispatcher         the workers
        supervisor         one link at a time, with its intake inside

Stopping is one sequence in one place, `_stop_in_order`, whatever the cause: leaving the block,
`stop()`, a signal, or cancellation, which only takes away the grace.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import trio

from .._authoring.declared import check_petal
from .._authoring.petal import Petal
from .._authoring.registry import build_table
from .._values.clocks import wall_clock_is_set
from .._values.codec import Timestamps
from .._values.dialects import make_dialect
from .._values.errors import ConfigError, ErrorCode, PetalkitError
from .._values.messages import Identity
from .._values.settings.reach import without_effect
from .._values.settings.settings import AnswerUnknown, Settings
from .._values.statistics import Counters, Statistics
from ..transports import Transport, create_transport
from .dispatch.catalog import Catalog
from .dispatch.dispatcher import Dispatcher
from .dispatch.execution import Execution
from .dispatch.finalization import Finalization
from .failures import single
from .identity import IdentityWaiter
from .intake.backlog import Backlog
from .intake.disk_backlog import DiskBacklog
from .intake.intake import Intake
from .intake.recovery import Recovery
from .intake.refusals import Refusals
from .ledger.acknowledgement import Acknowledgements
from .ledger.contract import Ledger
from .ledger.disk import DiskLedger
from .ledger.duplicate_window import DuplicateWindow
from .ledger.journal.records import Found, JournalError
from .ledger.journal.write_ahead import Journal
from .ledger.memory import MemoryLedger
from .ledger.owed_messages import OwedMessages, RecordedMessages
from .ledger.recent_refusals import RecentRefusals
from .loggers import keep_on
from .petals.builtin_commands import BuiltinPetal
from .petals.lifespans import PetalLife
from .sending.outbox import Outbox
from .sending.responses import Responses
from .supervisor import ADVICE, Served, Supervisor
from .waiting import wait_any
from .watchdog import watch_event_loop

logger = logging.getLogger("petalkit.runtime")


class AllPetalsFailed(PetalkitError):
    """No petal is left, so there is nothing to serve. The log has each one's reason."""


class Runtime:
    """Petals being served. Made by `open_runtime`, `serve` and `run`."""

    def __init__(
        self,
        petals: Sequence[Petal],
        settings: Settings,
        transport: Transport,
        *,
        now: Callable[[], float],
        jitter: Callable[[], float],
        advice: str = ADVICE,
    ) -> None:
        if not petals:
            raise ConfigError("petals", "give at least one petal to serve")
        self.settings = settings
        self._counters = Counters()
        for petal in petals:
            check_petal(petal)  # before its name is used
        names = [{"name": petal.name, "version": petal.version} for petal in petals]
        builtin = BuiltinPetal(names, self.statistics)
        served: list[Petal] = [*petals, builtin]
        table = builtin.table = build_table(served, unknown_keys=settings.unknown_keys)
        catalog = Catalog(_answer_unknown(settings, petals), table)
        self._identity = IdentityWaiter(settings)
        timestamps = Timestamps(now)
        journal = self._make_journal(timestamps)
        self._ledger, owed = _make_ledger(settings, journal)
        self._outbox = Outbox(settings, self._counters, owed, jitter=jitter)
        dialect = make_dialect(settings.dialect, self._identity.device_id)
        responses = Responses(settings, self._outbox, timestamps, self._counters, dialect)
        self._responses = responses
        refusals = Refusals(catalog, responses, RecentRefusals())
        acknowledgements = Acknowledgements(settings, self._ledger.acknowledge)
        finalization = Finalization(
            self._ledger, acknowledgements, responses, catalog, refusals.recent
        )
        names_served = [*(one.name for one in served), *(one.name for one in table.resolvers)]
        self._dispatcher = Dispatcher(
            settings, table, names_served, self._ledger, responses, finalization
        )
        for petal in petals:
            if not petal.__petalkit_ready_at_once__:
                self._dispatcher.hold_petal(petal.name)
        for resolver in table.resolvers:
            theirs = [petal.name for petal in petals if petal.__petalkit_resolver__ is resolver]
            self._dispatcher.hold_petal(resolver.name, until=theirs)
        self._recovery: Recovery | None = None
        self._backlog = Backlog()
        if journal is not None:
            assert isinstance(owed, RecordedMessages)
            self._recovery = Recovery(settings, catalog, responses, journal, owed)
            self._backlog = DiskBacklog(
                settings, self._dispatcher, self._recovery, journal, lambda: self.identity
            )
        self._intake = Intake(settings, self._dispatcher, self._ledger, self._backlog, refusals)
        served_on_link = Served(self._intake, self._dispatcher, responses, names)
        self._supervisor = Supervisor(
            settings, transport, self._identity, served_on_link, jitter=jitter, advice=advice
        )
        self._lives = [
            PetalLife(petal, settings, catalog, self._dispatcher, self._supervisor, responses)
            for petal in petals
        ]
        self._stop_requested = trio.Event()
        self._hurry = trio.Event()
        self._stopped = trio.Event()
        self._served = False
        self._crash: Exception | None = None

    def _make_journal(self, timestamps: Timestamps) -> Journal | None:
        if self.settings.journal is None:
            return None
        return Journal(self.settings, self._identity.device_id, self._counters, timestamps)

    # -- what users see

    @property
    def identity(self) -> Identity | None:
        """Who the device is now; None while the organization ID is not known."""
        return self._identity.current

    @property
    def serving(self) -> Identity | None:
        """Whose topics are subscribed on a live link; None while there is none."""
        return self._supervisor.serving

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
        await wait_any(self._supervisor.up.wait, self._stopped.wait)
        if not self._supervisor.up.is_set():
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
        counters = self._counters
        return Statistics(
            received=counters.received,
            accepted=counters.accepted,
            started=counters.started,
            succeeded=counters.succeeded,
            failed=dict(counters.failed),
            refused=dict(counters.refused),
            duplicates_joined=counters.duplicates_joined,
            duplicates_answered=counters.duplicates_answered,
            unexpected_topic=counters.unexpected_topic,
            malformed=counters.malformed,
            given_back=counters.given_back,
            unanswered=counters.unanswered,
            expiry_unjudged=counters.expiry_unjudged,
            response_topics_refused=counters.response_topics_refused,
            acks_unsent=counters.acks_unsent,
            unencodable=counters.unencodable,
            links=counters.links,
            links_lost=counters.links_lost,
            sessions_lost=counters.sessions_lost,
            connects_failed=counters.connects_failed,
            published=counters.published,
            publish_rejected=counters.publish_rejected,
            publish_deferred=counters.publish_deferred,
            publish_set_aside=counters.publish_set_aside,
            publish_expired=counters.publish_expired,
            events_replaced=counters.events_replaced,
            publish_unsent=counters.publish_unsent,
            journal_batches=counters.journal_batches,
            journal_operations=counters.journal_operations,
            journal_failures=counters.journal_failures,
            restored=counters.restored,
            interrupted=counters.interrupted,
            petals_restarted=counters.petals_restarted,
            connected=self.serving is not None,
            clock_set=wall_clock_is_set(self._responses.timestamps.now()),
            identity_known=self.identity is not None,
            waiting=self._dispatcher.backlog.waiting,
            waiting_bytes=self._dispatcher.backlog.waiting_bytes,
            held=self._intake.held,
            waiting_on_disk=self._backlog.count,
            journal_failing=self._ledger.failing,
            running=self._dispatcher.running,
            outbox=len(self._outbox),
            outbox_bytes=self._outbox.size,
            remembered=self._ledger.remembered,
            unavailable_petals=tuple(life.petal.name for life in self._lives if life.failed),
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
                    if self._recovery is not None and found is not None:
                        self._recovery.restore_messages(found)
                    await self._serve(found, task_status)
            except JournalError:
                if not self._hurry.is_set():  # else the start was cut short, which is said below
                    raise
            finally:
                self._outbox.close()
                logger.info("stopped")
                self._stopped.set()
        if self._crash is not None:
            raise self._crash
        if not self._served:
            await trio.lowlevel.checkpoint_if_cancelled()  # the start was cut short by that
            names = ", ".join(life.petal.name for life in self._lives)
            raise AllPetalsFailed(f"no petal could be started: {names}")

    async def _enter_lifespans(self, services: trio.Nursery) -> None:
        async with trio.open_nursery() as entering:
            for life in self._lives:
                entering.start_soon(services.start, life.run, name=f"start {life.petal.name}")

    async def _abandon_start(self) -> None:
        """When there is a hurry before the lifespans are entered, do not wait for them."""
        await self._hurry.wait()
        for life in self._lives:
            life.abandon_start()
        await trio.sleep_forever()  # `_enter_lifespans` ends now

    async def _serve(self, found: Found | None, task_status: trio.TaskStatus[None]) -> None:
        """Serve until `stop()`.

        Args:
            found: what an earlier run has left; None when there is no journal.
            task_status: told when the lifespans are entered.
        """
        try:
            async with trio.open_nursery() as services:
                services.start_soon(self._identity.run, name="organization-ID waiter")
                if self.settings.watchdog > 0:
                    services.start_soon(watch_event_loop, self.settings.watchdog, name="watchdog")
                await services.start(self._dispatcher.run)
                await wait_any(
                    functools.partial(self._enter_lifespans, services), self._abandon_start
                )
                if not self.all_failed:
                    task_status.started()
                    left = 0
                    if self._recovery is not None and found is not None:
                        left = self._recovery.take_up(found)
                    async with trio.open_nursery() as linked:
                        linked.start_soon(self._supervise, left, name="supervisor")
                        await self._stop_requested.wait()
                        await self._stop_in_order()
                    self._served = True
                services.cancel_scope.cancel()
        finally:
            self._dispatcher.answer_stuck()

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
            self._crash = error
            self.hurry()

    def hurry(self) -> None:
        """Stop without grace."""
        self._hurry.set()
        self._stop_requested.set()

    async def _stop_in_order(self) -> None:
        settings = self.settings
        dispatcher = self._dispatcher
        logger.info(
            "stopping: %d running, %d waiting", dispatcher.running, dispatcher.backlog.waiting
        )
        if self._supervisor.link_of != self.identity:
            self._intake.session_ends()  # it is being left: no later start takes it up
        self._intake.close()
        kept = self._intake.session_kept
        dispatcher.refuse_waiting(
            keep=lambda execution: execution.on_disk or (kept and bool(execution.deliveries))
        )
        await self._within(settings.grace, self._wait_quiet, hurried=True)
        self._intake.close_to_urgent()
        dispatcher.cancel_running(ErrorCode.CANCELLED, "the device is shutting down")
        await self._within(settings.cleanup_timeout, dispatcher.wait_quiet)
        for name in dispatcher.answer_stuck():
            logger.error("%s does not end although it is cancelled", name)
        for life in self._lives:
            life.stop()
        await self._within(2 * settings.cleanup_timeout, self._wait_lives)
        await self._within(settings.journal_timeout, self._ledger.wait_written)
        if self._supervisor.link_of is not None:
            await self._within(settings.flush_timeout, self._wait_flushed)
        self._supervisor.leave()

    async def _wait_quiet(self) -> None:
        """Wait until nothing runs, answered or not."""
        await self._dispatcher.wait_quiet()
        for life in self._lives:
            await life.petal.__petalkit_wait_work_done__()

    async def _wait_lives(self) -> None:
        for life in self._lives:
            await life.ended.wait()

    async def _wait_flushed(self) -> None:
        """Wait until the outbox is empty, or there is no link to empty it."""
        await wait_any(self._outbox.wait_empty, self._supervisor.down.wait)

    async def _within(
        self, seconds: float, wait: Callable[[], Awaitable[object]], *, hurried: bool = False
    ) -> None:
        """Wait for something, so long at most; with `hurried` only until `hurry()`."""
        with trio.move_on_after(seconds):
            await wait_any(wait, *([self._hurry.wait] if hurried else []))


def _make_ledger(
    settings: Settings, journal: Journal | None
) -> tuple[Ledger[Execution], OwedMessages]:
    bounds = settings.duplicate_window, settings.duplicate_age, settings.duplicate_bytes
    window: DuplicateWindow[Execution] = DuplicateWindow(*bounds)
    if journal is None:
        memory = MemoryLedger(window)
        return memory, memory.owed
    owed = RecordedMessages(journal, settings.response_expiry)
    return DiskLedger(window, journal, owed), owed


def _answer_unknown(settings: Settings, petals: Sequence[Petal]) -> AnswerUnknown:
    if settings.answer_unknown is not None:
        return settings.answer_unknown
    return "own" if any(petal.__petalkit_beside_others__ for petal in petals) else "all"


@contextlib.asynccontextmanager
async def open_runtime(
    petals: Sequence[Petal],
    settings: Settings | None = None,
    *,
    transport: Transport | None = None,
    now: Callable[[], float] = time.time,
    jitter: Callable[[], float] = random.random,
    advice: str = ADVICE,
) -> AsyncGenerator[Runtime]:
    """Serve petals for the length of an `async with` block.

    Entry returns when the petals' lifespans are entered; the connection is made beside the block,
    as soon as the organization ID is known (`await runtime.wait_connected()`). Leaving the block
    stops gracefully and takes the time that takes: at most `grace`, thrice `cleanup_timeout`,
    `flush_timeout`, twice `disconnect_timeout`, and with a journal thrice
    `journal_timeout`. `runtime.stop()` begins the same while the block goes on; `await
    runtime.wait_stopped()` waits for its end.

    Cancellation: the block stops without `grace`; what has to be awaited is shielded and bounded.

    Args:
        petals: instances, with names of their own.
        settings: None for the defaults.
        transport: None for the one that the settings name.
        now: wall-clock seconds since the epoch, for time stamps, `expiresAt` and ages.
        jitter: a random number in [0, 1), for the waits between attempts to connect.
        advice: what the log says once after the second attempt in a row that has failed: how to
            find out why.

    Raises:
        RegistrationError: a petal or a command cannot be served.
        ConfigError: a setting cannot work.
        AllPetalsFailed: no petal could be started.
        JournalError: the journal cannot be used.
    """
    settings = settings or Settings()
    if transport is None:
        transport = create_transport(settings)
        for text in without_effect(settings):
            logger.warning("%s", text)
    keep_on()  # with all that is imported by now
    runtime = Runtime(petals, settings, transport, now=now, jitter=jitter, advice=advice)
    from_block: Exception | None = None
    from_runtime: BaseException | None = None
    try:
        async with trio.open_nursery() as outer:
            outer.start_soon(_hurry_when_cancelled, runtime)
            await outer.start(runtime.run)
            try:
                yield runtime
            except Exception as error:
                from_block = error  # kept out of the nursery, which would cancel the grace
            finally:
                runtime.stop()
    except BaseExceptionGroup as group:
        from_runtime = single(group)
    # Raised out here, where no exception is being handled that would become their context.
    if from_block is not None and from_runtime is not None and not _is_cancelled(from_runtime):
        raise BaseExceptionGroup("block and runtime both failed", [from_block, from_runtime])
    if from_block is not None:
        raise from_block
    if from_runtime is not None:
        raise from_runtime


def _is_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


async def _hurry_when_cancelled(runtime: Runtime) -> None:
    try:
        await runtime.wait_stopped()
    except trio.Cancelled:
        runtime.hurry()
        raise


async def serve(
    petals: Sequence[Petal],
    settings: Settings | None = None,
    *,
    transport: Transport | None = None,
    now: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[Runtime] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve petals until cancelled, or until `runtime.stop()`.

    `runtime = await nursery.start(serve, petals, settings)` returns once commands are subscribed
    to, and so it waits for the organization ID and the broker, without a limit of its own.

    Raises:
        RegistrationError, ConfigError, AllPetalsFailed: as `open_runtime`.
    """
    async with open_runtime(petals, settings, transport=transport, now=now) as runtime:
        await runtime.wait_connected()
        task_status.started(runtime)
        await runtime.wait_stopped()
