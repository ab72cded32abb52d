"""JSON values -> typed arguments, and results -> JSON, by one converter for each petal.

The rule: a value has the type that its field declares, or it is refused. cattrs by default turns
`"false"` into True and 1.9 into 1; on a drone that is a wrong altitude. So the converter is only
where a petal registers hooks for types of its own; all else is built by `_types`, which asks for
such a hook first, at every depth.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import cattrs

from .types.build import Types as Types
from .types.invalid import MAX_REPORTED_ERRORS as MAX_REPORTED_ERRORS
from .types.invalid import problems_of
from .types.models.fields import CLOSED
from .types.node import CannotBuild as CannotBuild
from .types.node import Node as Node
from .types.node import Structure as Structure
from .types.results import Results as Results
from .types.scalars.nodes import SCALARS

C = TypeVar("C", bound=type)
Hook = Callable[[Any, Any], Any]


def forbid_extra_keys(cls: C) -> C:
    """Class decorator for a model that refuses keys it does not know.

    Without it unknown keys of a model are ignored, so that a newer client can talk to an older
    petal. For the keys of `data` itself there is the setting `unknown_keys`.
    """
    setattr(cls, CLOSED, True)
    return cls


class _BuiltHook:
    """What the converter gives where no hook was registered: structures with what is built here."""

    def __init__(self, converter: cattrs.Converter) -> None:
        self._converter = converter
        self._built: dict[Any, Structure] = {}

    def __call__(self, value: Any, cls: Any) -> Any:
        structure = self._built.get(cls)
        if structure is None:
            try:
                structure = self._built[cls] = types_of(self._converter).node(cls).structure
            except CannotBuild as error:
                raise TypeError(str(error)) from error
        return structure(value)


class _BuiltResult:
    """The same for results."""

    def __init__(self, converter: cattrs.Converter) -> None:
        self._converter = converter
        self._results: Results | None = None

    def __call__(self, value: Any) -> Any:
        if self._results is None:
            self._results = results_of(self._converter)
        return self._results(value)


def _always(_: Any) -> bool:
    return True


class PetalConverter(cattrs.Converter):
    """The class of what `make_converter()` makes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # cattrs looks up classes first, and has some of its own there.
        for cls in (*SCALARS, enum.Enum, enum.IntEnum, enum.StrEnum, enum.Flag, enum.IntFlag):
            super().register_structure_hook(cls, _BuiltHook(self))
            super().register_unstructure_hook(cls, _BuiltResult(self))
        self.register_structure_hook_factory(_always, _structure_factory)
        self.register_unstructure_hook_factory(_always, _unstructure_factory)

    def register_structure_hook(self, cl: Any, func: Any = None) -> Any:
        """Register a hook for a type; see cattrs."""
        result = super().register_structure_hook(cl, func)
        if func is not None and typing.get_origin(cl) in (typing.Union, types.UnionType):
            # cattrs keeps those where its own factory looks for them, which is never asked here.
            self.register_structure_hook_func(lambda one: bool(one == cl), func)
        return result


def _structure_factory(_: Any, converter: cattrs.Converter) -> Hook:
    return _BuiltHook(converter)


def _unstructure_factory(_: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    return _BuiltResult(converter)


def make_converter() -> cattrs.Converter:
    """A new strict converter, as petalkit uses it, to register hooks for a petal's own types on.

    Give it to a petal as its `converter`. A hook that raises ValueError or TypeError refuses the
    value, and the sender is told the text of a ValueError; anything else that it raises is a bug.
    """
    return PetalConverter()


def types_of(converter: cattrs.Converter, *, closed: bool = False) -> Types:
    """What builds types with the hooks of a converter.

    Args:
        converter: of `make_converter()`.
        closed: whether every model refuses keys that it does not know.
    """

    def hook_of(annotation: Any) -> Hook | None:
        try:
            hook: Hook = converter.get_structure_hook(annotation)
        except TypeError:  # metadata in Annotated that cannot be hashed
            return None
        if isinstance(hook, _BuiltHook):
            return None
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum | bool):
            # One for int, which cattrs finds for an IntEnum too, makes no member of it.
            bases: list[Any] = [one for one in annotation.__mro__[1:] if one in (int, float, str)]
            if any(converter.get_structure_hook(one) is hook for one in bases):
                return None
        return hook

    return Types(hook_of, closed=closed)


def result_types_of(converter: cattrs.Converter) -> Types:
    """What describes the types of results; those that a petal writes itself, nobody knows."""

    def hook_of(annotation: Any) -> Hook | None:
        if not isinstance(annotation, type):
            return None
        hook = converter.get_unstructure_hook(annotation)
        return None if isinstance(hook, _BuiltResult) else _nobody_reads

    return Types(hook_of, results=True)


def _nobody_reads(value: Any, _: Any) -> Any:
    return value


def results_of(converter: cattrs.Converter) -> Results:
    """What makes results plain, with the hooks of a converter of `make_converter()`."""

    def hook_of(cls: type) -> Callable[[Any], Any] | None:
        hook: Callable[[Any], Any] = converter.get_unstructure_hook(cls)
        return None if isinstance(hook, _BuiltResult) else hook

    return Results(hook_of)


def field_errors(error: Exception, path: str) -> list[dict[str, str]]:
    """What a structuring error says, one `{"path", "message"}` per field, at most 20.

    Args:
        error: out of structuring.
        path: where the structured value stands, such as `"data"` or `"data.altitude"`.

    Raises:
        Exception: the error itself, when it is a bug and not about the value.
    """
    return [
        {"path": path + one.path, "message": one.message}
        for one in problems_of(error)[:MAX_REPORTED_ERRORS]
    ]
