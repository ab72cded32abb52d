"""The dialects: the exact words of each, and what a petal cannot make them say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from petalkit import ErrorCode, PayloadError, Response
from petalkit._values.dialects import Dialect, is_receipt, make_dialect, outcome_of

GUIDE = make_dialect("guide", "Instance-1")
HOST = make_dialect("host-0.2", "Instance-1")
BOTH = pytest.mark.parametrize("dialect", [GUIDE, HOST], ids=["guide", "host-0.2"])

GUIDE_HEAD = {"messageId": "m", "timestamp": "now"}
HOST_HEAD = {"messageId": "m", "phase": "result", "timestamp": "now", "deviceId": "Instance-1"}


def read(payload: bytes) -> dict[str, Any]:
    return msgspec.json.decode(payload, type=dict[str, Any])


def own_words(dialect: Dialect, fields: dict[str, Any], code: str | None = None) -> dict[str, Any]:
    """A response in a petal's own words, without the envelope, which is checked here."""
    response = read(dialect.own_words("m", "now", fields, code))
    head = GUIDE_HEAD if dialect is GUIDE else HOST_HEAD
    assert {key: response.pop(key, None) for key in head} == head
    return response


# -- frozen: whoever reads these today must be able to read them tomorrow


@pytest.mark.parametrize(
    ("write", "guide", "host"),
    [
        (
            lambda dialect: dialect.success("m", "now", {"message": "Hello"}),
            b'{"messageId":"m","timestamp":"now","success":true,"message":"Hello"}',
            b'{"messageId":"m","phase":"result","timestamp":"now","deviceId":"Instance-1",'
            b'"status":"success","message":"Hello"}',
        ),
        (
            lambda dialect: dialect.success(None, "now", {}),
            b'{"messageId":"unknown","timestamp":"now","success":true}',
            b'{"messageId":"unknown","phase":"result","timestamp":"now","deviceId":"Instance-1",'
            b'"status":"success"}',
        ),
        (
            lambda dialect: dialect.failure(
                None, "now", ErrorCode.BUSY, "later", details={"running": {"command": "a/b"}}
            ),
            b'{"messageId":"unknown","timestamp":"now","success":false,"error":"later",'
            b'"error_code":"BUSY","retryable":true,"retry":"same_id",'
            b'"running":{"command":"a/b"}}',
            b'{"messageId":"unknown","phase":"result","timestamp":"now","deviceId":"Instance-1",'
            b'"status":"error","message":"later","error_code":"BUSY","retryable":true,'
            b'"retry":"same_id","running":{"command":"a/b"}}',
        ),
        (
            lambda dialect: dialect.failure("m", "now", "MINE", "no"),
            b'{"messageId":"m","timestamp":"now","success":false,"error":"no",'
            b'"error_code":"MINE","retryable":false}',
            b'{"messageId":"m","phase":"result","timestamp":"now","deviceId":"Instance-1",'
            b'"status":"error","message":"no","error_code":"MINE","retryable":false}',
        ),
        (
            lambda dialect: dialect.own_words("m", "now", {"job": 7}, None),
            b'{"messageId":"m","timestamp":"now","success":true,"job":7}',
            b'{"messageId":"m","phase":"result","timestamp":"now","deviceId":"Instance-1",'
            b'"status":"success","job":7}',
        ),
        *[
            (write, receipt, receipt)
            for write, receipt in [
                (
                    lambda dialect: dialect.ack("m", "now", "camera-petal"),
                    b'{"messageId":"m","phase":"ack","ackType":"service-received",'
                    b'"service":"camera-petal","timestamp":"now","deviceId":"Instance-1"}',
                ),
                (
                    lambda dialect: dialect.ack(None, "now", "camera-petal", "queued"),
                    b'{"messageId":"unknown","phase":"ack","ackType":"queued",'
                    b'"service":"camera-petal","timestamp":"now","deviceId":"Instance-1"}',
                ),
            ]
        ],
    ],
)
def test_the_exact_words(write: Callable[[Dialect], bytes], guide: bytes, host: bytes) -> None:
    assert write(GUIDE) == guide
    assert write(HOST) == host


@BOTH
@pytest.mark.parametrize(
    ("code", "retryable", "said"),
    [
        (ErrorCode.BUSY, None, True),
        (ErrorCode.BUSY, False, False),
        (ErrorCode.EXPIRED, None, False),
        ("BUSY", None, False),
        ("MINE", True, True),
    ],
)
def test_a_failure_says_whether_it_is_worth_another_try(
    dialect: Dialect, code: str, retryable: bool | None, said: bool
) -> None:
    payload = dialect.failure("m", "now", code, "no", retryable=retryable)
    assert read(payload)["retryable"] is said


@BOTH
@pytest.mark.parametrize(
    ("code", "remembered", "said"),
    [
        (ErrorCode.BUSY, False, "same_id"),
        (ErrorCode.TIMEOUT, True, "new_id"),
        (ErrorCode.EXPIRED, True, None),
        ("MINE", False, None),
    ],
)
def test_a_failure_that_is_worth_another_try_says_under_which_message_id(
    dialect: Dialect, code: str, remembered: bool, said: str | None
) -> None:
    details = {"retry": "the petal's own", "retryable": "too"}
    payload = dialect.failure("m", "now", code, "no", remembered=remembered, details=details)
    assert read(payload).get("retry") == said


# -- a result


@BOTH
@pytest.mark.parametrize(
    "fields", [{"messageId": "x"}, {"timestamp": "x"}, {"success": False}, {"success": None}]
)
def test_a_result_overwrites_no_envelope_and_is_no_failure(
    dialect: Dialect, fields: dict[str, Any]
) -> None:
    with pytest.raises(PayloadError) as caught:
        dialect.success("m", "now", fields)
    assert caught.value.code == "HANDLER_ERROR"
    assert next(iter(fields)) in caught.value.message


@pytest.mark.parametrize("fields", [{"phase": "x"}, {"deviceId": "x"}, {"status": "error"}])
def test_the_hosts_own_fields_are_a_petals_only_in_the_guides(fields: dict[str, Any]) -> None:
    assert read(GUIDE.success("m", "now", fields)) == {**GUIDE_HEAD, "success": True, **fields}
    with pytest.raises(PayloadError) as caught:
        HOST.success("m", "now", fields)
    assert caught.value.code == "HANDLER_ERROR"


def test_a_result_that_is_a_failure_is_told_what_to_do_instead() -> None:
    with pytest.raises(PayloadError, match=r'"status": "error": raise CommandError'):
        HOST.success("m", "now", {"status": "error", "message": "no"})


def test_a_status_of_the_petals_own_does_not_hide_the_outcome() -> None:
    plain = read(HOST.success("m", "now", {"status": "success", "success": True}))
    assert plain == {**HOST_HEAD, "status": "success", "success": True}
    assert "success" not in read(HOST.success("m", "now", {"status": "success"}))
    armed = read(HOST.success("m", "now", {"status": "armed"}))
    assert armed == {**HOST_HEAD, "status": "armed"}
    assert Response(armed).success


@BOTH
@pytest.mark.parametrize("value", [math.nan, object(), "\udce9"])
def test_what_json_cannot_say_is_refused(dialect: Dialect, value: Any) -> None:
    with pytest.raises(PayloadError, match="cannot be encoded as JSON"):
        dialect.success("m", "now", {"x": value})
    with pytest.raises(PayloadError, match="cannot be encoded as JSON"):
        dialect.failure("m", "now", "X", "no", details={"x": value})
    with pytest.raises(PayloadError, match="cannot be encoded as JSON"):
        dialect.own_words("m", "now", {"x": value}, None)


# -- a failure


@BOTH
def test_details_say_nothing_of_envelope_and_outcome(dialect: Dialect) -> None:
    details = {
        "messageId": "other",
        "timestamp": "then",
        "success": True,
        "error": "x",
        "error_code": "X",
        "retryable": None,
        "errors": [1],
    }
    if dialect is HOST:
        details |= {"phase": "ack", "deviceId": "other", "status": "success", "message": "x"}
    plain = read(dialect.failure("m", "now", ErrorCode.BUSY, "later"))
    said = read(dialect.failure("m", "now", ErrorCode.BUSY, "later", details=details))
    assert said == {**plain, "errors": [1]}


# -- a petal's own words


@BOTH
def test_own_words_never_overwrite_the_envelope(dialect: Dialect) -> None:
    fields = {"messageId": "other", "timestamp": "then", "x": 1}
    assert own_words(dialect, fields)["x"] == 1
    if dialect is HOST:
        assert own_words(dialect, {"phase": "ack", "deviceId": "other"}) == {"status": "success"}
    else:
        fields = {"phase": "ack", "deviceId": "other"}
        assert own_words(dialect, fields) == {"success": True, **fields}


@pytest.mark.parametrize(
    ("fields", "guide", "host"),
    [
        ({}, True, "success"),
        ({"x": 1}, True, "success"),
        ({"success": True}, True, "success"),
        ({"success": False}, False, "error"),
        ({"success": 1}, 1, "error"),
        ({"success": None}, None, "error"),
        ({"status": "success"}, True, "success"),
        ({"status": "error"}, False, "error"),
        ({"status": "armed"}, True, "armed"),
        ({"status": {"mode": 1}}, True, {"mode": 1}),
        ({"error": "no"}, False, "error"),
        ({"error_code": "X"}, False, "error"),
        ({"error": None, "error_code": None}, True, "success"),
        ({"success": True, "error": "a warning"}, True, "success"),
        ({"success": True, "status": "error"}, True, "error"),
        ({"success": False, "status": "success"}, False, "success"),
    ],
)
def test_the_outcome_is_added_where_the_petal_did_not_say_it(
    fields: dict[str, Any], guide: Any, host: Any
) -> None:
    assert own_words(GUIDE, fields) == {"success": guide, **fields}
    assert own_words(HOST, fields).items() >= {"status": host, **fields}.items()


def test_a_code_that_is_known_beside_counts_where_the_fields_say_nothing() -> None:
    assert own_words(GUIDE, {"x": 1}, "TIMEOUT") == {"success": False, "x": 1}
    assert own_words(HOST, {"x": 1}, "TIMEOUT") == {"status": "error", "x": 1}
    assert own_words(GUIDE, {"success": True}, "TIMEOUT") == {"success": True}
    assert own_words(HOST, {"success": True}, "TIMEOUT") == {"status": "success", "success": True}


@pytest.mark.parametrize(
    ("fields", "guide", "host"),
    [
        ({"success": False, "error": "e"}, "e", "e"),
        ({"status": "error", "message": "m"}, "m", "m"),
        ({"status": "error", "message": "m", "error": "e"}, "e", "m"),
        ({"status": "error"}, None, None),
        ({"status": "error", "message": None}, None, None),
        ({"status": "success", "message": "m"}, None, "m"),
        ({"success": True, "error": "e"}, "e", None),
    ],
)
def test_the_text_of_a_failure_is_found_where_each_looks_for_it(
    fields: dict[str, Any], guide: str | None, host: str | None
) -> None:
    in_guide, in_host = own_words(GUIDE, fields), own_words(HOST, fields)
    assert in_guide.get("error") == guide
    assert in_host.get("message") == host
    for said in (in_guide, in_host):
        assert said.items() >= fields.items()  # nothing of the petal's is changed
        assert not any(value is None for key, value in said.items() if key not in fields)


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        (HOST, {"status": "error", "error": "Missing mission_plan_json in payload"}),
        (HOST, {"status": "error", "error": "e", "result": None}),
        (GUIDE, {"success": False, "message": "m"}),
    ],
)
def test_nothing_is_added_to_the_words_of_a_petal_that_speaks_the_dialect(
    dialect: Dialect, fields: dict[str, Any]
) -> None:
    assert own_words(dialect, fields) == fields


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, None),
        ({"success": True, "error_code": "X"}, None),
        ({"status": "done"}, None),
        ({"error": None}, None),
        ({"success": False}, "HANDLER_ERROR"),
        ({"success": False, "error_code": "X"}, "X"),
        ({"status": "error", "error_code": "X"}, "X"),
        ({"status": "error", "error_code": 5}, "HANDLER_ERROR"),
        ({"status": "error", "error_code": ""}, "HANDLER_ERROR"),
        ({"error": "no"}, "HANDLER_ERROR"),
        ({"error_code": "X"}, "X"),
        ({"error_code": 5}, "HANDLER_ERROR"),
    ],
)
def test_the_outcome_of_own_words(fields: dict[str, Any], code: str | None) -> None:
    assert outcome_of(fields) == code


@BOTH
@pytest.mark.parametrize(
    "fields",
    [
        *({}, {"success": True}, {"success": False}, {"status": "error"}, {"error": "x"}),
        *({"status": "success"}, {"error_code": "X"}, {"status": "error", "message": "x"}),
    ],
)
def test_a_client_reads_the_same_outcome_as_is_counted(
    dialect: Dialect, fields: dict[str, Any]
) -> None:
    response = Response(read(dialect.own_words("m", "now", fields, outcome_of(fields))))
    assert response.success is (outcome_of(fields) is None)


# -- receipts and events


def test_a_receipt_is_told_from_a_response() -> None:
    assert is_receipt(read(HOST.ack("m", "now", "p")))
    assert is_receipt(read(GUIDE.ack("m", "now", "p")))
    assert not is_receipt(read(HOST.success("m", "now", {})))
    assert not is_receipt(read(GUIDE.success("m", "now", {"phase": "ack"})))
    assert not is_receipt(read(GUIDE.failure("m", "now", "X", "no", details={"phase": "ack"})))


def test_events_say_the_device_where_the_host_does() -> None:
    event = {"command": "/p/progress", "deviceId": "other"}
    assert GUIDE.event(event) is event
    assert HOST.event(event) == {"command": "/p/progress", "deviceId": "Instance-1"}
    assert event["deviceId"] == "other"
    assert HOST.event({"n": 1}) == {"n": 1, "deviceId": "Instance-1"}


def test_only_the_hosts_honours_wait_ack_and_sends_a_payload() -> None:
    assert (GUIDE.honours_wait_ack, HOST.honours_wait_ack) == (False, True)
    assert (GUIDE.arguments, HOST.arguments) == ("data", "payload")
