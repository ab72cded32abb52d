"""The commands that belong to a job: its start, and five more under its name.

A job can be cancelled while everything else is full: that command is served at intake, as urgent
ones are. The others are commands like any, of which a hundred may come at once.

The trap: they have no record of their own, so their answers wait for none. What one has changed is
safe before it is answered, or a crash would take it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any

import attrs
import msgspec
import trio

from ...._authoring.context import CommandContext
from ...._authoring.declared import CommandOptions
from ...._authoring.jobs.options import (
    CANCEL,
    RESULT,
    STATUS,
    SUBSCRIBE,
    UNSUBSCRIBE,
    check_job,
)
from ...._authoring.jobs.stream import RATE_MAX
from ...._authoring.petal import Petal
from ...._authoring.registry import CommandSpec, make_spec
from ...._authoring.signature.returning import NOT_DECLARED
from ...._authoring.spec import PartOf
from ...._authoring.unknown_keys import UnknownKeysRule
from ...._values.errors import CommandError, ErrorCode
from ..kind import JobKind
from ..messages import job_fields, several, some_of, within
from ..reading.subscriptions import Subscription
from ..record import JobRecord, JobSpec
from ..running import Jobs
from .common import RATE, Envelope, StreamId, add_reader, check_new, make_command, refuser

Rate = Annotated[float, msgspec.Meta(gt=0, le=RATE_MAX)]


def job_specs(petals: Sequence[Petal], unknown_keys: UnknownKeysRule) -> Iterator[JobSpec]:
    """The jobs of these petals.

    Raises:
        RegistrationError: one cannot be served.
    """
    known: dict[str, CommandSpec] = {}
    for petal in petals:
        for options, method in petal.__petalkit_jobs__():
            as_command = CommandOptions(
                name=options.name,
                timeout=options.timeout,
                thread=options.thread,
                unknown_keys=options.unknown_keys,
                check_result=options.check_result,
            )
            spec = make_spec(petal, as_command, method, unknown_keys=unknown_keys, is_job=True)
            check_job(options, refuser(spec))
            check_new(spec, known, "job")
            yield JobSpec(options=options, method=spec)


def job_commands(petal: Petal, kinds: Iterable[JobKind], jobs: Jobs) -> Iterator[CommandSpec]:
    """The commands of a petal's jobs.

    Args:
        petal: whose.
        kinds: of all petals.
        jobs: what they start, end and ask.
    """
    for kind in kinds:
        if kind.spec.method.petal == petal.name:
            yield _start(kind, jobs)
            of = f"job {kind.spec.method.method}"
            for verb, handler in _Commands(kind, jobs).by_verb():
                name, part_of = kind.options.beside(verb), PartOf("job", kind.spec.name, verb)
                yield make_command(petal, name, handler, part_of, of, urgent=verb == CANCEL)


def _start(kind: JobKind, jobs: Jobs) -> CommandSpec:
    method = kind.spec.method

    async def start(arguments: dict[str, Any], context: CommandContext) -> dict[str, Any]:
        # Without a checkpoint: the job and the answer to its start are safe together.
        return jobs.readers.shown(jobs.start(kind, context.command, context.identity, arguments))

    def bind(command: Any, context: Callable[[], CommandContext], caller: Any = None, /) -> Any:
        return {"arguments": method.bind(command, context, caller), "context": context()}

    # What it returns is not what the method does, and how it may run is the job's business.
    start_options = CommandOptions(name=method.name)
    return attrs.evolve(
        method,
        handler=start,
        bind=bind,
        returning=NOT_DECLARED,
        thread=False,
        timeout=start_options.timeout,
        part_of=PartOf("job", method.name, "start"),
    )


class _Commands:
    """The handlers beside a job's start."""

    def __init__(self, kind: JobKind, jobs: Jobs) -> None:
        self._kind = kind
        self._jobs = jobs
        self._name = kind.spec.name

    def by_verb(self) -> Iterator[tuple[str, Any]]:
        """Each with the word before the job's name."""
        yield SUBSCRIBE, self.subscribe
        yield UNSUBSCRIBE, self.unsubscribe
        yield CANCEL, self.cancel
        yield STATUS, self.status
        yield RESULT, self.result

    async def subscribe(
        self,
        context: CommandContext,
        subscribed_stream_id: StreamId,
        data_rate_hz: Rate = RATE,
        job_id: str | None = None,
        envelope: Envelope = "web",
    ) -> dict[str, Any]:
        """Be told how jobs of this kind go on, at most so often; again to renew, or change."""
        if job_id is not None:
            self._find(job_id)
        add_reader(
            self._jobs.subscriptions,
            Subscription(
                self._name,
                subscribed_stream_id,
                data_rate_hz,
                context.identity,
                trio.current_time(),
                job_id,
                envelope == "plain",
            ),
        )
        for record in self._kind:
            record.on_change()
        await self._jobs.notes.wait_safe()
        return {"published_stream_id": subscribed_stream_id, "data_rate_hz": data_rate_hz}

    async def unsubscribe(self, subscribed_stream_id: StreamId) -> dict[str, Any]:
        """Be told no more."""
        gone = self._jobs.subscriptions.remove(self._name, subscribed_stream_id)
        return {"published_stream_id": subscribed_stream_id, "unsubscribed": bool(gone)}

    async def cancel(self, job_id: str | None = None) -> dict[str, Any]:
        """End a job; without an ID the only one there is. It cleans up first."""
        record = self._find(job_id)
        self._jobs.cancel(record)
        shown = self._jobs.readers.shown(record)
        await self._jobs.notes.wait_safe()  # or it could go on after a crash
        return shown

    async def status(self, job_id: str | None = None) -> dict[str, Any]:
        """How a job stands; without an ID all that have not ended, and the last one that has."""
        if job_id is not None:
            return self._jobs.readers.shown(self._find(job_id))
        last, room = self._kind.newest_ended, self._jobs.readers.room // 2
        jobs = several(map(job_fields, self._kind.not_settled), room)
        return {**jobs, "last": None if last is None else within(job_fields(last), room)}

    async def result(self, job_id: str | None = None) -> dict[str, Any]:
        """What a job has come to; without an ID the last that has ended."""
        record = self._find(job_id) if job_id is not None else self._kind.newest_ended
        if record is None:
            raise CommandError(ErrorCode.UNKNOWN_JOB, f"no job of {self._name} has ended")
        return (self._jobs.readers.result_of if record.is_settled else self._jobs.readers.shown)(
            record
        )

    def _find(self, job_id: str | None) -> JobRecord:
        """The job of that ID; without one, the only one.

        Raises:
            CommandError: there is none, or more than one is meant.
        """
        if job_id is not None:
            record = self._kind.find(job_id)
            if record is None:
                raise CommandError(ErrorCode.UNKNOWN_JOB, f"{self._name} has no job {job_id!r}")
            return record
        active = list(self._kind)
        if not active:
            raise CommandError(ErrorCode.UNKNOWN_JOB, f"no job of {self._name} runs")
        if len(active) > 1:
            raise CommandError(
                ErrorCode.INVALID_DATA,
                f"{len(active)} jobs of {self._name} have not ended: say which, by job_id",
                details={"running": some_of(self._kind, self._jobs.readers.room)},
            )
        return active[0]
