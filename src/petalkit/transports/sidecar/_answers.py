"""What the sidecar's answers mean. No I/O.

Two ages of clients are understood. Since 0.2 of the guide's host a request is accepted by HTTP 200
and `{"success": true}`; before, by HTTP 200 and a JSON object without `error`. Everything else is a
no. Most of these pass: the client has no link to its broker yet, or has lost it. Only what HTTP
itself blames on the request is final, and only for that one message.
"""

from __future__ import annotations

import re

import msgspec

from ..._values.errors import RejectedByBroker

ANSWER_MAX = 64 * 1024  # bytes of an answer's body that are read
_SHOWN = 200  # characters of what the sidecar says that come into a log
# What HTTP blames on the request, but what is no fault of this one message: the wrong address or
# token (401, 403, 404, 405, 407), and what may be tried again (408, 421, 425, 429).
_NOT_THE_MESSAGE = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 429})
# It may say back what it was sent: the address with the token of ours, or the token by itself.
_SECRET = re.compile(r"(token(?:=|%3D)|bearer\s+)[^\s&\"']+", re.IGNORECASE)
_TOO_LARGE = {413: 0x95}  # HTTP status -> reason code of MQTT 5.0, section 2.4
_UNSPECIFIED = 0x80


class SidecarError(Exception):
    """The sidecar did not do what it was asked. The text says why."""


class Unreachable(SidecarError):
    """There was no answer: no connection, a broken one, or none in time."""


class Away(Unreachable):
    """There is nobody at that address."""


class NotTaken(SidecarError):
    """It answered no, and may say yes later."""


def check_answer(status: int, body: bytes) -> None:
    """Return if the request was accepted.

    Raises:
        NotTaken: it was not.
        RejectedByBroker: it never will be.
    """
    if status != 200:
        text = describe_answer(status, body)
        if 400 <= status < 500 and status not in _NOT_THE_MESSAGE:
            raise RejectedByBroker(_TOO_LARGE.get(status, _UNSPECIFIED), text)
        raise NotTaken(text)
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotTaken("its answer is not JSON") from None
    if type(fields) is not dict:
        raise NotTaken("its answer is not a JSON object")
    if fields.get("error") or fields.get("success", True) is not True:
        raise NotTaken(_text(fields) or "its answer does not say success")


def describe_answer(status: int, body: bytes) -> str:
    """What an answer other than 200 says, for a log."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    text = _text(fields) if type(fields) is dict else ""
    return f"HTTP {status}: {text}" if text else f"HTTP {status}"


def _text(fields: dict[str, object]) -> str:
    """What it says of the error; cut, since nobody knows what else may be in it."""
    for name in ("error", "message"):
        text = fields.get(name)
        if isinstance(text, str) and text:
            return _SECRET.sub(r"\1***", text)[:_SHOWN]
    return ""
