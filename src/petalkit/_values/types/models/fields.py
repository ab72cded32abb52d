"""The fields of models, read alike of attrs, dataclasses, TypedDicts, msgspec and named tuples.

A field's name on the wire is the one that its library gives it: the `alias` of attrs, by default
the name without leading underscores; the encoded name of a `msgspec.Struct` (`rename`); else the
name itself. Arguments and results use the same.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal

import attrs
import msgspec

from ..hints import Unresolved, hints_of, plain_class
from ..node import CannotBuild

Kind = Literal["attrs", "dataclass", "TypedDict", "Struct", "NamedTuple"]
NO_DEFAULT: Any = inspect.Parameter.empty
CLOSED = "__petalkit_forbid_extra_keys__"


class Made:
    """Stands for a default that a factory makes."""

    def __repr__(self) -> str:
        return "(made anew)"


@attrs.frozen(kw_only=True, eq=False)
class Field:
    """One field of a model.

    Attributes:
        name: what the model's constructor calls it.
        attribute: where an instance has it.
        wire: its name on the wire.
        annotation: its type, or the `Unresolved` that says why it is not known.
        default: `NO_DEFAULT`, a value, or `Made()`.
        validator: of attrs.
        converted: whether a converter of the model's own changes the value before it is checked.
    """

    name: str
    attribute: str
    wire: str
    annotation: Any
    default: Any = NO_DEFAULT
    validator: Any = None
    converted: bool = False


@attrs.frozen(kw_only=True, eq=False)
class Model:
    """A model as its library describes it.

    Attributes:
        closed: whether keys that it does not know are refused.
        tag: of a tagged `msgspec.Struct`: the key, and its value.
    """

    cls: Any
    kind: Kind
    fields: tuple[Field, ...]
    closed: bool = False
    tag: tuple[str, Any] | None = None


def kind_of_model(annotation: Any) -> Kind | None:
    """Which library's model a type is; None for anything else."""
    cls = plain_class(annotation)
    if not isinstance(cls, type):
        return None
    if issubclass(cls, msgspec.Struct):
        return "Struct"
    if attrs.has(cls):
        return "attrs"
    if "__dataclass_fields__" in vars(cls) or hasattr(cls, "__dataclass_fields__"):
        return "dataclass"
    if _is_typed_dict(cls):
        return "TypedDict"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "NamedTuple"
    return None


def _is_typed_dict(cls: type) -> bool:
    # typing_extensions has one of its own, which typing does not know on each Python.
    return typing.is_typeddict(cls) or (
        issubclass(cls, dict) and hasattr(cls, "__required_keys__") and hasattr(cls, "__total__")
    )


def read_model(annotation: Any, kind: Kind) -> Model:
    """A model's fields.

    Raises:
        CannotBuild: it has something that cannot be read from JSON.
    """
    cls = plain_class(annotation)
    hints = dict(hints_of(annotation))
    closed = getattr(cls, CLOSED, False) is True
    tag = None
    if kind == "TypedDict":
        closed = closed or getattr(cls, "__closed__", None) is True  # PEP 728
        extra: Any = getattr(cls, "__extra_items__", None)
        if extra is not None and "NoExtraItems" not in repr(extra):
            raise CannotBuild("a TypedDict with extra_items is not supported; use dict[...]")
    if kind == "Struct":
        config = cls.__struct_config__
        if config.array_like:
            raise CannotBuild("a Struct with array_like=True is not supported; leave that out")
        closed = closed or config.forbid_unknown_fields
        if config.tag is not None:
            tag = (config.tag_field, config.tag)
    fields = tuple(_READERS[kind](cls, hints))
    return Model(cls=cls, kind=kind, fields=fields, closed=closed, tag=tag)


def _hint(hints: dict[str, Any], name: str, fallback: Any) -> Any:
    found = hints.get(name, fallback)
    return Any if found is None and fallback is None else found


_ATTRS_FACTORY: Any = attrs.Factory


def _of_attrs(cls: Any, hints: dict[str, Any]) -> Iterator[Field]:
    for one in attrs.fields(cls):
        if one.init:
            default: Any = one.default
            if default is attrs.NOTHING:
                default = NO_DEFAULT
            elif isinstance(default, _ATTRS_FACTORY):
                default = Made()
            yield Field(
                name=one.alias,
                attribute=one.name,
                wire=one.alias,
                annotation=_hint(hints, one.name, one.type),
                default=default,
                validator=one.validator,
                converted=one.converter is not None,
            )


def _of_dataclass(cls: Any, hints: dict[str, Any]) -> Iterator[Field]:
    for one in cls.__dataclass_fields__.values():
        # Those for __init__ only are listed too, and those of the class.
        if not one.init or one._field_type is dataclasses._FIELD_CLASSVAR:  # type: ignore[attr-defined]
            continue
        default: Any = one.default
        if one.default_factory is not dataclasses.MISSING:
            default = Made()
        elif default is dataclasses.MISSING:
            default = NO_DEFAULT
        annotation = _hint(hints, one.name, one.type)
        yield Field(
            name=one.name,
            attribute=one.name,
            wire=one.name,
            annotation=annotation,
            default=default,
        )


def _of_typed_dict(cls: Any, hints: dict[str, Any]) -> Iterator[Field]:
    required: Any = cls.__required_keys__
    for name, hint in hints.items():
        found, needed = _without_qualifiers(hint, name in required)
        yield Field(
            name=name,
            attribute=name,
            wire=name,
            annotation=found,
            default=NO_DEFAULT if needed else Made(),
        )


_QUALIFIERS = {"Required": True, "NotRequired": False, "ReadOnly": None}


def _without_qualifiers(hint: Any, required: bool) -> tuple[Any, bool]:
    """`Required[int]` and its like; with `from __future__` Python itself does not see them."""
    while True:
        origin: Any = typing.get_origin(hint)
        name = getattr(origin, "_name", None) or getattr(origin, "__name__", "")
        if name not in _QUALIFIERS:
            return hint, required
        said = _QUALIFIERS[name]
        required = required if said is None else said
        hint = typing.get_args(hint)[0]


def _of_struct(cls: Any, hints: dict[str, Any]) -> Iterator[Field]:
    for one in msgspec.structs.fields(plain_class(cls)) if not _has_unresolved(hints) else ():
        default: Any = one.default
        if one.default_factory is not msgspec.NODEFAULT:
            default = Made()
        elif default is msgspec.NODEFAULT:
            default = NO_DEFAULT
        yield Field(
            name=one.name,
            attribute=one.name,
            wire=one.encode_name,
            annotation=hints.get(one.name, one.type),
            default=default,
        )
    for name, hint in hints.items():
        if isinstance(hint, Unresolved):
            yield Field(name=name, attribute=name, wire=name, annotation=hint)


def _has_unresolved(hints: dict[str, Any]) -> bool:
    # msgspec resolves them too, and raises.
    return any(isinstance(one, Unresolved) for one in hints.values())


def _of_named_tuple(cls: Any, hints: dict[str, Any]) -> Iterator[Field]:
    defaults: dict[str, Any] = cls._field_defaults
    for name in cls._fields:
        yield Field(
            name=name,
            attribute=name,
            wire=name,
            annotation=hints.get(name, Any),
            default=defaults.get(name, NO_DEFAULT),
        )


_READERS: dict[Kind, Callable[[Any, dict[str, Any]], Iterator[Field]]] = {
    "attrs": _of_attrs,
    "dataclass": _of_dataclass,
    "TypedDict": _of_typed_dict,
    "Struct": _of_struct,
    "NamedTuple": _of_named_tuple,
}
