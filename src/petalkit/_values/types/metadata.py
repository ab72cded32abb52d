"""What stands in `Annotated` beside a type, and attrs' own validators, as constraints.

The rule for metadata:
- What is known is enforced: `msgspec.Meta`, annotated_types, what `pydantic.Field` keeps, and the
  validators of attrs. They are known by where their class comes from and by their attributes, so
  that none of these libraries has to be there.
- What looks like a constraint, and is not known, is refused: it has an attribute of that name, such
  as `ge` or `max_length`, or is made for pydantic.
- A function is refused too: whether it is a condition, and what of, nobody can tell.
- All else is no constraint: a text, `Doc`, a unit, an object of the petal's own.
"""

from __future__ import annotations

import datetime as dt
import functools
import inspect
import re
import types
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec

from .constraints import (
    Constraint,
    in_utc,
    length,
    multiple_of,
    one_of,
    order,
    pattern,
    predicate,
)
from .invalid import OWN_TEXT
from .node import CannotBuild

_ORDER = ("ge", "gt", "le", "lt")
_SUSPICIOUS = (
    *_ORDER, "multiple_of", "min_length", "max_length", "pattern", "regex", "min_len", "max_len",
    "min_items", "max_items", "max_digits", "decimal_places", "allow_inf_nan", "strict",
    "is_valid", "validate", "validator", "validators",
)  # fmt: skip
_BY_ATTRIBUTES = frozenset(
    {*_ORDER, "multiple_of", "min_length", "max_length", "pattern", "strict"}
)
# Of a pydantic Field: they say how a value is written, or what it is when it is absent.
_FIELD_ONLY = ("alias", "validation_alias", "discriminator", "default_factory")
_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    functools.partial,
    staticmethod,
)
NOTHING: list[Constraint] = []


def constraints_of(metadata: object) -> list[Constraint]:
    """What one object in `Annotated` demands of a value; nothing for what is no constraint.

    Raises:
        CannotBuild: it looks like a constraint that cannot be enforced.
    """
    if isinstance(metadata, msgspec.Meta):
        return _of_attributes(metadata) + _timezone_of_meta(metadata)
    if isinstance(metadata, type | str | bytes | int | float | None):
        if isinstance(metadata, type) and _module(metadata) == "pydantic":
            raise _unknown(metadata)
        return NOTHING
    module = _module(type(metadata))
    if module == "annotated_types":
        return _of_annotated_types(metadata)
    if module == "attr":
        return of_validator(metadata) or [predicate_of_validator(metadata)]
    if module in ("pydantic", "pydantic_core"):
        return _of_pydantic(metadata)
    if getattr(metadata, "__is_annotated_types_grouped_metadata__", False) is True:
        return _of_group(metadata)
    bases = [one.__name__ for one in type(metadata).__mro__ if _module(one) == "annotated_types"]
    if bases:  # somebody's own kind of it
        raise _unknown(metadata)
    if _looks_like_one(metadata):
        raise _unknown(metadata)
    if isinstance(metadata, _FUNCTIONS) or _has_form_of_validator(metadata):
        raise CannotBuild(
            f"{metadata!r} is a function, which says nothing by itself: write "
            "annotated_types.Predicate(function) for one that takes the value and says whether it "
            "will do; a validator of attrs belongs on a field of a model"
        )
    return NOTHING


def _has_form_of_validator(metadata: object) -> bool:
    """Whether it takes an instance, an attribute and a value, as attrs calls its validators."""
    if not callable(metadata):
        return False
    try:
        names = [one.lower() for one in inspect.signature(metadata).parameters]
    except (TypeError, ValueError):
        return False
    return len(names) == 3 and names[1].startswith("attr") and names[2].startswith("val")


def _module(cls: type) -> str:
    return cls.__module__.split(".")[0]


def _looks_like_one(metadata: object) -> bool:
    if hasattr(metadata, "__get_pydantic_core_schema__"):
        return True
    return any(_value(metadata, name) is not None for name in _SUSPICIOUS)


def _value(metadata: object, name: str) -> Any:
    try:
        return getattr(metadata, name, None)
    except Exception:  # a property of somebody's
        return None


def _unknown(metadata: object) -> CannotBuild:
    return CannotBuild(
        f"{metadata!r} looks like a constraint, and cannot be enforced; write it with "
        "msgspec.Meta or annotated_types, or check the value in the handler"
    )


def _of_attributes(metadata: object) -> list[Constraint]:
    """The usual names, whoever uses them."""
    found = [
        order(name, bound)
        for name in _ORDER
        if (bound := getattr(metadata, name, None)) is not None
    ]
    step = getattr(metadata, "multiple_of", None)
    if step is not None:
        found.append(multiple_of(step))
    least, most = getattr(metadata, "min_length", None), getattr(metadata, "max_length", None)
    found += length(least or None, most)
    text = getattr(metadata, "pattern", None)
    if text is not None:
        found.append(pattern(text))
    return found


def _timezone_of_meta(metadata: msgspec.Meta) -> list[Constraint]:
    if metadata.tz is False:
        raise CannotBuild("tz=False takes times without an offset, which are always refused")
    return NOTHING


def _of_annotated_types(metadata: Any) -> list[Constraint]:
    name = type(metadata).__name__
    match name:
        case "Ge" | "Gt" | "Le" | "Lt" | "MultipleOf" | "MinLen" | "MaxLen" | "Len" | "Interval":
            return _of_attributes(metadata)
        case "Predicate":
            return [_of_predicate(metadata.func)]
        case "Timezone":
            return _timezone(metadata.tz)
        case "Unit" | "DocInfo":
            return NOTHING
        case _:
            if getattr(metadata, "__is_annotated_types_grouped_metadata__", False) is True:
                return _of_group(metadata)
            raise _unknown(metadata)


def _of_group(metadata: Any) -> list[Constraint]:
    return [found for one in cast("Iterable[Any]", metadata) for found in constraints_of(one)]


def _of_predicate(function: Callable[[Any], Any]) -> Constraint:
    negated = getattr(function, "func", None)
    if type(function).__name__ == "Not" and _module(type(function)) == "annotated_types":
        return predicate(cast("Callable[[Any], Any]", negated), wanted=False)
    return predicate(function)


def _timezone(zone: Any) -> list[Constraint]:
    if zone is ...:
        return NOTHING  # a time without an offset is refused in any case
    if zone is dt.UTC or zone == "UTC":
        return [in_utc()]
    if zone is None:
        raise CannotBuild("Timezone(None) takes times without an offset, which are always refused")
    raise CannotBuild(f"a time on the wire has an offset, and no time zone such as {zone!r}")


def _of_pydantic(metadata: Any) -> list[Constraint]:
    if type(metadata).__name__ == "FieldInfo":
        for name in _FIELD_ONLY:
            if getattr(metadata, name, None) is not None:
                raise CannotBuild(f"Field({name}=...) has no meaning outside a pydantic model")
        if _says_default(metadata):
            raise CannotBuild("Field(default=...) is not looked at: write the default with =")
        return [found for one in metadata.metadata for found in constraints_of(one)]
    # What Field and its like keep: an object with the names that were given as attributes.
    given = {
        name: value
        for name, value in getattr(metadata, "__dict__", {}).items()
        if value is not None and not name.startswith("_")
    } or {
        name: value
        for name in getattr(type(metadata), "__slots__", ())
        if (value := getattr(metadata, name, None)) is not None
    }
    for always in ("strict", "allow_inf_nan"):  # so it is, and JSON has neither
        given.pop(always, None)
    if given.keys() <= _BY_ATTRIBUTES and not callable(getattr(metadata, "func", None)):
        return _of_attributes(metadata)
    raise _unknown(metadata)


def _says_default(metadata: Any) -> bool:
    default = getattr(metadata, "default", None)
    return default is not ... and type(default).__name__ != "PydanticUndefinedType"


# -- validators of attrs, which have no public classes


def of_validator(validator: Any) -> list[Constraint] | None:
    """What a validator of attrs demands, in our words; None for one that is not known."""
    if _module(type(validator)) != "attr":
        return None
    match type(validator).__name__:
        case "_InstanceOfValidator":
            return NOTHING  # the type is enforced, and it looks at it once more
        case "_AndValidator":
            return _all(validator._validators)
        case "_OptionalValidator":
            inner = validator.validator
            return _all(inner if isinstance(inner, list | tuple) else (inner,))
        case "_NumberValidator":
            name = getattr(validator.compare_func, "__name__", "")
            return [order(name, validator.bound)] if name in _ORDER else None
        case "_MinLengthValidator":
            return length(validator.min_length, None)
        case "_MaxLengthValidator":
            return length(None, validator.max_length)
        case "_MatchesReValidator":
            return _matches(validator)
        case "_InValidator":
            return [one_of(validator.options, _shown(validator.options))]
        case _:
            return None


def _all(validators: Any) -> list[Constraint] | None:
    found: list[Constraint] = []
    for one in validators:
        inner = of_validator(one)
        if inner is None:
            return None
        found += inner
    return found


def _matches(validator: Any) -> list[Constraint] | None:
    function = getattr(validator.match_func, "__name__", "")
    compiled: re.Pattern[str] = validator.pattern
    if function == "search":
        return [pattern(compiled)]
    return [pattern(compiled, full=True)] if function == "fullmatch" else None


def _shown(options: Any) -> str:
    try:
        found = [getattr(one, "value", one) for one in options]
    except TypeError:
        return "the values that are allowed"
    return ", ".join(
        map(repr, sorted(found, key=repr) if isinstance(options, set | frozenset) else found)
    )


def predicate_of_validator(validator: Any) -> Constraint:
    """One of attrs' that is not known by its demands, called by itself."""

    def check(value: Any) -> bool:
        validator(None, _Somewhere, value)
        return True

    return Constraint(told=OWN_TEXT, check=check)


class _Somewhere:
    """What stands in for a field in the texts of attrs."""

    name = "the value"
