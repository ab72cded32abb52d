"""What a device or a petal says that it serves, read: commands, jobs and streams.

The rule: it may come from a device, so nothing of it is believed that is not of its kind; what
cannot be understood is refused with a text that says where. Names are as on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import attrs

from ..._values.errors import PetalkitError
from .words import doc_lines

Schema = Mapping[str, Any]
Kind = Literal["command", "job", "stream"]

NAME_MAX = 256  # characters: that of a command on the wire
NAMES_MAX = 20_000  # commands, jobs and streams
DEPTH_MAX = 64  # levels of a schema
OPEN: Schema = {"type": "object"}  # of what nothing is known
_HASH = re.compile(r"[0-9a-f]{1,64}")


class BadContract(PetalkitError):
    """What a device says that it serves cannot be understood."""


@attrs.frozen
class Served:
    """A command, a job or a stream.

    Attributes:
        kind: which of these.
        name: on the wire.
        petal: whose it is.
        doc: for people, in lines.
        data: the schema of its arguments; of a stream, of nothing.
        result: the schema of what it comes to; of a stream, of each value.
    """

    kind: Kind
    name: str
    petal: str
    doc: tuple[str, ...]
    data: Schema
    result: Schema


@attrs.frozen
class Petal:
    """What is said of a petal.

    Attributes:
        name: of it.
        version: of it.
        doc: for people, in lines.
    """

    name: str
    version: str
    doc: tuple[str, ...]


@attrs.frozen
class Contract:
    """All that is served.

    Attributes:
        schema_hash: another one whenever something here is; empty where a device says none.
        petals: by name.
        served: by kind and name.
    """

    schema_hash: str
    petals: tuple[Petal, ...]
    served: tuple[Served, ...]

    def of(self, kind: Kind) -> list[Served]:
        """The commands, jobs or streams."""
        return [one for one in self.served if one.kind == kind]


def read_contract(
    petals: Sequence[Mapping[str, Any]], schema_hash: str | None, names: Sequence[str] = ()
) -> Contract:
    """What was described.

    Args:
        petals: as `petalkit/info` and `petalkit list --json` describe them.
        schema_hash: as they say it.
        names: commands of which there may be no more.

    Raises:
        BadContract: that cannot be understood.
    """
    found: dict[tuple[Kind, str], Served] = {}
    beside = set[str]()
    said: list[Petal] = []
    for petal in petals:
        name = _name(petal.get("name"), "a petal")
        version = petal.get("version")
        lines = doc_lines(version if isinstance(version, str) else "")
        said.append(Petal(name, " ".join(lines)[:100], tuple(doc_lines(petal.get("doc")))))
        for kind, one in _described(petal):
            own = _name(one.get("name"), f"a {kind} of {name!r}")
            if kind == "command" and isinstance(one.get("part_of"), Mapping):
                beside.add(own)
                continue
            result = one.get("value" if kind == "stream" else "result")
            doc = tuple(doc_lines(one.get("doc")))
            found[kind, own] = Served(
                kind, own, name, doc, _schema(one.get("data"), own), _schema(result, own)
            )
    for own in names:
        wanted = _name(own, "a command")
        if wanted not in beside and not any((kind, wanted) in found for kind in ("command", "job")):
            found["command", wanted] = Served("command", wanted, "", (), OPEN, OPEN)
    if len(found) > NAMES_MAX:
        raise BadContract(f"{len(found)} commands are too many; at most {NAMES_MAX} can be told")
    served = tuple(found[key] for key in sorted(found))
    good = schema_hash is not None and _HASH.fullmatch(schema_hash)
    unique = {one.name: one for one in said}
    return Contract(
        schema_hash if good and schema_hash else "",
        tuple(unique[name] for name in sorted(unique)),
        served,
    )


def _described(petal: Mapping[str, Any]) -> list[tuple[Kind, Mapping[str, Any]]]:
    kinds: dict[str, Kind] = {"commands": "command", "jobs": "job", "streams": "stream"}
    found: list[tuple[Kind, Mapping[str, Any]]] = []
    for key, kind in kinds.items():
        listed = petal.get(key, ())
        if not isinstance(listed, list | tuple):
            raise BadContract(f"{key} of {petal.get('name')!r} is no list")
        for one in cast("Sequence[Any]", listed):
            if isinstance(one, Mapping):
                found.append((kind, cast("Mapping[str, Any]", one)))
    return found


def _name(said: object, what: str) -> str:
    if not isinstance(said, str) or not 0 < len(said) <= NAME_MAX or not said.isprintable():
        raise BadContract(f"{what} has no name that can be used: {str(said)[:NAME_MAX]!r}")
    return said


def _schema(said: object, where: str) -> Schema:
    """A schema that can be walked; an open one where a device says none."""
    if said is None or said is True:
        return OPEN
    if not isinstance(said, Mapping):
        raise BadContract(f"a schema of {where!r} is no object")
    if _too_deep(said, DEPTH_MAX):
        raise BadContract(f"a schema of {where!r} has more than {DEPTH_MAX} levels")
    return said


def _too_deep(value: object, left: int) -> bool:
    if isinstance(value, Mapping):
        parts: list[Any] = list(value.values())
    elif isinstance(value, list):
        parts = value
    else:
        return False
    return left <= 0 or any(_too_deep(one, left - 1) for one in parts)
