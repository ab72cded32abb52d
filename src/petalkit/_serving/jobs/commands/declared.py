"""What petals declare, commands, jobs and streams, as a table; nothing in it is called.

The rule: whoever looks at petals before they run (the doctor, the list, a folder of petals) sees
the table that a runtime will have, so that what is wrong with a job is found there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from ...._authoring.petal import Petal
from ...._authoring.registry import CommandTable, build_table
from ...._authoring.unknown_keys import UnknownKeysRule
from ..kind import JobKind
from ..record import JobSpec
from ..streams import Stream, StreamSpec
from .of_jobs import job_commands, job_specs
from .of_streams import stream_commands, stream_specs

_NOBODY: Any = None  # in the place of what runs them


@attrs.frozen
class DeclaredTable:
    """What is served.

    Attributes:
        commands: all, also those that belong to jobs and streams.
        own: the names of those that petals declare as commands.
        jobs: in the order of definition.
        streams: the same.
    """

    commands: CommandTable
    own: frozenset[str]
    jobs: tuple[JobSpec, ...]
    streams: tuple[StreamSpec, ...]


def declared_table(
    petals: Sequence[Petal], *, unknown_keys: UnknownKeysRule = "ignore"
) -> DeclaredTable:
    """What these petals declare.

    Args:
        petals: whose.
        unknown_keys: the rule for those that say nothing of it.

    Raises:
        RegistrationError: a runtime would refuse them; the first mistake found.
    """
    table = build_table(petals, unknown_keys=unknown_keys)
    own = frozenset(spec.name for spec in table)
    jobs = tuple(job_specs(petals, unknown_keys))
    streams = tuple(stream_specs(petals))
    kinds = [JobKind(spec, 0, 0.0) for spec in jobs]
    sources = [Stream(spec, _NOBODY) for spec in streams]
    for petal in petals:
        for spec in job_commands(petal, kinds, _NOBODY):
            table.add(spec)
        for spec in stream_commands(petal, sources, _NOBODY):
            table.add(spec)
    return DeclaredTable(table, own, jobs, streams)
