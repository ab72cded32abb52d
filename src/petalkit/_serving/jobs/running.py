"""A job's method, from its start to its one final state.

The rule: whatever a method does, its job ends once, its slot and its group are free then, and what
waits starts. Whoever asks to cancel a job does not wait for it; the job cleans up, and ends.

The traps: a lease may have run out while the event loop stood still, and a renewal that was read
after that must not hide it. So it is the moment of the renewal that counts, not the order in which
things are noticed.
"""

from __future__ import annotations

import contextvars
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import trio

from ..._authoring.context import log_scope
from ..._authoring.jobs.handle import Job
from ..._values.errors import CommandError, ErrorCode
from ..._values.job_states import JobState
from ..._values.messages import Command, Identity
from ..._values.settings.settings import Settings
from ..dispatch.calling import call_handler
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.execution import Execution
from ..dispatch.left_open import close_nurseries, tell_left_open
from ..failures import showable
from ..sending.responses import Responses
from .kind import JobKind, JobSpec
from .messages import WebMessages, ended_fields, job_fields
from .outcomes import Outcome
from .record import JobRecord
from .subscriptions import Subscription, Subscriptions

logger = logging.getLogger("petalkit.jobs")

SHOWN = 5  # running jobs that a busy answer names


class Jobs:
    """All jobs of a runtime.

    Args:
        settings: bounds.
        specs: the jobs that petals have.
        dispatcher: has the groups that jobs share with commands.
        responses: words what is sent, and has the outbox.
        make_id: a new `job_id`, or `messageId`.
    """

    def __init__(
        self,
        settings: Settings,
        specs: Iterable[JobSpec],
        dispatcher: Dispatcher,
        responses: Responses,
        make_id: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._responses = responses
        self._counters = responses.counters
        self._make_id = make_id
        self._messages = WebMessages(responses)
        self.kinds = {
            spec.name: JobKind(spec, settings.job_results, settings.job_result_age)
            for spec in specs
        }
        self.subscriptions = Subscriptions(settings.subscriptions, settings.subscription_age)
        self._nursery: trio.Nursery | None = None
        dispatcher.beside = self

    # -- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the jobs until cancelled; what still runs then is told so."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._context = contextvars.copy_context()
            self._token = trio.lowlevel.current_trio_token()
            task_status.started()
            try:
                await self.subscriptions.run()
            finally:
                self._nursery = None

    def __iter__(self) -> Iterator[JobRecord]:
        """Every job that has not ended."""
        for kind in self.kinds.values():
            yield from kind

    @property
    def running(self) -> int:
        """How many run."""
        return sum(len(kind.running) for kind in self.kinds.values())

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
        if self._may_start(record):
            self._begin(record)
        elif kind.has_place:
            kind.waiting.append(record)
        else:
            raise self._busy(record)
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
        record = JobRecord(self._make_id(), kind, execution, arguments)
        record.on_change = functools.partial(self._changed, record)
        record.on_tell = self._tell
        return record

    def _may_start(self, record: JobRecord) -> bool:
        kind = record.kind
        group = kind.options.exclusive
        return (
            kind.has_slot
            and self.running < self._settings.job_concurrency
            and (group is None or group not in self._dispatcher.backlog.groups)
        )

    def _busy(self, record: JobRecord) -> CommandError:
        kind = record.kind
        name, group = kind.spec.name, kind.options.exclusive
        details: dict[str, Any] = {}
        holder = None if group is None else self._dispatcher.backlog.groups.get(group)
        if holder is not None and kind.has_slot:
            text = f"{holder.spec.name} is running; {group} takes one at a time"
            details["running"] = {
                "command": holder.spec.name,
                "messageId": holder.command.message_id,
            }
        else:
            text = f"{name} is running"
            if not kind.running:
                text = f"{self._settings.job_concurrency} jobs are running, and that is all"
            details["running"] = [job_fields(one) for one in list(kind)[:SHOWN]]
        if kind.options.queue:
            text += f", and {kind.options.queue} wait for their turn"
        return CommandError(ErrorCode.BUSY, text, retryable=True, details=details)

    def _begin(self, record: JobRecord) -> None:
        kind, execution = record.kind, record.execution
        assert self._nursery is not None
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
            _Host(self, record),
            deadline=now + kind.options.timeout,
        )
        self._context.copy().run(
            functools.partial(
                self._nursery.start_soon,
                self._run,
                record,
                name=f"job {kind.spec.name} {record.id}",
            )
        )
        self._changed(record)

    def _start_waiting(self) -> None:
        """Begin what may begin now."""
        if self._nursery is None:
            return
        for kind in self.kinds.values():
            while kind.waiting and self._may_start(kind.waiting[0]):
                self._begin(kind.waiting.popleft())
                for one in kind.waiting:  # each is nearer
                    self._changed(one)

    # -- leases

    def _renew(self, kind: JobKind, command: Command) -> JobRecord | None:
        lease = kind.options.lease
        record = next(iter(kind.running.values()), None)
        if lease is None or record is None or record.state is not JobState.RUNNING:
            return None
        now = trio.current_time()
        if now >= record.lease_until:
            self._expire(record)  # it has run out, though nobody has noticed yet
            return None
        record.lease_until = now + lease
        if record.scope is not None:
            record.scope.deadline = self._deadline(record)
        if record.job is not None:
            record.job.command = command
        return record

    def _deadline(self, record: JobRecord) -> float:
        assert record.job is not None
        return min(record.job.deadline, record.lease_until)

    def _expire(self, record: JobRecord) -> None:
        lease = record.kind.options.lease
        text = f"its lease of {lease:g} s was not renewed in time"
        record.cancel(JobState.TIMED_OUT, ErrorCode.TIMEOUT, text)

    # -- running

    async def _run(self, record: JobRecord) -> None:
        kind, execution, job = record.kind, record.execution, record.job
        assert job is not None
        outcome = Outcome(self._responses, self._settings.payload_max)
        arguments = dict(record.arguments)
        if kind.spec.method.job is not None:
            arguments[kind.spec.method.job] = job
        execution.spec = attrs.evolve(
            kind.spec.method, handler=self._method(record), bind=lambda *_: arguments
        )
        scope = trio.CancelScope(deadline=self._deadline(record))
        try:
            with scope:
                record.scope = execution.scope = scope
                execution.deadline = scope.deadline
                log_scope.set(execution)
                if record.cancelled_as is not None:  # before its first step
                    scope.cancel()
                await call_handler(
                    execution,
                    outcome,
                    self._counters,
                    self._dispatcher.thread_limiter,
                    self._thread_ended,
                )
        except Exception as error:
            tell_left_open(execution, showable(error))
            outcome.failure(None, ErrorCode.HANDLER_ERROR, "it left a cancel scope open")
        finally:
            task = trio.lowlevel.current_task()
            if task.child_nurseries:
                await close_nurseries(task)
            self._end(record, outcome, ended=not scope.cancelled_caught)

    def _method(self, record: JobRecord) -> Callable[..., Any]:
        """The method, with a nursery of the job's own around it."""
        method, job = record.kind.spec.method.handler, record.job
        if record.kind.options.thread:
            return method
        assert job is not None

        async def run(**arguments: Any) -> Any:
            async with trio.open_nursery() as nursery:
                job.open_nursery(nursery)
                result = await method(**arguments)
                nursery.cancel_scope.cancel()
            return result

        return run

    def _thread_ended(self, execution: Execution) -> None:
        """See `call_handler`."""

    def _end(self, record: JobRecord, outcome: Outcome, *, ended: bool) -> None:
        """Its final state."""
        code = outcome.code
        if ended and code is None:
            record.end(JobState.SUCCEEDED, fields=outcome.fields)
        elif ended and record.cancelled_as is None and not self._is_late(record):
            record.end(JobState.FAILED, fields=outcome.fields, code=code, error=outcome.error)
        else:
            if record.cancelled_as is None and self._is_late(record):
                record.cancelled_as = self._why_late(record)
            state, code, text = record.cancelled_as or _SHUTTING_DOWN
            record.end(state, fields=outcome.fields, code=code, error=text)
        self._conclude(record)

    def _is_late(self, record: JobRecord) -> bool:
        return trio.current_time() >= self._deadline(record)

    def _why_late(self, record: JobRecord) -> tuple[JobState, str, str]:
        assert record.job is not None
        options = record.kind.options
        text = f"{record.kind.spec.name} did not finish within {options.timeout:g} s"
        if record.lease_until < record.job.deadline:
            text = f"its lease of {options.lease:g} s was not renewed in time"
        return JobState.TIMED_OUT, ErrorCode.TIMEOUT, text

    def _conclude(self, record: JobRecord) -> None:
        kind = record.kind
        kind.keep(record)
        group = kind.options.exclusive
        if group is not None and self._dispatcher.backlog.groups.get(group) is record.execution:
            self._dispatcher.free_group(group)
        fields: dict[str, Any] = {**record.execution.log_fields(), "job_id": record.id}
        if record.code is not None:
            fields["error_code"] = record.code
        logger.info("job %s", record.state, extra=fields)
        self._changed(record)  # to whoever reads, whatever the rates
        self._start_waiting()
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

    def is_quiet(self, petal: str | None) -> bool:
        """See `Beside`."""
        return not any(
            kind.running and petal in (None, kind.spec.method.petal)
            for kind in self.kinds.values()
        )

    def cancel_running(
        self, code: ErrorCode, text: str, which: Callable[[Execution], bool]
    ) -> None:
        """See `Beside`."""
        for record in list(self):
            if record.state is not JobState.ACCEPTED and which(record.execution):
                self.cancel(record, JobState.CANCELLED, code, text)

    def refuse_waiting(
        self, code: ErrorCode, text: str, which: Callable[[Execution], bool]
    ) -> None:
        """See `Beside`."""
        for record in list(self):
            if record.state is JobState.ACCEPTED and which(record.execution):
                self.cancel(record, JobState.CANCELLED, code, text)

    def group_is_free(self) -> None:
        """See `Beside`."""
        self._start_waiting()

    # -- readers

    def _changed(self, record: JobRecord) -> None:
        topic = record.kind.spec.name
        self.subscriptions.changed(topic, record, record.id, at_once=record.is_over)

    def reported(self, record: JobRecord) -> None:
        """A job has said something. From any thread."""
        if not self.subscriptions.is_read(record.kind.spec.name):
            return
        if trio.lowlevel.in_trio_run():
            self._changed(record)
        else:
            self._token.run_sync_soon(record.on_change, idempotent=True)

    def _tell(self, record: JobRecord, subscription: Subscription) -> bool:
        """Publish how a job stands."""
        fields = ended_fields(record) if record.is_over else job_fields(record)
        method = record.kind.spec.method
        command = f"/{method.petal}/publish_{method.name.rpartition('/')[2]}"
        payload = self._messages.stream(command, subscription.stream_id, self._make_id(), fields)
        return self._responses.outbox.put_event_nowait(
            payload,
            qos=1 if record.is_over else 0,
            identity=subscription.identity,
            name=self._settings.web_topic,
            latest=f"{subscription.stream_id} {record.id}",
        )


class _Host:
    """What one job has of its runtime."""

    def __init__(self, jobs: Jobs, record: JobRecord) -> None:
        self._jobs = jobs
        self._record = record

    def changed(self) -> None:
        """See `JobHost`."""
        self._jobs.reported(self._record)

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """See `JobHost`."""
        raise NotImplementedError

    async def wait_safe(self) -> None:
        """See `JobHost`."""
        await trio.lowlevel.checkpoint()


_SHUTTING_DOWN = (JobState.CANCELLED, ErrorCode.CANCELLED, "the device is shutting down")
