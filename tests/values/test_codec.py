"""The envelope: bytes to commands and back, exactly, and within bounds."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Any

import attrs
import msgspec
import pytest

from petalkit import PayloadError
from petalkit._values import codec
from petalkit._values.codec import (
    InvalidEnvelope,
    Limits,
    Timestamps,
    decode_command,
    decode_response,
    encode_command,
    encode_json,
    parse_expiry,
)

LIMITS = Limits(payload_max=4096, depth_max=5, message_id_max=20)


def decode(text: str | bytes) -> Any:
    return decode_command(text if isinstance(text, bytes) else text.encode(), "t", LIMITS)


def refusal(text: str | bytes) -> InvalidEnvelope:
    with pytest.raises(InvalidEnvelope) as caught:
        decode(text)
    return caught.value


# -- reading


def test_the_guides_command() -> None:
    command = decode(
        '{"command": "example-petal/hello", "messageId": "test-123", "waitResponse": true,'
        ' "data": {"name": "Developer"}, "timestamp": "2025-01-01T00:00:00Z"}'
    )
    assert command.command == "example-petal/hello"
    assert command.message_id == "test-123"
    assert command.wait_response is True
    assert command.data == {"name": "Developer"}
    assert command.timestamp == "2025-01-01T00:00:00Z"
    assert command.topic == "t"
    assert command.extra == {}


def test_what_may_be_absent() -> None:
    command = decode('{"command": "a/b"}')
    assert (command.message_id, command.wait_response, command.data) == (None, False, {})


@pytest.mark.parametrize(
    ("fields", "data", "extra"),
    [
        ('"payload": {"a": 1}', {"a": 1}, {}),
        ('"data": {"a": 1}', {"a": 1}, {}),
        ('"data": null, "payload": {"a": 1}', {"a": 1}, {}),
        ('"data": {"a": 1}, "payload": {"b": 2}', {"a": 1}, {"payload": {"b": 2}}),
        ('"data": {}, "payload": {"b": 2}', {}, {"payload": {"b": 2}}),
        ('"data": null', {}, {}),
        ('"deviceId": "d", "waitAck": true', {}, {"deviceId": "d", "waitAck": True}),
        ('"messageId": null, "x": null', {}, {"x": None}),
    ],
)
def test_data_may_be_called_payload_and_the_rest_is_extra(
    fields: str, data: Any, extra: Any
) -> None:
    command = decode('{"command": "a/b", ' + fields + "}")
    assert (command.data, command.extra) == (data, extra)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "INVALID_JSON"),
        (b"nope", "INVALID_JSON"),
        (b"{} {}", "INVALID_JSON"),
        (b'{"a": NaN}', "INVALID_JSON"),
        (b'{"a": Infinity}', "INVALID_JSON"),
        (b'\xef\xbb\xbf{"command": "a"}', "INVALID_JSON"),
        (b'{"a": "\xff"}', "INVALID_JSON"),
        (b'{"a": "\\ud800"}', "INVALID_COMMAND"),
        (b"[" * 4000, "INVALID_JSON"),
        (b'{"a":' * 800, "INVALID_JSON"),
        (b'"' + b"x" * 5000 + b'"', "TOO_LARGE"),
        (b"[]", "INVALID_COMMAND"),
        (b"{}", "INVALID_COMMAND"),
        (b'{"command": ""}', "INVALID_COMMAND"),
        (b'{"command": null}', "INVALID_COMMAND"),
        (b'{"command": "a", "messageId": ""}', "INVALID_COMMAND"),
        (b'{"command": "a", "messageId": 5}', "INVALID_COMMAND"),
        (b'{"command": "a", "waitResponse": "true"}', "INVALID_COMMAND"),
        (b'{"command": "a", "waitResponse": 1}', "INVALID_COMMAND"),
        (b'{"command": "a", "data": []}', "INVALID_COMMAND"),
        (b'{"command": "a", "data": false}', "INVALID_COMMAND"),
        (b'{"command": "a", "payload": "x"}', "INVALID_COMMAND"),
    ],
)
def test_what_is_no_command_says_which_way(text: bytes, code: str) -> None:
    assert refusal(text).code == code


def test_integers_stay_exact() -> None:
    command = decode('{"command": "a/b", "data": {"n": 123456789012345678901234567890}}')
    assert command.data["n"] == 123456789012345678901234567890


@pytest.mark.parametrize("digits", [4299, 4301, 20_000])
def test_integers_of_thousands_of_digits_are_read_or_refused(digits: int) -> None:
    limits = attrs.evolve(LIMITS, payload_max=100_000)
    payload = b'{"command": "a/b", "data": {"n": ' + b"9" * digits + b"}}"
    try:
        decode_command(payload, "t", limits)
    except InvalidEnvelope as error:
        assert error.code == "INVALID_DATA"  # noqa: PT017


def test_a_refusal_holds_whom_to_answer() -> None:
    error = refusal('{"messageId": "m", "waitResponse": true, "data": 5}')
    assert (error.message_id, error.wait_response) == ("m", True)
    assert [one["path"] for one in error.errors] == ["command", "data"]
    number = refusal('{"messageId": 7, "waitResponse": true}')
    assert (number.message_id, number.wait_response) == ("7", True)
    for unreadable in ("[]", "true", '""', "9" * 5000):
        error = refusal(f'{{"messageId": {unreadable}, "waitResponse": true}}')
        assert (error.message_id, error.wait_response) == (None, False)


def test_a_number_in_place_of_a_message_id_is_bounded_like_one() -> None:
    limits = attrs.evolve(LIMITS, message_id_max=3)
    for number, found in ((999, "999"), (-99, "-99"), (1000, None), (-100, None)):
        with pytest.raises(InvalidEnvelope) as caught:
            decode_command(b'{"command": "a", "messageId": %d}' % number, "t", limits)
        assert caught.value.message_id == found


def test_a_refusal_never_repeats_what_was_sent() -> None:
    error = refusal('{"command": ["hunter2"], "messageId": ["hunter2"], "data": "hunter2"}')
    assert "hunter2" not in error.message + str(error.errors)


def nested(levels: int) -> str:
    """A command whose deepest array stands on that level; the envelope is level 1."""
    inner = levels - 2
    return '{"command": "a/b", "data": {"a": ' + "[" * inner + "]" * inner + "}}"


def test_depth_is_bounded_exactly_and_brackets_in_texts_do_not_count() -> None:
    decode(nested(5))
    error = refusal(nested(6))
    assert error.code == "INVALID_COMMAND"
    assert "nested deeper than 5" in error.message
    decode('{"command": "a/b", "data": {"a": "' + "[{" * 50 + '", "b": [[]], "c": [{}]}}')
    decode('{"command": "a/b", "data": {"a": [' + ",".join(["[]"] * 50) + "]}}")


def test_the_message_id_is_bounded() -> None:
    decode('{"command": "a/b", "messageId": "' + "x" * 20 + '"}')
    refusal('{"command": "a/b", "messageId": "' + "x" * 21 + '"}')


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T01:01:00+01:00", 60.0),
        ("1970-01-01T00:01:00.500Z", 60.5),
    ],
)
def test_expiry(text: str, seconds: float) -> None:
    command = decode('{"command": "a/b", "expiresAt": "' + text + '"}')
    assert parse_expiry(command) == seconds


@pytest.mark.parametrize("value", ['"soon"', '"2026-01-01T00:00:00"', "5", "[]", '"2026-01-01"'])
def test_an_expiry_that_cannot_be_read_is_refused_and_answered(value: str) -> None:
    command = decode(
        '{"command": "a/b", "messageId": "m", "waitResponse": true, "expiresAt": ' + value + "}"
    )
    with pytest.raises(InvalidEnvelope) as caught:
        parse_expiry(command)
    assert (caught.value.message_id, caught.value.wait_response) == ("m", True)


# -- writing


@attrs.frozen
class Point:
    x: float


@pytest.mark.parametrize(
    "value",
    [math.nan, [None, math.inf], {"a": {"b": [-math.inf]}}, Point(math.nan), (math.nan,),
     {1: math.nan}, {"a": object()}, "\udce9", {("a", "b"): 1}],
)  # fmt: skip
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(PayloadError):
        encode_json(value)


@pytest.mark.parametrize("value", [None, {"a": None}, "null", Point(1.0), {1: None}, [1e308]])
def test_what_json_can_say_is_said(value: Any) -> None:
    assert encode_json(value)


def test_a_loop_in_a_result_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(PayloadError):
        encode_json(loop)


def test_a_command_can_be_read_back() -> None:
    payload = encode_command("a/b", {"x": [1]}, message_id="m", timestamp="now", wait_response=True)
    command = decode(payload)
    assert (command.command, command.message_id, command.data) == ("a/b", "m", {"x": [1]})


def test_a_response_is_an_object() -> None:
    assert decode_response(b'{"success": true}', LIMITS).success
    with pytest.raises(InvalidEnvelope):
        decode_response(b"[]", LIMITS)


# -- time stamps


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (0.9999, "1970-01-01T00:00:00.999Z"),
        (1767225600.25, "2026-01-01T00:00:00.250Z"),
        (1767225601.0, "2026-01-01T00:00:01.000Z"),
    ],
)
def test_time_stamps_are_utc_with_milliseconds(moment: float, text: str) -> None:
    assert Timestamps(lambda: moment)() == text


def test_a_clock_that_is_set_back_is_followed() -> None:
    moments = iter([100.0, 50.0, 100.5])
    stamps = Timestamps(lambda: next(moments))
    assert [stamps()[17:23] for _ in range(3)] == ["40.000", "50.000", "40.500"]


def test_a_path_is_said_as_its_text_wherever_it_stands() -> None:
    value = {"home": pathlib.PurePosixPath("/a/b"), "list": [pathlib.PurePosixPath("c")]}
    assert msgspec.json.decode(encode_json(value)) == {"home": "/a/b", "list": ["c"]}


def test_a_null_in_the_envelope_is_as_if_it_were_not_there() -> None:
    payload = b'{"command": "a", "messageId": null, "waitResponse": null, "data": null}'
    command = decode_command(payload, "t", LIMITS)
    assert (command.message_id, command.wait_response, command.data) == (None, False, {})


@pytest.mark.parametrize(
    ("sent", "answered"),
    [('"true"', True), ('"yes"', True), ("1", True), ("0", True), ("[]", True), ("false", False)],
)
def test_who_says_wrongly_whether_an_answer_is_wanted_is_told(sent: str, answered: bool) -> None:
    payload = f'{{"messageId": "m", "waitResponse": {sent}}}'.encode()
    with pytest.raises(InvalidEnvelope) as caught:
        decode_command(payload, "t", LIMITS)
    assert (caught.value.message_id, caught.value.wait_response) == ("m", answered)
    with pytest.raises(InvalidEnvelope) as nobody:
        decode_command(f'{{"command": "", "waitResponse": {sent}}}'.encode(), "t", LIMITS)
    assert not nobody.value.wait_response


@pytest.mark.parametrize("value", [None, [1.5, None, 2**63], {"a": [None] * 100, "b": "null"}])
def test_a_null_in_a_result_costs_no_walk_through_it(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec.msgspec, "to_builtins", None)
    encode_json(value)


@pytest.mark.parametrize("number", [math.nan, -math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("beside", [None, 2**64 - 1, "\u7ff0"])
def test_what_is_no_number_is_found_among_nulls(number: float, beside: Any) -> None:
    with pytest.raises(PayloadError, match="it has no NaN"):
        encode_json({"a": [None, beside, {"b": number}]})


def test_a_text_that_looks_like_one_is_sent() -> None:
    text = b"\xcb\xbf".decode()  # whose bytes come near
    assert json.loads(encode_json([None, text, "\x7f\u00f0" * 200])) == [
        None, text, "\x7f\u00f0" * 200,
    ]  # fmt: skip
