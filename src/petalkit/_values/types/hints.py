"""Annotations as types: forward references resolved, type variables bound, aliases followed.

The rule: each annotation is resolved by itself, in the module of the class that wrote it, so that
one that cannot be is named, and takes nothing else with it. A type variable means what the class
means by it that wrote it: `class Inner(Outer[int], Generic[T])` may use one for two things.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import attrs

Bound = Mapping[Any, Any]  # type variables to what they stand for


class Unresolved(Exception):
    """An annotation names what is not there; the text says which, and why."""


def resolve(annotation: Any, names: Mapping[str, Any], local: Mapping[str, Any]) -> Any:
    """An annotation with every name in it resolved, as `typing.get_type_hints` does it.

    Raises:
        Unresolved: it cannot be.
    """
    holder = type("_", (), {"__annotations__": {"it": annotation}})
    try:
        found = typing.get_type_hints(holder, dict(names), dict(local), include_extras=True)["it"]
    except Exception as error:
        text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        raise Unresolved(f"the annotation {text!r} cannot be resolved ({error})") from error
    found = found.type if isinstance(found, dataclasses.InitVar) else found
    return _closed(found, names, local) if _is_open(found) else found


@attrs.frozen(eq=False)
class NamedAlias:
    """A name inside its own alias, such as `JSON` in `JSON = dict[str, "JSON"] | ...`.

    Python resolves it once and leaves the name where it stands in itself.
    """

    __name__: str
    names: Mapping[str, Any]
    local: Mapping[str, Any]

    @property
    def __value__(self) -> Any:
        return resolve(self.__name__, self.names, self.local)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NamedAlias):
            return NotImplemented
        # Two of one module are the same, however often that was resolved.
        return self.__name__ == other.__name__ and self.names.get("__name__") == other.names.get(
            "__name__"
        )

    def __hash__(self) -> int:
        return hash((self.__name__, self.names.get("__name__")))


def alias_value(alias: Any) -> Any:
    """What a `type X = ...` stands for, or a `NamedAlias`.

    Raises:
        Unresolved: a name in it is not there.
    """
    origin = typing.get_origin(alias) or alias
    try:
        value = origin.__value__
    except NameError as error:
        raise Unresolved(f"the type alias {origin} cannot be resolved ({error})") from None
    if isinstance(value, str):  # as it is written before Python 3.12
        module = sys.modules.get(getattr(origin, "__module__", None) or "")
        value = resolve(value, {} if module is None else vars(module), {})
    parameters = getattr(origin, "__type_params__", ())
    return bind(value, dict(zip(parameters, typing.get_args(alias), strict=False)))


def _is_open(annotation: Any) -> bool:
    if isinstance(annotation, typing.ForwardRef):
        return True
    if typing.get_origin(annotation) is typing.Literal:
        return False
    return any(map(_is_open, _flat(typing.get_args(annotation))))


def _flat(arguments: tuple[Any, ...]) -> list[Any]:
    return [inner for one in arguments for inner in (one if isinstance(one, list) else [one])]


def _closed(annotation: Any, names: Mapping[str, Any], local: Mapping[str, Any]) -> Any:
    """An annotation with a `NamedAlias` for each name that is left in it."""
    if isinstance(annotation, typing.ForwardRef):
        return NamedAlias(annotation.__forward_arg__, names, local)
    origin: Any = typing.get_origin(annotation)
    if not _is_open(annotation):
        return annotation
    if origin is typing.Annotated:
        inner, *metadata = typing.get_args(annotation)
        return typing.Annotated[(_closed(inner, names, local), *metadata)]
    found = tuple(
        [_closed(each, names, local) for each in one]
        if isinstance(one, list)
        else _closed(one, names, local)
        for one in typing.get_args(annotation)
    )
    if origin is typing.Union or origin is types.UnionType:
        return typing.Union[found]  # noqa: UP007
    return types.GenericAlias(origin, found)


def bind(annotation: Any, bound: Bound) -> Any:
    """An annotation with its type variables replaced, as far as they are known."""
    if isinstance(annotation, TypeVar):
        return bound.get(annotation, annotation)
    if typing.get_origin(annotation) is None:
        return annotation
    parameters: tuple[Any, ...] = getattr(annotation, "__parameters__", ())
    if not any(one in bound for one in parameters):
        return annotation
    return annotation[tuple(bound.get(one, one) for one in parameters)]


def plain_class(annotation: Any) -> Any:
    """`Box` of `Box[int]`; the class itself when it has no arguments."""
    return typing.get_origin(annotation) or annotation


def lineage(annotation: Any) -> list[tuple[type, Bound]]:
    """A class and its bases, the farthest first, each with what its type variables stand for."""
    found: dict[type, Bound] = {}
    cls = plain_class(annotation)
    own = dict(zip(_parameters(cls), typing.get_args(annotation), strict=False))
    _visit(cls, own, found)
    order = [one for one in reversed(cls.__mro__) if one in found]
    # Of a TypedDict its bases are not in the MRO.
    order = [one for one in reversed(list(found)) if one not in order] + order
    return [(one, found[one]) for one in order]


def _parameters(cls: Any) -> tuple[Any, ...]:
    found: Any = getattr(cls, "__parameters__", ())
    return found if isinstance(found, tuple) else ()


def _visit(cls: Any, bound: Bound, found: dict[type, Bound]) -> None:
    if cls is object or cls in found:
        return
    found[cls] = bound
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin = plain_class(base)
        if isinstance(origin, type) and origin is not typing.Generic:
            arguments = [bind(one, bound) for one in typing.get_args(base)]
            _visit(origin, dict(zip(_parameters(origin), arguments, strict=False)), found)


def hints_of(annotation: Any) -> Iterator[tuple[str, Any]]:
    """The annotated names of a model and its bases, each with its type.

    The type is an `Unresolved` where it cannot be resolved.
    """
    seen: list[Mapping[str, Any]] = []
    for cls, bound in lineage(annotation):
        own: Mapping[str, Any] = inspect.get_annotations(cls)
        module = sys.modules.get(cls.__module__)
        names = {} if module is None else vars(module)
        # A class within a function may still name itself. Of what is in it only classes: a field
        # `date: date` stands there too, with its default.
        local = {cls.__name__: cls}
        local |= {one: inner for one, inner in vars(cls).items() if isinstance(inner, type)}
        local |= {one.__name__: one for one in _parameters(cls)}
        for name, hint in own.items():
            if any(earlier.get(name) is hint for earlier in seen):
                continue  # a TypedDict repeats those of its bases
            try:
                yield name, bind(resolve(hint, names, local), bound)
            except Unresolved as error:
                yield name, error
        seen.append(own)


def type_name(annotation: Any) -> str:
    """A type as a user wrote it, without the names of modules."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Ellipsis:
        return "..."
    if isinstance(annotation, str):
        return annotation
    origin: Any = typing.get_origin(annotation)
    if origin is None:
        name = getattr(annotation, "__name__", None)
        return name if isinstance(name, str) else str(annotation).replace("typing.", "")
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is typing.Union or origin is types.UnionType:
        return " | ".join(map(type_name, arguments))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    inner = ", ".join(
        f"[{', '.join(map(type_name, one))}]" if isinstance(one, list) else type_name(one)
        for one in arguments
    )
    return f"{type_name(origin)}[{inner}]" if inner else type_name(origin)
