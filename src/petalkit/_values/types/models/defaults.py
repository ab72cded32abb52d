"""Defaults that a sender could not send: refused where they are declared.

The rule: what is declared is enforced or refused, so a default has the type, the range and the
choices that its annotation says. Not looked at is what only running somebody's code would tell:
factories are not called, a field with a converter takes what that takes, and a model with a
constructor of its own has checked itself. None is let through, for any type: it is how Python says
that nothing was given, and no sender can send it. The trap: whoever trusts `ge=10` in a handler
gets a 3 that nobody has sent.
"""

from __future__ import annotations

import copy
import datetime as dt
import enum
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

from ..node import ANY_KIND, ARRAY, OBJECT, Node
from .fields import NO_DEFAULT, Made

_MAX_DEPTH = 20  # of models and lists in one default


def default_problem(node: Node, default: Any) -> str | None:
    """What is wrong with a default, and what to write instead; None for nothing."""
    found = default_fault(node, default)
    if found is None:
        return None
    path, text = found
    at = f" at {path}" if path else ""
    return f"the default {_shown(default)} {text}{at}; {_INSTEAD}"


def field_problem(node: Node, default: Any) -> tuple[str, str] | None:
    """The same of a field's, with the place in it apart: that is the end of a longer path."""
    found = default_fault(node, default)
    if found is None:
        return None
    path, text = found
    return path, f"the default {_shown(default)} {text}; {_INSTEAD}"


_INSTEAD = "write one that a sender could send, or None"


def default_fault(node: Node, default: Any) -> tuple[str, str] | None:
    """Where in a default something is wrong, and what; None for nothing."""
    if default is NO_DEFAULT or default is None or isinstance(default, Made):
        return None
    return next(_problems(node, default, 0), None)


def as_plain(value: Any) -> Any:
    """The number or truth value that a scalar of numpy stands for; anything else as it is."""
    cls = type(value)
    if hasattr(cls, "dtype") and callable(getattr(cls, "item", None)):
        try:
            return value.item() if getattr(value, "ndim", None) == 0 else value
        except Exception:  # of somebody's own
            return value
    return value


def renewed(default: Any) -> Callable[[], Any] | None:
    """What makes a default anew for each command; None for one that nobody can change.

    Python makes it once, so what a handler puts into its list would be there for the next sender.
    """
    if type(default) not in (list, dict, set):
        return None
    if not default:
        return type(default)
    try:
        copy.deepcopy(default)
    except Exception:  # something in it cannot be
        return functools.partial(copy.copy, default)
    return functools.partial(copy.deepcopy, default)


def _problems(node: Node, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if node.kinds == ANY_KIND or depth > _MAX_DEPTH:
        return  # whoever makes such values is asked by nobody
    value = as_plain(value)
    if node.members:
        yield from _of_union(node, value, depth)
    elif not is_of(node, value):
        yield "", f"is no {node.name}"
    elif not is_choice(node, value):
        yield "", f"is not {node.notes[0] if node.notes else f'of {node.name}'}"
    elif dt.datetime in node.values and is_naive(value):
        yield "", "has no offset, as every time on the wire has: give it a tzinfo"
    elif node.lengths is not None and not node.lengths[0] <= len(value) <= node.lengths[1]:
        yield "", f"is no {node.name}, by its length"
    else:
        yield from missing(node, value)
        yield from (("", one.told) for one in node.constraints if not one.holds(value))
        yield from _of_parts(node, value, depth + 1)


def _of_union(node: Node, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    fits = [one for one in node.members if one.kinds == ANY_KIND or is_of(one, value)]
    if not fits:
        yield "", f"is no {node.name}"
        return
    found = [next(_problems(one, value, depth + 1), None) for one in fits]
    if None not in found:
        yield from (one for one in found[:1] if one is not None)


def is_of(node: Node, value: Any) -> bool:
    """Whether it is of a type that comes of what is declared, or may stand for it."""
    if not node.values or any(map(_is_made_of_another, node.values)):
        return True
    if node.kinds == {OBJECT} and (dict in node.values or any(map(is_typed_dict, node.values))):
        return isinstance(value, Mapping)
    if node.kinds == {ARRAY} and not any(hasattr(one, "_fields") for one in node.values):
        # Also () for a list, since nobody can change it.
        is_text = isinstance(value, str | bytes | bytearray)
        return isinstance(value, Sequence | AbstractSet) and not is_text
    if isinstance(value, bool):
        return bool in node.values
    if isinstance(value, dt.datetime):  # to Python it is a date, and on the wire it is not
        return any(issubclass(dt.datetime, one) for one in node.values if one is not dt.date)
    wanted = (*node.values, int) if float in node.values else node.values  # PEP 484
    return isinstance(value, wanted)


def is_naive(value: Any) -> bool:
    return isinstance(value, dt.datetime) and value.tzinfo is None


def is_typed_dict(cls: type) -> bool:
    return hasattr(cls, "__required_keys__")


def _is_made_of_another(cls: type) -> bool:
    """Of pydantic, and no model: of an `EmailStr` comes a string."""
    return hasattr(cls, "__get_pydantic_core_schema__") and not hasattr(
        cls, "__pydantic_validator__"
    )


def is_choice(node: Node, value: Any) -> bool:
    """Of a Literal: its values have types, and are a few of those."""
    if node.choices is None:
        return True
    return any(value == one and type(value) is type(one) for one in node.choices)


def missing(node: Node, value: Any) -> Iterator[tuple[str, str]]:
    """Keys of a TypedDict; every other model has them."""
    if isinstance(value, Mapping):
        for field, _ in node.fields:
            if field.default is NO_DEFAULT and field.wire not in value:
                yield f".{field.wire}", "lacks what is required"


def _of_parts(node: Node, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    parts: list[tuple[str, Node, Any]] = []
    if node.fields:
        for field, inner in node.fields:
            one = _field_of(value, field.attribute)
            if not field.converted:
                parts.append((f".{field.wire}", inner, one))
    elif node.kinds == {OBJECT} and len(node.parts) == 1 and isinstance(value, Mapping):
        given: Mapping[Any, Any] = value
        parts = [(f"[{key!r}]", node.parts[0], one) for key, one in given.items()]
    elif node.kinds == {ARRAY} and isinstance(value, list | tuple):
        elements = list(cast("list[Any]", value))
        inners = node.parts * len(elements) if len(node.parts) == 1 else node.parts
        parts = [
            (f"[{index}]", inner, one)
            for index, (inner, one) in enumerate(zip(inners, elements, strict=False))
        ]
    for segment, inner, one in parts:
        if one is not None:
            yield from ((segment + path, text) for path, text in _problems(inner, one, depth))


def _field_of(value: Any, name: str) -> Any:
    try:
        return value.get(name) if isinstance(value, Mapping) else getattr(value, name)
    except Exception:  # it is not there, or a property of somebody's
        return None


def _shown(value: Any) -> str:
    try:
        text = repr(value.value if isinstance(value, enum.Enum) else value)
    except Exception:  # of somebody's own
        return f"of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
