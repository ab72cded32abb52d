"""One job: its state, its last word, and how it ended. Exactly one final state, always."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec
import trio

from ..._authoring.jobs.handle import Job
from ..._authoring.jobs.options import JobOptions
from ..._authoring.registry import CommandSpec
from ..._values.codec import encode_json, printable
from ..._values.errors import ErrorCode
from ..._values.job_states import NEXT, JobState
from ..._values.messages import Command, Identity
from ..dispatch.execution import Execution
from ..failures import text_of
from .leases import Lease
from .reading.subscriptions import Subscription

logger = logging.getLogger("petalkit.jobs")

MESSAGE_MAX = 1000  # characters of what a job says; what is more is not told
_NOTHING: Mapping[str, Any] = {}


@attrs.frozen(kw_only=True, eq=False)
class JobSpec:
    """A job as it was declared, ready to be run.

    Attributes:
        options: what `@job` was told.
        method: its call, as the one of a command: `call_handler` runs it.
    """

    options: JobOptions
    method: CommandSpec

    @property
    def name(self) -> str:
        """In full, as on the wire; readers subscribe to it."""
        return self.method.name


class Ended(Exception):
    """A job that has its final state was to have another: our mistake."""


class JobRecord:
    """See the module.

    Args:
        job_id: on the wire.
        spec: as declared.
        execution: its method's call: command, identity, arguments.
        arguments: of the method, without the `Job`.

    Attributes:
        state: see `JobState`.
        position: its place among those that wait; 1 starts next. None when it does not wait.
        job: what its method has, once it runs.
        fields: its result, or the details of its failure; None until it has ended.
        code: the error code of its failure.
        error: the same for people.
        accepted_at, started_at, ended_at: on Trio's clock.
        lease: what it has to be renewed under, also while it waits; None where it has none.
        scope: around its method, while it runs.
        cancelled_as: the state and the text that a cancellation of ours means.
        note: its number in the ledger; None where nothing is kept.
        is_safe: whether its final state is: it is said to nobody before.
        told: whether its readers have been told its end, or there were none.
        forgotten: whether it is known no more, as soon as that is so.
        left: whether a stop has ended it here, and the next run takes it up.
        keeping: set when its last checkpoint is safe.
        kept: what its method keeps, to go on from after a restart.
        room: bytes of what it may report beside its progress.
        on_change: told of every report and every new state.
        on_tell: publishes how it stands to one reader.
    """

    def __init__(
        self, job_id: str, spec: JobSpec, execution: Execution, arguments: dict[str, Any]
    ) -> None:
        self.id = job_id
        self.spec = spec
        self.execution = execution
        self.arguments = arguments
        self.state = JobState.ACCEPTED
        self.position: int | None = None
        self.job: Job | None = None
        self.fields: Mapping[str, Any] | None = None
        self.code: str | None = None
        self.error: str | None = None
        self.accepted_at = trio.current_time()
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.lease: Lease | None = None
        self.scope: trio.CancelScope | None = None
        self.cancelled_as: tuple[JobState, str, str] | None = None
        self._told_unsayable = False
        self.note: int | None = None
        self.is_safe = self.told = self.forgotten = self.left = False
        self.keeping: trio.Event | None = None
        self._before = self.state
        self.kept: Mapping[str, Any] | None = None
        self.room = 0
        self._seen: tuple[Mapping[str, Any], Mapping[str, Any]] = (_NOTHING, _NOTHING)
        self.on_change: Callable[[], object] = _nobody
        self.on_tell: Callable[[JobRecord, Subscription], bool] = lambda _, __: True

    @property
    def lease_until(self) -> float:
        """When its lease runs out, on Trio's clock; never where it has none."""
        return math.inf if self.lease is None else self.lease.until

    def look(self) -> bool:
        """End it in time though the device was suspended; False when there is nothing to end."""
        if self.scope is not None:
            self.scope.deadline = self.ends_at
        return self.state in (JobState.ACCEPTED, JobState.RUNNING)

    @property
    def ends_at(self) -> float:
        """When it is cancelled for its time or its lease, on Trio's clock."""
        return self.lease_until if self.job is None else min(self.job.deadline, self.lease_until)

    @property
    def is_over(self) -> bool:
        """Whether it has its final state."""
        return self.state.final

    @property
    def reported(self) -> Mapping[str, Any]:
        """The fields that it reported last, as JSON can say them; none where it cannot."""
        raw = _NOTHING if self.job is None else self.job.fields
        if raw is not self._seen[0]:
            self._seen = raw, self._sayable(raw)
        return self._seen[1]

    def _sayable(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            encoded = encode_json(fields)
            if len(encoded) <= self.room:
                plain: Mapping[str, Any] = msgspec.json.decode(encoded)
                return plain
            why = f"they have {len(encoded)} bytes; {self.room} are allowed"
        except Exception as error:  # values of the petal's own making
            why = text_of(error)
        if not self._told_unsayable:
            self._told_unsayable = True
            logger.error(
                "job %s of %s: the fields of a report are left out: %s",
                self.id,
                self.spec.name,
                why,
            )
        return _NOTHING

    @property
    def said(self) -> str | None:
        """What it said last, as JSON can say it."""
        message = None if self.job is None else self.job.message
        return None if message is None else printable(message)[:MESSAGE_MAX]

    @property
    def is_settled(self) -> bool:
        """Whether it has its final state, and that is safe."""
        return self.is_over and self.is_safe

    @property
    def shown(self) -> JobState:
        """Its state for all the world: no end that a crash could still change."""
        if not self.is_over or self.is_safe:
            return self.state
        return JobState.CANCELLING if self.state is JobState.CANCELLED else self._before

    @property
    def says_last(self) -> bool:
        """See `Source`."""
        return self.is_settled

    def tell(self, subscription: Subscription) -> bool:
        """See `Source`. A turn before its end is safe says nothing: that is told then."""
        if self.is_over and not self.is_safe:
            return True
        return self.on_tell(self, subscription)

    def move(self, state: JobState) -> None:
        """Another state.

        Raises:
            Ended: it may not follow.
        """
        if state not in NEXT[self.state]:
            raise Ended(f"job {self.id} cannot be {state} after {self.state}")
        self._before, self.state = self.state, state
        if state.final:
            self.ended_at = trio.current_time()

    def end(
        self,
        state: JobState,
        code: str | None = None,
        error: str | None = None,
        *,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Its final state."""
        self.move(state)
        self.fields = {} if fields is None else fields
        self.code, self.error = code, error

    @property
    def lease_left(self) -> float | None:
        """Seconds until its lease runs out; None where it has none, or does not run."""
        if self.state is not JobState.RUNNING or self.lease_until == math.inf:
            return None
        return self.lease_until - trio.current_time()

    def renew(self, command: Command, arguments: dict[str, Any]) -> bool:
        """Renew its lease; False where that has run out, though nobody has noticed yet.

        Args:
            command: that renews it: its method sees that from now on.
            arguments: of that one: its method gets them if it has not begun.
        """
        assert self.lease is not None
        if trio.current_time() >= self.lease_until:
            return False
        self.lease.renew()
        if self.scope is not None:
            self.scope.deadline = self.ends_at
        if self.job is not None:
            self.job.command = command
        else:  # it waits
            self.execution.command, self.arguments = command, arguments
        return True

    def why_late(self) -> tuple[JobState, str, str]:
        """What it ends as once `ends_at` has passed: state, error code, and why."""
        options = self.spec.options
        if self.job is not None and self.job.deadline <= self.lease_until:
            text = f"{self.spec.name} did not finish within {options.timeout:g} s"
        else:
            text = f"its lease of {options.lease:g} s was not renewed in time"
        return JobState.TIMED_OUT, ErrorCode.TIMEOUT, text

    def why_stopped(self) -> tuple[JobState, str, str]:
        """The same of one that the stop ends. If it can go on, the next run takes it up."""
        self.left = self.spec.options.resume and self.note is not None
        return JobState.CANCELLED, ErrorCode.CANCELLED, "the device is shutting down"

    @property
    def is_left(self) -> bool:
        """Whether the next run takes it up, so that it has not ended for the ledger."""
        return self.left and self.state is JobState.CANCELLED

    def cancel(self, state: JobState, code: str, text: str) -> bool:
        """Cancel its method; False when it is over, or cancelled already.

        Args:
            state: what it ends as.
            code: the error code beside.
            text: why, for people.
        """
        if self.state is not JobState.RUNNING or self.cancelled_as is not None:
            return False
        self.cancelled_as = (state, code, text)
        self.move(JobState.CANCELLING)
        if self.scope is not None:
            self.scope.cancel()
        self.on_change()
        return True


def make_execution(
    method: CommandSpec, command: Command, identity: Identity, *, logged: bool = True
) -> Execution:
    """The call of a job's method, or a stream's, which no line has seen."""
    return Execution(
        command=command,
        payload=b"",
        spec=method,
        identity=identity,
        response_topic="",
        arrived=trio.current_time(),
        clock=trio.lowlevel.current_clock(),
        wait_response=False,
        logged=logged,
    )


def _nobody() -> None:
    """Nobody listens."""
