"""The table of a petal in the configuration file, as keyword arguments of its constructor.

Strict as the wire is, and stricter with names: `"false"` is not True, 1.9 is not 1, and a key that
nobody reads is an error, because on the wire it may be a newer client's and here it is a slip. Each
annotation is resolved by itself: one that only type checkers know turns off no other's check.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from ..._authoring.inspection.foreign import attribute_of, is_class
from ..._values.structuring import CannotBuild, field_errors, make_converter, types_of
from ..._values.types.hints import Unresolved, bind, lineage, resolve, type_name
from .._errors import UsageError
from .._settings.loading import near_match

T = TypeVar("T")


def construct(make: Callable[..., T], table: Mapping[str, Any], where: str) -> T:
    """Call a constructor or a factory with the values of its table.

    Args:
        make: a petal's class, or a callable that returns a petal.
        table: from the configuration file; empty when there is none.
        where: the table's name, and the file if there is one, for error texts.

    Raises:
        UsageError: a key is unknown or missing, or its value has the wrong type; all that are are
            told.
    """
    parameters = inspect.signature(make).parameters
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    arguments: dict[str, Any] = {}
    wrong: list[str] = []
    for key, value in table.items():
        if key not in named and not takes_any:
            wrong.append(_unknown(key, named))
            continue
        hint = _hint(make, named[key]) if key in named else Any
        try:
            arguments[key] = _structure(value, hint, key)
        except UsageError as error:
            wrong.append(error.message)
    missing = [name for name in required(make) if name in named and name not in table]
    if missing:
        wrong.append(f"{', '.join(map(repr, missing))} must be set there")
    if wrong:
        raise UsageError(f"{where}: {'; '.join(wrong)}")
    return make(**arguments)


def required(make: Any) -> list[str]:
    """The arguments that have to be given; none where nobody knows."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        one.name
        for one in parameters
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]


def _unknown(key: str, known: Iterable[str]) -> str:
    names = ", ".join(known)
    takes = f"known: {names}" if names else "there is nothing to set"
    return f"unknown key {key!r} ({takes}){near_match(key, known)}"


def _hint(make: Any, parameter: inspect.Parameter) -> Any:
    """A parameter's type, or the `Unresolved` that says why nobody knows it."""
    if parameter.annotation is parameter.empty:
        return Any
    function = inspect.unwrap(make.__init__ if is_class(make) else make)  # type: ignore[misc]
    function = attribute_of(function, "__func__", function)
    # What attrs generates has not the globals of the module in which its class stands.
    module = sys.modules.get(attribute_of(function, "__module__", ""))
    names = {**attribute_of(function, "__globals__", {}), **(vars(module) if module else {})}
    try:
        hint = resolve(parameter.annotation, names, {})
    except Unresolved as error:
        return error
    for cls, bound in lineage(make) if is_class(make) else ():
        if vars(cls).get("__init__") is function:
            return bind(hint, bound)
    return hint


def _structure(value: Any, hint: Any, where: str) -> Any:
    try:
        node = types_of(make_converter(), closed=True).node(hint)
    except CannotBuild as error:
        name = "" if isinstance(hint, Unresolved) else f"the type {type_name(hint)}: "
        raise UsageError(f"{where} cannot be set in a file: {name}{error}") from None
    try:
        return node.structure(value)
    except Exception as error:
        try:
            reasons = field_errors(error, where)
        except Exception as bug:
            raise UsageError(f"{where}: {type(bug).__name__}: {bug}") from bug
        text = "; ".join(f"{reason['path']} {reason['message']}" for reason in reasons)
        raise UsageError(text) from None
