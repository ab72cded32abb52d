"""The envelope of a command: its bounds, and what is said of a payload that has none.

The rule: whoever waits for an answer gets one wherever its `messageId` can be read, and all that is
wrong is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..errors import ErrorCode, PayloadError
from .second_reading import MAX_BYTES, has_surrogate, read_again

MAX_COMMAND_NAME = 256  # characters


class InvalidEnvelope(PayloadError):
    """A payload that is no command; holds what could be read of whom to answer.

    Attributes:
        message_id: None when it could not be read.
        wait_response: whether the sender wants an answer; False when it could not be read.
        command: the name, as far as it could be read.
    """

    message_id: str | None = None
    wait_response: bool = False
    command: str | None = None


@attrs.frozen
class Limits:
    """The bounds of an envelope: bytes, levels of nesting, characters."""

    payload_max: int
    depth_max: int
    message_id_max: int


def too_deep_for(value: Any, bound: int) -> bool:
    """Whether a JSON value has more levels than `bound`."""
    level = [value]
    for _ in range(bound):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def what_is_wrong(
    envelope: Mapping[str, Any], data: Any, payload: bytes, limits: Limits
) -> InvalidEnvelope:
    """Everything that is wrong with JSON that is no command, and whom to answer."""
    name = envelope.get("command")
    message_id = envelope.get("messageId")
    wait_response = envelope.get("waitResponse")
    if wait_response is None:
        wait_response = False
    good_id = type(message_id) is str and 0 < len(message_id) <= limits.message_id_max
    errors: list[dict[str, str]] = []
    if "command" not in envelope:
        errors.append({"path": "command", "message": "is required"})
    elif type(name) is not str or not 0 < len(name) <= MAX_COMMAND_NAME:
        errors.append(
            {"path": "command", "message": f"expected a string of 1 to {MAX_COMMAND_NAME}"}
        )
    if message_id is not None and not good_id:
        errors.append(
            {
                "path": "messageId",
                "message": f"expected a string of 1 to {limits.message_id_max}",
            }
        )
    if type(wait_response) is not bool:
        errors.append({"path": "waitResponse", "message": "expected true or false"})
    if type(data) is not dict:
        path = "data" if envelope.get("data") is not None else "payload"
        errors.append({"path": path, "message": "expected an object"})
    if too_deep_for(envelope, limits.depth_max):
        errors.append({"path": "", "message": f"is nested deeper than {limits.depth_max} levels"})
    text = "; ".join(f"{error['path']} {error['message']}".strip() for error in errors)
    refusal = InvalidEnvelope(ErrorCode.INVALID_COMMAND, f"not a command: {text}", errors)
    return _with_sender(refusal, envelope, limits)


def _with_sender(
    refusal: InvalidEnvelope, envelope: Mapping[str, Any], limits: Limits
) -> InvalidEnvelope:
    """Put in whom to answer, as far as that can be read."""
    name, wait_response = envelope.get("command"), envelope.get("waitResponse")
    message_id = _id_of(envelope.get("messageId"), limits)
    if message_id is not None or envelope.get("messageId") is None:
        refusal.message_id = message_id  # told on `debug` too, where nobody can be answered
        refusal.wait_response = wait_response is True
        # What is neither true nor false was meant to be one of them: who can be found is told.
        if message_id is not None and wait_response is not None:
            refusal.wait_response = wait_response is not False
    refusal.command = name if name == "" or _is_text(name, MAX_COMMAND_NAME) else None
    return refusal


def _id_of(sent: object, limits: Limits) -> str | None:
    """Under which ID a sender finds what is told it; of a number that is its text."""
    if isinstance(sent, int) and not isinstance(sent, bool) and abs(sent) < 10**18:
        sent = str(sent)
    return sent if isinstance(sent, str) and _is_text(sent, limits.message_id_max) else None


def _is_text(value: object, most: int) -> bool:
    return type(value) is str and 0 < len(value) <= most and not has_surrogate(value)


def undecodable(payload: bytes, limits: Limits, error: Exception) -> InvalidEnvelope:
    """What to say of a payload that msgspec does not decode; its words are not always true.

    The caller who waits is answered where its ID can be read all the same.
    """
    if not payload:
        return InvalidEnvelope(ErrorCode.INVALID_JSON, "the payload is empty")
    reading = read_again(payload)
    if reading is None and len(payload) <= MAX_BYTES:
        return InvalidEnvelope(ErrorCode.INVALID_JSON, f"not JSON: {error}")
    if reading is None:
        return InvalidEnvelope(ErrorCode.INVALID_JSON, f"cannot be read: {error}")
    errors = [{"path": path, "message": message} for path, message in reading.faults]
    text = "; ".join(f"{path} {message}".strip() for path, message in reading.faults)
    if not reading.faults:  # too much to find it; or of two values of one key, the first
        refusal = InvalidEnvelope(ErrorCode.INVALID_JSON, f"cannot be read: {error}")
    elif not reading.is_json:
        refusal = InvalidEnvelope(ErrorCode.INVALID_JSON, f"not JSON: {text}", errors)
    elif all(path.startswith(("data", "payload")) for path, _ in reading.faults):
        refusal = InvalidEnvelope(ErrorCode.INVALID_DATA, text, errors)
    else:
        refusal = InvalidEnvelope(ErrorCode.INVALID_COMMAND, f"not a command: {text}", errors)
    envelope = reading.value
    return _with_sender(refusal, envelope, limits) if type(envelope) is dict else refusal
