"""The marks of `@command`: on the function that is marked, and in the body of its class.

The rule: a mark is never lost silently. Python drops a method when its name is defined again below,
and a decorator above may return something else; neither leaves a trace on what the class has then.
So the body of the class keeps what was marked in it, and `lost` compares.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from .foreign import attribute_of

MARK = "__petalkit_commands__"
MADE = "__petalkit_marked__"
_OPTIMIZED = inspect.CO_OPTIMIZED  # of functions; the body of a class is none
_MAX_FRAMES = 8  # of decorators of the petal's own, between @command and the class


class Made(NamedTuple):
    """A mark as it was made.

    Attributes:
        options: what `@command` was told.
        attribute: the name of what it stands over.
        line: where; 0 when nobody knows.
    """

    options: Any
    attribute: str
    line: int


def mark(function: Any, options: Any) -> bool:
    """Mark a function; False when it cannot be."""
    own = attribute_of(function, "__dict__")
    if not isinstance(own, dict):
        return False
    # A list: one handler may serve several names. Not shared with what it was copied from.
    own[MARK] = [*own.get(MARK, ()), options]
    attribute = attribute_of(function, "__name__")
    body = _class_body(inspect.currentframe(), attribute_of(function, "__qualname__"))
    if body is not None and isinstance(attribute, str):
        body.setdefault(MADE, []).append(Made(options, attribute, line_of(function)))
    return True


def _class_body(frame: FrameType | None, qualname: object) -> Any:
    """The names of the class in whose body a function is defined that is being decorated."""
    if not isinstance(qualname, str):
        return None
    for _ in range(_MAX_FRAMES):
        frame = None if frame is None else frame.f_back
        if frame is None:
            return None
        if not frame.f_code.co_flags & _OPTIMIZED:
            names = frame.f_locals
            return names if names.get("__qualname__") == qualname.rpartition(".")[0] else None
    return None


def line_of(function: Any) -> int:
    """The line of a function's first decorator; 0 when nobody knows."""
    try:
        inner: Any = inspect.unwrap(attribute_of(function, "__func__", function))
    except Exception:  # a proxy of somebody's
        return 0
    line = attribute_of(attribute_of(inner, "__code__"), "co_firstlineno", 0)
    return line if isinstance(line, int) else 0


def lost(cls: type, marks_of: Callable[[Any], list[Any]]) -> Iterator[tuple[Made, int]]:
    """The marks that were made in the body of a class and are on nothing that it has.

    With each the line of what has the name now; 0 when nobody knows.
    """
    own = vars(cls)
    made = own.get(MADE)
    if not isinstance(made, list):
        return
    kept = {id(options) for found in list(own.values()) for options in marks_of(found)}
    for one in made:
        if id(one.options) not in kept and one.attribute in own:
            yield one, line_of(own[one.attribute])
