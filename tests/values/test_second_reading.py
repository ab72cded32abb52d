"""Payloads that msgspec does not decode: what they are is told, and whom to answer."""

from __future__ import annotations

import json
import math

import pytest

from petalkit._values.codec import InvalidEnvelope, Limits, decode_command, decode_response

LIMITS = Limits(131_072, 32, 256)


def refusal(payload: bytes) -> InvalidEnvelope:
    with pytest.raises(InvalidEnvelope) as caught:
        decode_command(payload, "t", LIMITS)
    return caught.value


def command(data: str, message_id: str = '"m"') -> bytes:
    return (
        f'{{"command": "p/do", "messageId": {message_id}, "waitResponse": true, "data": {data}}}'
    ).encode()


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        ('{"v": 1e400}', {"data.v": "is a number too large for a float"}),
        ('{"v": [0, -1e999]}', {"data.v[1]": "is a number too large for a float"}),
        (f'{{"v": {"1" * 4400}}}', {"data.v": "is a number of 4400 digits; 4300 are allowed"}),
        (json.dumps({"v": "a\ud800"}), {"data.v": "holds a lone surrogate, which is no text"}),
        (
            json.dumps({"\udc00": 1, "w": "\udc00"}),
            {
                "data": "has a key with a lone surrogate, which is no text",
                "data.w": "holds a lone surrogate, which is no text",
            },
        ),
    ],
)
def test_valid_json_that_cannot_be_taken_is_told_so_and_its_sender_is_known(
    data: str, errors: dict[str, str]
) -> None:
    error = refusal(command(data))
    assert error.code == "INVALID_DATA"
    assert {one["path"]: one["message"] for one in error.errors} == errors
    assert "not JSON" not in error.message
    assert (error.message_id, error.wait_response, error.command) == ("m", True, "p/do")


def test_what_stands_in_the_envelope_is_no_command() -> None:
    error = refusal(command("{}", json.dumps("\ud800")))
    assert error.code == "INVALID_COMMAND"
    assert error.message == "not a command: messageId holds a lone surrogate, which is no text"
    assert (error.message_id, error.wait_response) == (None, False)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_python_writes_for_nan_is_not_json_and_is_answered(value: float) -> None:
    error = refusal(command(json.dumps({"v": value})))
    assert (error.code, error.message_id) == ("INVALID_JSON", "m")
    assert error.message == f"not JSON: data.v is {json.dumps(value)}, which JSON does not have"


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "the payload is empty"),
        (b"{", "not JSON: "),
        (b"\xff", "not JSON: "),
        (b'{"v": [1e400' + b",0" * 40_000 + b"]}", "cannot be read: Number out of range"),
        (b"1e400", "not a command: is a number too large for a float"),
        (b'{"v": 1e400, "v": 1}', "cannot be read: Number out of range"),
        (b"[" * 50_000 + b"1e400", "nested too deeply"),
    ],
)
def test_what_else_cannot_be_decoded_is_refused_in_true_words(payload: bytes, words: str) -> None:
    error = refusal(payload)
    assert words in error.message
    assert (error.message_id, error.wait_response) == (None, False)


def test_where_too_much_stands_in_it_to_find_what_is_wrong_its_sender_is_answered_still() -> None:
    error = refusal(command('{"v": [' + "[]," * 15_000 + "1e400]}"))
    assert error.message.startswith("cannot be read: Number out of range")
    assert (error.code, error.message_id) == ("INVALID_JSON", "m")


def test_a_text_of_two_surrogates_that_are_a_pair_is_good() -> None:
    found = decode_command(command(json.dumps({"v": "\U0001f600"})), "t", LIMITS)
    assert found.data == {"v": "\U0001f600"}


def test_at_most_twenty_faults_are_told() -> None:
    assert len(refusal(command('{"v": [' + ",".join(["1e999"] * 100) + "]}")).errors) == 20


def test_a_response_that_holds_such_a_thing_is_told_so_too() -> None:
    with pytest.raises(InvalidEnvelope, match="is a number too large for a float"):
        decode_response(b'{"success": true, "v": 1e400}', LIMITS)


@pytest.mark.parametrize("payload", [b'{"n": 1e400}', b'{"\\ud800": 1}', b'{"data": ["\\ud800"]}'])
def test_a_response_that_holds_what_cannot_be_taken_is_no_command(payload: bytes) -> None:
    with pytest.raises(InvalidEnvelope) as caught:
        decode_response(payload, LIMITS)
    assert caught.value.code == "INVALID_DATA"
    assert "command" not in caught.value.message
