"""Commands, jobs and streams as JSON has them, and one hash of all.

What belongs to a job or a stream is described where commands are, but is not in the hash: it
follows from what is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from ..._authoring.declared import RESERVED_PREFIX
from ..._authoring.inspection.foreign import attribute_of, doc_of
from ..._authoring.jobs.options import CANCEL, RESULT, STATUS, SUBSCRIBE, UNSUBSCRIBE, beside
from ..._authoring.petal import Petal
from ..._authoring.registry import CommandSpec
from ..._authoring.schemas import (
    data_schema,
    describe_command,
    fingerprint,
    joint_fingerprint,
    result_schema,
)
from ..jobs.record import JobSpec
from ..jobs.streams import StreamSpec

Described: TypeAlias = dict[str, Any]
Spec: TypeAlias = CommandSpec | JobSpec | StreamSpec


def describe_job(spec: JobSpec) -> Described:
    """A job with its options, schemas and commands, as JSON has it."""
    options = spec.options
    verbs = (SUBSCRIBE, UNSUBSCRIBE, CANCEL, STATUS, RESULT)
    return {
        "name": spec.name,
        "doc": spec.method.doc,
        "options": {
            "timeout": None if math.isinf(options.timeout) else options.timeout,
            "concurrency": options.concurrency,
            "queue": options.queue,
            "exclusive": options.exclusive,
            "lease": options.lease,
            "end_on_link_loss": options.end_on_link_loss,
            "resume": options.resume,
            "thread": options.thread,
            "check_result": options.check_result,
            "unknown_keys": spec.method.unknown_keys,
        },
        "data": data_schema(spec.method),
        "result": result_schema(spec.method),
        "commands": {"start": spec.name, **{verb: beside(spec.name, verb) for verb in verbs}},
    }


def describe_stream(spec: StreamSpec) -> Described:
    """A stream with its options, the schema of its values, and its commands, as JSON has it."""
    return {
        "name": spec.name,
        "doc": spec.method.doc,
        "options": {"max_rate": spec.options.max_rate, "keep": spec.options.keep},
        "value": result_schema(spec.method),
        "commands": {verb: beside(spec.name, verb) for verb in (SUBSCRIBE, UNSUBSCRIBE)},
    }


def describe_petal(petal: Petal) -> Described:
    """What a petal says of itself."""
    guide_petal: Any = attribute_of(petal, "guide_petal")
    cls: Any = type(petal if guide_petal is None else guide_petal)
    doc = doc_of(cls) if attribute_of(cls, "__doc__") else ""
    return {"name": petal.name, "version": petal.version, "doc": doc}


def call_of(spec: Spec) -> CommandSpec:
    """What is called of it."""
    return spec if isinstance(spec, CommandSpec) else spec.method


def fingerprint_of(spec: Spec) -> str:
    """What of it callers may rely on, as one word."""
    if isinstance(spec, CommandSpec):
        return fingerprint("command", spec.name, data_schema(spec), result_schema(spec))
    if isinstance(spec, JobSpec):
        return fingerprint("job", spec.name, data_schema(spec.method), result_schema(spec.method))
    return fingerprint("stream", spec.name, None, result_schema(spec.method))


def schema_hash(
    specs: Iterable[Spec],
    others: Iterable[str] = (),
    *,
    of: Callable[[Spec], str] = fingerprint_of,
) -> str:
    """One word for all that callers may rely on: names, kinds and schemas.

    Args:
        specs: all commands, jobs and streams; commands that belong to one of these are passed over.
        others: names of commands of which nothing else is known.
        of: each one's own.
    """
    own = [of(spec) for spec in specs if not isinstance(spec, CommandSpec) or _is_written(spec)]
    return joint_fingerprint([*own, *(fingerprint("command", name) for name in others)])


def _is_written(spec: CommandSpec) -> bool:
    return spec.part_of is None and not spec.name.startswith(RESERVED_PREFIX + "/")


def describe(spec: Spec) -> Described:
    """A command, a job or a stream."""
    if isinstance(spec, CommandSpec):
        return describe_command(spec)
    return describe_job(spec) if isinstance(spec, JobSpec) else describe_stream(spec)
