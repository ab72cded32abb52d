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
from ..._values.errors import ErrorCode
from ..._values.job_states import JobState
from ..._values.messages import Command, Identity
from ..._values.settings.settings import Settings
from ..dispatch.dispatcher import Dispatcher
from ..long_steps import LongSteps
from ..sending.responses import Responses
from .kind import JobKind
from .messages import Readers, busy, ended_fields, job_fields
from .method import Calling, Host, Outcome, run_method
from .notes import Notes
from .record import JobRecord, JobSpec, make_execution
from .subscriptions import Subscription
from .tasks import Tasks

logger = logging.getLogger("petalkit.jobs")


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
        self._counters = responses.counters
        self._readers = readers
        self._tasks = tasks
        self.notes = Notes(dispatcher.ledger, responses.timestamps.now, settings.payload_max)
        self.stopping = False
        self._long_steps = LongSteps(responses.counters)
        self.kinds = {
            spec.name: JobKind(spec, settings.job_results, settings.job_result_age)
            for spec in specs
        }
        self.ended_fields = functools.partial(ended_fields, codes=responses.dialect.codes)
        self.subscriptions = readers.subscriptions
        self.subscriptions.is_kept = self._is_active
        self.subscriptions.on_reads = self._reads
        self.subscriptions.on_gone = self.notes.reads_no_more
        for kind in self.kinds.values():
            kind.on_forgotten = self.notes.forget

    def __iter__(self) -> Iterator[JobRecord]:
        """Every job that has not ended."""
        for kind in self.kinds.values():
            yield from kind

    @property
    def running(self) -> int:
        """How many run."""
        return sum(len(kind.running) for kind in self.kinds.values())

    def _is_active(self, name: str) -> bool:
        kind = self.kinds.get(name)
        return kind is not None and any(True for _ in kind)

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
            CommandError: BUSY, there is no place for it.
        """
        renewed = self._renew(kind, command)
        if renewed is not None:
            return renewed
        record = self.make(kind, command, identity, arguments)
        if self._may_start(kind):
            self._begin(kind, record)
        elif kind.has_place:
            kind.wait(record)
            self.notes.begin(record)
        else:
            holder = self._dispatcher.backlog.groups.get(kind.options.exclusive or "")
            raise busy(kind, holder, self._settings.job_concurrency)
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
        execution = make_execution(kind.spec, command, identity)
        record = JobRecord(job_id or self._readers.make_id(), kind.spec, execution, arguments)
        record.on_change = functools.partial(self._changed, record)
        record.on_tell = self._tell
        return record

    def _may_start(self, kind: JobKind) -> bool:
        group = kind.options.exclusive
        return (
            kind.has_slot
            and self.running < self._settings.job_concurrency
            and (group is None or group not in self._dispatcher.backlog.groups)
        )

    def _begin(self, kind: JobKind, record: JobRecord) -> None:
        execution = record.execution
        record.move(JobState.RUNNING)
        record.started_at = now = trio.current_time()
        kind.running[record.id] = record
        if kind.options.exclusive is not None:
            self._dispatcher.backlog.groups[kind.options.exclusive] = execution
        if kind.options.lease is not None:
            record.lease = self._tasks.leases.begin(kind.options.lease, record.look)
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
            record.end(*(record.cancelled_as or _SHUTTING_DOWN))
            self.conclude(record)

    def start_waiting(self) -> None:
        """Begin what waits and may begin now."""
        if not self._tasks.open or self.stopping:
            return
        for kind in self.kinds.values():
            while kind.waiting and self._may_start(kind):
                record = kind.waiting[0]
                kind.leave(record)
                self._begin(kind, record)

    # -- leases

    def lease_left(self, job_id: str) -> float | None:
        """See `JobRecord.lease_left`."""
        record = self.find(job_id)
        return None if record is None else record.lease_left

    def _renew(self, kind: JobKind, command: Command) -> JobRecord | None:
        record = next(iter(kind.running.values()), None)
        if record is None or record.lease is None or record.state is not JobState.RUNNING:
            return None
        return record if record.renew(command) else None

    # -- running

    async def _run(self, record: JobRecord) -> None:
        outcome = Outcome(self._responses, self._settings.payload_max)
        limiter, closing = self._dispatcher.thread_limiter, self._tasks.closing
        calling = Calling(self._counters, limiter, closing, self._long_steps)
        ended = False
        try:
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
            as_late = record.why_late() if late else _SHUTTING_DOWN
            state, code, text = record.cancelled_as or as_late
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
        if self.is_left(record):
            return
        self.notes.change(record, functools.partial(self.tell_end, record))
        self.start_waiting()
        self._dispatcher.slots.work_ended()

    def is_left(self, record: JobRecord) -> bool:
        """Whether the next run takes it up, so that it is not to end in the ledger."""
        return self.stopping and record.spec.options.resume and record.note is not None

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
        else:
            record.cancel(state, code, text)

    # -- readers

    def _reads(self, subscription: Subscription) -> None:
        if subscription.topic in self.kinds:
            self.notes.reads(subscription)

    def tell_end(self, record: JobRecord) -> None:
        """Its end is safe: tell its readers, and note that, in one step."""
        if self.subscriptions.is_read(record.spec.name):
            self.subscriptions.ended(record.spec.name, record, record.id)
            self.notes.change(record, told=True)

    def _changed(self, record: JobRecord) -> None:
        if not record.is_over:
            self.subscriptions.changed(record.spec.name, record, record.id)

    def _reported(self, record: JobRecord) -> None:
        """A job has said something. From any thread."""
        if self.subscriptions.is_read(record.spec.name):
            self._tasks.soon(record.on_change)

    def _tell(self, record: JobRecord, subscription: Subscription) -> bool:
        of, last = record.id, record.is_over
        fields = self.ended_fields(record) if last else job_fields(record)
        method, plain = record.spec.method, {"command": record.spec.name, **fields}
        return self._readers.tell(subscription, method, fields, plain=plain, of=of, last=last)


_SHUTTING_DOWN = (JobState.CANCELLED, ErrorCode.CANCELLED, "the device is shutting down")
