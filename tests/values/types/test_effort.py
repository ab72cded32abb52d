"""What a wrong value costs: no more than its size, however it is wrong. Counted, never timed."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import uuid
from collections.abc import Iterator
from typing import Annotated, Any

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest

from petalkit import forbid_extra_keys, make_converter
from petalkit._authoring.signature.arguments import invalid_data
from petalkit._values.structuring import types_of
from petalkit._values.types.containers import MAX_CROWD
from petalkit._values.types.invalid import (
    MAX_PATH,
    MAX_REPORTED_ERRORS,
    MAX_TEXT,
    Invalid,
    Problem,
    problems_of,
    pydantic_problems,
)
from petalkit._values.types.models.extra_keys import extra_keys


class Leaf:
    """Made of an int, by a hook that counts its calls."""

    calls = 0


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    Leaf.calls = 0


def make_leaf(value: Any, _: Any) -> Leaf:
    Leaf.calls += 1
    if type(value) is not int:
        raise ValueError("no leaf")
    return Leaf()


def problems(annotation: Any, value: Any) -> list[Problem]:
    converter = make_converter()
    converter.register_structure_hook(Leaf, make_leaf)
    structure = types_of(converter).node(annotation).structure
    try:
        structure(value)
    except Invalid as error:
        return problems_of(error)
    return []


def nested(annotation: Any, value: Any, levels: int) -> tuple[Any, Any]:
    for _ in range(levels):
        annotation, value = list[annotation], [value]
    return annotation, value


def test_a_wrong_element_is_converted_once_however_deep_it_stands() -> None:
    """It was converted twice for each array around it: 32 levels, which are allowed, took hours."""
    (one,) = problems(*nested(Leaf, "x", 20))
    assert one.path == "[0]" * 20
    assert Leaf.calls == 1


@attrs.frozen
class Tree:
    kids: list[Tree] = attrs.field(factory=list)
    leaf: Leaf | None = None


def test_a_model_that_contains_itself_converts_a_wrong_leaf_once() -> None:
    value: Any = {"leaf": "x"}
    for _ in range(15):
        value = {"kids": [value]}
    (one,) = problems(Tree, value)
    assert one.path == ".kids[0]" * 15 + ".leaf"
    assert Leaf.calls == 1


def test_a_list_of_which_the_last_is_wrong_is_converted_once() -> None:
    (one,) = problems(list[Leaf], [*range(1000), "x"])
    assert one.path == "[1000]"
    assert Leaf.calls == 1001


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list[Leaf], [""] * 43_000),
        (tuple[Leaf, ...], [""] * 43_000),
        (dict[str, Leaf], {str(number): "" for number in range(10_000)}),
        (dict[int, Leaf], {str(number): "" for number in range(10_000)}),
        (list[list[Leaf]], [[""]] * 20_000),
        (list[Leaf | None], [""] * 43_000),
    ],
)
def test_conversion_stops_at_the_number_of_errors_that_are_told(
    annotation: Any, value: Any
) -> None:
    assert len(problems(annotation, value)) == MAX_REPORTED_ERRORS
    assert Leaf.calls == MAX_REPORTED_ERRORS


@attrs.frozen
class A:
    child: A | B | None = None
    a: Leaf | None = None


@attrs.frozen
class B:
    child: A | B | None = None
    b: Leaf | None = None
    a: Leaf | None = None


@pytest.mark.parametrize("leaf", [{"a": "x"}, {"a": 1}, {"a": "x", "b": 1}])
@pytest.mark.parametrize("beside", [{}, {"a": "wrong"}, {"b": "wrong"}])
def test_models_that_stand_in_each_other_are_tried_once_for_each_part(
    leaf: Any, beside: Any
) -> None:
    """Each level tried both models, and so all below it twice: 2 ** 14 of them."""
    value = leaf
    for _ in range(14):
        value = {"child": value, **beside}
    problems(A | B, value)
    assert Leaf.calls <= 15 * 6


@attrs.frozen
class Narrow:
    leaf: Leaf


@attrs.frozen
class Wide:
    leaf: Leaf
    speed: int = 0


def test_of_models_the_one_that_knows_the_most_of_the_keys_is_tried_first() -> None:
    assert problems(list[Narrow | Wide], [{"leaf": 1, "speed": 2}] * 100) == []
    assert Leaf.calls == 100


@forbid_extra_keys
@attrs.frozen
class Closed:
    leaf: Leaf
    speed: int = 0


@pytest.mark.parametrize("value", [{"leaf": 1, "other": 2}, {"speed": 1}, {"leaf": 1, "speed": 2}])
def test_a_model_whose_keys_say_that_it_cannot_fit_is_not_made(value: Any) -> None:
    assert problems(list[Closed | dict[str, int]], [value] * 100) == []
    assert Leaf.calls == (100 if value.keys() == {"leaf", "speed"} else 0)


def test_a_text_that_is_none_of_the_forms_before_it_is_converted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of 32 000 texts cost two exceptions before it was found to be a text."""
    made: list[str] = []
    init = Invalid.__init__

    def counting(self: Invalid, *arguments: Any) -> None:
        made.append(str(arguments))
        init(self, *arguments)

    monkeypatch.setattr(Invalid, "__init__", counting)
    kinds = dt.date | dt.datetime | dt.time | dt.timedelta | uuid.UUID | decimal.Decimal | str
    assert problems(list[kinds], ["a", "2026-01-01x"] * 100) == []
    assert made == []


class Twice(msgspec.Struct):
    either: list[Leaf] | tuple[Leaf, ...]


def test_two_kinds_of_arrays_are_tried_as_often_as_there_are_kinds() -> None:
    problems(Twice, {"either": [1, 1, "x"]})
    assert Leaf.calls == 2 * 3


class Looked(list[Any]):
    """An array that counts how often it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        return super().__iter__()


def test_an_unknown_key_costs_no_walk_through_what_holds_no_models() -> None:
    """One key beside 43 000 numbers cost 16 times what the numbers did."""

    @attrs.frozen
    class Route:
        points: list[int]

    types = types_of(make_converter())
    node = types.node(Route)
    value = {"points": Looked(range(100)), "oops": 1}
    made = node.structure(value)
    assert types.extra.seen
    assert [one.key for one in extra_keys(node, value, made, "")] == ["oops"]
    assert value["points"].times == 1  # type: ignore[attr-defined]


# -- sets and keys: numbers that were chosen to have one hash


COLLIDING = [(10_000 + number) * (2**61 - 1) for number in range(5000)]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (set[int], COLLIDING),
        (frozenset[int], COLLIDING),
        (set[tuple[int, int]], [[one, 1] for one in COLLIDING]),
        (dict[int, int], dict.fromkeys(map(str, COLLIDING), 1)),
    ],
)
def test_values_of_one_hash_are_refused_before_they_take_the_square_of_their_number(
    annotation: Any, value: Any
) -> None:
    assert problems(annotation, value)[0].message == (
        "holds too many different values that have one hash"
    )


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (set[int], COLLIDING[:MAX_CROWD]),
        (set[int], COLLIDING[:1] * 5000),
        (set[int], range(2**63, 2**63 + 5000)),
        (set[int], range(-5000, 5000)),
        (set[float], [number / 8 for number in range(5000)]),
        (set[str], list(map(str, range(5000)))),
        (dict[int, int], dict.fromkeys(map(str, range(5000)), 1)),
    ],
)
def test_other_values_are_taken_however_many(annotation: Any, value: Any) -> None:
    assert problems(annotation, value if isinstance(value, dict) else list(value)) == []


# -- patterns and predicates


def called(value: str) -> bool:
    Leaf.calls += 1
    return True


@pytest.mark.parametrize(
    "order", list(itertools.permutations([at.Predicate(called), at.MaxLen(8)]))
)
def test_a_text_is_looked_at_by_nobody_when_it_is_too_long(order: tuple[Any, Any]) -> None:
    """Some patterns take the power of its length, so the bound comes first, wherever it stands."""
    annotation = Annotated[(str, *order)]  # type: ignore[valid-type]
    (one,) = problems(annotation, "a" * 9)
    assert one.message == "must have a length of at most 8"
    assert Leaf.calls == 0
    assert problems(annotation, "a" * 8) == []
    assert Leaf.calls == 1


# -- what is said of it


def repeats(value: Any) -> Any:
    raise ValueError(f"cannot be {value}")


@attrs.frozen
class Own:
    x: str = attrs.field(converter=repeats)


def test_a_models_own_text_is_cut() -> None:
    (one,) = problems(Own, {"x": "a" * 100_000})
    assert len(one.message) == MAX_TEXT
    assert one.message.startswith("cannot be aaa")


def test_a_path_is_cut_in_its_middle() -> None:
    annotation: Any = int
    value: Any = "x"
    for _ in range(30):
        annotation, value = dict[str, annotation], {"k" * 1000: value}  # type: ignore[valid-type]
    (error,) = invalid_data(problems(annotation, value)).errors
    assert len(error["path"]) <= MAX_PATH + len("data...")


def test_of_pydantics_errors_the_first_are_told_as_before() -> None:
    class Inner(pydantic.BaseModel):
        a: int
        b: int = pydantic.Field(ge=3)

    class Outer(pydantic.BaseModel):
        items: list[Inner]

    value = {"items": [{"b": 1}, {"a": "x", "b": 3}] * 1000}
    found = problems(Outer, value)
    assert len(found) == MAX_REPORTED_ERRORS
    assert [(one.path, one.message) for one in found[:3]] == [
        (".items[0].a", "is required"),
        (".items[0].b", "Input should be greater than or equal to 3"),
        (".items[1].a", "Input should be a valid integer, unable to parse string as an integer"),
    ]
    assert found[1].log == "(greater_than_equal)"


class ManyErrors:
    """As pydantic's error, of 100 000 problems that are not to be made objects of Python."""

    def error_count(self) -> int:
        return 100_000

    def errors(self, **_: Any) -> Any:
        raise AssertionError("all of them")

    def json(self, **_: Any) -> str:
        one = '{"type":"missing","loc":["items",%d,"a"],"msg":"Field required"}'
        return f"[{','.join(one % number for number in range(100))}]"


def test_of_very_many_only_those_are_read_that_are_told() -> None:
    found = pydantic_problems(ManyErrors())
    assert [one.path for one in found] == [f".items[{number}].a" for number in range(20)]
