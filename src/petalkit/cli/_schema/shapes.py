"""Schemas as shapes: what a type system can say of them, and no more.

The rule: a shape never refuses what the schema takes. What no type can say, such as a range, is not
in it, and what is not understood is anything. Both generators write these shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

import attrs

from .words import doc_lines

Scalar: TypeAlias = str | int | bool | None


@attrs.frozen
class Plain:
    """A type without parts."""

    name: Literal["any", "never", "string", "integer", "number", "boolean", "null", "object"]


@attrs.frozen
class Values:
    """One of these."""

    values: tuple[Scalar, ...]


@attrs.frozen
class ListOf:
    """An array."""

    item: Shape


@attrs.frozen
class TupleOf:
    """An array of so many elements."""

    items: tuple[Shape, ...]


@attrs.frozen
class MapOf:
    """An object with any keys."""

    value: Shape


@attrs.frozen
class Field:
    """A key of an object."""

    name: str
    shape: Shape
    required: bool
    doc: tuple[str, ...]


@attrs.frozen
class Fields:
    """An object with these keys; whether it may have others no type says."""

    fields: tuple[Field, ...]


@attrs.frozen
class OneOf:
    """One of these."""

    members: tuple[Shape, ...]


@attrs.frozen
class Model:
    """What has this name."""

    name: str


Shape: TypeAlias = Plain | Values | ListOf | TupleOf | MapOf | Fields | OneOf | Model

MERGED_MAX = 100_000  # fields that all merged objects together are made of; then any object

ANY, NEVER, NULL, OBJECT = Plain("any"), Plain("never"), Plain("null"), Plain("object")
NOTHING = Fields(())  # an object without keys
_LIKE_OBJECTS = frozenset({"properties", "additionalProperties", "patternProperties", "required"})


class Shaper:
    """Makes shapes.

    Args:
        models: the schemas of those that are referred to.
    """

    def __init__(self, models: Mapping[str, Mapping[str, Any]]) -> None:
        self._models = models
        self._known: dict[str, Shape] = {}  # of models
        self._merging: set[str] = set()
        self._merged = 0  # fields

    def shape(self, schema: Any) -> Shape:
        """That of a schema."""
        if schema is False:
            return NEVER
        if not isinstance(schema, Mapping):
            return ANY
        schema = cast("Mapping[str, Any]", schema)
        if "$ref" in schema:
            return Model(str(schema["$ref"]).removeprefix("#/$defs/"))
        if "const" in schema:
            return _values([schema["const"]])
        if isinstance(schema.get("enum"), list):
            return _values(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list):
                return self._one_of(schema[key])
        if isinstance(schema.get("allOf"), list):
            return self._all_of(schema)
        return self._of_type(schema, schema.get("type"))

    def _of_type(self, schema: Mapping[str, Any], kind: Any) -> Shape:
        if isinstance(kind, list):
            return one_of([self._of_type(schema, one) for one in kind])
        if kind in ("string", "integer", "number", "boolean", "null"):
            return Plain(kind)
        if kind == "array":
            return self._array(schema)
        if kind == "object" or (kind is None and not _LIKE_OBJECTS.isdisjoint(schema)):
            return self._object(schema)
        return ANY

    def _array(self, schema: Mapping[str, Any]) -> Shape:
        front = schema.get("prefixItems")
        if not isinstance(front, list) or not front:
            return ListOf(self.shape(schema.get("items", True)))
        items = [self.shape(one) for one in front]
        most, least = schema.get("maxItems"), schema.get("minItems")
        if (schema.get("items") is False or most == len(items)) and least == len(items):
            return TupleOf(tuple(items))
        more = [] if schema.get("items") is False else [self.shape(schema.get("items", True))]
        return ListOf(one_of([*items, *more]))

    def _object(self, schema: Mapping[str, Any]) -> Shape:
        properties, required = schema.get("properties"), schema.get("required")
        known = cast("Mapping[str, Any]", properties if isinstance(properties, Mapping) else {})
        listed: list[Any] = required if isinstance(required, list) else []
        needed = [one for one in listed if isinstance(one, str)]
        if known or needed:
            names = [*known, *(one for one in needed if one not in known)]
            fields = (self._field(name, known.get(name), name in needed) for name in names)
            return Fields(tuple(fields))
        others = schema.get("additionalProperties")
        patterns = schema.get("patternProperties")
        found: list[Shape] = []
        if isinstance(patterns, Mapping):
            found = [self.shape(one) for one in cast("Mapping[str, Any]", patterns).values()]
        if isinstance(others, Mapping):
            found.append(self.shape(others))
        elif found and others is not False:
            return OBJECT
        if found:
            return MapOf(one_of(found))
        closed = others is False or schema.get("unevaluatedProperties") is False
        return NOTHING if closed else OBJECT

    def _field(self, name: str, schema: Any, required: bool) -> Field:
        said = schema.get("description") if isinstance(schema, Mapping) else None
        return Field(name, self.shape(schema), required, tuple(doc_lines(said)))

    def _one_of(self, members: list[Any]) -> Shape:
        return one_of([self.shape(one) for one in members])

    def _all_of(self, schema: Mapping[str, Any]) -> Shape:
        """One object with the keys of all, where they are objects; else what the first is."""
        parts: list[Any] = [*schema["allOf"]]
        own = {key: one for key, one in schema.items() if key != "allOf"}
        if not _LIKE_OBJECTS.isdisjoint(own):
            parts.append(own)
        if len(parts) == 1:
            return self.shape(parts[0])
        merged: dict[str, Field] = {}
        for part in parts:
            shape = self.resolved(self.shape(part))
            if not isinstance(shape, Fields):  # any keys, beside those of the others
                return OBJECT if shape == OBJECT or isinstance(shape, MapOf) else ANY
            self._merged += len(shape.fields)
            if self._merged > MERGED_MAX:  # a few bytes may merge a large model, again and again
                return OBJECT
            for field in shape.fields:
                before = merged.get(field.name)
                must = field.required or (before is not None and before.required)
                merged[field.name] = attrs.evolve(field, required=must)
        return Fields(tuple(merged.values())) if merged else OBJECT

    def model(self, name: str) -> Shape:
        """What a model is; anything, where it is nothing but itself, which no type can be."""
        seen, left = {name}, [shape := self._of_model(name)]
        while left:
            one = left.pop()
            if isinstance(one, OneOf):
                left += one.members
            elif isinstance(one, Model):
                if one.name == name:
                    return ANY
                if one.name not in seen:
                    seen.add(one.name)
                    left.append(self._of_model(one.name))
        return shape

    def resolved(self, shape: Shape) -> Shape:
        """What a model is that is called so."""
        seen = set[str]()
        while isinstance(shape, Model):
            if shape.name in seen:
                return ANY
            seen.add(shape.name)
            shape = self._of_model(shape.name)
        return shape

    def _of_model(self, name: str) -> Shape:
        if name in self._known:
            return self._known[name]
        if name in self._merging:  # it is made of itself
            return ANY
        self._merging.add(name)
        self._known[name] = found = self.shape(self._models[name])
        return found


def one_of(members: list[Shape]) -> Shape:
    """One of these, each once."""
    found: dict[Shape, None] = {}
    for member in members:
        found.update(dict.fromkeys(member.members if isinstance(member, OneOf) else [member]))
    found.pop(NEVER, None)
    if ANY in found or not found:
        return ANY if found else NEVER
    return next(iter(found)) if len(found) == 1 else OneOf(tuple(found))


def _values(said: list[Any]) -> Shape:
    """Literals, as far as types have them: of other values their kind."""
    literals: list[Scalar] = []
    others: list[Shape] = []
    for one in said:
        if one is None or type(one) in (str, int, bool):
            if not any(one == other and type(one) is type(other) for other in literals):
                literals.append(one)
        else:
            others.append(Plain("number") if isinstance(one, float) else ANY)
    return one_of([*([Values(tuple(literals))] if literals else []), *others])
