"""All jobs: starts, turns, leases, cancellations, ends.

The rule: whatever a method does, its job ends once; its slot and its group are free then, and what
waits starts. Whoever asks to cancel a job does not wait for it: it cleans up, and ends.

The trap: a lease may have run out while the event loop stood still, and a renewal that is read
after that must not hide it. So the moment counts, not the order in which things are noticed.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import trio

from ..._authoring.jobs.handle import Job
from ..._values.errors import CommandError, ErrorCode
from ..._values.job_states import JobState
from ..._values.messages import Command, Identity
from ..._values.settings.settings import Settings
from ..dispatch.dispatcher import Dispatcher
from ..long_steps import LongSteps
from ..sending.responses import Responses
from .ends import Ends
from .kind import JobKind, JobTurns
from .messages import Readers, busy
from .method import Calling, Host, Outcome, run_method
from .notes import Notes
from .reading.subscriptions import Subscription
from .record import JobRecord, JobSpec, make_execution
from .tasks import Tasks

logger = logging.getLogger("petalkit.jobs")

LINK_LOST = "the link to the broker was lost"


class Jobs:
    """All jobs of a runtime.

    Args:
        specs: the jobs that petals have.
        settings: bounds.
        dispatcher: has the groups that jobs share with commands.
        responses: has the dialect and the counters.
        readers: told how jobs go on.
        tasks: where they run.
    """

    def __init__(
        self,
        specs: Iterable[JobSpec],
        settings: Settings,
        dispatcher: Dispatcher,
        responses: Responses,
        readers: Readers,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._responses = responses
        self.counters = responses.counters
        self.readers = readers
        self._tasks = tasks
        self.notes = Notes(dispatcher.ledger, responses.timestamps.now, settings.payload_max)
        self.stopping = False
        self._long_steps = LongSteps(responses.counters)
        self.kinds = {
            spec.name: JobKind(spec, settings.job_results, settings.job_result_age)
            for spec in specs
        }
        self.turns = JobTurns(self.kinds, settings.job_concurrency, dispatcher.backlog)
        self.subscriptions = readers.subscriptions
        self.ends = Ends(self.notes, self.subscriptions, self.kinds, settings.journal_size)
        self.subscriptions.is_kept = self._is_active
        self.subscriptions.on_reads = self._reads
        self.subscriptions.on_gone = self.notes.reads_no_more
        for kind in self.kinds.values():
            kind.on_forgotten = self.ends.forget

    def __iter__(self) -> Iterator[JobRecord]:
        """Every job that has not ended."""
        for kind in self.kinds.values():
            yield from kind

    def _is_active(self, name: str) -> bool:
        kind = self.kinds.get(name)
        return kind is not None and kind.is_active

    def find(self, job_id: str) -> JobRecord | None:
        """The job of that ID, of any kind, as long as it is known."""
        found = (kind.find(job_id) for kind in self.kinds.values())
        return next((one for one in found if one is not None), None)

    # -- starting

    def start(
        self, kind: JobKind, command: Command, identity: Identity, arguments: dict[str, Any]
    ) -> JobRecord:
        """Begin a job, or let it wait for its turn; or renew the lease of the one that runs.

        Raises:
            CommandError: BUSY, there is no place for it; UNAVAILABLE, it could not be noted.
        """
        renewed = self._renew(kind, command, identity, arguments)
        if renewed is not None:
            return renewed
        self.notes.check_taken()
        if self.turns.lacks_link(kind):
            raise CommandError(ErrorCode.UNAVAILABLE, LINK_LOST, retryable=True)
        record = self.make(kind, command, identity, arguments)
        if self.turns.may_start(kind) and not self.turns.is_behind(kind, record):
            self._begin(kind, record)
        elif kind.has_place:
            self._give_lease(record)
            kind.wait(record)
            self.notes.begin(record)
        else:
            holder = self._dispatcher.backlog.groups.get(kind.options.exclusive or "")
            raise busy(kind, holder, self._settings.job_concurrency, self.readers.room)
        self.counters.jobs_started += 1
        return record

    def make(
        self,
        kind: JobKind,
        command: Command,
        identity: Identity,
        arguments: dict[str, Any],
        job_id: str | None = None,
    ) -> JobRecord:
        """A job that is accepted, and in no line yet.

        Args:
            kind: of it.
            command: that started it.
            identity: under which it came.
            arguments: of its method.
            job_id: None for a new one.
        """
        execution = make_execution(kind.spec.method, command, identity)
        record = JobRecord(job_id or self.readers.make_id(), kind.spec, execution, arguments)
        record.room = self.readers.room
        record.on_change = functools.partial(self._changed, record)
        record.on_tell = self.readers.tell_job
        return record

    def is_out_of_service(self, petal: str) -> bool:
        """Whether it has failed, and is not in service again."""
        return self._dispatcher.backlog.petals[petal].failed

    def _begin(self, kind: JobKind, record: JobRecord) -> None:
        execution = record.execution
        record.move(JobState.RUNNING)
        record.started_at = now = trio.current_time()
        kind.running[record.id] = record
        if kind.options.exclusive is not None:
            self._dispatcher.backlog.groups[kind.options.exclusive] = execution
        self._give_lease(record)
        record.job = Job(
            record.id,
            execution.command,
            execution.identity,
            Host(record, self._reported, self.notes.keep),
            deadline=now + kind.options.timeout,
            resumed=record.kept,
        )
        # Its method is called when it is safe that it is.
        call = functools.partial(self._call, record)
        if record.note is None:
            self.notes.begin(record, call)
        else:
            self.notes.change(record, call)
        self._changed(record)

    def _call(self, record: JobRecord) -> None:
        if record.state is JobState.RUNNING and self._tasks.open:
            self._tasks.spawn(self._run, record, name=f"job {record.spec.name} {record.id}")
        elif not record.is_over:  # it was cancelled meanwhile
            record.end(*(record.cancelled_as or record.why_stopped()))
            self.conclude(record)

    def start_waiting(self) -> None:
        """Begin what waits and may begin now, in the order of arrival, whatever its kind."""
        while self._tasks.open and not self.stopping:
            kind = self.turns.next()
            if kind is None:
                return
            record = kind.waiting[0]
            kind.leave(record)
            self._begin(kind, record)

    # -- leases

    def lease_left(self, job_id: str) -> float | None:
        """See `JobRecord.lease_left`."""
        record = self.find(job_id)
        return None if record is None else record.lease_left

    def _give_lease(self, record: JobRecord) -> None:
        """One that waits has it already: nobody may want it any more when its turn comes."""
        lease = record.spec.options.lease
        if lease is not None and record.lease is None:
            record.lease = self._tasks.leases.begin(lease, record.look)

    def _renew(
        self, kind: JobKind, command: Command, identity: Identity, arguments: dict[str, Any]
    ) -> JobRecord | None:
        for record in kind.leased(identity):
            if record.renew(command, arguments):
                return record
            self.cancel(record, *record.why_late())
        return None

    # -- running

    async def _run(self, record: JobRecord) -> None:
        outcome = Outcome(self._responses, self._settings.payload_max)
        limiter, closing = self._dispatcher.thread_limiter, self._tasks.closing
        calling = Calling(self.counters, limiter, closing, self._long_steps)
        ended = False
        try:
            # Not one step of it once it has to end: that may be what moves the motor.
            if record.cancelled_as is None and trio.current_time() < record.ends_at:
                ended = await run_method(record, outcome, calling)
        finally:
            self._end(record, outcome, ended=ended)

    def _end(self, record: JobRecord, outcome: Outcome, *, ended: bool) -> None:
        """Its final state."""
        code = outcome.code
        late = trio.current_time() >= record.ends_at
        if ended and code is None:
            record.end(JobState.SUCCEEDED, fields=outcome.fields)
        elif ended and record.cancelled_as is None and not late:
            record.end(JobState.FAILED, code, outcome.error, fields=outcome.fields)
        else:
            as_late = record.why_late if late else record.why_stopped
            state, code, text = record.cancelled_as or as_late()
            record.end(state, code, text, fields=outcome.fields)
        self.conclude(record)

    def conclude(self, record: JobRecord) -> None:
        """It has its final state: what it held is free, and it is said to whoever reads."""
        kind = self.kinds[record.spec.name]
        kind.keep(record)
        group = kind.options.exclusive
        if group is not None and self._dispatcher.backlog.groups.get(group) is record.execution:
            self._dispatcher.free_group(group)
        fields: dict[str, Any] = {**record.execution.log_fields(), "job_id": record.id}
        if record.code is not None:
            fields["error_code"] = record.code
        logger.info("job %s", record.state, extra=fields)
        if not record.is_left:
            self.counters.jobs_ended[record.state] += 1
            self.ends.note(record)
            self.start_waiting()
        self._dispatcher.slots.work_ended()

    # -- ending

    def cancel(
        self,
        record: JobRecord,
        state: JobState = JobState.CANCELLED,
        code: str = ErrorCode.CANCELLED,
        text: str = "it was cancelled by a command",
    ) -> None:
        """End a job: at once if it waits, after its cleanup if it runs; not if it has ended."""
        if record.state is JobState.ACCEPTED:
            record.end(state, code, text)
            self.conclude(record)
        elif record.cancel(state, code, text) and record.spec.options.resume:
            self.notes.change(record)  # or the next run would go on with it

    def stop(self, record: JobRecord) -> None:
        """The device stops: end a job that runs, here."""
        if record.state is JobState.RUNNING:
            record.cancel(*record.why_stopped())

    # -- readers

    def _reads(self, subscription: Subscription) -> None:
        if subscription.topic in self.kinds:
            self.notes.reads(subscription)

    def _changed(self, record: JobRecord) -> None:
        if not record.is_over:
            self.subscriptions.changed(record.spec.name, record, record.id)

    def _reported(self, record: JobRecord) -> None:
        """A job has said something. From any thread."""
        if self.subscriptions.is_read(record.spec.name):
            self._tasks.soon(record.on_change)
