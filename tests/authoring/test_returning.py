"""Results: what is declared is enforced, or refused when the table is built."""

from __future__ import annotations

import abc
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import logging
import numbers
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Never, Protocol, TypedDict

import attrs
import msgspec
import pydantic
import pytest
import typing_extensions

from petalkit import PayloadError, Petal, RegistrationError, command, make_converter
from petalkit._authoring.registry import CommandSpec, build_table
from petalkit._authoring.schemas import describe_command
from petalkit.testing import open_harness


@attrs.frozen
class Point:
    x: Annotated[float, msgspec.Meta(le=3)]
    inner: Point | None = None


@dataclasses.dataclass
class Line:
    points: list[Point]


class Level(TypedDict):
    n: int


class Struct(msgspec.Struct):
    n: int


class Pair(NamedTuple):
    x: int
    y: int


class Model(pydantic.BaseModel):
    n: int


class Mode(enum.Enum):
    FAST = "fast"


class Plain:
    """Nothing that has JSON."""


class HasName(Protocol):
    name: str


class Arrays(msgspec.Struct, array_like=True):
    n: int


class Int64:
    """As numpy's: no int, and yet one by the protocol of numbers."""

    def __index__(self) -> int:
        return 5


class Float32:
    def __float__(self) -> float:
        return 5.0


class Array:
    """As numpy's."""

    dtype = "float64"

    def tolist(self) -> list[float]:
        return [0.0, 0.0]


numbers.Integral.register(Int64)
numbers.Real.register(Float32)


def spec_of(annotation: Any, converter: Any = None, **options: Any) -> CommandSpec:
    async def do() -> Any: ...

    do.__annotations__["return"] = annotation
    petal = Petal()
    petal.name = "p"
    petal.converter = converter
    petal.add_command("do", do, **options)
    (spec,) = build_table([petal])
    return spec


class Base(abc.ABC):  # noqa: B024
    """Abstract by its class alone: nothing in it is."""


@dataclasses.dataclass
class OfBase(Base):
    n: int = 1


@dataclasses.dataclass
class Given:
    h: float = None  # type: ignore[assignment]


Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
Tree = int | list["Tree"]
Named = typing_extensions.TypeAliasType("Named", "int | list[Named]")


NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
RESULTS: list[tuple[Any, Any, Any, str]] = [
    (int, 5, "x", "it is no int, but str"),
    (int, Int64(), True, "it is no int, but bool"),
    (int, 5, None, "it is no int, but NoneType"),
    (int, 5, 5.5, "it is no int, but float"),
    (float, 5, "5", "it is no float, but str"),
    (float, Float32(), decimal.Decimal(5), "it is no float, but Decimal"),
    (str, "a", 5, "it is no str, but int"),
    (bool, True, 1, "it is no bool, but int"),
    (None, None, 5, "it is not None, but int"),
    (dict, {"a": 1}, [1], "it is no dict, but list"),
    (dict[str, int], {"a": 1}, {"a": "b"}, "['a'] is no int, but str"),
    (list[int], [1], [1, "a"], "[1] is no int, but str"),
    (list[float], Array(), "ab", "it is no list[float], but str"),
    (Sequence[int], (1, 2), {1: 2}, "it is no Sequence[int], but dict"),
    (tuple[int, str], (1, "a"), (1,), "it is no tuple[int, str], by its length"),
    (int | None, None, "a", "it is no int | None, but str"),
    (Annotated[int, msgspec.Meta(le=3)], 3, 9, "it must be at most 3"),
    (Annotated[int, msgspec.Meta(le=3)] | None, None, 9, "must be at most 3"),
    (Literal["a", "b"], "a", "c", "it is not of Literal['a', 'b']"),
    (Mode, Mode.FAST, "fast", "it is no Mode, but str"),
    (dt.datetime, NOW, NOW.replace(tzinfo=None), "it has no offset"),
    (Point, Point(1, Point(2)), Point(1, Point(9)), ".inner.x must be at most 3"),
    (Point, Point(1), {"x": 1}, "it is no Point, but dict"),
    (Line, Line([Point(1)]), Line([Point(1), Point(5)]), ".points[1].x must be at most 3"),
    (Level, {"n": 1}, {"n": "a"}, ".n is no int, but str"),
    (Level, {"n": 1, "more": 2}, {}, ".n is required"),
    (Struct, Struct(1), Struct("a"), ".n is no int, but str"),  # type: ignore[arg-type]
    (Struct | Point, Point(1), Struct("a"), ".n is no int, but str"),  # type: ignore[arg-type]
    (Pair, Pair(1, 2), Pair(1, "a"), "[1] is no int, but str"),  # type: ignore[arg-type]
    (Model, Model(n=1), {"n": 1}, "it is no Model, but dict"),
    (Given, Given(), Given("x"), ".h is no float, but str"),  # type: ignore[arg-type]
    ("Tree", [1, [2, [3]]], [1, ["x"]], "is no"),
    (dict[str, Named], {"a": [1, [2]]}, {"a": [1, [None]]}, "['a']"),
]


VIEWS = [{1: 2}.values(), (one for one in [1]), map(int, "1"), range(3)]


@pytest.mark.parametrize("view", VIEWS, ids=lambda one: type(one).__name__)
def test_what_a_list_can_be_made_of_is_none_and_its_author_is_told_what_to_write(
    view: Any,
) -> None:
    with pytest.raises(PayloadError) as caught:
        spec_of(list[int]).result_fields(view)
    assert "write list(...)" in caught.value.message


def test_an_abstract_class_stands_for_those_that_are_made_of_it() -> None:
    assert spec_of(Base).result_fields(OfBase()) == {"result": {"n": 1}}
    assert spec_of(list[Base]).result_fields([OfBase()]) == {"result": [{"n": 1}]}


@pytest.mark.parametrize("annotation", ["Json", dict[str, "Json"], list[Named]])
def test_an_alias_that_stands_in_itself_is_a_result(annotation: Any) -> None:
    value = {"a": [1, {"b": None}]} if annotation != list[Named] else [1, [2]]
    spec_of(annotation).result_fields(value)
    json.dumps(describe_command(spec_of(annotation)))


def test_the_schema_of_a_result_has_the_none_that_is_its_default() -> None:
    schema = describe_command(spec_of(Given))["result"]
    assert {"type": "null"} in schema["$defs"]["Given"]["properties"]["h"]["anyOf"]


@pytest.mark.parametrize(
    ("annotation", "good", "bad", "words"), RESULTS, ids=lambda one: str(one)[:40]
)
def test_a_result_is_what_is_declared_or_the_handlers_error(
    annotation: Any, good: Any, bad: Any, words: str
) -> None:
    spec = spec_of(annotation)
    spec.result_fields(good)
    with pytest.raises(PayloadError) as caught:
        spec.result_fields(bad)
    assert caught.value.code == "HANDLER_ERROR"
    assert caught.value.message.startswith("the result is declared as ")
    assert words in caught.value.message
    spec_of(annotation, check_result=False).result_fields(bad)


@pytest.mark.parametrize(
    "annotation",
    [complex, Plain, list[Plain], dict[str, complex], Callable[[], int], range,
     Annotated[int, lambda value: value > 3], Annotated[str, msgspec.Meta(le=3)], "Unknown"],
)  # fmt: skip
def test_a_result_that_no_json_can_be_is_refused_when_the_table_is_built(annotation: Any) -> None:
    with pytest.raises(RegistrationError, match="check_result=False"):
        spec_of(annotation)
    spec_of(annotation, check_result=False)


@pytest.mark.parametrize(
    ("annotation", "result"),
    [
        (Any, 5),
        (object, "a"),
        (Never, None),
        (HasName, {"name": "a"}),
        (Array, Array()),
        (Arrays, Arrays(1)),
        (Point | Struct, Struct(1)),
        (list[Any], ["a"]),
    ],
)
def test_what_can_be_written_need_not_be_read(annotation: Any, result: Any) -> None:
    spec_of(annotation).result_fields(result)


def test_a_type_with_a_hook_of_the_petals_own_is_the_hooks() -> None:
    converter = make_converter()
    converter.register_unstructure_hook(Plain, lambda _: "plain")
    assert spec_of(Plain, converter).result_fields(Plain()) == {"result": "plain"}


def test_the_contract_says_whether_results_are_checked() -> None:
    assert describe_command(spec_of(int))["options"]["check_result"] is True
    assert describe_command(spec_of(int, check_result=False))["options"]["check_result"] is False


class Wrong(Petal):
    name = "wrong"

    @command("int")
    async def an_int(self) -> int:
        return "secret"  # type: ignore[return-value]

    @command("thread", thread=True)
    def in_a_thread(self) -> int:
        return "secret"  # type: ignore[return-value]

    @command("free", check_result=False)
    async def free(self) -> int:
        return "said"  # type: ignore[return-value]


@pytest.mark.trio
@pytest.mark.parametrize("name", ["int", "thread"])
async def test_a_wrong_result_is_answered_as_an_error_and_logged(
    name: str, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_harness(Wrong()) as harness:
        response = await harness.call(f"wrong/{name}")
        assert response.error_code == "HANDLER_ERROR"
        assert "the result is declared as int, and it is no int, but str" in caplog.text
        assert (await harness.call("wrong/free"))["result"] == "said"


def test_a_decorator_that_keeps_the_annotation_keeps_the_promise() -> None:
    def same(function: Any) -> Any:
        @functools.wraps(function)
        async def inner(*args: Any, **named: Any) -> Any:
            return await function(*args, **named)

        return inner

    class Wrapped(Petal):
        name = "p"

        @command("do")
        @same
        async def do(self) -> int:
            return 1

    (spec,) = build_table([Wrapped()])
    with pytest.raises(PayloadError):
        spec.result_fields("a")


class TruthOfAnArray:
    """As numpy's bool: no `bool`, and not to be derived from it."""

    dtype = "bool"

    def tolist(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("annotation", "result"), [(bool, TruthOfAnArray()), (list[bool], [TruthOfAnArray()])]
)
def test_a_truth_value_of_an_array_is_a_bool(annotation: Any, result: Any) -> None:
    assert spec_of(annotation).result_fields(result)["result"] in (True, [True])


def test_a_moment_is_no_day() -> None:
    with pytest.raises(PayloadError, match="is no "):
        spec_of(dt.date).result_fields(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    spec_of(dt.date | dt.datetime).result_fields(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


def test_the_range_of_a_result_is_in_its_schema() -> None:
    result = describe_command(spec_of(Annotated[int, msgspec.Meta(le=3)]))["result"]
    assert result["properties"]["result"]["maximum"] == 3
