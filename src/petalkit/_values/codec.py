"""Bytes <-> values: JSON, the envelope of commands, time stamps. Knows nothing of who handles it.

What a device answers is worded in `dialects`, on `encode_json`; only a caller decodes a response.

Decoding is msgspec's: exact integers, no NaN, no lone surrogates, no BOM, UTF-8 only. Bounds come
first and cost little: the size before decoding, the depth by counting brackets, which can only be
too many where the nesting might be too deep; then it is measured.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .basics.clocks import moment_of_text
from .envelopes.envelope import MAX_COMMAND_NAME, too_deep_for, undecodable, what_is_wrong
from .envelopes.envelope import InvalidEnvelope as InvalidEnvelope
from .envelopes.envelope import Limits as Limits
from .error_codes import OWN_WORDS
from .errors import ErrorCode, PayloadError
from .messages import Command, Response
from .types.results import encode_other

NO_MESSAGE_ID = "unknown"  # the guide's own word in a response to a command without one

_decode = msgspec.json.Decoder().decode


_pack = msgspec.msgpack.Encoder(enc_hook=encode_other).encode
_NO_NUMBER = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")  # a double that is not finite


_encode = msgspec.json.Encoder(enc_hook=encode_other).encode


def decode_json(payload: bytes, limits: Limits) -> Any:
    """Decode one JSON text.

    Raises:
        InvalidEnvelope: TOO_LARGE, INVALID_JSON, or INVALID_DATA or INVALID_COMMAND for JSON that
            holds what cannot be taken, such as `1e400`.
    """
    if len(payload) > limits.payload_max:
        raise InvalidEnvelope(
            ErrorCode.TOO_LARGE,
            f"the payload has {len(payload)} bytes; {limits.payload_max} are allowed",
        )
    try:
        return _decode(payload)
    except RecursionError:
        raise InvalidEnvelope(ErrorCode.INVALID_JSON, "the JSON is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise InvalidEnvelope(ErrorCode.INVALID_JSON, f"not UTF-8 at byte {error.start}") from None
    except msgspec.DecodeError as error:
        raise undecodable(payload, limits, error) from None


def decode_command(payload: bytes, topic: str, limits: Limits) -> Command:
    """Read a command's envelope.

    Raises:
        InvalidEnvelope: TOO_LARGE, INVALID_JSON or INVALID_COMMAND, with the `message_id` and
            `wait_response` that could be read all the same.
    """
    envelope = decode_json(payload, limits)
    if type(envelope) is not dict:
        raise InvalidEnvelope(ErrorCode.INVALID_COMMAND, "a command is a JSON object")
    # Counting brackets is cheap, and most commands have fewer in all than may be nested.
    too_deep = payload.count(b"{") + payload.count(b"[") > limits.depth_max and too_deep_for(
        envelope, limits.depth_max
    )
    name = envelope.pop("command", None)
    message_id = envelope.pop("messageId", None)
    wait_response = envelope.pop("waitResponse", False)
    if wait_response is None:  # as absent, like every other null of the envelope
        wait_response = False
    data = envelope.pop("data", None)
    if data is None:
        data = envelope.pop("payload", None)
        if data is None:
            data = {}
    timestamp = envelope.pop("timestamp", None)
    if (
        type(name) is not str
        or not 0 < len(name) <= MAX_COMMAND_NAME
        or (message_id is not None and type(message_id) is not str)
        or (message_id is not None and not 0 < len(message_id) <= limits.message_id_max)
        or type(wait_response) is not bool
        or type(data) is not dict
        or too_deep
    ):
        raise what_is_wrong(_decode(payload), data, payload, limits)
    # What is left of the envelope is nobody's.
    return Command(name, message_id, wait_response, data, timestamp, topic, envelope)


def parse_expiry(command: Command) -> float | None:
    """The command's `expiresAt` as seconds since the epoch, None when it has none.

    Raises:
        InvalidEnvelope: INVALID_COMMAND, it is not an RFC 3339 time with an offset.
    """
    text = command.extra.get("expiresAt")
    if text is None:
        return None
    moment = moment_of_text(text)
    if moment is None:
        refusal = InvalidEnvelope(
            ErrorCode.INVALID_COMMAND,
            "not a command: expiresAt expected an RFC 3339 time with its offset",
            [{"path": "expiresAt", "message": "expected an RFC 3339 time with its offset"}],
        )
        refusal.message_id = command.message_id
        refusal.wait_response = command.wait_response
        refusal.command = command.command
        raise refusal
    return moment


class Timestamps:
    """The time stamps of the wire: RFC 3339, UTC, milliseconds.

    Args:
        now: wall-clock seconds since the epoch. The one place where it is asked.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self._millisecond = self._second = -1
        self._text = self._seconds_text = ""

    def __call__(self) -> str:
        moment = self.now()
        # The last one is kept: under load many fall into one.
        return self._text if int(moment * 1000) == self._millisecond else self.text(moment)

    def text(self, moment: float) -> str:
        """A moment as on the wire."""
        millisecond = int(moment * 1000)
        if millisecond != self._millisecond:
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                utc = dt.datetime.fromtimestamp(second, dt.UTC)
                self._second, self._seconds_text = second, utc.strftime("%Y-%m-%dT%H:%M:%S")
            self._millisecond, self._text = millisecond, f"{self._seconds_text}.{rest:03d}Z"
        return self._text


def encode_json(value: Any) -> bytes:
    """Encode one JSON text.

    Raises:
        PayloadError: it holds something JSON has no words for; the text says what.
    """
    try:
        encoded = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PayloadError(
            ErrorCode.HANDLER_ERROR, f"cannot be encoded as JSON: {error}"
        ) from error
    # msgspec writes NaN as null; only where there is a null can there have been one.
    if b"null" in encoded and not _is_finite(value):
        raise PayloadError(
            ErrorCode.HANDLER_ERROR, "cannot be encoded as JSON: it has no NaN and no infinity"
        )
    return encoded


def printable(text: object) -> str:
    """A petal's own text as JSON can carry it, whatever the petal took for a text."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def _is_finite(value: Any) -> bool:
    # A null is common, and to look at each value in Python takes fifty times as long as to encode
    # them all. In MessagePack a float is its own bytes; what looks like one may be part of a text.
    try:
        if _NO_NUMBER.search(_pack(value)) is None:
            return True
    except Exception:  # noqa: S110 - an integer that has no place there, and has one in JSON
        pass
    level: list[Any] = [msgspec.to_builtins(value, str_keys=True, enc_hook=encode_other)]
    while level:
        one = level.pop()
        if isinstance(one, dict):
            level.extend(one.values())
        elif isinstance(one, list | tuple):
            level.extend(one)
        elif isinstance(one, float) and not math.isfinite(one):
            return False
    return True


def encode_command(
    name: str,
    data: Mapping[str, Any],
    *,
    message_id: str,
    timestamp: str,
    wait_response: bool,
) -> bytes:
    """A command's envelope, as the guide writes it.

    Raises:
        PayloadError: `data` cannot be encoded as JSON.
    """
    return encode_json(
        {
            "command": name,
            "messageId": message_id,
            "waitResponse": wait_response,
            "data": data,
            "timestamp": timestamp,
        }
    )


def decode_response(
    payload: bytes, limits: Limits, codes: Mapping[str, str] = OWN_WORDS
) -> Response:
    """Read a response.

    Args:
        payload: it.
        limits: its bounds.
        codes: what other words for error codes mean.

    Raises:
        InvalidEnvelope: TOO_LARGE, INVALID_JSON, or INVALID_DATA when it is no JSON object, or
            holds what cannot be taken, such as `1e400`.
    """
    try:
        fields = decode_json(payload, limits)
    except InvalidEnvelope as error:
        if error.code != ErrorCode.INVALID_COMMAND:
            raise
        text = "; ".join(f"{one['path']} {one['message']}".strip() for one in error.errors)
        raise InvalidEnvelope(ErrorCode.INVALID_DATA, text, error.errors) from None
    if type(fields) is not dict:
        raise InvalidEnvelope(ErrorCode.INVALID_DATA, "a response is a JSON object")
    return Response(fields, codes)
