"""Ranges, lengths, patterns: enforced with path and bound, or refused where they are declared."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import math
import re
from typing import Annotated, Any, Literal, NewType

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest

from petalkit._values.structuring import field_errors, types_of

from .kit import converter, refusal, take


def told(annotation: Any, value: Any) -> list[str]:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        take(annotation, value)
    return [f"{one['path']} {one['message']}" for one in field_errors(caught.value, "data")]


def even(value: int) -> bool:
    return value % 2 == 0


def whole(value: Any) -> bool:
    return bool(value.is_integer())


Speed = NewType("Speed", Annotated[float, at.Ge(0), at.Le(10)])  # type: ignore[valid-newtype]
HALF = decimal.Decimal("0.5")
NEW_YEAR = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

# -- annotation, what it takes, what it refuses, and the words
ENFORCED: list[tuple[Any, Any, Any, str]] = [
    (Annotated[float, msgspec.Meta(ge=-10, le=10)], 10, 10.5, "must be at most 10"),
    (Annotated[float, msgspec.Meta(ge=-10, le=10)], -10, -11, "must be at least -10"),
    (Annotated[int, msgspec.Meta(gt=0, lt=5)], 1, 0, "must be above 0"),
    (Annotated[int, msgspec.Meta(gt=0, lt=5)], 4.0, 5.0, "must be below 5"),
    (Annotated[int, msgspec.Meta(multiple_of=5)], 10, 11, "must be a multiple of 5"),
    (Annotated[float, at.MultipleOf(0.1)], 0.3, 0.35, "must be a multiple of 0.1"),
    (Annotated[str, msgspec.Meta(min_length=2)], "ab", "a", "must have a length of at least 2"),
    (Annotated[str, msgspec.Meta(pattern="^a")], "ab", "ba", "must match the pattern '^a'"),
    (Annotated[int, at.Ge(1)], 1, 0, "must be at least 1"),
    (Annotated[int, at.Gt(1)], 2, 1, "must be above 1"),
    (Annotated[int, at.Le(1)], 1, 2, "must be at most 1"),
    (Annotated[int, at.Lt(1)], 0, 1, "must be below 1"),
    (Annotated[int, at.Interval(ge=1, lt=3)], 2, 3, "must be below 3"),
    (Annotated[list[int], at.Len(1, 2)], [1], [1, 2, 3], "must have a length of at most 2"),
    (Annotated[dict[str, int], at.MinLen(1)], {"a": 1}, {}, "must have a length of at least 1"),
    (Annotated[set[int], at.MaxLen(1)], [1, 1], [1, 2], "must have a length of at most 1"),
    (Annotated[int, at.Predicate(even)], 2, 3, "must satisfy even"),
    (Annotated[int, at.Predicate(at.Not(even))], 3, 2, "must not satisfy even"),
    (at.LowerCase[str], "a", "A", "must satisfy islower"),
    (Annotated[dt.datetime, at.Timezone(dt.UTC)], "2026-01-01T00:00:00Z",
     "2026-01-01T00:00:00+01:00", "must be in UTC"),
    (Annotated[dt.datetime, at.Ge(NEW_YEAR)], "2026-01-01T00:00:00Z", "2025-01-01T00:00:00Z",
     "must be at least 2026-01-01 00:00:00+00:00"),
    (Annotated[dt.timedelta, at.Le(dt.timedelta(seconds=5))], 5, 6, "must be at most 0:00:05"),
    (Annotated[decimal.Decimal, at.Ge(HALF)], "0.5", "0.4", "must be at least 0.5"),
    (Annotated[int, pydantic.Field(ge=1, le=3)], 3, 4, "must be at most 3"),
    (Annotated[str, pydantic.Field(max_length=2, pattern="^a")], "ab", "abc",
     "must have a length of at most 2"),
    (Annotated[str, pydantic.Field(pattern="^a")], "ab", "b", "must match the pattern '^a'"),
    (pydantic.PositiveInt, 1, 0, "must be above 0"),
    (pydantic.conint(ge=1, multiple_of=2), 2, 3, "must be a multiple of 2"),
    (Annotated[str, pydantic.StringConstraints(min_length=1)], "a", "",
     "must have a length of at least 1"),
    (Annotated[int, attrs.validators.ge(2)], 2, 1, "must be at least 2"),
    (Annotated[str, attrs.validators.in_(["a"])], "a", "b", "must be one of 'a'"),
    (Speed, 10, 11, "must be at most 10"),
    (Annotated[int | None, at.Ge(1)], None, 0, "must be at least 1"),
    (Annotated[int, at.Ge(1)] | None, 1, 0, "must be at least 1"),
    (Annotated[Annotated[int, at.Ge(1)], at.Le(3)], 3, 4, "must be at most 3"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("annotation", "good", "bad", "words"), ENFORCED, ids=lambda o: str(o)[:50]
)
def test_what_is_declared_is_enforced(annotation: Any, good: Any, bad: Any, words: str) -> None:
    take(annotation, good)
    assert told(annotation, bad) == [f"data {words}"]
    assert told(list[annotation], [good, bad]) == [f"data[1] {words}"]
    if not isinstance(good, list | dict):
        assert told(annotation, []) != [f"data {words}"]  # the type comes first


@attrs.frozen
class Move:
    up: Annotated[float, msgspec.Meta(ge=-10, le=10)]
    via: list[Annotated[int, at.Ge(0)]] = attrs.field(factory=list)
    speed: float = attrs.field(default=1.0, validator=attrs.validators.le(5))
    name: Annotated[str, at.MinLen(1), at.MaxLen(3), msgspec.Meta(pattern="^[a-z]*$")] = "a"


def test_all_that_is_wrong_is_told_at_once_beside_what_has_another_type() -> None:
    assert told(Move, {"up": 11, "via": [0, -1, "x"], "speed": 6, "name": "ABCD"}) == [
        "data.up must be at most 10",
        "data.via[1] must be at least 0",
        "data.via[2] expected a whole number, got a string",
        "data.speed must be at most 5",
        "data.name must have a length of at most 3",  # so no pattern looks at it
    ]


class Ours:
    """Of a library that nobody has heard of."""

    def __init__(self, **named: Any) -> None:
        self.__dict__.update(named)


def as_attrs_calls_it(instance: Any, attribute: Any, value: int) -> None:
    raise ValueError


class AsAttrsCallsIt:
    def __call__(self, instance: Any, attribute: Any, value: int) -> None:
        raise ValueError


class OurKind(at.BaseMetadata):
    pass


class OurGroup(at.GroupedMetadata):
    def __iter__(self) -> Any:
        yield at.Ge(1)
        yield Ours(pattern="a")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[str, at.Ge(5)], "does not fit str"),
        (Annotated[bool, at.Ge(0)], "does not fit bool"),
        (Annotated[int, at.Ge("a")], "does not fit int"),
        (Annotated[int, at.Len(1)], "does not fit int"),
        (Annotated[list[int], msgspec.Meta(pattern="a")], "does not fit list[int]"),
        (Annotated[dt.date, msgspec.Meta(pattern="a")], "does not fit date"),
        (Annotated[dt.datetime, at.Ge(dt.datetime(2026, 1, 1))], "does not fit"),
        (Annotated[int | str, at.Ge(1)], "does not fit str"),
        (Annotated[Move, at.Ge(1)], "does not fit Move"),
        (Annotated[Any, at.Ge(1)], "nobody knows what Any gives"),
        (Annotated[str, pydantic.Field(pattern="(")], "cannot be compiled"),
        (Annotated[dt.datetime, msgspec.Meta(tz=False)], "always refused"),
        (Annotated[dt.datetime, at.Timezone(None)], "always refused"),
        (Annotated[dt.datetime, at.Timezone("Europe/Berlin")], "no time zone"),
        (Annotated[int, pydantic.AfterValidator(abs)], "cannot be enforced"),
        (Annotated[int, pydantic.Field(alias="x")], "Field(alias=...)"),
        (Annotated[int, pydantic.Field(default=5)], "write the default with ="),
        (Annotated[decimal.Decimal, pydantic.Field(max_digits=3)], "cannot be enforced"),
        (Annotated[str, pydantic.StringConstraints(to_upper=True)], "cannot be enforced"),
        (Annotated[int, OurKind()], "cannot be enforced"),
        (Annotated[int, OurGroup()], "cannot be enforced"),
        (Annotated[int, Ours(ge=1)], "cannot be enforced"),
        (Annotated[int, Ours(validate=even)], "cannot be enforced"),
        (Annotated[int, even], "annotated_types.Predicate(function)"),
        (Annotated[int, lambda value: value > 3], "annotated_types.Predicate(function)"),
        (Annotated[float, math.isfinite], "annotated_types.Predicate(function)"),
        (Annotated[int, functools.partial(even)], "annotated_types.Predicate(function)"),
        (Annotated[int, as_attrs_calls_it], "a validator of attrs belongs on a field"),
        (Annotated[int, AsAttrsCallsIt()], "a validator of attrs belongs on a field"),
    ],
    ids=lambda one: str(one)[:60].partition(" at 0x")[0].partition(".AsAttrs")[0],
)
def test_what_cannot_be_enforced_is_refused(annotation: Any, words: str) -> None:
    assert words in refusal(annotation)
    assert "at [...]" in refusal(dict[str, annotation])


@pytest.mark.parametrize(
    "metadata",
    ["metres", 5, None, ("a", "b"), {"unit": "m"}, at.doc("Metres."), at.Unit("m"), Ours(unit="m"),
     Ours(ge=None), pydantic.Field(description="Metres."), pydantic.Field(strict=True),
     msgspec.Meta(title="Metres", extra={"unit": "m"}), list],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_what_is_no_constraint_passes(metadata: Any) -> None:
    assert take(Annotated[int, metadata], 5) == 5


def test_a_bug_in_a_predicate_is_no_mistake_of_the_senders_but_a_value_error_is() -> None:
    with pytest.raises(AttributeError):
        take(Annotated[str, at.Predicate(whole)], "a")

    def odd(value: int) -> bool:
        raise ValueError("is odd")

    assert told(Annotated[int, at.Predicate(odd)], 5) == ["data is odd"]


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[int, msgspec.Meta(ge=10, le=5)],
        Annotated[float, at.Gt(1), at.Lt(1)],
        Annotated[float, at.Ge(1), at.Lt(1)],
        Annotated[float, at.Ge(math.nan)],
        Annotated[float, at.Lt(math.nan)],
        Annotated[decimal.Decimal, at.Ge(decimal.Decimal("NaN"))],
        Annotated[float, at.Ge(math.inf)],
        Annotated[float, at.Le(-math.inf)],
        Annotated[float, at.MultipleOf(math.nan)],
        Annotated[int, at.Gt(1), at.Lt(2)],
        Annotated[int, at.Ge(1.2), at.Le(1.8)],
        Annotated[str, at.MinLen(5), at.MaxLen(3)],
        Annotated[list[int], at.MaxLen(-1)],
        Annotated[Literal[1, 2], at.Ge(5)],
        Annotated[Annotated[int, at.Ge(10)], at.Le(5)],
        Annotated[int | None, msgspec.Meta(gt=10, lt=5)],
        Annotated[str, msgspec.Meta(min_length=3, max_length=2)],
    ],
)
def test_bounds_with_nothing_between_them_are_refused(annotation: Any) -> None:
    """Else every value would be the sender's mistake."""
    assert re.search("no value|no number is|must be above 0|none of", refusal(annotation))


@pytest.mark.parametrize(
    ("annotation", "notes"),
    [
        (Annotated[float, at.Predicate(math.isfinite)], ("satisfy isfinite",)),
        (Annotated[float, at.Predicate(at.Not(math.isnan))], ("not satisfy isnan",)),
        (Annotated[float, at.Predicate(lambda value: value > 3)], ("checked by the petal",)),
    ],
)
def test_a_predicate_is_listed_as_what_a_value_has_to_be(annotation: Any, notes: Any) -> None:
    assert types_of(converter).node(annotation).notes == notes


def test_bounds_that_hold_every_number_or_one_are_good() -> None:
    assert take(Annotated[float, at.Lt(math.inf), at.Gt(-math.inf)], 5) == 5
    assert take(Annotated[int, at.Gt(0), at.Lt(2)], 1) == 1


def test_bounds_with_one_value_between_them_are_good() -> None:
    assert take(Annotated[int, msgspec.Meta(ge=5, le=5)], 5) == 5
