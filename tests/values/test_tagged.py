"""Tagged models: the tag says which is meant, so it must be there, and results carry it."""

from __future__ import annotations

from typing import Any, Literal

import attrs
import msgspec
import pytest

from petalkit._values.codec import encode_json
from petalkit._values.structuring import Results, make_converter, types_of
from petalkit._values.types.invalid import Invalid
from petalkit._values.types.node import document


class A(msgspec.Struct, tag=True):
    x: int = 0


class B(msgspec.Struct, tag=True):
    x: int = 0
    y: int = 0


class One(msgspec.Struct, tag=1, tag_field="kind"):
    x: int = 0


class Two(msgspec.Struct, tag=2, tag_field="kind"):
    x: int = 0


@attrs.frozen
class Go:
    kind: Literal["go"]
    speed: float = 1.0


@attrs.frozen
class Stop:
    kind: Literal["stop", "halt"]


@attrs.frozen
class ByDefault:
    kind: Literal["default"] = "default"
    speed: float = 1.0


def take(annotation: Any, value: Any) -> Any:
    return types_of(make_converter()).node(annotation).structure(value)


def problems(annotation: Any, value: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        take(annotation, value)
    return [(one.path, one.message) for one in caught.value.problems]


@pytest.mark.parametrize(
    ("annotation", "value", "path", "message"),
    [
        (A | B, {"x": 1}, ".type", "is required: one of 'A', 'B'"),
        (A | B, {}, ".type", "is required: one of 'A', 'B'"),
        (A | B, {"type": "C", "x": 1}, ".type", "expected one of 'A', 'B'"),
        (A | B, {"type": ["A"], "x": 1}, ".type", "expected one of 'A', 'B'"),
        (A | B, {"type": None}, ".type", "expected one of 'A', 'B'"),
        (A | None, {"x": 1}, ".type", "is required: 'A'"),
        (A, {"x": 1}, ".type", "is required: 'A'"),
        (A, {"type": "B", "x": 1}, ".type", "expected 'A'"),
        (One | Two, {"x": 1}, ".kind", "is required: one of 1, 2"),
        (One | Two, {"kind": True}, ".kind", "expected one of 1, 2"),
        (One | Two, {"kind": "1"}, ".kind", "expected one of 1, 2"),
        (One, {"kind": True}, ".kind", "expected 1"),
        (list[A | B], [{"type": "A"}, {}], "[1].type", "is required: one of 'A', 'B'"),
        (Go | Stop, {"speed": 1}, ".kind", "is required: one of 'go', 'stop', 'halt'"),
        (Go | Stop, {"kind": "fly"}, ".kind", "expected one of 'go', 'stop', 'halt'"),
    ],
)
def test_a_tag_that_is_absent_or_wrong_is_refused_with_all_that_fit(
    annotation: Any, value: Any, path: str, message: str
) -> None:
    assert problems(annotation, value) == [(path, message)]


def test_the_tag_chooses_the_model_and_stands_in_results() -> None:
    assert take(A | B, {"type": "B", "x": 1}) == B(x=1)
    assert take(One | Two, {"kind": 2.0, "x": 1}) == Two(x=1)
    assert take(Stop | Go, {"kind": "halt"}) == Stop("halt")
    results = Results()
    for value in (A(x=1), B(x=1), One(), Two()):
        written = msgspec.json.decode(encode_json(results([value])))[0]
        assert take(A | B if isinstance(value, A | B) else One | Two, written) == value


def test_a_tag_that_has_a_default_may_be_absent() -> None:
    assert take(ByDefault | Stop, {"speed": 2}) == ByDefault(speed=2)


def test_what_is_no_tagged_model_may_be_a_mapping() -> None:
    annotation = A | B | dict[str, int]
    assert take(annotation, {"x": 1}) == {"x": 1}
    assert take(annotation, {"type": "A", "x": 1}) == A(x=1)


def test_the_schema_says_that_the_tag_is_required() -> None:
    node = types_of(make_converter()).node(A)
    assert document(node)["$defs"]["A"]["required"] == ["type"]
