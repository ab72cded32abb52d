"""The commands of a petal's class: which of its attributes are marked, and by whom.

The rule: a mark is never lost silently. It is inherited by name, so whoever overrides a handler, or
fills in an abstract one, serves it under the options of the base, unless the override has a mark of
its own. What hides a mark (a decorator above it, a property) is refused with what to write instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Protocol

from .._values.errors import RegistrationError
from .inspection.foreign import attribute_of
from .inspection.marks import MADE, MARK, lost

# How Python code calls the instance, when it is not `self`.
_SELVES = frozenset({"this", "me", "petal"})


class Named(Protocol):
    """A petal."""

    name: str


def collect(petal: Named, ours: type) -> Iterator[tuple[Any, Callable[..., Any]]]:
    """What each mark says, with the bound handler, in the order of definition.

    Args:
        petal: whose.
        ours: the class of all petals. What it defines is no handler, and is not to be replaced by
            something else.

    Raises:
        RegistrationError: a mark is hidden, or it is not plain which of two is meant; or a name
            that petalkit needs is taken.
    """
    cls = type(petal)
    _check_names(petal, ours)
    seen: set[str] = set()
    for base in reversed(cls.__mro__):
        if base is ours:
            continue
        _check_lost(petal, base)
        for attribute in list(vars(base)):
            if attribute in seen or attribute in (MARK, MADE):
                continue
            seen.add(attribute)
            # Without calling properties.
            found = inspect.getattr_static(cls, attribute)
            if found is None:  # how a subclass takes a command away
                continue
            marks = _marks(found)
            hidden = None if marks else _hidden(found)
            if hidden is not None:
                raise _refused(petal, attribute, hidden)
            if not marks:
                marks = _inherited(petal, cls, attribute)
            if marks:
                _check_self(petal, cls, attribute, found)
            for options in marks:
                yield options, _bound(petal, attribute)


def _bound(petal: Named, attribute: str) -> Callable[..., Any]:
    """The handler as it is called; what looks it up may be the petal's own code."""
    try:
        handler: Callable[..., Any] = getattr(petal, attribute)
    except Exception as error:
        text = f"looking it up raises {type(error).__name__}"
        raise _refused(petal, attribute, text) from error
    return handler


def _check_names(petal: Named, ours: type) -> None:
    """The public names of the base class are what a runtime calls, and what the petal calls."""
    for name, own in vars(ours).items():
        if name.startswith("_") or not (callable(own) or isinstance(own, property)):
            continue
        found = vars(petal).get(name, own)
        if found is own:
            found = inspect.getattr_static(type(petal), name)
        if found is own:
            continue
        if _marks(found):
            raise _refused(
                petal,
                name,
                f"{name!r} is petalkit's own; give the method another name, the command may keep "
                "this one",
            )
        of = type(found)  # what it says of itself may raise
        fits = issubclass(of, property) if isinstance(own, property) else callable(found)
        fits = fits or issubclass(of, staticmethod | classmethod)
        if not fits:
            raise _refused(petal, name, f"{name!r} is petalkit's own; give the attribute another")


def _refused(petal: Named, attribute: str, reason: str) -> RegistrationError:
    method = f"{type(petal).__qualname__}.{attribute}"
    return RegistrationError(reason, petal=petal.name, method=method)


def _check_lost(petal: Named, cls: type) -> None:
    for made, line in lost(cls, _all_marks):
        where = f" at line {made.line}" if made.line else ""
        text = f"the command {made.options.name!r}{where} is lost: "
        if line:
            text += f"{made.attribute}() is defined again at line {line}; give one another name"
        else:
            text += f"{made.attribute!r} is something else now; does a decorator return nothing?"
        raise RegistrationError(
            text, petal=petal.name, method=f"{cls.__qualname__}.{made.attribute}"
        )


def _all_marks(found: Any) -> list[Any]:
    """Also those that are hidden, which are refused in other words."""
    if isinstance(found, property):
        return _marks(found.fget)
    return [*_marks(found), *(mark for one in _inside(found) for mark in _own_marks(one))]


def _marks(found: Any) -> list[Any]:
    """Over @staticmethod or @classmethod the mark is on the descriptor, under it inside."""
    function = attribute_of(found, "__func__")
    return [*_own_marks(found), *_own_marks(function)]


def _own_marks(found: Any) -> list[Any]:
    own = attribute_of(found, "__dict__")  # not of what it is an instance of
    marks = own.get(MARK) if isinstance(own, dict) else None
    return marks if isinstance(marks, list) else []


def _inherited(petal: Named, cls: type, attribute: str) -> list[Any]:
    marked = [base for base in cls.__mro__[1:] if _marks(vars(base).get(attribute))]
    if not marked:
        return []
    first, marks = marked[0], _marks(vars(marked[0])[attribute])
    for other in marked[1:]:
        if not issubclass(first, other) and _marks(vars(other)[attribute]) != marks:
            raise _refused(
                petal,
                attribute,
                f"overrides handlers of {first.__qualname__} and {other.__qualname__}, which are "
                "marked differently; write @command over it",
            )
    return marks


def _hidden(found: Any) -> str | None:
    """Why a mark has no effect, if there is one that has none."""
    if isinstance(found, property):
        if found.fget is not None and _marks(found.fget):
            return "is a property, which is not called with arguments: remove @property"
        return None
    if any(_own_marks(one) for one in _inside(found)):
        return (
            "has a decorator above @command that hides it: write @command on top of the others, "
            "or functools.wraps inside that decorator"
        )
    return None


def _inside(found: Any) -> list[Any]:
    """What a decorator of somebody's may have put away."""
    inside = [attribute_of(found, name) for name in ("func", "__wrapped__")]
    if isinstance(found, FunctionType):
        for cell in found.__closure__ or ():
            try:
                inside.append(cell.cell_contents)
            except ValueError:  # not filled yet
                continue
    elif not isinstance(found, type):
        own = attribute_of(found, "__dict__")
        inside.extend(own.values() if isinstance(own, dict) else ())
    return inside


def _check_self(petal: Named, cls: type, attribute: str, found: Any) -> None:
    """Without `self` the petal would be taken for the first argument."""
    if not isinstance(found, FunctionType):
        return
    first = next(iter(inspect.signature(found, follow_wrapped=False).parameters.values()), None)
    if first is None:
        example = "self"
    elif first.kind in (first.VAR_POSITIONAL, first.VAR_KEYWORD):
        return
    else:
        name = first.name
        plain = name in _SELVES or "self" in name or name.startswith("_")
        if plain and first.default is first.empty:
            return
        example = f"self, {name}"
    raise _refused(
        petal,
        attribute,
        f"has no self: write async def {attribute}({example}, ...), or @staticmethod over it",
    )
