"""One of several types: chosen by the JSON type of the value, then by what each of them says.

The rule: if one of them fits, that is taken; if several do, the one whose type is exactly that of
the value (5.0 is a float before it is an int), then the more special one (a date before a string,
a model before a mapping), then, of models, the one that knows the most of the keys. Models that
carry a tag, or a field that only takes values of its own, are known by that, and their errors told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from .constrained import constrained
from .constraints import Constraint
from .invalid import MAX_REPORTED_ERRORS, Invalid, Problem, kind_of
from .node import (
    ARRAY,
    BOOLEAN,
    NULL,
    NUMBER,
    OBJECT,
    STRING,
    CannotBuild,
    Defs,
    Node,
    Schema,
    Structure,
)

_OF_PYTHON = {
    type(None): NULL,
    bool: BOOLEAN,
    int: NUMBER,
    float: NUMBER,
    str: STRING,
    list: ARRAY,
    tuple: ARRAY,
    dict: OBJECT,
}


class Tried:
    """What each union made of each array and object within one value: no union is asked twice.

    Without it, types that stand in each other by way of two unions, or twice in one, would be tried
    twice at each level, which is without end after some dozens.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[tuple[int, object], _Outcome] | None = None

    def once(self, union: object, value: Any, convert: Structure) -> Any:
        """What `convert` makes of the value, also where it was asked before.

        Raises:
            Invalid: as `convert` did.
        """
        found = self._found
        if found is None:  # the outermost union, whose value holds all the others
            self._found = {}
            try:
                return convert(value)
            finally:
                self._found = None
        key = id(value), union
        known = found.get(key)
        if known is None:
            try:
                known = value, convert(value), None
            except Invalid as error:
                known = value, None, error.problems
            found[key] = known  # with the value, whose number is its own while it is kept
        _, made, problems = known
        if problems is not None:
            raise Invalid.of(problems)
        return made


_Outcome = tuple[Any, Any, list[Problem] | None]


_DEEP = {list: ARRAY, dict: OBJECT}


def union(members: Sequence[Node], name: str, tried: Tried, *, read: bool = True) -> Node:
    """One of several.

    Args:
        members: which.
        name: of the type.
        tried: shared by all unions that may stand in each other.
        read: whether it is read from JSON, so that models have to be told apart.

    Raises:
        CannotBuild: two of them cannot be told apart.
    """
    flat: list[Node] = []
    for one in members:
        flat.extend(inner for inner in (one.members or (one,)) if inner not in flat)
    if read:
        _check_models(flat)
    by_type: dict[type, Structure] = {
        cls: _choose(kind, cls, flat, name) for cls, kind in _OF_PYTHON.items()
    }
    by_other = by_type[str]  # what is not out of JSON: a time of a configuration file
    again = frozenset(
        cls for cls, kind in _DEEP.items() if sum(kind in one.kinds for one in flat) > 1
    )
    this = object()

    def structure(value: Any) -> Any:
        cls = type(value)
        if cls in again:
            return tried.once(this, value, by_type[cls])
        return by_type.get(cls, by_other)(value)

    def schema(defs: Defs) -> Schema:
        return {"anyOf": [one.schema(defs) for one in flat]}

    return Node(
        name=name,
        structure=structure,
        kinds=frozenset(kind for one in flat for kind in one.kinds),
        schema=schema,
        values=tuple(cls for one in flat for cls in one.values),
        members=tuple(flat),
        parts=tuple(flat),
        notes=tuple(dict.fromkeys(note for one in flat for note in one.notes)),
        greedy=any(one.greedy for one in flat),
        hashable=all(one.hashable for one in flat),
    )


def with_constraints(node: Node, constraints: list[Constraint], tried: Tried) -> Node:
    """A type with conditions; those on a choice hold for each of it, and null has none.

    Raises:
        CannotBuild: one of them does not fit.
    """
    if not constraints or not node.members:
        return constrained(node, constraints)
    members = [
        one if one.kinds == {NULL} else constrained(one, constraints) for one in node.members
    ]
    return union(members, node.name, tried, read=False)  # it was asked before


def _check_models(members: Sequence[Node]) -> None:
    seen: dict[Any, Node] = {}
    for one in members:
        if one.shape is not None:
            other = seen.setdefault(one.shape, one)
            if other is not one:
                raise CannotBuild(
                    f"{other.name} and {one.name} cannot be told apart, they have the same fields; "
                    "give each a field such as `kind: Literal[...]` with a value of its own"
                )


def _choose(kind: str, cls: type, members: Sequence[Node], name: str) -> Structure:
    candidates = [one for one in members if kind in one.kinds]
    if not candidates:
        return _refuse(members, name)
    # Stable, so that else it is the order in which they are written.
    candidates.sort(key=lambda one: (one.greedy, cls not in one.values))
    if len(candidates) == 1:
        return candidates[0].call()
    if kind == OBJECT:
        models = [one for one in candidates if one.keys is not None]
        others = [one for one in candidates if one.keys is None]
        if len(models) > 1:
            return _one_of_models(models, others, name)
    return _first(candidates, name)


def _refuse(members: Sequence[Node], name: str) -> Structure:
    others = [one for one in members if one.kinds != {NULL}]
    if len(others) == 1:
        return others[0].call()  # it says what it expects

    def refuse(value: Any) -> Any:
        raise Invalid(f"expected {_or_names(members)}, got {kind_of(value)}")

    return refuse


def _or_names(members: Sequence[Node]) -> str:
    return " or ".join(one.name for one in members)


def _may_fit(node: Node, keys: AbstractSet[Any]) -> bool:
    """What the keys of an object say, before it is converted for nothing."""
    return node.required <= keys and (not node.closed or node.keys is None or keys <= node.keys)


def _first(candidates: Sequence[Node], name: str) -> Structure:
    converts = [(one.call(), one) for one in candidates]
    told = f"fits none of {', '.join(one.name for one in candidates)}"

    def structure(value: Any) -> Any:
        for convert, one in converts:
            if one.keys is not None and type(value) is dict and not _may_fit(one, value.keys()):
                continue
            if one.form is not None and type(value) is str and not one.form(value):
                continue
            try:
                return convert(value)
            except Invalid:
                pass
        raise Invalid(told)

    return structure


def _one_of_models(models: Sequence[Node], others: Sequence[Node], name: str) -> Structure:
    tagged = _common_tag(models)
    rest = _first(others, name) if others else None
    told = f"fits none of {', '.join(one.name for one in (*models, *others))}"
    must_have = tagged is not None and all(tagged[0] in one.required for one in models)
    names = "" if tagged is None else ", ".join(repr(one) for _, one in tagged[1])

    def structure(value: Any) -> Any:
        if tagged is not None:
            tag, by_value = tagged
            found = by_value.get(_tag(value[tag])) if tag in value else None
            if found is not None:
                return found.structure(value)
            # A tag of none of them fits none, and where each needs one, so does no tag.
            if rest is not None and (tag in value or must_have):
                return rest(value)
            if tag in value:
                raise Invalid.of([Problem(f".{tag}", *[f"expected one of {names}"] * 2)])
            if must_have:
                raise Invalid.of([Problem(f".{tag}", *[f"is required: one of {names}"] * 2)])
        keys = value.keys()
        # The one that knows the most of the keys first, so that the first that fits is the one.
        ordered = sorted(
            ((-len(one.keys & keys), one) for one in models if one.keys), key=_first_of
        )
        ordered += [(0, one) for one in models if not one.keys]
        misfits: list[tuple[int, int, Node, list[Problem]]] = []
        for known, one in ordered:
            if _may_fit(one, keys):  # else it is asked for what is wrong at most
                try:
                    return one.structure(value)
                except Invalid as error:
                    misfits.append((-known, -len(error.problems), one, error.problems))
        if rest is not None:
            return rest(value)
        for known, one in ordered:
            if not _may_fit(one, keys):
                try:
                    one.structure(value)
                except Invalid as error:
                    misfits.append((-known, -len(error.problems), one, error.problems))
        raise _none_of(told, misfits)

    return structure


def _first_of(pair: tuple[int, Node]) -> int:
    return pair[0]


def _none_of(told: str, misfits: list[tuple[int, int, Node, list[Problem]]]) -> Invalid:
    """It fits none; and what is wrong with it as the one that it most looks like."""
    _, _, node, problems = max(misfits, key=lambda one: one[:2])
    found = [Problem("", told, told)]
    for path, message, log in problems[: MAX_REPORTED_ERRORS - 1]:
        found.append(Problem(path, f"{message} (as {node.name})", f"{log} (as {node.name})"))
    return Invalid.of(found)


def _tag(value: Any) -> Any:
    """What a model is found by: `true` is no 1, and what is no text or number is none at all."""
    return type(value) is bool, value if isinstance(value, str | int | float) else None


def _common_tag(models: Sequence[Node]) -> tuple[str, Mapping[Any, Node]] | None:
    """A field that each has, with values of its own, and which model each of them means."""
    for field in models[0].tags:
        if all(field in one.tags for one in models):
            pairs = [(_tag(value), one) for one in models for value in one.tags[field]]
            found = dict(pairs)
            if len(found) == len(pairs):
                return field, found
    return None
