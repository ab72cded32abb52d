"""What a type becomes: a closure that structures, the schema that says the same, and a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .invalid import Invalid

Structure = Callable[[Any], Any]
Schema = dict[str, Any]

NULL, BOOLEAN, NUMBER, STRING, ARRAY, OBJECT = (
    "null",
    "boolean",
    "number",
    "string",
    "array",
    "object",
)
ANY_KIND = frozenset({NULL, BOOLEAN, NUMBER, STRING, ARRAY, OBJECT})


class CannotBuild(Exception):
    """A type cannot be made from JSON.

    Args:
        reason: what is wrong, and what to write instead.
        path: where in the type: `".points[].x"`.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return f"at {self.path.lstrip('.')}: {self.reason}" if self.path else self.reason

    def below(self, segment: str) -> CannotBuild:
        """The same, seen from what it stands in."""
        return CannotBuild(self.reason, segment + self.path)


class Defs:
    """The schemas of models, each once, as `$defs` of a document."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def refer(self, key: Any, name: str, make: Callable[[], Schema]) -> Schema:
        """A reference to the schema of a model, which is made the first time."""
        known = self._names.get(key)
        if known is None:
            known, number = name, 1
            while known in self.found:
                number += 1
                known = f"{name}{number}"
            self._names[key] = known
            self.found[known] = {}
            self.found[known] = make()
        return {"$ref": f"#/$defs/{known}"}


@attrs.define(eq=False, kw_only=True)
class Node:
    """One type, ready to be used.

    Attributes:
        name: for people: `"list[Point]"`, `"a number"`.
        structure: takes a JSON value, or raises `Invalid`; anything else that it raises is a bug
            of the petal's.
        kinds: which JSON types it may take.
        schema: its JSON Schema; models go into the `Defs`.
        values: what Python types come of it, for bounds to be compared with; empty: nobody knows.
        members: of a union.
        parts: what it is made of: the elements of an array, the values of an object.
        fields: of a model: each with its node.
        notes: conditions on its values, for people: `"at most 10"`.
        constraints: the same as they are checked.
        choices: of a Literal: its values; None for all others.
        lengths: of a fixed array: how many elements at least and at most.
        exact: values of this Python type are taken as they are, without a call.
        keys: of a model: its names on the wire.
        closed: of a model: whether it refuses other keys itself.
        required: of a model: those of its names that must be there.
        shape: of a model: its fields; two of the same shape cannot be told apart.
        tags: of a model: field to the texts or numbers that it alone may hold there.
        greedy: takes nearly all of its kind, so that in a union others are asked before it.
        hashable: whether it may be a key or an element of a set.
        form: of a text that has one, such as a date: says whether a text has it, for a union to ask
            before one is converted in vain.
        holds_models: whether there are models in it, whose keys can be looked at; None until it is
            asked.
    """

    name: str
    structure: Structure
    kinds: frozenset[str]
    schema: Callable[[Defs], Schema]
    values: tuple[type, ...] = ()
    members: tuple[Node, ...] = ()
    parts: tuple[Node, ...] = ()
    fields: tuple[tuple[Any, Node], ...] = ()
    notes: tuple[str, ...] = ()
    constraints: tuple[Any, ...] = ()
    choices: tuple[Any, ...] | None = None
    lengths: tuple[int, int] | None = None
    exact: type | None = None
    keys: frozenset[str] | None = None
    closed: bool = False
    required: frozenset[str] = frozenset()
    shape: Any = None
    tags: Mapping[str, tuple[Any, ...]] = attrs.field(factory=dict)
    greedy: bool = False
    hashable: bool = True
    form: Callable[[str], object] | None = None
    holds_models: bool | None = None

    def call(self) -> Structure:
        """Its closure, also where it is not made yet, as in a type that contains itself."""
        if self.structure is unfinished:
            return lambda value: self.structure(value)
        return self.structure


def unfinished(value: Any) -> Any:
    """Stands in for the closure of a node that is being built."""
    raise Invalid("is of a type that is not ready")


def document(node: Node) -> Schema:
    """The JSON Schema (2020-12) of one type, with all it refers to."""
    defs = Defs()
    schema = dict(node.schema(defs))
    return {**schema, "$defs": defs.found} if defs.found else schema
