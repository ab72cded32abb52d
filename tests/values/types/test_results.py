"""Results: one JSON for one value, however deep it stands, with the petal's own hooks."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import ipaddress
import numbers
import pathlib
import uuid
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from petalkit import CommandError, Petal, command, make_converter
from petalkit._values.codec import encode_json
from petalkit._values.structuring import Results, results_of, types_of
from petalkit.testing import open_harness


class Angle:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


converter = make_converter()
converter.register_unstructure_hook(Angle, lambda angle: f"{angle.degrees:g}deg")
converter.register_unstructure_hook(dt.timedelta, lambda length: length.total_seconds())
results = results_of(converter)


def say(value: Any) -> Any:
    return msgspec.json.decode(encode_json(results(value)))


@attrs.frozen
class Part:
    _serial: int
    angle: Angle | None = None
    total: int = attrs.field(init=False, default=5)
    _cache: object = attrs.field(init=False, factory=object)


@dataclasses.dataclass
class Plain:
    part: Part


class Record(msgspec.Struct, rename="camel", omit_defaults=True, tag="record"):
    some_part: Part
    note: str = ""


class Model(pydantic.BaseModel):
    n: int
    when: dt.date = pydantic.Field(default=dt.date(2026, 1, 1), serialization_alias="day")


class Color(enum.Enum):
    RED = "red"


class Code(str, enum.Enum):  # noqa: UP042 - as many petals write it
    BUSY = "MY_BUSY"


class Float(float):
    """As numpy.float64 is one."""

    def __repr__(self) -> str:
        return f"Float({float(self)})"

    __str__ = __repr__


class Integer(int):
    pass


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not this"


class Int64:
    """As numpy.int64: no int, and yet one by the protocol of numbers."""

    def __index__(self) -> int:
        return 7


numbers.Integral.register(Int64)


class Bool:
    """As numpy.bool: neither, but it says what it is."""

    dtype = "bool"

    def tolist(self) -> bool:
        return True


PART = {"serial": 1, "angle": "2deg", "total": 5}
VALUES: list[tuple[Any, Any]] = [
    (Part(1, Angle(2)), PART),
    (Plain(Part(1, Angle(2))), {"part": PART}),
    (Record(Part(1, Angle(2))), {"type": "record", "somePart": PART}),
    (Model(n=1), {"n": 1, "day": "2026-01-01"}),
    (Angle(3), "3deg"),
    (dt.timedelta(seconds=1.5), 1.5),
    (Color.RED, "red"),
    (Float(1.5), 1.5),
    (Integer(5), 5),
    (Text("a"), "a"),
    (Int64(), 7),
    (Bool(), True),
    (pathlib.Path("/a"), "/a"),
    (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
    (collections.deque([Color.RED]), ["red"]),
    (frozenset([Color.RED]), ["red"]),
    ((1, None, "a"), [1, None, "a"]),
    (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "2026-01-01T00:00:00Z"),
    (b"hi", "aGk="),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda one: type(one).__name__)
def test_one_value_is_one_json_however_deep(value: Any, expected: Any) -> None:
    assert say(value) == expected
    assert say([value]) == [expected]
    assert say({"a": {"b": (value,)}}) == {"a": {"b": [expected]}}
    assert say(Part(1, value)) == {"serial": 1, "angle": expected, "total": 5}
    assert say(Record(value)) == {"type": "record", "somePart": expected}


@pytest.mark.parametrize(
    ("key", "expected"),
    [(Color.RED, "red"), (5, "5"), (True, "true"), (None, "null"), (Text("a"), "a"),
     (Integer(5), "5"), (dt.date(2026, 1, 1), "2026-01-01"), (Angle(1), "1deg")],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_keys_are_texts(key: Any, expected: str) -> None:
    assert say({"a": {key: 1}}) == {"a": {expected: 1}}


def test_plain_results_are_given_back_as_they_are() -> None:
    for value in ({"a": 1, "b": "x"}, [1, None, 2.5], {}, ()):
        assert results(value) is value


class Level(enum.IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    "value",
    [
        {1: "a", "1": "b"},
        {True: "a", "true": "b"},
        {None: 1, "null": 2},
        {Level.LOW: 1, "1": 2},
        {uuid.UUID(int=0): 1, str(uuid.UUID(int=0)): 2},
        {1.5: 1, "1.5": 2},
    ],
)
def test_two_keys_that_are_one_in_json_are_refused_and_none_is_lost(value: Any) -> None:
    for outer in (value, [value], {"inner": value}):
        with pytest.raises(ValueError, match="of a mapping are both"):
            Results()(outer)


def test_keys_of_different_types_with_texts_of_their_own_are_all_written() -> None:
    value = {1: "a", "2": "b", None: "c", False: "d"}
    written = msgspec.json.decode(encode_json(Results()(value)))
    assert written == {"1": "a", "2": "b", "null": "c", "false": "d"}


def test_what_nobody_knows_is_refused() -> None:
    with pytest.raises(Exception, match="there is no JSON for object"):
        encode_json(results({"a": [object()]}))


def test_a_models_names_are_those_of_its_arguments() -> None:
    @attrs.frozen
    class Named:
        _serial: int
        other: int = attrs.field(alias="otherName")

    made = Named(1, 2)
    assert types_of(converter).node(Named).structure(say(made)) == made


class Answering(Petal):
    name = "answering"
    converter = converter

    @command("deep")
    async def deep(self) -> dict[str, Any]:
        return {"parts": [Part(1, Angle(2))], "speed": Float(1.5)}

    @command("refuse")
    async def refuse(self) -> None:
        raise CommandError(Code.BUSY, "no", details={"part": Part(1, Angle(2))})

    @command("tell")
    async def tell(self) -> None:
        await self.publish_message({"part": Part(1, Angle(2))})


@pytest.mark.trio
async def test_results_details_and_events_are_made_alike(autojump_clock: object) -> None:
    async with open_harness(Answering()) as harness:
        deep = await harness.call("answering/deep")
        refused = await harness.call("answering/refuse")
        with harness.events() as events:
            await harness.call("answering/tell")
            (event,) = await events.wait(1)
    assert (deep["parts"], deep["speed"]) == ([PART], 1.5)
    assert refused.error_code == "MY_BUSY"
    assert refused["part"] == PART
    assert event["part"] == PART


class OfPydantic(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    data: bytes


class ByItself(pydantic.BaseModel):
    data: bytes


def test_bytes_in_a_pydantic_model_are_as_its_config_says() -> None:
    """The page of types names it as the exception that it is."""
    assert Results()([b"a", ByItself(data=b"a")])[1] == {"data": "a"}
    assert Results()(OfPydantic(data=b"a")) == {"data": "YQ=="}
    take = types_of(make_converter()).node(OfPydantic).structure
    assert take({"data": "YQ=="}) == OfPydantic(data=b"a")
