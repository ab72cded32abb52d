"""Enums, flags and literals: one of so many values.

The rule: a value is found by what JSON makes of it. 1 and 1.0 are one number there, so either finds
a member; True is none, although it equals 1. An enum's own `_missing_` is asked last.
"""

from __future__ import annotations

import enum
import functools
import operator
import typing
from collections.abc import Iterable
from typing import Any, cast

import attrs

from .invalid import Invalid, expected, problems_of
from .node import ARRAY, BOOLEAN, NULL, NUMBER, STRING, CannotBuild, Node
from .scalars.readers import to_int

_MAX_SHOWN = 20  # choices in an error text


def _key(value: Any) -> Any:
    """What a JSON value is found by: its kind, and itself. Raises TypeError for objects."""
    kind = type(value)
    if kind is float or kind is int:
        return NUMBER, value
    if kind is str or kind is bool or value is None:
        return kind, value
    if kind is list or kind is tuple:
        return ARRAY, tuple(_key(one) for one in value)
    raise TypeError


def _plain(value: Any) -> Any:
    """A member's value as JSON gives it; a `str` of a `(str, Enum)` without the rest of it."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value) if kind is not bool else value
    if isinstance(value, tuple | list):
        return [_plain(one) for one in cast("Iterable[Any]", value)]
    return value


_KINDS = {NUMBER: NUMBER, str: STRING, bool: BOOLEAN, type(None): NULL, ARRAY: ARRAY}


def choice(name: str, pairs: Iterable[tuple[Any, Any]], ask: Any = None) -> Node:
    """One of several values.

    Args:
        name: of the type.
        pairs: value in JSON, and what it stands for.
        ask: what to call with a value that is none of them; it gives None for none.

    Raises:
        CannotBuild: one of the values is none that JSON has.
    """
    found: dict[Any, Any] = {}
    shown: list[Any] = []
    for value, member in pairs:
        try:
            plain = _plain(value)
            if _key(plain) not in found:
                found[_key(plain)] = member
                shown.append(plain)
        except TypeError:
            reason = f"the value {value!r} of {name} cannot be written in JSON"
            raise CannotBuild(f"{reason}; register a hook on the petal's converter") from None
    if not found and ask is None:
        raise CannotBuild(f"{name} has no values")
    texts = ", ".join(map(repr, shown[:_MAX_SHOWN])) + (", ..." if len(shown) > _MAX_SHOWN else "")

    def structure(value: Any) -> Any:
        try:
            return found[_key(value)]
        except (KeyError, TypeError):
            pass
        member = None
        if ask is not None:
            member = ask(value)
        if member is None:
            raise Invalid(f"expected one of {texts}")
        return member

    kinds = frozenset(_KINDS[key[0]] for key in found)
    # What `_missing_` takes, nobody knows.
    schema = {"enum": shown} if ask is None else {"examples": shown}
    return Node(
        name=name,
        structure=structure,
        kinds=kinds if ask is None else kinds | {STRING, NUMBER},
        schema=lambda _: dict(schema),
        values=tuple({type(member) for member in found.values()}),
        notes=(f"one of {texts}",),
    )


def enumeration(cls: type[enum.Enum]) -> Node:
    """An enum, or a flag of which several may be set."""
    if issubclass(cls, enum.Flag):
        return _flag(cls)
    missing: Any = cls._missing_
    ask = None
    if getattr(missing, "__func__", missing) is not getattr(enum.Enum._missing_, "__func__", None):
        ask = functools.partial(_ask, missing)
    # By __members__, which has the aliases too.
    return choice(cls.__name__, [(one.value, one) for one in cls.__members__.values()], ask)


def _ask(missing: Any, value: Any) -> Any:
    try:
        return missing(value)
    except (ValueError, TypeError) as error:
        raise Invalid.of(problems_of(error)) from error


def _flag(cls: type[enum.Flag]) -> Node:
    members = list(cls.__members__.values())
    known = functools.reduce(operator.or_, (one.value for one in members), 0)
    names = ", ".join(f"{one.value} ({one.name})" for one in members[:_MAX_SHOWN])

    def structure(value: Any) -> Any:
        if type(value) is not int and type(value) is not float:
            raise expected(f"a sum of {names}", value)
        bits = to_int(value)
        if bits < 0 or bits & ~known:
            raise Invalid(f"expected a sum of {names}")
        return cls(bits)

    def schema(_: Any) -> dict[str, Any]:
        if known < 256:  # the rest of them would be a long list
            return {"enum": [bits for bits in range(known + 1) if not bits & ~known]}
        return {"type": "integer", "minimum": 0, "maximum": known}

    return Node(
        name=cls.__name__,
        structure=structure,
        kinds=frozenset({NUMBER}),
        schema=schema,
        values=(cls,),
        notes=(f"a sum of {names}",),
    )


def literal(annotation: Any) -> Node:
    """A `Literal`; of a member of an enum, its value."""
    choices = typing.get_args(annotation)
    pairs = [(one.value if isinstance(one, enum.Enum) else one, one) for one in choices]
    found = choice(f"Literal[{', '.join(map(repr, choices))}]", pairs)
    return attrs.evolve(found, notes=(), choices=choices)  # its name says it
