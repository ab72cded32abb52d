"""Types, walked once: what is declared is enforced at any depth, or refused with its place."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import sys
import uuid
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypeVar,
)

import attrs
import cattrs.gen
import msgspec
import pydantic
import pytest
import typing_extensions

from petalkit import CommandError, forbid_extra_keys, make_converter
from petalkit._values.structuring import field_errors, types_of
from petalkit._values.types.node import document

from .kit import refusal, take

T = TypeVar("T")


def errors(annotation: Any, value: Any) -> dict[str, str]:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of many kinds, all told alike
        take(annotation, value)
    found = field_errors(caught.value, "data")
    assert len({one["path"] for one in found}) == len(found)
    return {one["path"]: one["message"] for one in found}


# -- forward references, and optionals of what is within models


@attrs.frozen
class Place:
    home: Optional["Point"] = None  # noqa: UP037 - as an editor writes it
    around: list["Point"] = attrs.field(factory=list)  # noqa: UP037


@attrs.frozen
class Point:
    x: float
    y: float = 0.0


def test_a_name_that_is_defined_later_is_found() -> None:
    assert take(Place, {"home": {"x": 1}, "around": [{"x": 2}]}) == Place(Point(1.0), [Point(2.0)])
    assert errors(Place, {"home": {"x": "1"}, "around": [{}]}) == {
        "data.home.x": "expected a number, got a string",
        "data.around[0].x": "is required",
    }


def test_a_class_within_a_function_may_name_itself() -> None:
    @attrs.frozen
    class Node:
        value: int
        next: Optional["Node"] = None  # noqa: UP037

    assert take(Node, {"value": 1, "next": {"value": 2}}) == Node(1, Node(2))


class Drone(pydantic.BaseModel):
    name: str
    altitude: float = pydantic.Field(default=0.0, le=120)


class Camera(msgspec.Struct, rename="camel"):
    focal_length: float
    max_zoom: Annotated[int, msgspec.Meta(ge=1, le=8)] = 8


@attrs.frozen
class Everything:
    wait: dt.timedelta | None = None
    address: ipaddress.IPv4Address | None = None
    extra: dict[str, object] | None = None
    anything: object = None
    drone: Drone | None = None
    camera: Camera | None = None
    drones: list[Drone] = attrs.field(factory=list)
    cameras: dict[str, Annotated[Camera, "by name"]] = attrs.field(factory=dict)


def test_optionals_of_everything_within_a_model() -> None:
    made = take(
        Everything,
        {
            "wait": "PT1.5S",
            "address": "10.0.0.1",
            "extra": {"a": [1, None]},
            "anything": {"b": 1},
            "drone": {"name": "d", "altitude": 5},
            "camera": {"focalLength": 35},
            "drones": [{"name": "e"}],
            "cameras": {"front": {"focalLength": 1, "maxZoom": 2}},
        },
    )
    assert made == Everything(
        dt.timedelta(seconds=1.5),
        ipaddress.IPv4Address("10.0.0.1"),
        {"a": [1, None]},
        {"b": 1},
        Drone(name="d", altitude=5.0),
        Camera(35.0),
        [Drone(name="e")],
        {"front": Camera(1.0, 2)},
    )
    assert take(Everything, {}) == Everything()


def test_each_library_tells_its_errors_field_by_field() -> None:
    found = errors(
        Everything,
        {
            "wait": "1 s",
            "address": "10.0.0.256",
            "drone": {"name": 1, "altitude": 121},
            "camera": {"focal_length": 1, "maxZoom": 9},
            "drones": [{}],
            "cameras": {"front": {"focalLength": "x"}},
        },
    )
    assert found["data.drone.name"] == "Input should be a valid string"
    assert "120" in found["data.drone.altitude"]
    assert {path: text for path, text in found.items() if not path.startswith("data.drone.")} == {
        "data.wait": "expected a number of seconds or an ISO 8601 duration such as 'PT1.5S'",
        "data.address": "expected an IPv4 address",
        "data.camera.focalLength": "is required",
        "data.camera.maxZoom": "must be at most 8",
        "data.drones[0].name": "is required",
        "data.cameras['front'].focalLength": "expected a number, got a string",
    }


class Opaque:
    """Nothing that JSON could say."""


@attrs.frozen
class Deep:
    parts: dict[str, list[Opaque | None]]


Secret = NewType("Secret", Opaque)


@attrs.frozen
class Missing:
    there: int
    gone: Optional["Nowhere"] = None  # type: ignore[name-defined]  # noqa: F821, UP037


class Odd(enum.Enum):
    A = object()


class AsArray(msgspec.Struct, array_like=True):
    x: int


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Opaque | None, "the type Opaque cannot be made from JSON"),
        (Deep, "at parts[...][]: the type Opaque cannot be made"),
        (list[Annotated[Secret, "x"]], "at []: the type Opaque cannot be made"),
        (Missing, "at gone: the annotation"),
        (complex, "the type complex cannot be made"),
        (dict[Point, int], "at [key]: Point cannot be the key of an object"),
        (dict[dict[str, int] | str, int], "cannot be the key of an object"),
        (set[dict[str, int]], "cannot be an element of a set; write list[...]"),
        (Odd, "the value <object object"),
        (AsArray, "array_like"),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_refused_with_its_place(annotation: Any, text: str) -> None:
    assert text in refusal(annotation)


# -- numbers, choices, keys


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Gain(enum.Enum):
    ONE = 1.0
    HALF = 0.5


class Axes(enum.Flag):
    X = 1
    Y = 2


class Lenient(enum.Enum):
    AUTO = "auto"

    @classmethod
    def _missing_(cls, value: object) -> Lenient | None:
        if value == "broken":
            raise KeyError(value)
        return cls.AUTO if value == "AUTO" else None


class Pair(enum.Enum):
    A = (1, "a")


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (dict[int, float], {"1": 2.5}, {1: 2.5}),
        (dict[int, float], {"-1": 1, "2.0": 3}, {-1: 1.0, 2: 3.0}),
        (dict[float, int], {"1": 1, "0.5": 2, "1e3": 3}, {1.0: 1, 0.5: 2, 1000.0: 3}),
        (dict[Level, int], {"2": 1}, {Level.HIGH: 1}),
        (dict[Literal[1, "a"], int], {"1": 1, "a": 2}, {1: 1, "a": 2}),
        (dict[bool, int], {"true": 1}, {True: 1}),
        (dict[dt.date, int], {"2026-01-01": 1}, {dt.date(2026, 1, 1): 1}),
        (
            dict[uuid.UUID, int],
            {"00000000-0000-0000-0000-000000000001": 1},
            {uuid.UUID(int=1): 1},
        ),
        (dict[int | str, int], {"1": 1, "a": 2}, {1: 1, "a": 2}),
        (dict[Any, int], {"1": 1}, {"1": 1}),
        (Gain, 1, Gain.ONE),
        (Gain, 0.5, Gain.HALF),
        (Level, 2.0, Level.HIGH),
        (Axes, 3, Axes.X | Axes.Y),
        (Axes, 0, Axes(0)),
        (Axes, 2.0, Axes.Y),
        (Lenient, "AUTO", Lenient.AUTO),
        (Pair, [1.0, "a"], Pair.A),
        (int, 5.0, 5),
        (list[int], [1.0, 2], [1, 2]),
        (Literal[5], 5.0, 5),
        (int | None, 5.0, 5),
    ],
    ids=str,
)
def test_a_number_is_a_number_however_it_is_written(
    annotation: Any, value: Any, expected: Any
) -> None:
    made = take(annotation, value)
    assert made == expected
    assert repr(made) == repr(expected)  # 5 and not 5.0, 1 and not True


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (dict[int, float], {"x": 1}, {"data['x']": "as a key: expected a whole number"}),
        (dict[int, float], {"1.5": 1}, {"data['1.5']": "as a key: expected a whole number"}),
        (dict[int, int], {"true": 1}, {"data['true']": "as a key: expected a whole number"}),
        (
            dict[int, int],
            {"1": 1, "1.0": 2},
            {"data['1.0']": "is there twice, written in two ways"},
        ),
        (dict[Level, int], {"3": 1}, {"data['3']": "as a key: expected one of 1, 2"}),
        (dict[str, int], {"k" * 200: "x"}, None),
        (Gain, True, {"data": "expected one of 1.0, 0.5"}),
        (Axes, 4, {"data": "expected a sum of 1 (X), 2 (Y)"}),
        (Axes, -1, {"data": "expected a sum of 1 (X), 2 (Y)"}),
        (Axes, True, {"data": "expected a sum of 1 (X), 2 (Y), got a boolean"}),
        (Lenient, "other", {"data": "expected one of 'auto'"}),
        (int, 5.5, {"data": "expected a whole number"}),
        (int, 1e300 + 0.5j, None),
        (Literal[1], True, {"data": "expected one of 1"}),
    ],
    ids=lambda one: str(one)[:40],
)
def test_what_is_none_of_them_is_refused(
    annotation: Any, value: Any, expected: dict[str, str] | None
) -> None:
    found = errors(annotation, value)
    if expected is not None:
        assert found == expected
    assert all(len(path) < 100 for path in found)


def test_a_bug_in_missing_is_no_mistake_of_the_senders() -> None:
    with pytest.raises(KeyError):
        take(Lenient, "broken")


# -- times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00Z", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        ("2026-01-01t00:00:00z", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        ("2026-01-01T01:00:00+01:00", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        ("2026-01-01T00:00:00.5Z", dt.datetime(2026, 1, 1, 0, 0, 0, 500000, dt.UTC)),
        ("2026-01-01T00:00:00.1234567Z", dt.datetime(2026, 1, 1, 0, 0, 0, 123456, dt.UTC)),
    ],
)
def test_a_moment_is_of_rfc_3339(text: str, expected: dt.datetime) -> None:
    assert take(dt.datetime, text) == expected


@pytest.mark.parametrize(
    "text",
    ["2026-01-01T00:00:00", "2026-01-01", "20260101T000000Z", "2026-W01-1T00:00:00Z",
     "2026-01-01 00:00:00Z", "2026-01-01T00:00Z", "2026-01-01T00:00:60Z", "2026-02-30T00:00:00Z",
     "2026-01-01T24:00:00Z", "2026-01-01T00:00:00+0100", "２026-01-01T00:00:00Z", ""],
)  # fmt: skip
def test_a_moment_without_its_offset_or_in_another_form_is_refused(text: str) -> None:
    assert errors(dt.datetime, text) == {
        "data": "expected an RFC 3339 date and time with its offset"
    }
    for other in ("20260101", "2026-W01-1"):
        assert errors(dt.date, other) == {"data": "expected a date"}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(5, 5), (1.5, 1.5), (-1, -1), ("PT1.5S", 1.5), ("P1DT2H3M4S", 93784), ("-PT1H", -3600),
     ("P1W", 604800), ("PT0.5H", 1800)],
)  # fmt: skip
def test_a_duration_is_seconds_or_iso_8601(value: Any, seconds: float) -> None:
    assert take(dt.timedelta, value) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["P", "PT", "P1Y", "1", "", True, None, 1e300, "P99999999999D"])
def test_what_has_no_length_is_refused(value: Any) -> None:
    assert errors(dt.timedelta, value)


def test_a_duration_as_a_result_is_taken_again() -> None:
    for length in (dt.timedelta(days=-1, seconds=3.25), dt.timedelta(days=400, hours=5)):
        assert take(dt.timedelta, msgspec.to_builtins(length)) == length


def test_decimals_of_very_many_digits_are_refused() -> None:
    assert take(decimal.Decimal, "1e5") == decimal.Decimal("1e5")
    for value in (10**5000, "1" * 5000, "1e999999", "Infinity"):
        assert errors(decimal.Decimal, value) == {"data": "expected a decimal number"}


# -- names on the wire, generics, typed dicts


@attrs.frozen
class Named:
    _serial: int
    alias_of: str = attrs.field(default="", alias="otherName")


def test_attrs_fields_have_their_alias_on_the_wire() -> None:
    assert take(Named, {"serial": 1, "otherName": "a"}) == Named(1, "a")
    assert errors(Named, {"_serial": 1}) == {"data.serial": "is required"}


@attrs.frozen
class Box(Generic[T]):
    item: T
    more: list[T] = attrs.field(factory=list)


@dataclasses.dataclass
class IntBox(Box[int], Generic[T]):
    other: T | None = None


class Tagged(msgspec.Struct, Generic[T]):
    item: T


class Entry(typing_extensions.TypedDict, Generic[T]):
    item: typing_extensions.Required[T]
    note: typing_extensions.NotRequired[str]


@pytest.mark.parametrize("annotation", [Box[int], Tagged[int], Entry[int]])
def test_the_argument_of_a_generic_model_is_enforced(annotation: Any) -> None:
    take(annotation, {"item": 1})
    assert errors(annotation, {"item": "1"}) == {
        "data.item": "expected a whole number, got a string"
    }
    assert "at item: the type Opaque" in refusal(annotation.__origin__[Opaque])


def test_a_base_with_its_argument_given_keeps_it() -> None:
    @attrs.frozen
    class Wide(Box[int], Generic[T]):
        other: T | None = None

    assert take(Wide[str], {"item": 1, "other": "a"}) == Wide(1, other="a")
    assert errors(Wide[str], {"item": "a", "other": 1}).keys() == {"data.item", "data.other"}


@forbid_extra_keys
class Closed(typing_extensions.TypedDict):
    a: int


class ClosedBySpec(typing_extensions.TypedDict, closed=True):  # type: ignore[call-arg]
    a: int


@pytest.mark.parametrize("annotation", [Closed, ClosedBySpec])
def test_a_closed_typed_dict_of_typing_extensions_is_closed(annotation: Any) -> None:
    assert take(annotation, {"a": 1}) == {"a": 1}
    assert errors(annotation, {"a": 1, "ab": 2}) == {
        "data.ab": "is not a known field; did you mean 'a'?"
    }


class Strict(msgspec.Struct, forbid_unknown_fields=True, tag="strict"):
    a: int = 0


def test_a_struct_that_forbids_unknown_fields_does() -> None:
    assert take(Strict, {"a": 1, "type": "strict"}) == Strict(1)
    assert errors(Strict, {"x": 1, "type": "other"}) == {
        "data.x": "is not a known field",
        "data.type": "expected 'strict'",
    }


class Pose(NamedTuple):
    x: float
    label: str = ""


@dataclasses.dataclass
class Initialised:
    a: int
    factor: dataclasses.InitVar[int] = 1

    def __post_init__(self, factor: int) -> None:
        self.a *= factor


def test_named_tuples_are_arrays_and_what_init_alone_takes_is_a_field() -> None:
    assert take(Pose, [1]) == Pose(1.0)
    assert errors(Pose, ["x", 5]).keys() == {"data[0]", "data[1]"}
    assert errors(Pose, []) == {"data": "expected 1 to 2 elements, got 0"}
    assert take(Initialised, {"a": 2, "factor": 3}).a == 6
    assert errors(Initialised, {"a": 2, "factor": "3"}).keys() == {"data.factor"}
    assert take(collections.OrderedDict[str, int], {"a": 1}) == {"a": 1}


# -- unions


@attrs.frozen
class Circle:
    radius: float
    kind: Literal["circle"] = "circle"


@attrs.frozen
class Square:
    side: float
    kind: Literal["square"] = "square"


@attrs.frozen
class Small:
    a: int = 0


@attrs.frozen
class Large:
    a: int = 0
    b: int = 0


@attrs.frozen
class Twin:
    a: int = 0


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Circle | Square, {"kind": "square", "side": 1}, Square(1.0)),
        (Circle | Square, {"side": 1}, Square(1.0)),
        (Small | Large, {"a": 1, "b": 2}, Large(1, 2)),
        (Small | Large, {"a": 1}, Small(1)),
        (Small | dict[str, int] | None, {"x": 1}, Small()),
        (float | int, 5, 5),
        (float | int, 5.0, 5.0),
        (str | dt.date, "2026-01-01", dt.date(2026, 1, 1)),
        (str | dt.date, "today", "today"),
        (list[int] | list[str], ["a"], ["a"]),
        (Level | int, 2, Level.HIGH),
        (Level | int, 3, 3),
    ],
    ids=str,
)
def test_one_of_several_is_the_one_that_fits_best(
    annotation: Any, value: Any, expected: Any
) -> None:
    made = take(annotation, value)
    assert made == expected
    assert type(made) is type(expected)


def test_one_of_several_tells_what_is_wrong() -> None:
    assert errors(Circle | Square, {"kind": "square", "radius": 1}) == {"data.side": "is required"}
    assert errors(Circle | Square, {"radius": "x"}) == {
        "data": "fits none of Circle, Square",
        "data.radius": "expected a number, got a string (as Circle)",
    }
    assert errors(int | str | None, []) == {"data": "expected int or str or None, got an array"}
    assert "Small and Twin cannot be told apart" in refusal(Small | Twin)


# -- the model's own code


@attrs.frozen
class Checked:
    low: int = attrs.field(validator=attrs.validators.ge(10))
    color: str = attrs.field(default="red", validator=attrs.validators.in_(["red", "blue"]))
    code: str = attrs.field(default="a", validator=attrs.validators.matches_re("[a-z]+"))
    parts: list[int] = attrs.field(
        factory=list,
        validator=attrs.validators.deep_iterable(member_validator=attrs.validators.lt(5)),
    )
    even: int = attrs.field(default=0)
    other: int = 0

    @even.validator
    def _(self, attribute: object, value: int) -> None:
        if value % 2:
            raise ValueError("must be even")


def test_validators_tell_the_path_of_their_field_all_at_once_beside_type_errors() -> None:
    assert take(Checked, {"low": 10}) == Checked(10)
    found = errors(
        Checked,
        {"low": 1, "color": "green", "code": "A", "parts": [9], "even": 3, "other": "x"},
    )
    parts = found.pop("data.parts")
    assert "must be < 5" in parts
    assert found == {
        "data.low": "must be at least 10",
        "data.color": "must be one of 'red', 'blue'",
        "data.code": "must match the pattern '[a-z]+'",
        "data.even": "must be even",
        "data.other": "expected a whole number, got a string",
    }
    assert errors(Checked, {"low": 10, "even": 3}) == {"data.even": "must be even"}


@dataclasses.dataclass
class Buggy:
    what: str

    def __post_init__(self) -> None:
        match self.what:
            case "key":
                {}["x"]
            case "attribute":
                None.x  # type: ignore[attr-defined]  # noqa: B018
            case "no":
                raise CommandError("NOT_NOW", "the motors run")
            case "value":
                raise ValueError("is out of range")
            case _:
                pass


@pytest.mark.parametrize(
    ("what", "error"), [("key", KeyError), ("attribute", AttributeError), ("no", CommandError)]
)
def test_a_bug_of_the_model_travels_and_so_does_its_no(what: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        take(dict[str, list[Buggy | None]], {"a": [{"what": what}]})
    assert errors(list[Buggy], [{"what": "value"}]) == {"data[0]": "is out of range"}


# -- the petal's own hooks


def test_a_hook_of_the_petal_is_asked_first_at_any_depth() -> None:
    own = make_converter()
    own.register_structure_hook(Opaque, lambda value, _: ("opaque", value))
    own.register_structure_hook(int | str, lambda value, _: f"either {value}")
    own.register_structure_hook(int, lambda value, _: int(value) + 1)
    types = types_of(own.copy())
    assert types.node(dict[str, list[Opaque | None]]).structure({"a": [1, None]}) == {
        "a": [("opaque", 1), None]
    }
    assert types.node(list[int | str]).structure([1]) == ["either 1"]
    assert types.node(list[int]).structure(["1"]) == [2]
    assert types.node(Level).structure(1) is Level.LOW
    assert types.node(bool).structure(True) is True


def test_what_cattrs_makes_for_a_petal_keeps_its_errors() -> None:
    own = make_converter()
    own.register_structure_hook(
        Point,
        cattrs.gen.make_dict_structure_fn(Point, own, x=cattrs.gen.override(rename="east")),
    )
    node = types_of(own).node(list[Point])
    assert node.structure([{"east": 1}]) == [Point(1.0)]
    with pytest.raises(ValueError, match="required") as caught:
        node.structure([{}, {"east": "x"}])
    found = {one["path"]: one["message"] for one in field_errors(caught.value, "data")}
    assert found == {
        "data[0].x": "is required",
        "data[1].x": "expected a number, got a string",
    }


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is of Python 3.12")
def test_type_aliases_and_classes_with_type_parameters_are_looked_through() -> None:
    names: dict[str, Any] = {"attrs": attrs, "Point": Point, "__name__": __name__}
    source = """
type Numbers[T] = list[T] | None
type Places = dict[str, Point]

@attrs.frozen
class Pack[T]:
    items: Numbers[T]
    places: Places
"""
    exec(compile(source, "source", "exec", dont_inherit=True), names)
    pack = names["Pack"]
    assert take(pack[int], {"items": [1.0], "places": {}}) == pack([1], {})
    assert errors(pack[int], {"items": ["1"], "places": {"a": {}}}) == {
        "data.items[0]": "expected a whole number, got a string",
        "data.places['a'].x": "is required",
    }


Tree = typing_extensions.TypeAliasType("Tree", "int | list[Tree]")
Itself = typing_extensions.TypeAliasType("Itself", "Itself | int")
Pairs = dict[str, "Pairs"] | list["Pairs"] | None


def test_an_alias_that_stands_in_itself_is_enforced_at_any_depth() -> None:
    assert take(Tree, [1, [2, []]]) == [1, [2, []]]
    assert errors(list[Tree], [1, [2, ["x"]]]).keys() == {"data[1][1][0]"}
    assert take(dict[str, Tree], {"a": [1]}) == {"a": [1]}


def test_an_alias_by_its_own_name_is_too() -> None:
    @attrs.frozen
    class Holder:
        pairs: "Pairs"  # noqa: UP037

    assert take(Holder, {"pairs": {"a": [None]}}).pairs == {"a": [None]}
    assert errors(Holder, {"pairs": {"a": [1]}})


def test_an_alias_of_nothing_but_itself_is_refused() -> None:
    assert refusal(Itself) == "Itself is nothing but itself"


def test_its_schema_refers_to_itself() -> None:
    schema = document(types_of(make_converter()).node(Tree))
    assert schema == {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {
                "anyOf": [
                    {"type": "integer"},
                    {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                ]
            }
        },
    }
