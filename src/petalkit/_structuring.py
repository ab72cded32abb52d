"""JSON values -> typed arguments: one strict cattrs converter, and its errors field by field.

The rule: a value has the type that its field declares, or it is refused. cattrs by default turns
`"false"` into True and 1.9 into 1; on a drone that is a wrong altitude, so every hook here checks
before it takes. The one widening is that an integer is good for a float (JSON has one number).
"""

from __future__ import annotations

import base64
import binascii
import collections.abc
import datetime as dt
import decimal
import enum
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, get_args, get_origin

import attrs
import cattrs
import cattrs.gen
import cattrs.gen.typeddicts
import cattrs.strategies
from cattrs import ClassValidationError, IterableValidationError

MAX_REPORTED_ERRORS = 20
_CLOSED = "__petalkit_forbid_extra_keys__"

C = TypeVar("C", bound=type)
Hook = Callable[[Any, Any], Any]


class _Mismatch(ValueError):
    """A value of the wrong kind; its text is safe for the sender to read."""


def forbid_extra_keys(cls: C) -> C:
    """Class decorator for a model that refuses keys it does not know.

    Without it unknown keys of a command's `data` are ignored, so that a newer client can talk to
    an older petal.
    """
    setattr(cls, _CLOSED, True)
    return cls


def _kind(value: Any) -> str:
    """The JSON name of a value's type."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case _:
            return "an array"


def _expected(what: str, value: Any) -> _Mismatch:
    return _Mismatch(f"expected {what}, got {_kind(value)}")


def _int(value: Any, _: Any) -> int:
    if type(value) is not int:
        if type(value) is float:
            raise _Mismatch("expected a whole number")
        raise _expected("a whole number", value)
    return value


def _float(value: Any, _: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise _Mismatch("is too large for a number") from None
    raise _expected("a number", value)


def _bool(value: Any, _: Any) -> bool:
    if type(value) is not bool:
        raise _expected("true or false", value)
    return value


def _str(value: Any, _: Any) -> str:
    if type(value) is not str:
        raise _expected("a string", value)
    return value


def _none(value: Any, _: Any) -> None:
    if value is not None:
        raise _expected("null", value)


def _bytes(value: Any, _: Any) -> bytes:
    try:
        return base64.b64decode(_str(value, _), validate=True)
    except binascii.Error:
        raise _Mismatch("expected base64") from None


def _decimal(value: Any, _: Any) -> decimal.Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _expected("a number or a string of one", value)
    try:
        result = decimal.Decimal(value if isinstance(value, str) else repr(value))
    except decimal.InvalidOperation:
        raise _Mismatch("expected a decimal number") from None
    if not result.is_finite():
        raise _Mismatch("expected a finite number")
    return result


def _from_text(parse: Callable[[str], Any], what: str) -> Hook:
    def hook(value: Any, _: Any) -> Any:
        try:
            return parse(_str(value, _))
        except _Mismatch:
            raise
        except ValueError:
            raise _Mismatch(f"expected {what}") from None

    return hook


def _enum(value: Any, cls: Any) -> Any:
    for member in cls:
        # By type too: True == 1 == 1.0 would find the wrong member.
        if member.value == value and type(member.value) is type(value):
            return member
    raise _Mismatch(f"expected one of {', '.join(repr(member.value) for member in cls)}")


def _literal(value: Any, cls: Any) -> Any:
    for choice in get_args(cls):
        plain = choice.value if isinstance(choice, enum.Enum) else choice
        if plain == value and type(plain) is type(value):
            return choice
    raise _Mismatch(f"expected one of {', '.join(map(repr, get_args(cls)))}")


def _for_exactly(plain: type, hook: Hook) -> Hook:
    """A hook that knows that cattrs finds it for subclasses too: an IntEnum is an int to it."""

    def exact(value: Any, cls: Any) -> Any:
        if cls is plain or not isinstance(cls, type) or not issubclass(cls, plain):
            return hook(value, cls)
        if issubclass(cls, enum.Enum):
            return _enum(value, cls)
        subclass: Callable[[Any], Any] = cls
        return subclass(hook(value, cls))

    return exact


_SEQUENCES = (
    list, tuple, set, frozenset, collections.deque,
    collections.abc.Sequence, collections.abc.MutableSequence,
    collections.abc.Set, collections.abc.MutableSet,
    collections.abc.Iterable, collections.abc.Collection,
)  # fmt: skip
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _is_literal(cls: Any) -> bool:
    origin: Any = get_origin(cls)
    return origin is typing.Literal


def _is_array(cls: Any) -> bool:
    return (get_origin(cls) or cls) in _SEQUENCES


def _is_object(cls: Any) -> bool:
    return (get_origin(cls) or cls) in _MAPPINGS


def _is_model(cls: Any) -> bool:
    plain = get_origin(cls) or cls
    return isinstance(plain, type) and (
        attrs.has(plain) or hasattr(plain, "__dataclass_fields__") or typing.is_typeddict(plain)
    )


def make_converter() -> cattrs.Converter:
    """A new strict converter, as petalkit uses it, to register hooks for a petal's own types on.

    Give it to a petal as its `converter`.
    """
    converter = cattrs.Converter(detailed_validation=True)
    # What cattrs would do without us, to wrap: a second converter that is not changed.
    for cls, hook in (
        (int, _int), (float, _float), (bool, _bool), (str, _str), (types.NoneType, _none),
        (bytes, _bytes), (decimal.Decimal, _decimal),
        (dt.datetime, _from_text(dt.datetime.fromisoformat, "an RFC 3339 date and time")),
        (dt.date, _from_text(dt.date.fromisoformat, "a date")),
        (dt.time, _from_text(dt.time.fromisoformat, "a time")),
        (uuid.UUID, _from_text(uuid.UUID, "a UUID")),
        (pathlib.Path, _from_text(pathlib.Path, "a path")),
    ):  # fmt: skip
        converter.register_structure_hook(cls, _for_exactly(cls, hook))
    converter.register_structure_hook_func(
        lambda cls: isinstance(cls, type) and issubclass(cls, enum.Enum), _enum
    )
    converter.register_structure_hook_func(_is_literal, _literal)
    cattrs.strategies.configure_union_passthrough(
        int | float | str | bool | None, converter, accept_ints_as_floats=True
    )
    _check_shape_first(converter, _is_array, list, list, "an array")
    _check_shape_first(converter, _is_object, dict, Mapping, "an object")
    _check_shape_first(converter, _is_model, dict, Mapping, "an object")
    return converter


def _check_shape_first(
    converter: cattrs.Converter,
    applies: Callable[[Any], bool],
    exact: type,
    shape: type,
    what: str,
) -> None:
    """Ask for the JSON shape before cattrs iterates: to it a string is a list of strings.

    Args:
        converter: to hang the hooks into.
        applies: for which types.
        exact: what JSON gives; asking an ABC costs more than structuring a small model.
        shape: what is taken all the same.
        what: its name for the sender.
    """

    def factory(cls: Any, within: cattrs.Converter) -> Hook:
        inner: Hook
        if applies is _is_model:
            plain = get_origin(cls) or cls
            closed = getattr(plain, _CLOSED, False) is True
            make: Any = (
                cattrs.gen.typeddicts.make_dict_structure_fn
                if typing.is_typeddict(plain)
                else cattrs.gen.make_dict_structure_fn
            )
            inner = make(cls, within, _cattrs_forbid_extra_keys=closed)
        else:
            inner = fallback.get_structure_hook(cls)

        def hook(value: Any, to: Any) -> Any:
            if type(value) is not exact and not isinstance(value, shape):
                raise _expected(what, value)
            return inner(value, to)

        return hook

    # The fallback structures the container and calls `converter` for what is in it.
    fallback = _ContainersOf(converter)
    converter.register_structure_hook_factory(applies, factory)


class _ContainersOf:
    """cattrs' own hooks for containers, whose elements go through a given converter."""

    def __init__(self, elements: cattrs.Converter) -> None:
        self._elements = elements

    def get_structure_hook(self, cls: Any) -> Hook:
        origin = get_origin(cls) or cls
        if origin in _MAPPINGS:
            return self._mapping(cls)
        return self._sequence(cls, origin)

    def _mapping(self, cls: Any) -> Hook:
        arguments = get_args(cls)
        if not arguments or arguments == (str, Any):
            return lambda value, _: dict(value)
        key_type, value_type = arguments
        key_hook = self._elements.get_structure_hook(key_type)
        value_hook = self._elements.get_structure_hook(value_type)

        def hook(value: Any, _: Any) -> Any:
            result: dict[Any, Any] = {}
            errors: list[Exception] = []
            for key, item in value.items():
                try:
                    result[key_hook(key, key_type)] = value_hook(item, value_type)
                except Exception as error:
                    _note(error, key, value_type)
                    errors.append(error)
            if errors:
                raise _invalid("while structuring a mapping", errors, cls)
            return result

        return hook

    def _sequence(self, cls: Any, origin: Any) -> Hook:
        build: Callable[[list[Any]], Any] = list
        if origin is tuple:
            build = tuple
        elif origin is collections.deque:
            build = collections.deque
        elif origin in (set, collections.abc.Set, collections.abc.MutableSet):
            build = set
        elif origin is frozenset:
            build = frozenset
        arguments = get_args(cls)
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return self._fixed_tuple(cls, arguments)
        element = arguments[0] if arguments else Any
        element_hook = self._elements.get_structure_hook(element)

        def hook(value: Any, _: Any) -> Any:
            return build(_each(value, [(element_hook, element)] * len(value), cls))

        return hook

    def _fixed_tuple(self, cls: Any, arguments: tuple[Any, ...]) -> Hook:
        arguments = () if arguments == ((),) else arguments
        hooks = [(self._elements.get_structure_hook(one), one) for one in arguments]

        def hook(value: Any, _: Any) -> Any:
            if len(value) != len(hooks):
                raise _Mismatch(f"expected {len(hooks)} elements, got {len(value)}")
            return tuple(_each(value, hooks, cls))

        return hook


# Its stubs leave out the third argument.
_invalid = cast("Callable[[str, list[Exception], Any], Exception]", IterableValidationError)


def _note(error: Exception, where: Any, cls: Any) -> None:
    error.add_note(cattrs.IterableValidationNote(f"Structuring @ {where!r}", where, cls))


def _each(values: list[Any], hooks: list[tuple[Hook, Any]], cls: Any) -> list[Any]:
    result: list[Any] = []
    errors: list[Exception] = []
    for index, (value, (hook, element)) in enumerate(zip(values, hooks, strict=True)):
        try:
            result.append(hook(value, element))
        except Exception as error:
            _note(error, index, element)
            errors.append(error)
    if errors:
        raise _invalid("while structuring an array", errors, cls)
    return result


def field_errors(error: BaseException, path: str) -> list[dict[str, str]]:
    """What a structuring error says, one `{"path", "message"}` per field, at most 20.

    Args:
        error: as raised by a hook of `make_converter()`.
        path: where the structured value stands, such as `"data"` or `"data.altitude"`.
    """
    found: list[dict[str, str]] = []
    _collect(error, path, found)
    return found[:MAX_REPORTED_ERRORS]


def _collect(error: BaseException, path: str, found: list[dict[str, str]]) -> None:
    if len(found) >= MAX_REPORTED_ERRORS:
        return
    if isinstance(error, IterableValidationError):
        with_notes, without = error.group_exceptions()
        for inner, note in with_notes:
            _collect(inner, f"{path}[{note.index!r}]", found)
    elif isinstance(error, ClassValidationError):
        fields, without = error.group_exceptions()
        for inner, attribute in fields:
            _collect(inner, f"{path}.{attribute.name}", found)
    else:
        _collect_one(error, path, found)
        return
    for inner in without:
        _collect(inner, path, found)


def _collect_one(error: BaseException, path: str, found: list[dict[str, str]]) -> None:
    match error:
        case _Mismatch():
            message = str(error)
        case KeyError() if error.args and isinstance(error.args[0], str):
            # cattrs raises it without the field's note in some shapes, so name it here.
            name = error.args[0]
            if not path.endswith(f".{name}"):
                path = f"{path}.{name}"
            message = "is required"
        case cattrs.ForbiddenExtraKeysError():
            for name in sorted(error.extra_fields):
                found.append({"path": f"{path}.{name}", "message": "is not a known field"})
            return
        case ValueError() if error.args and isinstance(error.args[0], str):
            message = error.args[0]  # a validator of the model: written for people
        case TypeError():
            message = "has a value of none of the allowed types"
        case _:
            message = "has an invalid value"
    found.append({"path": path, "message": message})
