"""Commands as JSON Schema (2020-12): what `data` may be, and what is answered.

The rule: a schema says what is enforced, made of the same nodes that enforce it. What no schema can
say, such as a petal's own checks, is not in it: a schema never refuses what the device takes.

A fingerprint is the same for schemas that say the same, in every process. The trap is the order in
a schema: Python keeps the first of `List[int | str]` and `List[str | int]` that it meets, and gives
it for both, so which one stands first may depend on what was imported before.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import typing
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, TypeVar

from .._values.structuring import CannotBuild, Node, Types, result_types_of
from .._values.types.hints import plain_class
from .._values.types.models.objects import with_default
from .._values.types.node import Defs, Schema
from .signature.binding import EMPTY
from .spec import CommandSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def describe_command(spec: CommandSpec) -> dict[str, Any]:
    """A command with its options and schemas, as JSON has it."""
    found = {
        "name": spec.name,
        "doc": spec.doc,
        "options": {
            "timeout": None if math.isinf(spec.timeout) else spec.timeout,
            "concurrency": spec.concurrency,
            "exclusive": spec.exclusive,
            "when_busy": spec.when_busy,
            "urgent": spec.urgent,
            "idempotent": spec.idempotent,
            "thread": spec.thread,
            "journal": spec.journal,
            "unknown_keys": spec.unknown_keys,
            "check_result": spec.check_result,
        },
        "data": data_schema(spec),
        "result": result_schema(spec),
    }
    part_of = spec.part_of
    if part_of is not None:
        found["part_of"] = {"verb": part_of.verb, part_of.kind: part_of.name}
    return found


def data_schema(spec: CommandSpec) -> Schema:
    """What `data` may be."""
    defs = Defs()
    parts: list[Schema] = []
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for one in spec.parameters:
        schema: Schema = {} if one.node is None else one.node.schema(defs)
        if one.whole:
            parts.append(schema)
        else:
            default = EMPTY if one.required else one.default
            properties[one.name] = with_default(schema, default)
            if one.required:
                required.append(one.name)
    own: Schema = {"type": "object"}
    if properties:
        own["properties"] = properties
    if required:
        own["required"] = required
    refuses = spec.unknown_keys == "refuse" and spec.known_keys is not None
    if not parts:
        found = {**own, "additionalProperties": False} if refuses else own
    else:
        found = {"allOf": [*parts, own]} if properties else {**own, **parts[0]}
        if refuses:
            found = {**found, "unevaluatedProperties": False}
    return _document(found, defs)


def _document(schema: Mapping[str, Any], defs: Defs) -> Schema:
    found: Schema = {"$schema": DIALECT, **schema}
    return {**found, "$defs": defs.found} if defs.found else found


def result_node(spec: CommandSpec) -> Node | None:
    """What a command says that it returns; None when it does not, or nobody knows what that is."""
    if spec.result is EMPTY or spec.result is None or spec.result is type(None):
        return None
    try:
        return result_types_of(spec.converter).node(spec.result)
    except CannotBuild:
        return None


def result_schema(spec: CommandSpec) -> Schema:
    """The fields that an answer has beside those of the envelope, when it is a success."""
    defs = Defs()
    return _document(_answer(spec.result, result_types_of(spec.converter), defs), defs)


def _answer(annotation: Any, types: Types, defs: Defs) -> Schema:
    origin: Any = typing.get_origin(annotation)
    if origin is typing.Annotated:
        inner = typing.get_args(annotation)[0]
        alternatives = typing.get_origin(inner) in (typing.Union, UnionType)
        if alternatives or inner in (Any, object) or isinstance(inner, TypeVar):
            return _answer(inner, types, defs)
    if origin is typing.Union or origin is UnionType:
        members = [_answer(one, types, defs) for one in typing.get_args(annotation)]
        return {"type": "object"} if {"type": "object"} in members else {"anyOf": members}
    if annotation in (EMPTY, Any, object, None, type(None)) or isinstance(annotation, TypeVar):
        return {"type": "object"}
    try:
        schema = types.node(annotation).schema(defs)
    except CannotBuild:
        return {"type": "object"}
    if is_merged(annotation):
        return schema
    return {"type": "object", "properties": {"result": schema}, "required": ["result"]}


def is_merged(annotation: Any) -> bool:
    """Whether a result is the fields of the answer, and not its `result`."""
    cls = plain_class(annotation)
    if not inspect.isclass(cls):
        return False
    return issubclass(cls, Mapping) or hasattr(cls, "__attrs_attrs__")


# -- fingerprints

_FOR_PEOPLE = frozenset({"title", "description"})
_VALUES = frozenset({"default", "const"})  # what stands there is no schema
_BY_NAME = frozenset({"properties", "patternProperties", "$defs"})  # the keys are names
_IN_NO_ORDER = frozenset({"required", "enum", "type", "anyOf", "oneOf", "allOf"})


def fingerprint(kind: str, name: str, *schemas: Schema | None) -> str:
    """One word that is another when one of these is.

    Texts for people are left out, and so is the order of what has none.

    Args:
        kind: of what it is.
        name: its own.
        schemas: of what goes in, and what comes out; None where nobody knows.
    """
    return _hash((kind, name, *(None if one is None else _bare(one) for one in schemas)))


def joint_fingerprint(fingerprints: Iterable[str]) -> str:
    """One word for many, in any order."""
    return _hash(sorted(fingerprints))


def _hash(value: Any) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()[:32]


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _bare(schema: Any) -> Any:
    if isinstance(schema, list):
        listed: list[Any] = schema
        return [_bare(one) for one in listed]
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for key, value in typing.cast("Mapping[str, Any]", schema).items():
        if key in _FOR_PEOPLE:
            continue
        if key in _BY_NAME:
            found[key] = {name: _bare(one) for name, one in value.items()}
        elif key in _IN_NO_ORDER and isinstance(value, list):
            found[key] = sorted(map(_bare, value), key=_canonical)
        else:
            found[key] = value if key in _VALUES else _bare(value)
    return found
