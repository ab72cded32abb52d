"""Exceptions keep their parts, and say in their text what to do."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from petalkit import (
    CommandError,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    ErrorCode,
    PayloadError,
    PetalkitError,
    RegistrationError,
    RejectedByBroker,
    TransportError,
)


def test_the_tree() -> None:
    for cls in (CommandError, ConfigError, PayloadError, RegistrationError, TransportError):
        assert issubclass(cls, PetalkitError)
    for cls in (ConnectFailed, ConnectionLost, RejectedByBroker):
        assert issubclass(cls, TransportError)


def test_the_codes_of_the_wire_and_which_of_them_are_worth_another_try() -> None:
    assert {str(code) for code in ErrorCode if code.retryable} == {
        "BUSY", "DROPPED", "SHUTTING_DOWN", "UNAVAILABLE", "TIMEOUT", "CANCELLED", "INTERRUPTED",
    }  # fmt: skip
    assert len(ErrorCode) == 20
    assert all(str(code) == code.name for code in ErrorCode)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("grace", "must be at least 0"), "grace: must be at least 0"),
        (
            RejectedByBroker(5, "not authorized"),
            "the broker answered not authorized (reason code 0x05)",
        ),
        (ConnectionLost(), "the connection to the broker was lost"),
        (CommandError("NO", "no map"), "NO: no map"),
        (RegistrationError("is bad", petal="p"), "petal 'p': is bad"),
        (
            RegistrationError("is bad", petal="p", method="P.m", parameter="x"),
            "petal 'p', P.m(), parameter 'x': is bad",
        ),
    ],
)
def test_their_texts(error: Exception, text: str) -> None:
    assert str(error) == text


def test_a_command_error_takes_what_petals_give_it() -> None:
    error = CommandError(5, OSError("disk full"), retryable=1)  # type: ignore[arg-type]
    assert (error.code, error.message, error.retryable) == ("5", "disk full", True)
    details = {"a": 1}
    error = CommandError("NO", "no", details=details)
    details["a"] = 2
    assert error.details == {"a": 1}


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("grace", "bad"),
        RejectedByBroker(5, "no"),
        ConnectionLost("gone"),
        PayloadError(ErrorCode.INVALID_DATA, "bad", [{"path": "a", "message": "b"}]),
        CommandError("NO", "no", retryable=True, details={"a": 1}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_they_can_be_copied_as_process_pools_do(error: Any) -> None:
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)
