"""Mistakes in the class of a petal that Python lets pass, and that nobody sees before a flight.

The rule: only what is certain, or nearly so, is refused. A class may have any attribute of its own;
one that is a letter away from one of ours, or has a value that only ours has, is taken for that.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
from collections.abc import Sequence
from typing import Any, Protocol

from ..._values.errors import RegistrationError
from ..._values.settings.settings import RESTART_POLICIES
from ..unknown_keys import RULES
from .foreign import attribute_of

_OURS = "petalkit."
_LIKE = 0.6
_WORDS = {"unknown_keys": frozenset(RULES), "restart_policy": frozenset(RESTART_POLICIES)}
_WRITE = "write @contextlib.asynccontextmanager over async def lifespan(self), with one yield"


class Source(Protocol):
    """A petal."""

    lifespan: Any


def _no_context() -> None: ...


# Every function that one of these has made runs the same code.
_ASYNC_HELPER = getattr(contextlib.asynccontextmanager(_no_context), "__code__", None)  # type: ignore[arg-type]


def lifespan_objection(petal: object) -> str | None:
    """Why a petal's lifespan cannot be entered, and what to write; None when it can, or may."""
    lifespan: Any = inspect.getattr_static(type(petal), "lifespan", None)
    if inspect.isasyncgenfunction(lifespan) or inspect.iscoroutinefunction(lifespan):
        return "write @contextlib.asynccontextmanager over it"
    plain = attribute_of(lifespan, "__func__", lifespan)
    inner: Any = inspect.unwrap(plain) if callable(plain) else plain
    if inspect.isgeneratorfunction(inner):
        return f"is a plain generator, which cannot await: {_WRITE}"
    if attribute_of(plain, "__code__") is _ASYNC_HELPER and not inspect.isasyncgenfunction(inner):
        return f"has no yield: {_WRITE}"
    try:
        bound: Any = petal.lifespan  # type: ignore[attr-defined]
        if not (callable(plain) and callable(bound)):
            return None  # refused elsewhere
        inspect.signature(bound).bind()
    except TypeError as error:
        return f"is called without arguments ({error}): {_WRITE}"
    except ValueError:  # Python's own functions have no signature
        return f"has no self: {_WRITE}" if inspect.isfunction(inner) else None
    except Exception:  # a property of the petal's own
        return None
    return None


def check_spelling(petal: object, name: str, ours: Sequence[str]) -> None:
    """Refuse an attribute of a petal's class that is one of petalkit's but for its spelling.

    Raises:
        RegistrationError: see the rule.
    """
    # Nearly any word is near that one, so it is looked for only where it is missing.
    names = [one for one in ours if one != "name" or not hasattr(petal, "name")]
    for cls in type(petal).__mro__:
        if cls.__module__.startswith(_OURS) or cls is object:
            continue
        for attribute, value in vars(cls).items():
            if attribute in ours or not _is_plain(value):
                continue
            meant = _meant(attribute, value, names)
            if meant is not None and meant not in vars(cls):
                raise RegistrationError(
                    f"the attribute {attribute!r} has no effect: did you mean {meant!r}? If it is "
                    "the petal's own, give it another name",
                    petal=name,
                )


def _is_plain(value: object) -> bool:
    return issubclass(type(value), str | int | float)  # its `__class__` may be its own code


def _meant(attribute: str, value: object, ours: list[str]) -> str | None:
    if attribute.startswith("_") or attribute.isupper():
        return None
    written = attribute.lower()
    for word, values in _WORDS.items():
        if value in values and (
            word.split("_")[0] in written
            or difflib.SequenceMatcher(None, written, word).ratio() >= _LIKE
        ):
            return word
    if not isinstance(value, str):
        return next((one for one in _WORDS if _near(written, one)), None)
    return next((one for one in ours if _near(written, one)), None)


def _near(written: str, ours: str) -> bool:
    """Whether one letter is wrong, too many or missing, or two are swapped; a plural is a word."""
    if written == ours + "s" or abs(len(written) - len(ours)) > 1:
        return False
    start = 0
    while start < min(len(written), len(ours)) and written[start] == ours[start]:
        start += 1
    one, other = written[start:], ours[start:]
    swapped = one[:2] == other[1::-1] and one[2:] == other[2:]
    return swapped or one[1:] == other[1:] or one[1:] == other or one == other[1:]
