"""Jobs and streams in the list: each with its options, and the commands that belong to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import attrs

from ..._authoring.jobs.options import CANCEL, RESULT, STATUS, SUBSCRIBE, UNSUBSCRIBE, beside
from ..._authoring.petal import Petal
from ..._authoring.registry import CommandSpec
from ..._serving.jobs.commands.declared import DeclaredTable
from ..._serving.jobs.record import JobSpec
from ..._serving.jobs.streams import StreamSpec
from .schemas import data_schema, result_schema


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


def long_work_as_json(petal: Petal, table: DeclaredTable) -> dict[str, Any]:
    """The same as JSON has it."""
    return {
        "jobs": [
            {
                "name": job.name,
                "doc": job.method.doc,
                "options": _job_options(job),
                "commands": _beside_job(job.name),
                "data": data_schema(job.method),
                "result": result_schema(job.method),
            }
            for job in table.jobs
            if job.method.petal == petal.name
        ],
        "streams": [
            {
                "name": stream.name,
                "doc": stream.method.doc,
                "options": {"max_rate": stream.options.max_rate, "keep": stream.options.keep},
                "commands": _beside_stream(stream.name),
                "value": result_schema(stream.method),
            }
            for stream in table.streams
            if stream.method.petal == petal.name
        ],
    }


def _beside_job(name: str) -> tuple[str, ...]:
    return tuple(beside(name, one) for one in (SUBSCRIBE, UNSUBSCRIBE, CANCEL, STATUS, RESULT))


def _beside_stream(name: str) -> tuple[str, ...]:
    return tuple(beside(name, one) for one in (SUBSCRIBE, UNSUBSCRIBE))


def _job_options(job: JobSpec) -> dict[str, Any]:
    options = attrs.asdict(job.options)
    del options["name"], options["when_busy"]
    options["unknown_keys"] = job.method.unknown_keys
    if math.isinf(job.options.timeout):
        options["timeout"] = None
    return options


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
