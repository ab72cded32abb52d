"""Looking at what others have written: classes, instances and modules of petals.

The rule: a look never raises. The trap: `getattr` with a default catches AttributeError alone, and
`isinstance` asks the object's `__class__`; a proxy of a library that is asked too early, or a
`__getattr__` that was written for something else, raises whatever it likes.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeGuard

from ..._values.errors import without_addresses


def attribute_of(value: Any, name: str, default: Any = None) -> Any:
    """An attribute; the default where there is none, or where looking it up raises."""
    try:
        return getattr(value, name, default)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return default


def is_class(value: Any) -> TypeGuard[type]:
    """Whether it is a class, and not what says so of itself."""
    return issubclass(type(value), type)


def is_abstract(value: Any) -> bool:
    """As `inspect.isabstract`."""
    try:
        return inspect.isabstract(value)
    except Exception:  # a metaclass of its own
        return False


def doc_of(value: Any) -> str:
    """Its docstring without its indentation; empty where there is none."""
    try:
        return inspect.getdoc(value) or ""
    except Exception:
        return ""


def repr_of(value: Any) -> str:
    """Its `repr`, without its address; its type where that raises."""
    try:
        return without_addresses(repr(value))
    except Exception:
        return f"<{type(value).__name__}>"
