"""What is wrong with a value: every problem with its path, a text for the sender, one for the log.

The rule: a ValueError or TypeError of a model's own code is the sender's mistake, and any other
exception a bug of the petal's, which travels as it is. The trap: the text of a model's own error
may repeat what was sent, so the sender may read it and the log may not.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import cattrs
from cattrs import ClassValidationError, IterableValidationError

MAX_REPORTED_ERRORS = 20
MAX_KEY = 64  # characters of a sender's key in a path
MAX_PATH = 256  # characters
MAX_TEXT = 500  # characters of what somebody's own code says of a value, which it may repeat
OWN_TEXT = "is refused by the petal's own check"  # for the log, where its text is not told


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        path: where, below the value that was structured: `".points[1].x"`.
        message: for the sender.
        log: the same without anything that was sent.
    """

    path: str
    message: str
    log: str


class Invalid(ValueError):
    """A value does not fit its type.

    Args:
        message: for the sender; it never repeats what was sent, unless `log` is given.
        log: the text for the log.
    """

    def __init__(self, message: str, log: str | None = None) -> None:
        super().__init__(message)
        self.problems: list[Problem] = [Problem("", message, message if log is None else log)]

    def __str__(self) -> str:
        # Made when it is asked for: one is raised for each level around a wrong value.
        return "; ".join(f"{one.path} {one.message}".strip() for one in self.problems)

    @classmethod
    def of(cls, problems: list[Problem]) -> Invalid:
        """Several problems as one error."""
        error = cls("")
        error.problems = problems
        return error


def kind_of(value: Any) -> str:
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
        case list() | tuple():
            return "an array"
        case _:
            return f"a {type(value).__name__}"


def expected(what: str, value: Any) -> Invalid:
    """It is of another JSON type."""
    return Invalid(f"expected {what}, got {kind_of(value)}")


def key_segment(key: object) -> str:
    """A key of the sender's, within a path."""
    text = str(key)
    return repr(text if len(text) <= MAX_KEY else text[: MAX_KEY - 3] + "...")


def add_problems(found: list[Problem], segment: str, error: Exception) -> None:
    """Put what is wrong below `segment` to what has been found, up to the bound.

    Raises:
        Exception: the error itself, when it is a bug and no problem of the value.
    """
    for path, message, log in problems_of(error):
        if len(found) < MAX_REPORTED_ERRORS:
            found.append(Problem(segment + path, message, log))


def problems_of(error: Exception) -> list[Problem]:
    """What an error says that came out of structuring.

    Raises:
        Exception: the error itself, when it is a bug and no problem of the value.
    """
    if isinstance(error, Invalid):
        return error.problems
    found: list[Problem] = []
    _collect(error, "", found)
    return found


def _collect(error: Exception, path: str, found: list[Problem]) -> None:
    if len(found) >= MAX_REPORTED_ERRORS:
        return
    if isinstance(error, Invalid):
        add_problems(found, path, error)
    elif isinstance(error, IterableValidationError):
        noted, others = error.group_exceptions()
        for inner, note in noted:
            if len(found) >= MAX_REPORTED_ERRORS:
                break
            place = note.index if isinstance(note.index, int) else key_segment(note.index)
            _collect(inner, f"{path}[{place}]", found)
        for inner in others:
            _collect(inner, path, found)
    elif isinstance(error, ClassValidationError):
        fields, others = error.group_exceptions()
        for inner, field in fields:
            if isinstance(inner, KeyError):  # so cattrs says that a key is not there
                found.append(Problem(f"{path}.{field.name}", "is required", "is required"))
            else:
                _collect(inner, f"{path}.{field.name}", found)
        for inner in others:
            _collect(inner, path, found)
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        names = heapq.nsmallest(MAX_REPORTED_ERRORS, error.extra_fields)
        found.extend(unknown_field(path, name) for name in names)
    elif isinstance(error, ExceptionGroup):
        for inner in cast("ExceptionGroup[Exception]", error).exceptions:
            _collect(inner, path, found)
    elif isinstance(error, ValueError | TypeError):
        found.extend(Problem(path + one.path, one.message, one.log) for one in _of_own(error))
    else:
        raise error


def _of_own(error: ValueError | TypeError) -> list[Problem]:
    """What an exception of a model's own code says."""
    details: Any = getattr(error, "errors", None)
    if type(error).__module__.startswith("pydantic") and callable(details):
        return pydantic_problems(error)
    if isinstance(error, TypeError):
        # Written by Python for programmers, most of the time.
        return [Problem("", "has a value of a type that is not allowed", OWN_TEXT)]
    text: Any = error.args[0] if error.args else None
    message = text if isinstance(text, str) and text else "has an invalid value"
    return [Problem("", shortened(message), OWN_TEXT)]


def shortened(text: str) -> str:
    """A text that is not ours, with its end where it begins to be a burden."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def pydantic_problems(error: Any) -> list[Problem]:
    """What pydantic says, field by field."""
    found: list[Problem] = []
    for one in _first_of_pydantic(error):
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{_cut(part)}" for part in one["loc"]
        )
        missing = one["type"] == "missing"
        message = "is required" if missing else shortened(str(one["msg"]))
        found.append(Problem(path, message, message if missing else f"({one['type']})"))
    return found


def _first_of_pydantic(error: Any) -> list[dict[str, Any]]:
    """The first of what it says: it has been told nothing of our bound, and collects 200 000."""
    options = {"include_url": False, "include_context": False, "include_input": False}
    if error.error_count() <= MAX_REPORTED_ERRORS:
        return list(error.errors(**options))
    # As objects of Python they would cost six times as much as this text, of which a part is read.
    text: str = error.json(**options)
    decode = json.JSONDecoder().raw_decode
    found: list[dict[str, Any]] = []
    place = 1  # after the bracket; then after each comma
    for _ in range(MAX_REPORTED_ERRORS):
        one, place = decode(text, place)
        found.append(one)
        place += 1
    return found


def _cut(part: object) -> str:
    return one_line(str(part)[:MAX_KEY])


def short_path(path: str) -> str:
    """A path as it is told: a sender chooses the keys in it, and how deep it goes."""
    return path if len(path) <= MAX_PATH else f"{path[: MAX_PATH // 2]}...{path[-MAX_PATH // 2 :]}"


def one_line(text: str) -> str:
    """A sender's text as a log can hold it, whoever writes that: nothing ends the line."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def unknown_field(path: str, name: object, near: str | None = None) -> Problem:
    """A key that the model does not have."""
    hint = "" if near is None else f"; did you mean {near!r}?"
    text = "is not a known field" + hint
    return Problem(f"{path}.{_cut(name)}", text, text)


def or_own(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of the petal's own, whose ValueError or TypeError is the sender's mistake."""

    def structure(value: Any) -> Any:
        try:
            return function(value)
        except Invalid:
            raise
        except Exception as error:
            raise Invalid.of(problems_of(error)) from error

    return structure
