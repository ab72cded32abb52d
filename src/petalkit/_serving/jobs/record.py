"""One job: its state, its last word, and how it ended. Exactly one final state, always."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from ..._authoring.jobs.handle import Job
from ..._values.job_states import NEXT, JobState
from ..dispatch.execution import Execution
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .kind import JobKind


class Ended(Exception):
    """A job that has its final state was to have another: our mistake."""


class JobRecord:
    """See the module.

    Args:
        job_id: on the wire.
        kind: of what it is one.
        execution: its method's call: command, identity, arguments.
        arguments: of the method, without the `Job`.

    Attributes:
        state: see `JobState`.
        job: what its method has, once it runs.
        fields: its result, or the details of its failure; None until it has ended.
        code: the error code of its failure.
        error: the same for people.
        accepted_at, started_at, ended_at: on Trio's clock.
        lease_until: when its lease runs out, on Trio's clock.
        scope: around its method, while it runs.
        cancelled_as: the state and the text that a cancellation of ours means.
        on_change: told of every report and every new state.
        on_tell: publishes how it stands to one reader.
    """

    def __init__(
        self, job_id: str, kind: JobKind, execution: Execution, arguments: dict[str, Any]
    ) -> None:
        self.id = job_id
        self.kind = kind
        self.execution = execution
        self.arguments = arguments
        self.state = JobState.ACCEPTED
        self.job: Job | None = None
        self.fields: Mapping[str, Any] | None = None
        self.code: str | None = None
        self.error: str | None = None
        self.accepted_at = trio.current_time()
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.lease_until = math.inf
        self.scope: trio.CancelScope | None = None
        self.cancelled_as: tuple[JobState, str, str] | None = None
        self.on_change: Callable[[], object] = _nobody
        self.on_tell: Callable[[JobRecord, Subscription], bool] = lambda _, __: True

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
        *,
        fields: Mapping[str, Any] | None = None,
        code: str | None = None,
        error: str | None = None,
    ) -> None:
        """Its final state."""
        self.move(state)
        self.fields = {} if fields is None else fields
        self.code, self.error = code, error

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


def _nobody() -> None:
    """Nobody listens."""
