"""One job: its state, its last word, and how it ended. Exactly one final state, always."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from ..._authoring.jobs.handle import Job
from ..._authoring.jobs.options import JobOptions
from ..._authoring.registry import CommandSpec
from ..._values.errors import ErrorCode
from ..._values.job_states import NEXT, JobState
from ..._values.messages import Command, Identity
from ..dispatch.execution import Execution
from .leases import Lease
from .subscriptions import Subscription


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
        lease: what it has to be renewed under, once it runs; None where it has none.
        scope: around its method, while it runs.
        cancelled_as: the state and the text that a cancellation of ours means.
        note: its number in the ledger; None where nothing is kept.
        kept: what its method keeps, to go on from after a restart.
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
        self.note: int | None = None
        self.kept: Mapping[str, Any] | None = None
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
        return self.state is JobState.RUNNING

    @property
    def ends_at(self) -> float:
        """When it is cancelled for its time or its lease, on Trio's clock."""
        return self.lease_until if self.job is None else min(self.job.deadline, self.lease_until)

    @property
    def is_over(self) -> bool:
        """Whether it has its final state."""
        return self.state.final

    def tell(self, subscription: Subscription) -> bool:
        """See `Source`."""
        return self.on_tell(self, subscription)

    def move(self, state: JobState) -> None:
        """Another state.

        Raises:
            Ended: it may not follow.
        """
        if state not in NEXT[self.state]:
            raise Ended(f"job {self.id} cannot be {state} after {self.state}")
        self.state = state
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

    def renew(self, command: Command) -> bool:
        """Renew its lease; False where that has run out, though nobody has noticed yet.

        Args:
            command: that renews it: its method sees that from now on.
        """
        assert self.lease is not None
        if trio.current_time() >= self.lease_until:
            self.cancel(*self.why_late())
            return False
        self.lease.renew()
        if self.scope is not None:
            self.scope.deadline = self.ends_at
        if self.job is not None:
            self.job.command = command
        return True

    def why_late(self) -> tuple[JobState, str, str]:
        """What it ends as once `ends_at` has passed: state, error code, and why."""
        options = self.spec.options
        if self.job is not None and self.job.deadline <= self.lease_until:
            text = f"{self.spec.name} did not finish within {options.timeout:g} s"
        else:
            text = f"its lease of {options.lease:g} s was not renewed in time"
        return JobState.TIMED_OUT, ErrorCode.TIMEOUT, text

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


def make_execution(spec: JobSpec, command: Command, identity: Identity) -> Execution:
    """The call of a job's method, which no line has seen."""
    return Execution(
        command=command,
        payload=b"",
        spec=spec.method,
        identity=identity,
        response_topic="",
        arrived=trio.current_time(),
        clock=trio.lowlevel.current_clock(),
        wait_response=False,
        logged=True,
    )


def _nobody() -> None:
    """Nobody listens."""
