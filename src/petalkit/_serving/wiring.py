"""The parts of a runtime, put together: this is the one place that knows them all.

    link -> Intake -> Ledger -> Dispatcher -> Finalization -> Outbox -> link

Values go to the left, in the order of the chart of this folder; whoever stands to the right is
handed what stands to the left of it.
"""

from __future__ import annotations

import functools
import itertools
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from .._authoring.context import Beneath
from .._authoring.declared import check_petal
from .._authoring.petal import Petal
from .._authoring.registry import build_table
from .._values.codec import Timestamps
from .._values.dialects import make_dialect
from .._values.errors import ConfigError
from .._values.settings.settings import AnswerUnknown, DialectName, Settings
from .._values.statistics import Counters, Statistics
from ..transports import Transport
from .dispatch.catalog import Catalog
from .dispatch.dispatcher import Dispatcher
from .dispatch.execution import Execution
from .dispatch.finalization import Finalization
from .identity.waiter import IdentityWaiter
from .intake.backlog.contract import Backlog
from .intake.backlog.in_ledger import LedgerBacklog
from .intake.intake import Intake
from .intake.recovery import Recovery
from .intake.refusals import Refusals
from .jobs.beside import JobsBeside, long_work_now
from .jobs.commands.cancelling import Cancelling
from .jobs.commands.of_jobs import job_commands, job_specs
from .jobs.commands.of_streams import stream_commands, stream_specs
from .jobs.leases import Leases
from .jobs.messages import Readers
from .jobs.recovery import JobRecovery
from .jobs.running import Jobs
from .jobs.streams import Streams
from .jobs.tasks import Tasks
from .ledger.acknowledgement import Acknowledgements
from .ledger.contract import Ledger
from .ledger.disk import DiskLedger
from .ledger.journal.write_ahead import Journal
from .ledger.memory import MemoryLedger
from .ledger.owed_messages import RecordedMessages
from .ledger.recent_refusals import RecentRefusals
from .ledger.remembered.duplicate_window import DuplicateWindow
from .ledger.remembered.replay_window import ReplayWindow
from .line_limit import LineLimit
from .links.service import Served
from .links.supervisor import Supervisor
from .petals.builtin_commands import BuiltinPetal
from .petals.inventory import Inventory
from .petals.lifespans import PetalLife
from .petals.services import Services
from .sending.held_refusals import HeldRefusals
from .sending.outbox import Outbox
from .sending.responses import Responses

logger = logging.getLogger("petalkit.runtime")


@attrs.frozen(kw_only=True)
class Outside:
    """What a runtime takes from the world, and tests give it.

    Attributes:
        now: wall-clock seconds since the epoch.
        jitter: a random number in [0, 1).
        advice: what the log says once where links fail.
        make_id: a new ID of a job or a message, unlike any before, in earlier runs too; given the
            number of the last command that those have left, 0 for none.
        suspended: seconds for which the device has been suspended so far; None where nobody knows.
    """

    now: Callable[[], float]
    jitter: Callable[[], float]
    advice: str
    make_id: Callable[[int], str]
    suspended: Callable[[], float] | None = None


@attrs.frozen(kw_only=True)
class Parts:
    """Of one runtime."""

    counters: Counters
    identity: IdentityWaiter
    ledger: Ledger[Execution]
    responses: Responses
    dispatcher: Dispatcher
    tasks: Tasks
    jobs: Jobs
    long_work: Callable[[], dict[str, Any]]
    job_recovery: JobRecovery
    recovery: Recovery
    backlog: Backlog
    intake: Intake
    supervisor: Supervisor
    lives: list[PetalLife]
    services: Services

    def left_running(self) -> list[str]:
        """What does not end after a stop: handlers, jobs, and lives of petals. Threads are left."""
        slots = self.dispatcher.slots
        handlers = {f"the handler of {one.spec.name}" for one in slots if not one.in_thread}
        lives = [f"petal {life.petal.name!r}" for life in self.lives if not life.ended.is_set()]
        return [*sorted(handlers), *self.tasks.names(), *lives]

    def beneath(self) -> list[Beneath]:
        """What petals stand on, each once."""
        found = (life.petal.__petalkit_beneath__ for life in self.lives)
        return list(dict.fromkeys(one for one in found if one is not None))

    def unavailable(self) -> tuple[str, ...]:
        """The petals that are out of service now."""
        petals = self.dispatcher.backlog.petals
        names = (life.petal.name for life in self.lives if life.failed)
        return tuple(dict.fromkeys((*names, *(name for name in petals if petals[name].lost))))


def new_ids() -> Callable[[int], str]:
    """IDs that no other run has: a random part, and a number."""
    run, numbers = secrets.token_hex(6), itertools.count(1)
    return lambda _: f"{run}-{next(numbers)}"


def put_together(
    petals: Sequence[Petal],
    settings: Settings,
    transport: Transport,
    outside: Outside,
    statistics: Callable[[], Statistics],
) -> Parts:
    """Make all parts.

    Args:
        petals: to be served.
        settings: of all.
        transport: makes links.
        outside: clock and chance.
        statistics: for the built-in commands.

    Raises:
        ConfigError: there is no petal.
        RegistrationError: a petal or a command cannot be served.
    """
    if not petals:
        raise ConfigError("petals", "give at least one petal to serve")
    for petal in petals:
        check_petal(petal)  # before its name is used
    counters, timestamps = Counters(), Timestamps(outside.now)
    names = [{"name": petal.name, "version": petal.version} for petal in petals]
    builtin = BuiltinPetal(statistics)
    served: list[Petal] = [*petals, builtin]
    table = build_table(served, unknown_keys=settings.unknown_keys)
    catalog = Catalog(_answer_unknown(settings, petals), table)
    identity = IdentityWaiter(settings)

    ledger = _make_ledger(settings, identity.device_id, counters, timestamps)
    acknowledgements = Acknowledgements(settings, ledger.when_safe_or_failing)

    lines = LineLimit(settings.refusals_logged)
    outbox = Outbox(settings, counters, ledger.owed, lines=lines, jitter=outside.jitter)
    dialect = make_dialect(dialect_of(settings, petals), identity.device_id, settings.error_codes)
    if settings.dialect is None and dialect.honours_wait_ack:
        logger.info(
            "responses and events are worded as by the host (dialect host-0.2), which petals with "
            "@mqtt_action were written for; the setting dialect takes precedence"
        )
    responses = Responses(settings, outbox, timestamps, counters, dialect, lines)
    refusals = Refusals(
        catalog,
        responses,
        RecentRefusals(outbox.owes_answer),
        HeldRefusals(settings, outbox, acknowledgements),
    )

    finalization = Finalization(ledger, acknowledgements, responses, catalog, refusals.recent)
    names_served = [*(one.name for one in served), *(one.name for one in table.resolvers)]
    dispatcher = Dispatcher(settings, table, names_served, ledger, responses, finalization)
    outbox.hooks.on_heavy = dispatcher.hold_up
    _hold(dispatcher, petals, catalog)
    readers = Readers(settings, responses, lambda: outside.make_id(ledger.earlier_to))
    tasks = Tasks(readers.subscriptions, Leases(outside.suspended))
    long_work = settings, dispatcher, responses, readers, tasks
    declared_jobs = list(job_specs(petals, settings.unknown_keys))
    declared_streams = list(stream_specs(petals))
    jobs, streams = Jobs(declared_jobs, *long_work), Streams(declared_streams, *long_work)
    dispatcher.slots.beside.append(JobsBeside(jobs))
    job_recovery = JobRecovery(jobs, dispatcher.phases, petals, settings.startup_timeout)
    dispatcher.slots.before_service = job_recovery.tell_petal
    builtin.inventory = inventory = Inventory(
        petals, table, declared_jobs, declared_streams, settings.payload_max
    )
    for petal in petals:
        commands = (
            *job_commands(petal, jobs.kinds.values(), jobs),
            *stream_commands(petal, streams.streams.values(), streams),
        )
        for spec in commands:
            table.add(spec)
            dispatcher.backlog.serve(spec)

    recovery = Recovery(settings, catalog, responses, ledger)
    backlog = Backlog()
    if ledger.keeps_waiting:
        backlog = LedgerBacklog(settings, dispatcher, recovery, ledger, lambda: identity.current)
    intake = Intake(settings, dispatcher, ledger, backlog, refusals)
    builtin.cancelling = Cancelling(dispatcher, ledger, jobs, intake.admission.parking, backlog)

    supervisor = Supervisor(
        settings,
        transport,
        identity,
        Served(intake, dispatcher, responses, names, lambda: inventory.schema_hash),
        jitter=outside.jitter,
        advice=outside.advice,
    )
    lives = [
        PetalLife(petal, settings, catalog, dispatcher, supervisor, responses) for petal in petals
    ]
    return Parts(
        counters=counters,
        identity=identity,
        ledger=ledger,
        responses=responses,
        dispatcher=dispatcher,
        tasks=tasks,
        jobs=jobs,
        long_work=functools.partial(long_work_now, jobs, streams),
        job_recovery=job_recovery,
        recovery=recovery,
        backlog=backlog,
        intake=intake,
        supervisor=supervisor,
        lives=lives,
        services=Services(petals),
    )


def _hold(dispatcher: Dispatcher, petals: Sequence[Petal], catalog: Catalog) -> None:
    """Commands of petals that are not ready at once wait until they are."""
    for petal in petals:
        if not petal.__petalkit_ready_at_once__:
            dispatcher.hold_petal(petal.name)
    for resolver in catalog.table.resolvers:
        theirs = [petal.name for petal in petals if petal.__petalkit_resolver__ is resolver]
        dispatcher.hold_petal(resolver.name, until=theirs)


def _make_ledger(
    settings: Settings, device_id: str, counters: Counters, timestamps: Timestamps
) -> Ledger[Execution]:
    """The one that the settings ask for. A new kind is chosen here; nobody else asks which it is.

    Args:
        settings: of all.
        device_id: whose it is.
        counters: where it counts.
        timestamps: the wall clock.
    """
    bounds = settings.duplicate_window, settings.duplicate_age, settings.duplicate_bytes
    replay = ReplayWindow(settings.replay_window, settings.replay_count)
    window: DuplicateWindow[Execution] = DuplicateWindow(*bounds, replay)
    if settings.journal is None:
        return MemoryLedger(window)
    journal = Journal(settings, device_id, counters, timestamps)
    return DiskLedger(window, journal, RecordedMessages(journal, settings.response_expiry))


def dialect_of(settings: Settings, petals: Sequence[Petal]) -> DialectName | None:
    """What is set; else what the petals were written for. One is enough: clients read a device."""
    if settings.dialect is not None:
        return settings.dialect
    for petal in petals:
        if petal.__petalkit_dialect__ is not None:
            return petal.__petalkit_dialect__
    return None


def _answer_unknown(settings: Settings, petals: Sequence[Petal]) -> AnswerUnknown:
    if settings.answer_unknown is not None:
        return settings.answer_unknown
    return "own" if any(petal.__petalkit_beside_others__ for petal in petals) else "all"
