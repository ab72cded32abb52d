"""The JSON that comes from outside: the envelope of commands, their arguments, and responses."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import inspect
import json
import math
import pathlib
import uuid
from typing import Any, Literal, NoReturn, get_args, get_origin

import attrs
import msgspec

from petalkit import Command, ErrorCode, PayloadError, forbid_extra_keys, make_converter
from petalkit._authoring.signature.binding import make_binding
from petalkit._values.basics.clocks import moment_of
from petalkit._values.codec import (
    InvalidEnvelope,
    Limits,
    decode_command,
    decode_response,
    encode_json,
    parse_expiry,
)
from petalkit._values.dialects import is_receipt, make_dialect, outcome_of
from petalkit._values.structuring import MAX_REPORTED_ERRORS

from .reader import Reader

LIMITS = (
    Limits(payload_max=128 * 1024, depth_max=32, message_id_max=256),
    Limits(payload_max=128, depth_max=2, message_id_max=16),
    Limits(payload_max=1024, depth_max=200, message_id_max=4096),
)
_ANY = Limits(payload_max=10_000_000, depth_max=200, message_id_max=4096)


ENVELOPE = (
    "command", "messageId", "waitResponse", "data", "payload", "timestamp", "expiresAt", "waitAck",
)  # fmt: skip


def command(data: bytes) -> None:
    """The first byte chooses the limits; the payload is the rest, or made of it."""
    reader = Reader(data)
    limits = reader.choice(LIMITS)
    payload = reader.json_text(ENVELOPE)
    try:
        found = decode_command(payload, "t", limits)
    except InvalidEnvelope as error:
        _check_refusal(error, payload, limits)
        return
    document = _as_python_reads_it(payload)
    assert len(payload) <= limits.payload_max
    assert found.command == document["command"]
    assert 0 < len(found.command) <= 256
    assert found.message_id == document.get("messageId")
    assert found.message_id is None or 0 < len(found.message_id) <= limits.message_id_max
    assert found.wait_response is (document.get("waitResponse") is True)
    assert type(found.data) is dict
    given = [document[name] for name in ("data", "payload") if document.get(name) is not None]
    assert found.data == (given or [{}])[0]
    assert _depth(document) <= limits.depth_max
    again = encode_json({"command": found.command, "data": found.data, **found.extra})
    assert decode_command(again, "t", _ANY).data == found.data
    _check_expiry(found)
    moment = moment_of(found.timestamp)
    assert moment is None or math.isfinite(moment)


def _check_refusal(error: InvalidEnvelope, payload: bytes, limits: Limits) -> None:
    assert error.code in (
        *(ErrorCode.TOO_LARGE, ErrorCode.INVALID_JSON),
        *(ErrorCode.INVALID_COMMAND, ErrorCode.INVALID_DATA),
    )
    assert (error.code == ErrorCode.TOO_LARGE) is (len(payload) > limits.payload_max)
    # All of it goes into a response.
    encode_json({"error": error.message, "errors": error.errors, "messageId": error.message_id})
    assert error.message_id is None or 0 < len(error.message_id) <= limits.message_id_max
    assert error.wait_response in (True, False)
    assert error.command is None or len(error.command) <= 256
    if error.code in (ErrorCode.INVALID_COMMAND, ErrorCode.INVALID_DATA):
        # It is JSON, also where msgspec does not take it.
        document = json.loads(payload.decode(), parse_constant=_no_constant, parse_int=float)
        assert isinstance(document, dict) or error.message_id is None


def _check_expiry(found: Command) -> None:
    try:
        moment = parse_expiry(found)
    except InvalidEnvelope as error:
        assert error.code == ErrorCode.INVALID_COMMAND
        assert error.message_id == found.message_id
        return
    assert (moment is None) is (found.extra.get("expiresAt") is None)
    if moment is not None:
        assert math.isfinite(moment)
        written = dt.datetime.fromisoformat(found.extra["expiresAt"])
        assert abs((written - dt.datetime.fromtimestamp(0, dt.UTC)).total_seconds() - moment) < 1e-3


def _no_constant(text: str) -> NoReturn:
    raise AssertionError(f"{text} is no JSON")


def _as_python_reads_it(payload: bytes) -> Any:
    """What another decoder makes of it: what msgspec takes, it takes too, and as the same."""
    document = json.loads(payload.decode(), parse_constant=_no_constant)
    assert document == msgspec.json.decode(payload)
    return document


def _depth(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
        case _:
            return 0


RESPONSE = (
    "messageId", "success", "status", "error", "error_code", "message", "phase", "retryable",
    "timestamp", "deviceId", "ackType",
)  # fmt: skip


def response(data: bytes) -> None:
    """The same, as a caller reads it, and as a petal of the guide may have worded it."""
    reader = Reader(data)
    limits = reader.choice(LIMITS)
    payload = reader.json_text(RESPONSE)
    try:
        found = decode_response(payload, limits)
    except InvalidEnvelope as error:
        assert error.code in (ErrorCode.TOO_LARGE, ErrorCode.INVALID_JSON, ErrorCode.INVALID_DATA)
        return
    assert found.success in (True, False)
    assert found.retryable in (True, False)
    assert dict(found) == _as_python_reads_it(payload)
    _ = found.message_id, found.timestamp, found.error, found.error_code
    assert is_receipt(found.fields) in (True, False)
    outcome = outcome_of(found.fields)
    assert outcome is None or outcome
    for name in ("guide", "host-0.2"):
        dialect = make_dialect(name, "device")
        said = [
            dialect.own_words("id-1", "now", found.fields, None),
            dialect.failure("id-1", "now", "CODE", "text", details=found.fields),
        ]
        try:
            said.append(dialect.success("id-1", "now", found.fields))
        except PayloadError as error:
            assert error.code == ErrorCode.HANDLER_ERROR
        for one in said:  # whatever is in it, it answers this command and no other
            envelope = msgspec.json.decode(one)
            assert (envelope["messageId"], envelope["timestamp"]) == ("id-1", "now")


# -- arguments


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen
class Point:
    x: float
    y: float = 0.0


@forbid_extra_keys
@attrs.frozen
class Route:
    points: list[Point]
    name: str | None = None
    limits: dict[str, tuple[int, ...]] = attrs.field(factory=dict)


def simple(a: int, b: float, c: bool, d: str, e: bytes, f: None = None) -> None: ...


def texts(
    a: dt.datetime, b: dt.date, c: dt.time, d: uuid.UUID, e: decimal.Decimal, f: pathlib.Path
) -> None: ...


def choices(
    a: Colour, b: Level, c: Literal["x", 1], d: int | None, e: int | str | None
) -> None: ...


def containers(
    a: list[int], b: set[str], c: dict[str, float], d: tuple[int, str], e: frozenset[int]
) -> None: ...


def models(route: Route, data: dict[str, Any], point: Point | None = None) -> None: ...


def nested(a: list[list[dict[str, list[Point]]]], b: set[tuple[int, ...]]) -> None: ...


ARGUMENTS = ("a", "b", "c", "d", "e", "f", "route", "point", "points", "x", "y", "name", "limits")
HANDLERS = (simple, texts, choices, containers, models, nested)
_CONVERTER = make_converter()


def _refuse(text: str, parameter: str | None = None) -> NoReturn:
    raise AssertionError(f"{parameter}: {text}")


_BINDINGS = [make_binding(handler, _CONVERTER, _refuse) for handler in HANDLERS]


def arguments(data: bytes) -> None:
    """The first byte chooses a handler; the rest is the JSON of its arguments, or makes it."""
    reader = Reader(data)
    binding = reader.choice(_BINDINGS)
    parameters, bind = binding.parameters, binding.bind
    try:
        values = msgspec.json.decode(reader.json_text(ARGUMENTS))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if type(values) is not dict or _depth(values) > 32:
        return
    try:
        bound = bind(Command("c", data=values), lambda: _refuse("nobody asks for a context"))
    except PayloadError as error:
        assert error.code == ErrorCode.INVALID_DATA
        assert 0 < len(error.errors) <= MAX_REPORTED_ERRORS * (len(parameters) + 1)
        for one in error.errors:
            assert one["path"].startswith("data")
            assert one["message"]
        encode_json({"errors": error.errors, "error": error.message})
        return
    for parameter in parameters:
        if parameter.name in bound:
            value = bound[parameter.name]
            assert _is(value, parameter.annotation), (parameter, bound)
            if not parameter.whole:
                assert _says(value, values[parameter.name]), (parameter, bound)
        else:
            assert parameter.default is not inspect.Parameter.empty


def _says(value: Any, said: Any) -> bool:
    """Whether a plain value is what was said: a boolean is no number, and a number no text."""
    if isinstance(value, enum.Enum):
        value = value.value
    if type(value) is int and type(said) is float:
        return value == said  # 5.0 is a whole number
    if type(value) in (bool, int, str):
        return type(value) is type(said) and value == said
    if type(value) is float:
        return type(said) in (int, float) and value == said
    return True


def _is(value: Any, wanted: Any) -> bool:
    """Whether a value has exactly the type that was declared: what nobody has to check again."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return True
    if wanted is None or wanted is type(None):
        return value is None
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin in (list, set, frozenset):
        return type(value) is origin and all(_is(one, inner[0]) for one in value)
    if origin is dict:
        return type(value) is dict and all(
            _is(key, inner[0]) and _is(one, inner[1]) for key, one in value.items()
        )
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is ... else list(inner)
        return type(value) is tuple and all(map(_is, value, kinds)) and len(value) == len(kinds)
    if inner:  # a union
        return any(_is(value, one) for one in inner)
    if wanted is pathlib.Path:
        return isinstance(value, pathlib.Path)
    if attrs.has(wanted):
        return type(value) is wanted and all(
            _is(getattr(value, one.name), one.type) for one in attrs.fields(wanted)
        )
    return type(value) is wanted


attrs.resolve_types(Point)
attrs.resolve_types(Route)
