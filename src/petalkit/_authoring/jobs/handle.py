"""`Job`: what a job's method reports to, and asks.

It knows no runtime: what it needs of one is `JobHost`, so that a method can be called in a test
with a `Job` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs
import trio

from ..._values.errors import PetalkitError
from ..._values.messages import Command, Identity
from .progress import NO_FIELDS, Progress, Step

CLEANUP_LIMIT = 5.0  # seconds


class JobHost(Protocol):
    """What a runtime offers to a job that runs."""

    @property
    def resumable(self) -> bool:
        """Whether it goes on after a restart, with what it kept."""
        ...

    def changed(self) -> None:
        """The job has reported something. From threads too."""

    async def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Keep this, for the job to go on from after a restart; returns when that is safe.

        Raises:
            PayloadError: it cannot be encoded as JSON, or is too large.
        """


@attrs.frozen
class InterruptedJob:
    """A job that ran when the device's program ended; see `Petal.on_interrupted`.

    Attributes:
        name: of the job, in full.
        id: its `job_id`.
        data: the arguments that it was started with, as they came.
        identity: the identity under which it came.
        kept: its last checkpoint; None when it had none.
    """

    name: str
    id: str
    data: Mapping[str, Any]
    identity: Identity
    kept: Mapping[str, Any] | None


class NoCheckpoints(PetalkitError):
    """`Job.checkpoint` was called in a job that is not resumed."""


class Job:
    """What a method under `@job` gets for its parameter annotated `Job`.

    Attributes:
        id: `job_id` on the wire.
        command: the command that started it.
        identity: the identity under which it came.
        deadline: when it is cancelled, on Trio's clock; `math.inf` for never.
        resumed: the last checkpoint, when it goes on after a restart; else None.
    """

    def __init__(
        self,
        job_id: str,
        command: Command,
        identity: Identity,
        host: JobHost,
        *,
        deadline: float,
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        self.id = job_id
        self.command = command
        self.identity = identity
        self.deadline = deadline
        self.resumed = resumed
        self._host = host
        self._progress = Progress(host.changed)
        self._nursery: trio.Nursery | None = None

    @property
    def nursery(self) -> trio.Nursery:
        """Owns the job's background tasks, which are cancelled when the method ends.

        What one of them raises ends the job as a failure.

        Raises:
            RuntimeError: the method does not run, or runs in a thread.
        """
        if self._nursery is None:
            raise RuntimeError(f"job {self.id} has no nursery: it does not run, or in a thread")
        return self._nursery

    def open_nursery(self, nursery: trio.Nursery) -> None:
        """For the runtime: the job's own nursery is open."""
        self._nursery = nursery

    def cleanup(self, limit: float = CLEANUP_LIMIT) -> trio.CancelScope:
        """A block that a cancellation of the job does not reach: `with job.cleanup(): await ...`.

        For the `finally:` of what must be put back, such as a motor's stop.

        Args:
            limit: seconds after which it is cancelled all the same.
        """
        scope = trio.move_on_after(limit)
        scope.shield = True
        return scope

    @property
    def fraction(self) -> float | None:
        """How far it is, from 0 to 1; None when it has not said."""
        return self._progress.fraction

    @property
    def message(self) -> str | None:
        """What it said last."""
        return self._progress.message

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields that it reported last."""
        return self._progress.fields

    def report(
        self, fraction: float | None = None, message: str | None = None, **fields: Any
    ) -> None:
        """Say how far the job is. Never waits, and may be called from threads.

        Subscribers see the latest report, each at its own rate. What is not given stays as it was.

        Args:
            fraction: from 0 to 1; not in a job with steps, which add up by themselves.
            message: for people.
            fields: of the job's own, as JSON can say them.

        Raises:
            ValueError: the fraction is not from 0 to 1, or steps say it.
            TypeError: it is no number, or the message is no text.
        """
        self._progress.report(fraction, message, fields or NO_FIELDS)

    async def progress(
        self, fraction: float | None = None, message: str | None = None, **fields: Any
    ) -> None:
        """`report`, for `await`. It does not wait either, and is not a checkpoint."""
        self._progress.report(fraction, message, fields or NO_FIELDS)

    def step(self, name: str, weight: float) -> Step:
        """A share of the job that has a progress of its own: an `async with` or `with` block.

        Args:
            name: for people; it is the message while it begins.
            weight: its share, above 0; all steps of a job have at most 1.

        Raises:
            ValueError: the steps have more than the whole.
        """
        return Step(self._progress, self._progress, name, weight)

    async def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Keep what the job needs to go on from here after a restart; for `resume=True`.

        Returns when it is on disk, where there is a journal. Each replaces the one before.
        Cancellation: it is kept, and nobody waits for it.

        Raises:
            NoCheckpoints: the job is not resumed: write `@job(..., resume=True)`.
            PayloadError: it cannot be encoded as JSON, or is larger than `payload_max`.
        """
        if not self._host.resumable:
            raise NoCheckpoints("checkpoints are for @job(..., resume=True)")
        await self._host.checkpoint(state)

    def check_cancelled(self) -> None:
        """In a thread of the job: raise `trio.Cancelled` if it has been cancelled.

        Raises:
            trio.Cancelled: let it travel.
        """
        trio.from_thread.check_cancelled()
