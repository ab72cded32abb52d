"""The JSON Schema of a type says what is enforced: what fits is taken, what it forbids is not."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import enum
import ipaddress
import pathlib
import re
import uuid
from typing import Annotated, Any, Literal, NamedTuple

import annotated_types as at
import attrs
import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from petalkit import forbid_extra_keys, make_converter
from petalkit._values.structuring import types_of
from petalkit._values.types.invalid import Invalid
from petalkit._values.types.models.objects import with_default
from petalkit._values.types.node import Schema, document


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Gain(enum.Enum):
    ONE = 1.0
    NAMED = "named"


class Axes(enum.Flag):
    X = 1
    Y = 4


@attrs.frozen
class Point:
    x: Annotated[float, msgspec.Meta(ge=-10, le=10)]
    _y: int = 0


@forbid_extra_keys
@attrs.frozen
class Route:
    points: Annotated[list[Point], at.Len(1, 3)]
    level: Level | None = None


@attrs.frozen
class Tree:
    value: int
    children: list[Tree] = attrs.field(factory=list)


class Tagged(msgspec.Struct, tag="t", rename="camel", forbid_unknown_fields=True):
    some_name: str = ""


class Pose(NamedTuple):
    x: float
    label: str = ""


TYPES: list[Any] = [
    int, float, str, bool, None, bytes, decimal.Decimal, dt.datetime, dt.date, dt.time,
    dt.timedelta, uuid.UUID, pathlib.Path, Any, object, Level, Gain, Axes, Literal["a", 1],
    Literal[True], list[int], set[str], tuple[int, str], tuple[int, ...], tuple[()], Pose,
    dict[str, int], dict[int, float], dict[Level, int], dict[dt.date, int], Point, Route, Tree,
    Tagged, int | None, int | str, Point | Route, list[Point | None] | str,
    Annotated[int, at.Interval(ge=1, lt=5)], Annotated[float, at.Gt(0), at.MultipleOf(0.5)],
    Annotated[str, at.Len(1, 3), msgspec.Meta(pattern="^[ab]*$")],
    Annotated[dict[str, int], at.MinLen(1)], Annotated[int | None, at.Ge(0)],
]  # fmt: skip

TEXTS = ["", "a", "b", "abc", "1", "2", "2.5", "-1", "true", "named", "t", "2026-01-01",
         "2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "10:30", "10:30:00.5+01:00", "PT1.5S",
         "P1D", "P", "aGk=", "aGk", "1e5", "00000000-0000-0000-0000-000000000001"]  # fmt: skip
KEYS = ["x", "y", "_y", "points", "level", "value", "children", "someName", "type", *TEXTS]
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 3, 4, 5, -1, 1.0, 0.5, 2.5, 10, 11, -10.5]),
    st.integers(-(10**6), 10**6),
    st.floats(-(10**6), 10**6),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from(TEXTS), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)
KINDS: dict[str, Any] = {
    "null": type(None),
    "boolean": bool,
    "string": str,
    "array": list,
    "object": dict,
}


def near(schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    """Values that look like what a schema describes, so that some of them fit it."""
    if "$ref" in schema:
        found = root["$defs"][schema["$ref"].rpartition("/")[2]]
        return st.deferred(lambda: near(found, root))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    if "anyOf" in schema:
        return st.one_of([near(one, root) for one in schema["anyOf"]])
    match schema.get("type"):
        case "integer" | "number":
            return NUMBERS
        case "string":
            pattern = schema.get("pattern")
            found = st.sampled_from(TEXTS)
            return found | st.from_regex(pattern, fullmatch=True) if pattern else found
        case "array":
            places = [near(one, root) for one in schema.get("prefixItems", [])]
            if places:
                return st.tuples(*places).map(list)
            return st.lists(near(schema.get("items", {}), root), max_size=4)
        case "object":
            properties = {
                name: near(one, root) for name, one in schema.get("properties", {}).items()
            }
            if properties:
                return st.fixed_dictionaries({}, optional=properties)
            keys = near({"type": "string", **schema.get("propertyNames", {})}, root)
            inner = near(schema.get("additionalProperties", {}), root)
            return st.dictionaries(keys, inner, max_size=3)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case _:
            return st.sampled_from(TEXTS)


def fits(value: Any, schema: Schema, root: Schema) -> bool:
    """JSON Schema, as far as it is used; formats are checked by what Python makes of them."""
    return all(_holds(name, schema, value, root) for name in schema)


def _holds(name: str, schema: Schema, value: Any, root: Schema) -> bool:
    given, number = schema[name], isinstance(value, int | float) and not isinstance(value, bool)
    match name:
        case "$ref":
            return fits(value, root["$defs"][given.rpartition("/")[2]], root)
        case "type":
            if given == "number":
                return number
            if given == "integer":
                return number and float(value).is_integer()
            return isinstance(value, KINDS[given])
        case "enum" | "const":
            options = given if name == "enum" else [given]
            return any(_same(value, one) for one in options)
        case "anyOf":
            return any(fits(value, one, root) for one in given)
        case "allOf":
            return all(fits(value, one, root) for one in given)
        case "minimum":
            return not number or value >= given
        case "maximum":
            return not number or value <= given
        case "exclusiveMinimum":
            return not number or value > given
        case "exclusiveMaximum":
            return not number or value < given
        case "multipleOf":
            return not number or decimal.Decimal(str(value)) % decimal.Decimal(str(given)) == 0
        case "pattern":
            return not isinstance(value, str) or re.search(given, value, re.ASCII) is not None
        case "format":
            return not isinstance(value, str) or _is_in_format(given, value)
        case "minLength" | "minItems" | "minProperties":
            return not isinstance(value, _of(name)) or len(value) >= given
        case "maxLength" | "maxItems" | "maxProperties":
            return not isinstance(value, _of(name)) or len(value) <= given
        case "items":
            return not isinstance(value, list) or all(fits(one, given, root) for one in value)
        case "prefixItems":
            return not isinstance(value, list) or all(
                fits(one, part, root) for one, part in zip(value, given, strict=False)
            )
        case "properties":
            return not isinstance(value, dict) or all(
                fits(value[key], one, root) for key, one in given.items() if key in value
            )
        case "required":
            return not isinstance(value, dict) or all(key in value for key in given)
        case "propertyNames":
            return not isinstance(value, dict) or all(fits(key, given, root) for key in value)
        case "additionalProperties":
            known = schema.get("properties", {})
            return not isinstance(value, dict) or all(
                given is not False and fits(one, given, root)
                for key, one in value.items()
                if key not in known
            )
        case "$defs" | "title" | "description" | "default" | "examples":
            return True
        case _:
            raise AssertionError(name)


def _of(keyword: str) -> type:
    return {"Length": str, "Items": list, "Properties": dict}[keyword[3:]]


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _is_in_format(form: str, text: str) -> bool:
    parse: Any = {
        "date-time": dt.datetime.fromisoformat,
        "date": dt.date.fromisoformat,
        "uuid": uuid.UUID,
        "ipv4": ipaddress.IPv4Address,
    }[form]
    try:
        parse(text.upper())
    except ValueError:
        return False
    return True


def _spells_a_number_twice(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    numbers = []
    for key in value:
        with contextlib.suppress(ValueError):
            numbers.append(float(key))
    return len(set(numbers)) < len(numbers)


@pytest.mark.parametrize("annotation", TYPES, ids=str)
def test_what_fits_the_schema_is_taken_and_nothing_else(annotation: Any) -> None:
    node = types_of(make_converter()).node(annotation)
    schema = document(node)

    @settings(max_examples=50, deadline=None)
    @given(near(schema, schema) | JSON)
    def agree(value: Any) -> None:
        assume(not _spells_a_number_twice(value))  # which is refused, and no schema can say
        try:
            node.structure(value)
            taken = True
        except Invalid:
            taken = False
        assert fits(value, schema, schema) is taken, value

    agree()


@pytest.mark.parametrize("default", [float("inf"), float("nan")])
def test_a_default_that_json_has_not_is_not_in_a_schema(default: float) -> None:
    assert with_default({"type": "number"}, default) == {"type": "number"}
