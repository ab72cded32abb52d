"""Typed arguments: the type that is declared, or an error for each field."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import math
import pathlib
import uuid
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict, Union

import attrs
import pytest

from petalkit import forbid_extra_keys, make_converter
from petalkit._values.structuring import field_errors

converter = make_converter()


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 0
    HIGH = 1


class Mode(enum.StrEnum):
    AUTO = "auto"


class Old(str, enum.Enum):  # noqa: UP042 - as many petals write it
    A = "a"


class Count(int):
    pass


@attrs.frozen
class Point:
    x: float
    y: float = 0.0


@attrs.frozen
class Route:
    name: str
    points: list[Point]
    color: Color = Color.RED
    by_name: dict[str, Point] = attrs.field(factory=dict)


@dataclasses.dataclass
class Plain:
    n: int


class AsDict(TypedDict):
    n: int


@forbid_extra_keys
@attrs.frozen
class Closed:
    n: int = 0


@attrs.frozen
class Checked:
    n: int = attrs.field(validator=attrs.validators.ge(10))


@attrs.frozen
class Tree:
    value: int
    children: list[Tree] = attrs.field(factory=list)


Meters = NewType("Meters", float)

GOOD: list[tuple[Any, Any, Any]] = [
    (int, 5, 5),
    (int, 5.0, 5),
    (Level, 1.0, Level.HIGH),
    (Literal["a", 1], 1.0, 1),
    (int | None, 5.0, 5),
    (float, 5, 5.0),
    (float, 5.5, 5.5),
    (bool, True, True),
    (str, "x", "x"),
    (bytes, "aGk=", b"hi"),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (decimal.Decimal, 1.1, decimal.Decimal("1.1")),
    (dt.datetime, "2026-01-01T00:00:00Z", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
    (dt.date, "2026-01-01", dt.date(2026, 1, 1)),
    (dt.time, "10:30", dt.time(10, 30)),
    (uuid.UUID, "00000000-0000-0000-0000-000000000001", uuid.UUID(int=1)),
    (pathlib.Path, "a/b", pathlib.Path("a/b")),
    (Color, "blue", Color.BLUE),
    (Level, 1, Level.HIGH),
    (Mode, "auto", Mode.AUTO),
    (Mode | None, "auto", Mode.AUTO),
    (Old, "a", Old.A),
    (list[Mode], ["auto"], [Mode.AUTO]),
    (Count, 5, Count(5)),
    (Literal["a", 1], "a", "a"),
    (Literal["a", 1], 1, 1),
    (list[int], [1, 2], [1, 2]),
    (list, [1, "a"], [1, "a"]),
    (set[int], [1, 1], {1}),
    (frozenset[str], ["a"], frozenset({"a"})),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (collections.abc.Sequence[int], [1], [1]),
    (collections.deque[int], [1], collections.deque([1])),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (dict[str, list[float]], {"a": [1]}, {"a": [1.0]}),
    (collections.abc.Mapping[str, int], {"a": 1}, {"a": 1}),
    (dict, {"a": 1}, {"a": 1}),
    (int | None, None, None),
    (int | None, 5, 5),
    (Optional[Point], {"x": 1}, Point(1.0)),
    (Optional[Point], None, None),
    (list[int] | None, None, None),
    (list[int] | None, [1], [1]),
    (int | str, "a", "a"),
    (int | str, 1, 1),
    (Union[float, None], 1, 1.0),
    (bool | None, True, True),
    (Color | None, "red", Color.RED),
    (dt.datetime | None, None, None),
    (Any, [{"a": None}], [{"a": None}]),
    (Meters, 1, 1.0),
    (Annotated[int, "metres"], 1, 1),
    (Plain, {"n": 1}, Plain(1)),
    (AsDict, {"n": 1}, {"n": 1}),
    (Route, {"name": "r", "points": [{"x": 1}]}, Route("r", [Point(1.0)])),
    (Route, {"name": "r", "points": [], "by_name": {"a": {"x": 1}}, "more": 1},
     Route("r", [], by_name={"a": Point(1.0)})),
    (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)])),
    (Closed, {"n": 1}, Closed(1)),
    (dict[Color, int], {"red": 1}, {Color.RED: 1}),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "value", "expected"), GOOD, ids=lambda one: str(one)[:40])
def test_what_fits_is_taken(cls: Any, value: Any, expected: Any) -> None:
    result = converter.structure(value, cls)
    assert result == expected
    assert type(result) is type(expected)


BAD: list[tuple[Any, Any]] = [
    (int, True), (int, 1.5), (int, "1"), (int, None), (int, [1]),
    (float, True), (float, "1.5"), (float, None), (float, 10**400),
    (bool, 1), (bool, 0), (bool, "false"), (bool, None),
    (str, 1), (str, None), (str, ["a"]),
    (bytes, "not base64!"), (bytes, 5), (bytes, "é"),
    (decimal.Decimal, True), (decimal.Decimal, "x"), (decimal.Decimal, "NaN"),
    (dt.datetime, "yesterday"), (dt.datetime, 5),
    (uuid.UUID, "x"), (uuid.UUID, 5),
    (Color, "green"), (Color, None), (Level, True), (Level, 1.5), (Level, "1"),
    (Level, 2), (Mode, "x"), (Old, "b"), (Old, 5), (Mode | None, "x"), (Count, "5"),
    (Literal["a", 1], True), (Literal["a", 1], "b"),
    (list[int], "12"), (list[int], {"0": 1}), (list[int], None), (list[int], [True]),
    (list[str], "abc"), (list, "abc"), (set[str], "abc"), (tuple[str, ...], "abc"),
    (tuple[int, str], [1]), (tuple[int, str], [1, "a", 2]), (tuple[int, str], ["a", 1]),
    (dict[str, int], [["a", 1]]), (dict[str, int], {"a": "1"}), (dict, []), (dict, "x"),
    (int | None, "5"), (int | None, 5.5), (int | None, True),
    (float | None, "5"), (float | None, True),
    (bool | None, 1), (str | None, 1),
    (list[int] | None, "12"), (list[int] | None, ["1"]),
    (Point | None, []), (Point | None, {"x": "1"}), (int | str, 1.5), (int | str, None),
    (Color | None, "green"), (dt.datetime | None, 5),
    (Meters, "1"), (Meters, True), (Annotated[int, "metres"], 1.5),
    (Point, []), (Point, "x"), (Point, None), (Point, {}), (Point, {"x": True}),
    (Plain, {"n": "1"}), (Plain, {}), (AsDict, {"n": 1.5}), (AsDict, {}), (AsDict, []),
    (Closed, {"n": 1, "m": 2}), (Checked, {"n": 9}),
    (Route, {"name": "r", "points": {"x": 1}}), (Route, {"name": "r", "points": "xy"}),
    (Tree, {"value": 1, "children": [{"value": "2"}]}),
    (dict[Color, int], {"green": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "value"), BAD, ids=lambda one: str(one)[:40])
def test_what_does_not_fit_is_refused_with_a_path_and_a_reason(cls: Any, value: Any) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of many kinds, all told alike
        converter.structure(value, cls)
    errors = field_errors(caught.value, "data")
    assert errors
    for error in errors:
        assert error["path"].startswith("data")
        assert error["message"]
        assert "0x" not in error["message"]  # no repr of ours


@pytest.mark.parametrize(
    ("cls", "value", "expected"),
    [
        (
            Route,
            {"points": [{"x": 1}, {"x": "1"}, {}], "color": "green", "by_name": {"a": {"x": []}}},
            {
                "data.name": "is required",
                "data.points[1].x": "expected a number, got a string",
                "data.points[2].x": "is required",
                "data.color": "expected one of 'red', 'blue'",
                "data.by_name['a'].x": "expected a number, got an array",
            },
        ),
        (Closed, {"m": 1, "n": 1}, {"data.m": "is not a known field"}),
        (AsDict, {}, {"data.n": "is required"}),
        (Plain, {}, {"data.n": "is required"}),
        (int, True, {"data": "expected a whole number, got a boolean"}),
        (list[int], [1, "x"], {"data[1]": "expected a whole number, got a string"}),
        (tuple[int, str], [1], {"data": "expected 2 elements, got 1"}),
        (Tree, {"value": 1, "children": [{}]}, {"data.children[0].value": "is required"}),
    ],
)
def test_each_field_has_its_own_error(cls: Any, value: Any, expected: dict[str, str]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        converter.structure(value, cls)
    errors = field_errors(caught.value, "data")
    assert {error["path"]: error["message"] for error in errors} == expected


def test_a_models_own_validator_speaks() -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        converter.structure({"n": 9}, Checked)
    (error,) = field_errors(caught.value, "data")
    assert "10" in error["message"]


def test_the_number_of_errors_is_bounded() -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        converter.structure(["x"] * 10_000, list[int])
    assert len(field_errors(caught.value, "data")) == 20


def test_errors_do_not_repeat_what_was_sent() -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        converter.structure({"name": 5, "points": "hunter2", "color": "hunter2"}, Route)
    assert "hunter2" not in str(field_errors(caught.value, "data"))


def test_floats_may_be_large_and_stay_finite() -> None:
    assert converter.structure(1e308, float) == 1e308
    assert math.isfinite(converter.structure(10**300, float))


def test_one_converters_hooks_are_not_anothers() -> None:
    own = make_converter()
    own.register_structure_hook(complex, lambda value, _: complex(*value))
    assert own.structure([1, 2], complex) == 1 + 2j
    assert own.structure([[1, 2]], list[complex]) == [1 + 2j]
    with pytest.raises(Exception):  # noqa: B017, PT011
        converter.structure([1, 2], complex)
