"""The commands that belong to a job: its start, and five more under its name.

A job can be cancelled while everything else is full: that command is served at intake, as urgent
ones are. The others are commands like any, of which a hundred may come at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import attrs
import msgspec
import trio

from ..._authoring.context import CommandContext
from ..._authoring.declared import CommandOptions
from ..._authoring.jobs.options import (
    CANCEL,
    RESULT,
    STATUS,
    SUBSCRIBE,
    UNSUBSCRIBE,
    check_job,
)
from ..._authoring.jobs.stream import RATE_MAX, check_stream
from ..._authoring.petal import Petal
from ..._authoring.registry import CommandSpec, make_spec
from ..._authoring.returning import NOT_DECLARED
from ..._authoring.unknown_keys import UnknownKeysRule
from ..._values.errors import CommandError, ErrorCode, RegistrationError
from .kind import JobKind
from .messages import ended_fields, job_fields
from .record import JobRecord, JobSpec
from .running import Jobs
from .streams import Stream, Streams, StreamSpec
from .subscriptions import Subscription, Subscriptions, TooManySubscriptions

UNKNOWN_JOB = "UNKNOWN_JOB"
RATE = 10.0  # messages per second, unless the reader says another

StreamId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=RATE_MAX)]
AnyRate = Annotated[float, msgspec.Meta(gt=0)]
UNSUBSCRIBE_ALL = "unsubscribe_all"


def job_specs(petals: Sequence[Petal], unknown_keys: UnknownKeysRule) -> Iterator[JobSpec]:
    """The jobs of these petals.

    Raises:
        RegistrationError: one cannot be served.
    """
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
            check_job(options, _refuser(spec))
            yield JobSpec(options=options, method=spec)


def stream_specs(petals: Sequence[Petal]) -> Iterator[StreamSpec]:
    """The streams of these petals.

    Raises:
        RegistrationError: one cannot be served.
    """
    for petal in petals:
        for options, method in petal.__petalkit_streams__():
            spec = make_spec(petal, CommandOptions(name=options.name), method, is_stream=True)
            check_stream(options, method, _refuser(spec))
            yield StreamSpec(options=options, method=spec)


def _refuser(spec: CommandSpec) -> Callable[..., RegistrationError]:
    def refuse(reason: str, parameter: str | None = None) -> RegistrationError:
        return RegistrationError(reason, petal=spec.petal, method=spec.method, parameter=parameter)

    return refuse


def job_commands(petal: Petal, jobs: Jobs) -> Iterator[CommandSpec]:
    """The commands of a petal's jobs."""
    for kind in jobs.kinds.values():
        if kind.spec.method.petal == petal.name:
            yield _start(kind, jobs)
            for verb, handler in _Commands(kind, jobs).by_verb():
                yield _make(petal, kind.options.beside(verb), handler, urgent=verb == CANCEL)


def stream_commands(petal: Petal, streams: Streams) -> Iterator[CommandSpec]:
    """The commands of a petal's streams."""
    own = [one for one in streams.streams.values() if one.spec.method.petal == petal.name]
    for stream in own:
        handlers = _StreamCommands(stream, streams)
        yield _make(petal, stream.spec.options.beside(SUBSCRIBE), handlers.subscribe)
        yield _make(petal, stream.spec.options.beside(UNSUBSCRIBE), handlers.unsubscribe)
    if own:
        yield _make(petal, UNSUBSCRIBE_ALL, _unsubscriber(own, streams))


def _unsubscriber(own: Sequence[Stream], streams: Streams) -> Any:
    async def unsubscribe_all(subscribed_stream_id: StreamId | None = None) -> dict[str, Any]:
        subscriptions = streams.readers.subscriptions
        gone = sum(subscriptions.remove(one.spec.name, subscribed_stream_id) for one in own)
        return {"unsubscribed": gone}

    return unsubscribe_all


class _StreamCommands:
    """The handlers of a stream."""

    def __init__(self, stream: Stream, streams: Streams) -> None:
        self._stream = stream
        self._streams = streams
        self._name = stream.spec.name

    async def subscribe(
        self,
        context: CommandContext,
        subscribed_stream_id: StreamId,
        data_rate_hz: AnyRate = RATE,
    ) -> dict[str, Any]:
        """Get its values, at most so many a second; again to renew, or for another rate."""
        rate = min(data_rate_hz, self._stream.spec.options.max_rate)
        _add(
            self._streams.readers.subscriptions,
            Subscription(
                self._name, subscribed_stream_id, rate, context.identity, trio.current_time()
            ),
        )
        self._streams.read(self._stream, context.command, context.identity)
        return {"published_stream_id": subscribed_stream_id, "data_rate_hz": rate}

    async def unsubscribe(self, subscribed_stream_id: StreamId) -> dict[str, Any]:
        """Get them no more."""
        gone = self._streams.readers.subscriptions.remove(self._name, subscribed_stream_id)
        return {"published_stream_id": subscribed_stream_id, "unsubscribed": bool(gone)}


def _add(subscriptions: Subscriptions, subscription: Subscription) -> None:
    """One more reader.

    Raises:
        CommandError: there are too many.
    """
    try:
        subscriptions.add(subscription)
    except TooManySubscriptions:
        text = f"there are {len(subscriptions)} subscriptions, and that is all"
        raise CommandError(ErrorCode.BUSY, text, retryable=True) from None


def _start(kind: JobKind, jobs: Jobs) -> CommandSpec:
    method = kind.spec.method

    async def start(arguments: dict[str, Any], context: CommandContext) -> dict[str, Any]:
        # Without a checkpoint: the job and the answer to its start are safe together.
        return job_fields(jobs.start(kind, context.command, context.identity, arguments))

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
    )


def _make(petal: Petal, name: str, handler: Any, *, urgent: bool = False) -> CommandSpec:
    command = CommandOptions(name=name, urgent=urgent, journal=False, timeout=5.0)
    return make_spec(petal, command, handler)


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
    ) -> dict[str, Any]:
        """Be told how jobs of this kind go on, at most so often; again to renew, or change."""
        if job_id is not None:
            self._find(job_id)
        _add(
            self._jobs.subscriptions,
            Subscription(
                self._name,
                subscribed_stream_id,
                data_rate_hz,
                context.identity,
                trio.current_time(),
                job_id,
            ),
        )
        for record in self._kind:
            record.on_change()
        return {"published_stream_id": subscribed_stream_id, "data_rate_hz": data_rate_hz}

    async def unsubscribe(self, subscribed_stream_id: StreamId) -> dict[str, Any]:
        """Be told no more."""
        gone = self._jobs.subscriptions.remove(self._name, subscribed_stream_id)
        return {"published_stream_id": subscribed_stream_id, "unsubscribed": bool(gone)}

    async def cancel(self, job_id: str | None = None) -> dict[str, Any]:
        """End a job; without an ID the only one there is. It cleans up first."""
        record = self._find(job_id)
        self._jobs.cancel(record)
        return job_fields(record)

    async def status(self, job_id: str | None = None) -> dict[str, Any]:
        """How a job stands; without an ID all that have not ended, and the last one that has."""
        if job_id is not None:
            return job_fields(self._find(job_id))
        last = self._kind.newest_ended
        jobs = [job_fields(one) for one in self._kind]
        return {"jobs": jobs, "last": None if last is None else job_fields(last)}

    async def result(self, job_id: str | None = None) -> dict[str, Any]:
        """What a job has come to; without an ID the last that has ended."""
        record = self._find(job_id) if job_id is not None else self._kind.newest_ended
        if record is None:
            raise CommandError(UNKNOWN_JOB, f"no job of {self._name} has ended")
        return ended_fields(record) if record.is_over else job_fields(record)

    def _find(self, job_id: str | None) -> JobRecord:
        """The job of that ID; without one, the only one.

        Raises:
            CommandError: there is none, or more than one is meant.
        """
        if job_id is not None:
            record = self._kind.find(job_id)
            if record is None:
                raise CommandError(UNKNOWN_JOB, f"{self._name} has no job {job_id!r}")
            return record
        active = list(self._kind)
        if not active:
            raise CommandError(UNKNOWN_JOB, f"no job of {self._name} runs")
        if len(active) > 1:
            raise CommandError(
                ErrorCode.INVALID_DATA,
                f"{len(active)} jobs of {self._name} run: say which, by job_id",
                details={"running": [job_fields(one) for one in active]},
            )
        return active[0]
