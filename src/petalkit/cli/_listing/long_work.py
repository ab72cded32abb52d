"""Jobs and streams in the list: each with its options, and the commands that belong to it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from ..._authoring.jobs.options import CANCEL, RESULT, STATUS, SUBSCRIBE, UNSUBSCRIBE, beside
from ..._authoring.petal import Petal
from ..._authoring.registry import CommandSpec
from ..._serving.jobs.commands.declared import DeclaredTable
from ..._serving.jobs.record import JobSpec
from ..._serving.jobs.streams import StreamSpec


@attrs.frozen
class LongWork:
    """A job or a stream.

    Attributes:
        method: as that of a command.
        notes: what it was declared with, for people.
        commands: the full names of those that belong to it.
    """

    method: CommandSpec
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def long_work_of(petal: Petal, table: DeclaredTable) -> list[LongWork]:
    """The jobs and streams of a petal, by name, jobs first."""
    jobs = [
        LongWork(job.method, tuple(_job_notes(job)), _beside_job(job.name))
        for job in sorted(table.jobs, key=lambda one: one.name)
        if job.method.petal == petal.name
    ]
    streams = [
        LongWork(stream.method, tuple(_stream_notes(stream)), _beside_stream(stream.name))
        for stream in sorted(table.streams, key=lambda one: one.name)
        if stream.method.petal == petal.name
    ]
    return [*jobs, *streams]


def _beside_job(name: str) -> tuple[str, ...]:
    return tuple(beside(name, one) for one in (SUBSCRIBE, UNSUBSCRIBE, CANCEL, STATUS, RESULT))


def _beside_stream(name: str) -> tuple[str, ...]:
    return tuple(beside(name, one) for one in (SUBSCRIBE, UNSUBSCRIBE))


def _job_notes(job: JobSpec) -> Iterator[str]:
    options = job.options
    yield "job"
    if options.thread:
        yield "in a thread"
    if options.exclusive is not None:
        yield f"exclusive {options.exclusive!r}"
    if options.concurrency > 1:
        yield f"at most {options.concurrency} at once"
    if options.queue:
        yield f"{options.queue} wait"
    if options.lease is not None:
        yield f"lease {options.lease:g} s"
    if options.end_on_link_loss:
        yield "ends with the link"
    if options.resume:
        yield "resumed after a restart"
    if job.method.unknown_keys == "refuse" and job.method.known_keys is not None:
        yield "refuses unknown keys"
    yield "no timeout" if math.isinf(options.timeout) else f"timeout {options.timeout:g} s"


def _stream_notes(stream: StreamSpec) -> Iterator[str]:
    yield "stream"
    yield f"at most {stream.options.max_rate:g} Hz"
    if stream.options.keep:
        yield "kept without readers"
