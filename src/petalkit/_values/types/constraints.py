"""Ranges, lengths, patterns and other conditions on a value, as checks and as JSON Schema.

The rule: what is declared is enforced, or refused where it is declared. A condition that does not
fit its type, such as a length of a number, would refuse every value as the sender's mistake.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import attrs

from .invalid import OWN_TEXT
from .node import ARRAY, NUMBER, OBJECT, STRING, CannotBuild, Schema

Check = Callable[[Any], bool]
NUMBERS = (int, float, decimal.Decimal)


@attrs.frozen(kw_only=True, eq=False)
class Constraint:
    """One condition.

    Attributes:
        told: what the sender is told: `"must be at most 10"`.
        check: whether a structured value holds it.
        bound: what values are compared with, None for what needs none.
        length: what its length is compared with, None for what is no bound of a length.
        side: 1 where the bound is the least, -1 where it is the most, 0 for no such bound.
        open: whether the bound itself is outside.
        kinds: which JSON types it can be a condition of; None for all.
        schema: keywords of JSON Schema that say the same; by the JSON type, where it depends.
        log: the text for the log, where `told` may hold what was sent.
    """

    told: str
    check: Check
    bound: Any = None
    length: int | None = None
    side: int = 0
    open: bool = False
    kinds: frozenset[str] | None = None
    schema: Callable[[frozenset[str]], Schema] = lambda _: {}
    log: str | None = None

    @property
    def note(self) -> str:
        """What is said of it where nothing has been sent: `"at most 10"`."""
        if self.told == OWN_TEXT:
            return "checked by the petal"
        return self.told.removeprefix("must be ").removeprefix("must ")

    def holds(self, value: Any) -> bool:
        """Whether a value holds it, so far as that can be said of a value that nobody has sent."""
        try:
            return self.check(value)
        except Exception:  # a predicate of somebody's, about another kind of value
            return True


_ORDER: dict[str, tuple[Callable[[Any, Any], bool], str, str]] = {
    "ge": (operator.ge, "must be at least", "minimum"),
    "gt": (operator.gt, "must be above", "exclusiveMinimum"),
    "le": (operator.le, "must be at most", "maximum"),
    "lt": (operator.lt, "must be below", "exclusiveMaximum"),
}


def order(name: str, bound: Any) -> Constraint:
    """A bound: `"ge"`, `"gt"`, `"le"` or `"lt"`."""
    compare, told, keyword = _ORDER[name]
    if isinstance(bound, int | float | decimal.Decimal) and not _can_hold(name, bound):
        raise CannotBuild(f"{told} {bound}: no number is")
    in_schema = isinstance(bound, int | float) and not isinstance(bound, bool)
    return Constraint(
        told=f"{told} {bound}",
        check=lambda value: compare(value, bound),
        bound=bound,
        side=1 if name.startswith("g") else -1,
        open=name.endswith("t"),
        schema=lambda _: {keyword: bound} if in_schema else {},
    )


def _can_hold(name: str, bound: float | decimal.Decimal) -> bool:
    """Nothing is above infinity, JSON has no infinity itself, and nothing compares with NaN."""
    if isinstance(bound, int) or (isinstance(bound, float) and math.isfinite(bound)):
        return True
    exact = decimal.Decimal(bound)
    return exact.is_finite() or (exact.is_infinite() and (exact > 0) is name.startswith("l"))


def multiple_of(step: Any) -> Constraint:
    """A multiple, judged by the digits that are written: 0.3 is one of 0.1."""
    exact = decimal.Decimal(str(step))
    if not (exact.is_finite() and exact > 0):
        raise CannotBuild(f"multiple_of must be above 0, not {step!r}")

    def check(value: Any) -> bool:
        try:
            return decimal.Decimal(str(value)) % exact == 0
        except (decimal.InvalidOperation, ValueError):  # too long to be divided so
            return bool(value % step == 0)

    return Constraint(
        told=f"must be a multiple of {step}",
        check=check,
        bound=step,
        kinds=frozenset({NUMBER}),
        schema=lambda _: {"multipleOf": step} if isinstance(step, int | float) else {},
    )


_LENGTHS = {
    STRING: ("Length", "characters"),
    ARRAY: ("Items", "elements"),
    OBJECT: ("Properties", "keys"),
}


def length(least: int | None, most: int | None) -> list[Constraint]:
    """Bounds of `len()`."""
    found: list[Constraint] = []
    for word, bound, compare, text in (
        ("min", least, operator.ge, "at least"),
        ("max", most, operator.le, "at most"),
    ):
        if bound is not None:
            found.append(_length(word, bound, compare, text))
    return found


def _length(word: str, bound: int, compare: Callable[[Any, Any], bool], text: str) -> Constraint:
    def schema(kinds: frozenset[str]) -> Schema:
        return {word + name: bound for kind, (name, _) in _LENGTHS.items() if kind in kinds}

    if bound < 0 and word == "max":
        raise CannotBuild(f"a length of at most {bound} has no value")
    return Constraint(
        told=f"must have a length of {text} {bound}",
        check=lambda value: compare(len(value), bound),
        length=bound,
        side=1 if word == "min" else -1,
        kinds=frozenset(_LENGTHS),
        schema=schema,
    )


def pattern(text: str | re.Pattern[str], *, full: bool = False) -> Constraint:
    """A regular expression, found anywhere in the text, or fitting the whole of it."""
    try:
        compiled = re.compile(text)
    except re.error as error:
        raise CannotBuild(f"the pattern {text!r} cannot be compiled: {error}") from None
    match = compiled.fullmatch if full else compiled.search
    written = f"^(?:{compiled.pattern})$" if full else compiled.pattern
    return Constraint(
        told=f"must match the pattern {compiled.pattern!r}",
        check=lambda value: match(value) is not None,
        kinds=frozenset({STRING}),
        schema=lambda _: {"pattern": written},
    )


def one_of(options: Any, shown: str) -> Constraint:
    """Membership, as attrs' `in_` asks for it."""
    return Constraint(told=f"must be one of {shown}", check=lambda value: _contains(options, value))


def _contains(options: Any, value: Any) -> bool:
    try:
        return value in options
    except TypeError:  # of what cannot be compared, such as a list with a set
        return False


def in_utc() -> Constraint:
    """A moment told in UTC."""
    return Constraint(
        told="must be in UTC", check=lambda value: value.utcoffset() == dt.timedelta(0), bound=None
    )


def predicate(function: Callable[[Any], Any], *, wanted: bool = True) -> Constraint:
    """A function of the petal's own that says whether a value will do."""
    name: str = getattr(function, "__name__", "") or type(function).__name__
    negation = "" if wanted else "not "
    told = OWN_TEXT if name == "<lambda>" else f"must {negation}satisfy {name}"
    return Constraint(told=told, check=lambda value: bool(function(value)) is wanted)
