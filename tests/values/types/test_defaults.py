"""A default that no sender could send is refused where it is declared."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import annotated_types
import attrs
import msgspec
import pydantic
import pytest
from typing_extensions import TypedDict

from petalkit import Petal, RegistrationError, make_converter
from petalkit._authoring.registry import build_table

AtLeast10 = Annotated[int, msgspec.Meta(ge=10)]


class Mode(enum.StrEnum):
    FAST = "fast"
    SLOW = "slow"


class Pair(NamedTuple):
    x: int
    y: int = 0


class Limits(TypedDict):
    top: AtLeast10


@attrs.frozen
class Point:
    x: AtLeast10


@dataclasses.dataclass(slots=True)
class Outer:
    points: list[Point] = dataclasses.field(default_factory=lambda: 1 / 0)  # type: ignore[arg-type]


class Scalar:
    """As numpy's: no number of Python's, and `item()` gives the one that it stands for."""

    dtype = "int64"

    def __init__(self, value: Any, ndim: int = 0) -> None:
        self.value = value
        self.ndim = ndim

    def item(self) -> Any:
        return self.value


@dataclasses.dataclass
class Pointed:
    x: int = Scalar(3)  # type: ignore[assignment]


@attrs.frozen
class Far:
    point: Point = Point(3)


def test_the_place_of_a_default_in_a_model_is_one_path() -> None:
    """It was told in two pieces: at .point, and at the end of the sentence at .x."""
    text = refused(list[Far], [])
    assert "at list[Far][].point.x: the default Point(x=3) must be at least 10; write" in text


def register(annotation: Any, default: Any) -> None:
    async def fly(x: Any = default) -> None: ...

    fly.__annotations__["x"] = annotation
    petal = Petal()
    petal.name = "drone"
    petal.add_command("fly", fly)
    build_table([petal])


def refused(annotation: Any, default: Any) -> str:
    with pytest.raises(RegistrationError) as caught:
        register(annotation, default)
    error = caught.value
    assert (error.petal, error.parameter) == ("drone", "x")
    assert "fly" in str(error)
    return str(error)


@pytest.mark.parametrize(
    ("annotation", "default", "told"),
    [
        (AtLeast10, 3, "the default 3 must be at least 10"),
        (Annotated[int, annotated_types.Lt(5)], 5, "must be below 5"),
        (Annotated[int, pydantic.Field(ge=10)], 3, "must be at least 10"),
        (Annotated[str, attrs.validators.matches_re("a+")], "b", "must match"),
        (Annotated[str, msgspec.Meta(max_length=2)], "abc", "length of at most 2"),
        (AtLeast10 | None, 3, "must be at least 10"),
        (list[AtLeast10], (12, 3), "must be at least 10 at [1]"),
        (dict[str, AtLeast10], {"a": 3}, "at ['a']"),
        (tuple[int, AtLeast10], (1, 3), "at [1]"),
        (int, "3", "is no int"),
        (int, 3.5, "is no int"),
        (int, True, "is no int"),
        (float, "3", "is no float"),
        (str, 3, "is no str"),
        (int | str, 3.5, "is no"),
        (pathlib.Path, "/tmp", "is no Path"),
        (decimal.Decimal, 1.5, "is no Decimal"),
        (dt.timedelta, 5, "is no timedelta"),
        (Mode, "fast", "is no Mode"),
        (Literal["a", "b"], "c", "is not of Literal['a', 'b']"),
        (Literal[1, 2], True, "is no Literal"),
        (AtLeast10, Scalar(3), "must be at least 10"),
        (int, Scalar(3.5), "is no int"),
        (int, Scalar([3], ndim=1), "is no int"),
        (list[int], "12", "is no list[int]"),
        (Point, {"x": 12}, "is no Point"),
        (Pair, (1, 2), "is no Pair"),
        (Limits, {"top": 3}, "must be at least 10 at .top"),
        (Point | None, Point(3), "must be at least 10 at .x"),
        (int, object(), "is no int"),
        (dt.datetime, dt.datetime(2020, 1, 1), "has no offset"),
        (Limits, {}, "lacks what is required at .top"),
        (tuple[int, int], (1,), "is no tuple[int, int], by its length"),
    ],
)
def test_a_default_that_nobody_could_send_is_refused(
    annotation: Any, default: Any, told: str
) -> None:
    assert told in refused(annotation, default)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (AtLeast10, 10),
        (AtLeast10, None),  # Python's way to say that nothing was given
        (AtLeast10 | None, None),
        (float, 3),
        (int, Scalar(3)),
        (bool, Scalar(True)),
        (AtLeast10, Scalar(12)),
        (list[float], [Scalar(0.5)]),
        (Pointed, Pointed()),
        (float, math.inf),
        (Annotated[float, msgspec.Meta(ge=1)], 2),
        (bool, False),
        (list[str], ()),
        (Sequence[str], ("a",)),
        (frozenset[int], frozenset({1})),
        (Mapping[str, int], {}),
        (Mode, Mode.FAST),
        (Literal["a", 1], 1),
        (Literal[Mode.FAST], Mode.FAST),
        (Point, Point(12)),
        (Pair, Pair(1)),
        (Limits, {"top": 10}),
        (dt.date, dt.date(2020, 1, 1)),
        (dt.datetime, dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
        (pathlib.Path, pathlib.Path("/tmp")),
        (object, object()),
        (Any, "x"),
        (int | str, "x"),
        (Point | str, "x"),
    ],
)
def test_a_default_that_could_be_sent_is_taken(annotation: Any, default: Any) -> None:
    register(annotation, default)


@attrs.frozen
class InAttrs:
    x: AtLeast10 = 3


@attrs.frozen
class ByValidator:
    x: int = attrs.field(default=3, validator=attrs.validators.ge(10))


@dataclasses.dataclass
class InDataclass:
    x: AtLeast10 = 3


class InStruct(msgspec.Struct):
    x: AtLeast10 = 3


class InTuple(NamedTuple):
    x: AtLeast10 = 3


class InPydantic(pydantic.BaseModel):
    x: int = pydantic.Field(3, ge=10)


class TypedByPydantic(pydantic.BaseModel):
    x: int = "3"  # type: ignore[assignment]


class WithGoodDefaults(pydantic.BaseModel):
    a: float = 1
    b: dt.timedelta = dt.timedelta(1)
    c: int | None = None
    d: list[int] = []
    e: tuple[int, ...] = (1,)
    f: int = pydantic.Field("3", validate_default=True)  # it sees to it itself


class Deep(pydantic.BaseModel):
    inner: InPydantic | None = None


@attrs.frozen
class Nested:
    inner: InAttrs | None = None


@attrs.frozen
class OfWrongType:
    x: int = "3"  # type: ignore[assignment]


MODELS: list[tuple[Any, str]] = [
    (InAttrs, ".x"), (ByValidator, ".x"), (InDataclass, ".x"), (InStruct, ".x"), (InTuple, ".x"),
    (InPydantic, ".x"), (TypedByPydantic, ".x"), (Deep, ".inner.x"), (Nested, ".inner.x"),
    (OfWrongType, ".x"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "path"), MODELS, ids=lambda one: getattr(one, "__name__", ""))
def test_a_field_of_a_model_is_held_to_it_too(model: Any, path: str) -> None:
    async def fly(data: Any) -> None: ...

    fly.__annotations__["data"] = model
    petal = Petal()
    petal.name = "drone"
    petal.add_command("fly", fly)
    with pytest.raises(RegistrationError) as caught:
        build_table([petal])
    assert f"{model.__name__}{path}: the default" in str(caught.value)


def test_the_good_defaults_of_a_pydantic_model_are_taken() -> None:
    petal = Petal()
    petal.name = "drone"

    async def fly(data: WithGoodDefaults) -> None: ...

    fly.__annotations__["data"] = WithGoodDefaults
    petal.add_command("fly", fly)
    build_table([petal])


def test_what_only_somebodys_code_would_tell_is_not_asked() -> None:
    @attrs.frozen
    class Converted:
        x: int = attrs.field(default="3", converter=int)

    async def fly(data: Outer, c: Converted | None = None) -> None: ...

    fly.__annotations__.update(data=Outer, c=Converted | None)
    petal = Petal()
    petal.name = "drone"
    petal.add_command("fly", fly)
    build_table([petal])  # and no factory was called


def test_a_type_that_the_petal_makes_itself_has_what_default_it_likes() -> None:
    class Angle:
        pass

    converter = make_converter()
    converter.register_structure_hook(Angle, lambda value, _: Angle())

    async def turn(by: Any = 90) -> None: ...

    turn.__annotations__["by"] = Angle
    petal = Petal()
    petal.name = "drone"
    petal.converter = converter
    petal.add_command("turn", turn)
    build_table([petal])
