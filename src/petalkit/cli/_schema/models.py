"""Models of all schemas in one space: `$defs` of many documents, each under one name.

The rule: what is the same in two documents has one name, and what is called the same and is
another has two. References lead to these names then. The trap: a model is the same only if all that
it refers to is, so it is compared with all of that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import attrs

from .contract import BadContract, Contract, Schema, Served
from .words import TypeNames, pascal

MODELS_MAX = 1000  # of one schema
_LOCAL = "#/$defs/"
_BY_NAME = frozenset({"properties", "patternProperties", "$defs"})  # the keys are names
_VALUES = frozenset({"default", "const", "enum", "examples"})  # what stands there is no schema


@attrs.frozen
class Typed:
    """A command, a job or a stream with its schemas, whose references lead to models.

    Attributes:
        served: it.
        stem: of the names of its types.
        data_name, result_name: of the types of its arguments, and of what comes of it.
        data, result: their schemas.
    """

    served: Served
    stem: str
    data_name: str
    result_name: str
    data: Schema
    result: Schema


@attrs.frozen
class Models:
    """All schemas.

    Attributes:
        models: by their names.
        served: in order.
    """

    models: Mapping[str, Schema]
    served: tuple[Typed, ...]


def gather(contract: Contract, names: TypeNames) -> Models:
    """Put all models in one space.

    Args:
        contract: what is served.
        names: those that are free.

    Raises:
        BadContract: a reference leads nowhere.
    """
    models: dict[str, Schema] = {}
    known: dict[str, str] = {}
    found: list[Typed] = []
    # First those of commands, so that what these are called does not depend on any model.
    claimed = [_claim(one, names) for one in contract.served]
    for served, (stem, data_name, result_name) in zip(contract.served, claimed, strict=True):
        moved: list[Schema] = []
        for schema in (served.data, served.result):
            renamed = _hoist(schema, served, stem, names, models, known)
            body = {key: one for key, one in schema.items() if key not in ("$defs", "$schema")}
            moved.append(cast("Schema", _moved(body, renamed, served.name)))
        found.append(Typed(served, stem, data_name, result_name, *moved))
    return Models(models, tuple(found))


def _claim(served: Served, names: TypeNames) -> tuple[str, str, str]:
    stem = pascal(served.name) or "Command"
    if served.kind == "stream":
        return stem, "", names.claim(f"{stem}Value")
    return stem, names.claim(f"{stem}Data"), names.claim(f"{stem}Result")


def _hoist(
    schema: Schema,
    served: Served,
    stem: str,
    names: TypeNames,
    models: dict[str, Schema],
    known: dict[str, str],
) -> Mapping[str, str]:
    """What each of the `$defs` of a document is called; new ones are added to the models."""
    defs = schema.get("$defs", {})
    if not isinstance(defs, Mapping):
        raise BadContract(f"the $defs of {served.name!r} are no object")
    if len(defs) > MODELS_MAX:
        raise BadContract(f"{served.name!r} has {len(defs)} models; at most {MODELS_MAX} can be")
    renamed: dict[str, str] = {}
    added: list[str] = []
    for name in sorted(defs):
        if not isinstance(defs[name], Mapping):
            raise BadContract(f"{name!r} in the $defs of {served.name!r} is no schema")
        whole = json.dumps([name, _closure(name, defs, served.name)], sort_keys=True)
        same = hashlib.sha256(whole.encode()).hexdigest()  # each may be as large as all of them
        if same not in known:
            known[same] = names.claim(pascal(name), stem + pascal(name), stem + "Model")
            added.append(name)
        renamed[name] = known[same]
    for name in added:
        models[renamed[name]] = cast("Schema", _moved(defs[name], renamed, served.name))
    return renamed


def _closure(name: str, defs: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A model with all that it refers to."""
    found: dict[str, Any] = {}
    left = [name]
    while left:
        one = left.pop()
        if one not in found:
            if one not in defs:
                raise BadContract(f"a schema of {where!r} refers to {one!r}, which it has not")
            found[one] = defs[one]
            left += references(defs[one], where)
    return found


def references(schema: Any, where: str) -> Iterator[str]:
    """The names of the models that a schema refers to."""
    if isinstance(schema, list):
        for one in schema:
            yield from references(one, where)
    if not isinstance(schema, Mapping):
        return
    for key, value in cast("Mapping[str, Any]", schema).items():
        if key == "$ref":
            yield _local(value, where)
        elif key in _BY_NAME and isinstance(value, Mapping):
            for one in cast("Mapping[str, Any]", value).values():
                yield from references(one, where)
        elif key not in _VALUES:
            yield from references(value, where)


def _local(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.startswith(_LOCAL):
        raise BadContract(f"a schema of {where!r} refers to {str(value)[:100]!r}, out of itself")
    return value.removeprefix(_LOCAL).replace("~1", "/").replace("~0", "~")


def _moved(schema: Any, renamed: Mapping[str, str], where: str) -> Any:
    """The same with references to the new names."""
    if isinstance(schema, list):
        return [_moved(one, renamed, where) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for key, value in cast("Mapping[str, Any]", schema).items():
        if key == "$ref":
            name = _local(value, where)
            if name not in renamed:
                raise BadContract(f"a schema of {where!r} refers to {name!r}, which it has not")
            found[key] = _LOCAL + renamed[name]
        elif key in _BY_NAME and isinstance(value, Mapping):
            inner = cast("Mapping[str, Any]", value)
            found[key] = {name: _moved(one, renamed, where) for name, one in inner.items()}
        else:
            found[key] = value if key in _VALUES else _moved(value, renamed, where)
    return found
