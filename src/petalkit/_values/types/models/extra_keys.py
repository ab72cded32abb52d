"""Keys of models within `data` that the models do not have: found once it is known that some are.

The rule: a command without such keys pays nothing for it. Models count the keys that they take, and
say that there are more; only then the value is gone through again, beside what was made of it: that
tells which member of a union was chosen. What a hook makes, and models within those of pydantic,
are not looked into: what keys they have a use for, only they know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from ..invalid import key_segment
from ..node import ARRAY, OBJECT, Node
from .defaults import is_typed_dict


class ExtraKeys:
    """Whether a model has seen one since this was last reset; a model may be tried in vain."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = False


class Extra(NamedTuple):
    """One that was found.

    Attributes:
        path: of the object that has it.
        place: the same without indices, which is the same for each element of an array.
        key: its name.
        known: those that the model has.
    """

    path: str
    place: str
    key: str
    known: frozenset[str]


def extra_keys(node: Node, raw: Any, made: Any, path: str, *, top: bool = True) -> Iterator[Extra]:
    """Each key in a JSON value that no model has.

    Args:
        node: the type.
        raw: the value.
        made: what was made of it.
        path: where it stands.
        top: whether to look at the keys of the value itself.
    """
    for one in _walk(node, raw, made, top=top):
        yield one._replace(path=path + one.path, place=path + one.place)


def _walk(node: Node, raw: Any, made: Any, *, top: bool) -> Iterator[Extra]:
    """The same below the value: what has no such keys pays for no path."""
    if not _holds_models(node):
        return
    if isinstance(raw, Mapping):
        given = cast("Mapping[str, Any]", raw)
        found = _chosen(node, given, made)
        if found is None:
            return
        if found.keys is None:
            for part in found.parts:
                if _holds_models(part):
                    for key, one in given.items():
                        below = _walk(part, one, _item(made, key), top=True)
                        yield from _below(f"[{key_segment(key)}]", "[...]", below)
            return
        if top and not found.closed and not found.keys.issuperset(given):
            for key in given:
                if key not in found.keys:
                    yield Extra("", "", key, found.keys)
        for field, part in found.fields:
            if field.wire in given and _holds_models(part):
                inner = _item(made, field.wire) if isinstance(made, Mapping) else getattr(
                    made, field.attribute, None
                )  # fmt: skip
                place = f".{field.wire}"
                yield from _below(place, place, _walk(part, given[field.wire], inner, top=True))
    elif isinstance(raw, list | tuple):
        yield from _of_array(node, cast("list[Any]", raw), made)


def _below(segment: str, place: str, found: Iterator[Extra]) -> Iterator[Extra]:
    for one in found:
        yield one._replace(path=segment + one.path, place=place + one.place)


def _holds_models(node: Node) -> bool:
    """Whether there are models in a type; what has none is not gone through."""
    if node.holds_models is None:
        seen: dict[int, Node] = {}
        left = [node]
        while left:
            one = left.pop()
            if id(one) not in seen:
                seen[id(one)] = one
                left += (*one.members, *one.parts, *(inner for _, inner in one.fields))
        node.holds_models = any(one.keys is not None for one in seen.values())
    return node.holds_models


def _of_array(node: Node, raw: Any, made: Any) -> Iterator[Extra]:
    for one in node.members or (node,):
        if ARRAY not in one.kinds or not one.parts:
            continue
        items = list(made) if isinstance(made, list | tuple) else []
        each = len(one.parts) == 1 and one.lengths is None
        parts = one.parts * len(raw) if each else one.parts
        known = _keys_alone(one.parts[0]) if each else None
        for index, (part, item) in enumerate(zip(parts, raw, strict=False)):
            if known is not None and type(item) is dict and known.issuperset(item):
                continue
            inner = items[index] if index < len(items) else None
            yield from _below(f"[{index}]", "[]", _walk(part, item, inner, top=True))
        return


def _keys_alone(node: Node) -> frozenset[str] | None:
    """The keys of a model that has no others in it, so that no more has to be looked at."""
    alone = not node.members and not any(_holds_models(inner) for _, inner in node.fields)
    return node.keys if alone else None


def _chosen(node: Node, raw: Mapping[str, Any], made: Any) -> Node | None:
    """Which member of a union was taken; None when nobody knows."""
    if not node.members:
        return node
    fits = [one for one in node.members if OBJECT in one.kinds]
    by_class = [one for one in fits if _may_have_made(one, made)]
    return max(
        by_class or fits, key=lambda one: len((one.keys or set()) & raw.keys()), default=None
    )


def _may_have_made(node: Node, made: Any) -> bool:
    if type(made) is dict:
        return any(one is dict or is_typed_dict(one) for one in node.values)
    return type(made) in node.values


def _item(made: Any, key: str) -> Any:
    return made.get(key) if isinstance(made, Mapping) else None
