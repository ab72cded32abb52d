"""A message on `command/web`, read: an event, or what one reader is told of a job or a stream.

The rule: whatever a device sends, nothing is raised but one error of ours, and nothing is believed
of it that is not of its kind. A reader is told in one of two ways: within an envelope like that of
a command, under `published_stream_id` and `stream_payload`, or plainly, with the fields of its own
beside the ID. Both look alike to whoever reads them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..._values.codec import Limits, decode_json
from ..._values.errors import ErrorCode, PayloadError

_NOTHING: Mapping[str, Any] = {}


@attrs.frozen
class Event:
    """What a device says to everybody.

    Attributes:
        command: what it is about, such as `"/camera/progress"`; empty where it does not say.
        data: what it says: the arguments of its envelope, or all its fields where it has none.
        message_id: its own, or that of the command that it belongs to.
        timestamp: as the device says it.
        device_id: of the device on whose topic it came.
        fields: all of it, as it came.
    """

    command: str
    data: Mapping[str, Any]
    message_id: str | None
    timestamp: str | None
    device_id: str
    fields: Mapping[str, Any] = attrs.field(repr=False)


@attrs.frozen
class Told:
    """What one reader is told.

    Attributes:
        stream_id: how it calls what it has subscribed to.
        value: of a stream its value, of a job how it stands.
        ended: whether a stream says that nothing follows.
        fields: all of it, as it came.
    """

    stream_id: str
    value: Any
    ended: bool
    fields: Mapping[str, Any] = attrs.field(repr=False)

    @property
    def error(self) -> tuple[str, str] | None:
        """Code and text with which a stream has ended; None where it ended well."""
        said = self.value if isinstance(self.value, dict) else _NOTHING
        code, text = said.get("error_code"), said.get("error")
        if not isinstance(code, str):
            return None
        return code, text if isinstance(text, str) else ""


def read_web(payload: bytes, device_id: str, limits: Limits) -> Event | Told:
    """Read one message.

    Raises:
        PayloadError: it is no JSON object, or too large.
    """
    fields = decode_json(payload, limits)
    if type(fields) is not dict:
        raise PayloadError(ErrorCode.INVALID_DATA, "an event is a JSON object")
    stream_id = fields.get("published_stream_id")
    if type(stream_id) is str:
        return _plain(stream_id, fields)
    data = _arguments(fields)
    if data is not None:
        stream_id = data.get("published_stream_id")
        if type(stream_id) is str and "stream_payload" in data:
            value = data["stream_payload"]
            return Told(stream_id, value, _is_end(value), fields)
    command = fields.get("command")
    return Event(
        command if type(command) is str else "",
        fields if data is None else data,
        _text(fields.get("messageId")),
        _text(fields.get("timestamp")),
        device_id,
        fields,
    )


def _plain(stream_id: str, fields: dict[str, Any]) -> Told:
    if "value" in fields and "job_id" not in fields:
        return Told(stream_id, fields["value"], ended=False, fields=fields)
    ended = fields.get("ended") is True and "job_id" not in fields
    return Told(stream_id, fields, ended, fields)


def _arguments(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    for name in ("data", "payload"):
        found = fields.get(name)
        if type(found) is dict:
            return found
    return None


def _is_end(value: Any) -> bool:
    """Whether it says that a stream has ended: nothing else, or with an error and its details."""
    if type(value) is not dict or value.get("ended") is not True:
        return False
    return len(value) == 1 or (type(value.get("error_code")) is str and "error" in value)


def _text(value: object) -> str | None:
    return value if type(value) is str else None
