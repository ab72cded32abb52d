"""All jobs: starts, turns, leases, cancellations, ends.

The rule: whatever a method does, its job ends once; its slot and its group are free then, and what
waits starts. Whoever asks to cancel a job does not wait for it: it cleans up, and ends.

The trap: a lease may have run out while the event loop stood still, and a renewal that is read
after that must not hide it. So the moment counts, not the order in which things are noticed.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterable, Iterator
from typing import Any

import trio

from ..._authoring.jobs.handle import Job
from ..._values.errors import CommandError, ErrorCode
from ..._values.job_states import JobState
from ..._values.messages import Command, Identity
from ..._values.settings.settings import Settings
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.execution import Execution
from ..sending.responses import Responses
from .kind import JobKind
from .messages import (
    Readers,
    busy_group,
    busy_kind,
    ended_fields,
    job_fields,
    publish_command,
)
from .method import Calling, Host, run_method
from .outcomes import Outcome
from .record import JobRecord, JobSpec
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
        self.kinds = {
            spec.name: JobKind(spec, settings.job_results, settings.job_result_age)
            for spec in specs
        }
        self.subscriptions = readers.subscriptions
        self.subscriptions.is_kept = self._is_active

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
        record = self._make(kind, command, identity, arguments)
        if self._may_start(kind):
            self._begin(kind, record)
        elif kind.has_place:
            kind.wait(record)
        else:
            raise self._busy(kind)
        return record

    def _make(
        self, kind: JobKind, command: Command, identity: Identity, arguments: dict[str, Any]
    ) -> JobRecord:
        execution = Execution(
            command=command,
            payload=b"",
            spec=kind.spec.method,
            identity=identity,
            response_topic="",
            arrived=trio.current_time(),
            clock=trio.lowlevel.current_clock(),
            wait_response=False,
            logged=True,
        )
        record = JobRecord(self._readers.make_id(), kind.spec, execution, arguments)
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

    def _busy(self, kind: JobKind) -> CommandError:
        group = kind.options.exclusive
        holder = None if group is None else self._dispatcher.backlog.groups.get(group)
        if holder is not None and kind.has_slot:
            return busy_group(str(group), holder)
        return busy_kind(kind, self._settings.job_concurrency)

    def _begin(self, kind: JobKind, record: JobRecord) -> None:
        execution = record.execution
        record.move(JobState.RUNNING)
        record.started_at = now = trio.current_time()
        kind.running[record.id] = record
        if kind.options.exclusive is not None:
            self._dispatcher.backlog.groups[kind.options.exclusive] = execution
        if kind.options.lease is not None:
            record.lease_until = now + kind.options.lease
        record.job = Job(
            record.id,
            execution.command,
            execution.identity,
            Host(record, self._reported),
            deadline=now + kind.options.timeout,
        )
        self._tasks.spawn(self._run, record, name=f"job {kind.spec.name} {record.id}")
        self._changed(record)

    def start_waiting(self) -> None:
        """Begin what waits and may begin now."""
        if not self._tasks.open:
            return
        for kind in self.kinds.values():
            while kind.waiting and self._may_start(kind):
                record = kind.waiting[0]
                kind.leave(record)
                self._begin(kind, record)

    # -- leases

    def lease_left(self, job_id: str) -> float | None:
        """Seconds until the lease of a job runs out; None where it has none, or does not run."""
        record = self.find(job_id)
        if record is None or record.state is not JobState.RUNNING:
            return None
        left = record.lease_until - trio.current_time()
        return left if left < math.inf else None

    def _renew(self, kind: JobKind, command: Command) -> JobRecord | None:
        lease = kind.options.lease
        record = next(iter(kind.running.values()), None)
        if lease is None or record is None or record.state is not JobState.RUNNING:
            return None
        now = trio.current_time()
        if now >= record.lease_until:
            record.cancel(*record.why_late())  # it has run out, though nobody has noticed yet
            return None
        record.lease_until = now + lease
        if record.scope is not None:
            record.scope.deadline = record.ends_at
        if record.job is not None:
            record.job.command = command
        return record

    # -- running

    async def _run(self, record: JobRecord) -> None:
        outcome = Outcome(self._responses, self._settings.payload_max)
        calling = Calling(self._counters, self._dispatcher.thread_limiter, self._tasks.closing)
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
            record.end(JobState.FAILED, fields=outcome.fields, code=code, error=outcome.error)
        else:
            as_late = record.why_late() if late else _SHUTTING_DOWN
            state, code, text = record.cancelled_as or as_late
            record.end(state, fields=outcome.fields, code=code, error=text)
        self._conclude(record)

    def _conclude(self, record: JobRecord) -> None:
        kind = self.kinds[record.spec.name]
        kind.keep(record)
        group = kind.options.exclusive
        if group is not None and self._dispatcher.backlog.groups.get(group) is record.execution:
            self._dispatcher.free_group(group)
        fields: dict[str, Any] = {**record.execution.log_fields(), "job_id": record.id}
        if record.code is not None:
            fields["error_code"] = record.code
        logger.info("job %s", record.state, extra=fields)
        self._changed(record)  # to whoever reads, whatever the rates
        self.start_waiting()
        self._dispatcher.work_ended()

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
            record.end(state, code=code, error=text)
            self._conclude(record)
        else:
            record.cancel(state, code, text)

    # -- readers

    def _changed(self, record: JobRecord) -> None:
        topic = record.spec.name
        self.subscriptions.changed(topic, record, record.id, at_once=record.is_over)

    def _reported(self, record: JobRecord) -> None:
        """A job has said something. From any thread."""
        if self.subscriptions.is_read(record.spec.name):
            self._tasks.soon(record.on_change)

    def _tell(self, record: JobRecord, subscription: Subscription) -> bool:
        """Publish how a job stands."""
        fields = ended_fields(record) if record.is_over else job_fields(record)
        command = publish_command(record.spec.method)
        return self._readers.tell(subscription, command, fields, of=record.id, last=record.is_over)


_SHUTTING_DOWN = (JobState.CANCELLED, ErrorCode.CANCELLED, "the device is shutting down")
