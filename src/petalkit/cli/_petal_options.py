"""The table of a petal in the configuration file, as keyword arguments of its constructor.

Strict as the wire is, and stricter with names: `"false"` is not True, 1.9 is not 1, and a key that
nobody reads is an error, because on the wire it may be a newer client's and here it is a slip.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import attrs

from .._structuring import field_errors, make_converter
from ._errors import UsageError
from ._settings_loading import near_match

T = TypeVar("T")


def construct(make: Callable[..., T], table: Mapping[str, Any], where: str) -> T:
    """Call a constructor or a factory with the values of its table.

    Args:
        make: a petal's class, or a callable that returns a petal.
        table: from the configuration file; empty when there is none.
        where: the table's name, and the file if there is one, for error texts.

    Raises:
        UsageError: a key is unknown or missing, or its value has the wrong type.
    """
    parameters = inspect.signature(make).parameters
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    hints = _hints(make)
    arguments: dict[str, Any] = {}
    for key, value in table.items():
        if key not in named and not takes_any:
            raise UsageError(f"{where}: {_unknown(key, named)}")
        arguments[key] = _structure(value, hints.get(key, Any), f"{where}: {key}")
    missing = [
        repr(name)
        for name, parameter in named.items()
        if parameter.default is parameter.empty and name not in arguments
    ]
    if missing:
        raise UsageError(f"{where}: {', '.join(missing)} must be set there")
    return make(**arguments)


def _unknown(key: str, known: Iterable[str]) -> str:
    names = ", ".join(known)
    takes = f"known: {names}" if names else "there is nothing to set"
    return f"unknown key {key!r} ({takes}){near_match(key, known)}"


def _hints(make: Any) -> dict[str, Any]:
    function = make.__init__ if inspect.isclass(make) else make
    try:
        return typing.get_type_hints(function)
    except Exception:  # a name that exists for type checkers only: the values go in as they are
        return {}


def _structure(value: Any, hint: Any, where: str) -> Any:
    if hint is Any:
        return value
    plain = _as_json(value)
    _refuse_unknown(plain, hint, where)
    try:
        return make_converter().structure(plain, hint)
    except Exception as error:
        reasons = field_errors(error, where)
        text = "; ".join(f"{reason['path']} {reason['message']}" for reason in reasons)
        raise UsageError(text or f"{where}: {type(error).__name__}: {error}") from None


def _as_json(value: Any) -> Any:
    """TOML has times of its own; the converter knows them as text, as they are on the wire."""
    match value:
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dict():
            table = typing.cast("dict[str, Any]", value)
            return {key: _as_json(inner) for key, inner in table.items()}
        case list():
            return [_as_json(inner) for inner in _list(value)]
        case _:
            return value


def _list(value: Any) -> list[Any]:
    return list(value)


def _refuse_unknown(value: Any, hint: Any, where: str) -> None:
    """Raise for a key, at any depth, that the model at its place does not have.

    Goes through `X | None`, arrays and mappings. A choice between several types is left to the
    converter, which alone knows which of them was meant.
    """
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        choices = [choice for choice in arguments if choice is not types.NoneType]
        if len(choices) == 1:
            _refuse_unknown(value, choices[0], where)
    elif isinstance(value, list) and arguments:
        for index, inner in enumerate(_list(value)):
            _refuse_unknown(inner, arguments[0], f"{where}[{index}]")
    elif isinstance(value, dict):
        table = typing.cast("dict[str, Any]", value)
        fields = _model_fields(hint)
        for key, inner in table.items():
            if fields is not None and key not in fields:
                raise UsageError(f"{where}: {_unknown(key, fields)}")
            if fields is not None or len(arguments) == 2:
                inside = arguments[1] if fields is None else fields[key]
                _refuse_unknown(inner, inside, f"{where}.{key}")


def _model_fields(hint: Any) -> dict[str, Any] | None:
    """The fields of a model class with their types; None for anything else."""
    if not isinstance(hint, type):
        return None
    model: Any = hint
    names: list[str]
    if attrs.has(model):
        names = [field.name for field in attrs.fields(model) if field.init]
    elif dataclasses.is_dataclass(model):
        names = [field.name for field in dataclasses.fields(model) if field.init]
    elif typing.is_typeddict(model):
        names = list(model.__annotations__)
    else:
        return None
    hints = typing.get_type_hints(model)
    return {name: hints.get(name, Any) for name in names}
