"""Models: an object's keys go through the closures of the fields, then into the constructor.

The rule: everything that is wrong is told at once, each with its path; also what the model's own
validators say, where they can be asked field by field. The trap: attrs stops at the first validator
that raises, and does not say whose it was; so they are asked again one by one, once it has failed.
"""

from __future__ import annotations

import enum
import inspect
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ...basics.near import near
from ..invalid import (
    MAX_REPORTED_ERRORS,
    Invalid,
    Problem,
    add_problems,
    expected,
    problems_of,
    unknown_field,
)
from ..node import NULL, CannotBuild, Defs, Node, Schema, Structure
from .defaults import as_plain, renewed
from .extra_keys import ExtraKeys
from .fields import NO_DEFAULT, Field, Made, Model

MISSING = "is required"
_ABSENT: Any = object()
# Name on the wire and in the constructor, what is taken as it is, what makes it, whether it is
# required, and what makes its default anew, if that has to be.
_Entry = tuple[str, str, type | None, Structure, bool, Callable[[], Any] | None]
_MAX_NEAR = 64  # characters of a key that is compared with the known ones


def unknown_keys(given: Mapping[str, Any], known: frozenset[str], path: str = "") -> list[Problem]:
    """A problem for each key that is not known, with the one that it may have meant."""
    found: list[Problem] = []
    for key in given:
        if key not in known:
            found.append(unknown_field(path, key, near_key(key, known)))
            if len(found) >= MAX_REPORTED_ERRORS:
                break
    return found


def near_key(key: str, known: frozenset[str]) -> str | None:
    """The known key that a misspelt one may have meant."""
    return near(key[:_MAX_NEAR], known)


def finish_model(
    node: Node, model: Model, nodes: list[Node], extra: ExtraKeys, *, read: bool = True
) -> None:
    """Give a model's node its closure and its schema, now that its fields have theirs.

    Raises:
        CannotBuild: its constructor does not take its fields.
    """
    if read:
        _check_constructor(model)
    fields = tuple(
        (
            *(one.wire, one.name, inner.exact, inner.call(), one.default is NO_DEFAULT),
            renewed(one.default),
        )
        for one, inner in zip(model.fields, nodes, strict=True)
    )
    known = frozenset(one.wire for one in model.fields) | (
        frozenset() if model.tag is None else {model.tag[0]}
    )
    node.keys = known
    node.closed = model.closed
    node.required = frozenset(one.wire for one in model.fields if one.default is NO_DEFAULT) | (
        frozenset() if model.tag is None else {model.tag[0]}
    )
    node.fields = tuple(zip(model.fields, nodes, strict=True))
    node.shape = _shape(model)
    node.tags = _tags(model)
    node.structure = _structure(model, fields, known, extra)
    node.schema = _schema(node, model, nodes, read=read)
    node.hashable = getattr(model.cls, "__hash__", None) is not None


def _structure(
    model: Model,
    fields: tuple[_Entry, ...],
    known: frozenset[str],
    extra: ExtraKeys,
) -> Structure:
    construct: Callable[..., Any] = dict if model.kind == "TypedDict" else model.cls
    closed, tag = model.closed, model.tag
    has_checks = any(one.converted or one.validator is not None for one in model.fields)
    makes_some = any(default is not None for *_, default in fields)

    def structure(value: Any) -> Any:
        if type(value) is not dict and not isinstance(value, Mapping):
            raise expected("an object", value)
        arguments: dict[str, Any] = {}
        problems: list[Problem] | None = None
        for wire, name, exact, convert, required, default in fields:
            if wire in value:
                try:
                    item = value[wire]
                    arguments[name] = item if type(item) is exact else convert(item)
                except Exception as error:
                    problems = problems or []
                    add_problems(problems, f".{wire}", error)
            elif required:
                problems = problems or []
                problems.append(Problem(f".{wire}", MISSING, MISSING))
            elif default is not None:
                arguments[name] = default()
        # As many as were taken, unless some were not sent and made.
        if (makes_some or len(arguments) != len(value)) and not known.issuperset(value):
            if closed:
                problems = (problems or []) + unknown_keys(value, known)
            else:
                extra.seen = True
        if tag is not None and not _is_tag(value.get(tag[0], _ABSENT), tag[1]):
            told = f"expected {tag[1]!r}" if tag[0] in value else f"{MISSING}: {tag[1]!r}"
            problems = [*(problems or []), Problem(f".{tag[0]}", told, told)]
        if problems is not None:
            if has_checks:
                problems += _own_checks(model, arguments)
            raise Invalid.of(problems[:MAX_REPORTED_ERRORS])
        try:
            return construct(**arguments)
        except Exception as error:
            raise _refused(model, arguments, error) from error

    return structure


def _is_tag(value: Any, tag: Any) -> bool:
    """1 and 1.0 are one number in JSON, and `true` is none."""
    return value == tag and type(value) is not bool


def _refused(model: Model, arguments: dict[str, Any], error: Exception) -> Invalid:
    """What the model's own code has against its fields; a bug of it is raised."""
    problems = problems_of(error)
    if type(error) is Invalid:
        return error
    return Invalid.of(_own_checks(model, arguments, all_there=True) or problems)


def _own_checks(
    model: Model, arguments: dict[str, Any], *, all_there: bool = False
) -> list[Problem]:
    """What each converter and validator of attrs says by itself to the values that are there."""
    if model.kind != "attrs":
        return []
    found: list[Problem] = []
    instance = object.__new__(model.cls)
    checks: list[tuple[Field, Any, Any]] = []
    own: dict[str, Any] = {one.name: one for one in attrs.fields(model.cls)}
    for field in model.fields:
        attribute = own[field.attribute]
        if field.name in arguments:
            value = arguments[field.name]
        elif field.default is NO_DEFAULT or isinstance(field.default, Made):
            continue
        else:
            value = field.default
        try:
            if attribute.converter is not None:
                value = _convert(attribute, value, instance)
            object.__setattr__(instance, field.attribute, value)
        except (ValueError, TypeError) as error:
            add_problems(found, f".{field.wire}", error)
            continue
        except Exception:  # noqa: S112 - it needs what is not there
            continue
        if field.name in arguments and attribute.validator is not None:
            checks.append((field, attribute, value))
    for field, attribute, value in checks:
        try:
            attribute.validator(instance, attribute, value)
        except ValueError as error:
            add_problems(found, f".{field.wire}", error)
        except TypeError as error:
            if all_there:  # else it may be about another field, which is not there
                add_problems(found, f".{field.wire}", error)
        except Exception:  # noqa: S110 - a bug is told where all fields are there, by the model
            pass
    return found


def _convert(attribute: Any, value: Any, instance: Any) -> Any:
    converter: Any = attribute.converter
    if type(converter).__name__ == "Converter":  # of attrs, whose stubs do not have its call
        return converter(value, instance, attribute)
    return converter(value)


def _check_constructor(model: Model) -> None:
    if model.kind == "TypedDict":
        return
    if inspect.isabstract(model.cls):
        raise CannotBuild(f"{model.cls.__name__} is abstract; name a class that can be made")
    try:
        signature = inspect.signature(model.cls)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**{one.name: None for one in model.fields})
    except TypeError as error:
        raise CannotBuild(
            f"{model.cls.__name__}() does not take its fields ({error}); give it an __init__ that "
            "does, or register a hook on the petal's converter"
        ) from None


def _shape(model: Model) -> Any:
    return (
        model.tag,
        frozenset(
            (one.wire, repr(one.annotation), one.default is NO_DEFAULT) for one in model.fields
        ),
    )


def _tags(model: Model) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    if model.tag is not None:
        found[model.tag[0]] = (model.tag[1],)
    for one in model.fields:
        if typing.get_origin(one.annotation) is typing.Literal:
            choices = typing.get_args(one.annotation)
            found[one.wire] = tuple(
                choice.value if isinstance(choice, enum.Enum) else choice for choice in choices
            )
    return found


def _schema(node: Node, model: Model, nodes: list[Node], *, read: bool) -> Callable[[Defs], Schema]:
    def make(defs: Defs) -> Schema:
        properties: dict[str, Schema] = {}
        for one, inner in zip(model.fields, nodes, strict=True):
            own = inner.schema(defs)
            if not read and one.default is None and NULL not in inner.kinds:
                own = {"anyOf": [own, {"type": "null"}]}  # which no sender can send
            properties[one.wire] = with_default(own, one.default)
        if model.tag is not None:
            properties[model.tag[0]] = {"const": model.tag[1]}
        found: Schema = {"title": node.name, "type": "object", "properties": properties}
        doc = inspect.cleandoc(model.cls.__doc__ or "").split("\n\n")[0]
        # A dataclass without a docstring is given its signature as one.
        if doc and not doc.startswith(f"{model.cls.__name__}("):
            found["description"] = doc
        required = [] if model.tag is None else [model.tag[0]]
        required += [one.wire for one in model.fields if one.default is NO_DEFAULT]
        if required:
            found["required"] = required
        if model.closed:
            found["additionalProperties"] = False
        return found

    return lambda defs: defs.refer(node, node.name, lambda: make(defs))


def with_default(schema: Schema, default: Any) -> Schema:
    """A schema with the default beside it, where JSON has one."""
    default = as_plain(default)
    if isinstance(default, enum.Enum):
        default = default.value
    if type(default) is float and not math.isfinite(default):
        return schema
    if default is None or type(default) in (str, int, float, bool):
        return {**schema, "default": default}
    return schema
