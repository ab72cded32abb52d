"""What one device serves: the answer to `petalkit/info`, asked for in parts where it is too large.

The rule: a device that says less, since it is older or serves very much, is understood as far as it
goes. The bound: so many parts are asked for, however often a device says that there is more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs

PARTS_MAX = 200
INFO = "petalkit/info"
Described = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class DeviceInfo:
    """What a device serves.

    Attributes:
        petalkit: its version; empty where the device does not say.
        schema_hash: another one whenever what callers rely on is; None where it does not say.
        petals: what is said of each, with the schemas of its commands, jobs and streams.
        commands: the names of all commands.
        jobs: the names of jobs.
        streams: the names of streams.
        complete: whether the device has said all that was asked for, with its schemas.
        fields: the answer, or the first of several.
    """

    petalkit: str = ""
    schema_hash: str | None = None
    petals: Sequence[Described] = ()
    commands: Sequence[str] = ()
    jobs: Sequence[str] = ()
    streams: Sequence[str] = ()
    complete: bool = False
    fields: Described = attrs.field(factory=dict, repr=False)

    def schema(self, name: str) -> Described | None:
        """What is said of a command, a job or a stream of that name; None for nothing."""
        for petal in self.petals:
            for kind in ("jobs", "streams", "commands"):
                for one in _mappings(petal.get(kind)):
                    if one.get("name") == name:
                        return one
        return None


async def read_info(
    ask: Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]], petal: str | None
) -> DeviceInfo:
    """Ask a device until it has said all; bounded by its caller, and in parts.

    Args:
        ask: asks `petalkit/info`, and gives the fields of the answer.
        petal: only what this one serves; None for all.
    """
    about = {} if petal is None else {"petal": petal}
    fields = await ask(about)
    first = fields
    names: dict[str, dict[str, None]] = {"commands": {}, "jobs": {}, "streams": {}}
    for _ in range(PARTS_MAX):
        for kind, found in names.items():
            found.update(dict.fromkeys(_names(fields.get(kind))))
        after = fields.get("next")
        if not isinstance(after, str):
            break
        fields = await ask({**about, "after": after})
    petals = _mappings(first.get("petals"))
    for kind in ("jobs", "streams", "commands"):
        for one in petals:
            names[kind].update(dict.fromkeys(_names(one.get(kind))))
    version, schema_hash = first.get("petalkit"), first.get("schema_hash")
    return DeviceInfo(
        petalkit=version if isinstance(version, str) else "",
        schema_hash=schema_hash if isinstance(schema_hash, str) else None,
        petals=petals,
        commands=sorted(names["commands"]),
        jobs=sorted(names["jobs"]),
        streams=sorted(names["streams"]),
        complete=first.get("complete") is True,
        fields=first,
    )


def _mappings(value: Any) -> list[Described]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _names(value: Any) -> list[str]:
    """Names in a list of names, or of what is said of each."""
    if not isinstance(value, list):
        return []
    said = (one.get("name") if isinstance(one, dict) else one for one in value)
    return [one for one in said if isinstance(one, str)]
