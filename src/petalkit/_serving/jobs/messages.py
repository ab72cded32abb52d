"""How jobs are worded for those who read them: as fields of an answer, and as messages on the web.

A message of a subscription is what the web clients of this field read: an envelope like that of a
command, around `published_stream_id` and `stream_payload`. The arguments stand under the name that
the dialect's own callers use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._values.codec import encode_json
from ..._values.job_states import JobState
from ..sending.responses import Responses
from .record import JobRecord


def job_fields(record: JobRecord) -> dict[str, Any]:
    """What is said of a job in an answer, without its result."""
    fields: dict[str, Any] = {"job_id": record.id, "state": str(record.state)}
    job = record.job
    if record.state is JobState.ACCEPTED:
        fields["position"] = record.kind.position(record)
    if job is not None:
        fields["progress"] = 1.0 if record.state is JobState.SUCCEEDED else job.fraction
        if job.message is not None:
            fields["message"] = job.message
        if job.fields:
            fields["fields"] = job.fields
    return fields


def ended_fields(record: JobRecord) -> dict[str, Any]:
    """The same of one that has ended, with its result, or why it has none."""
    fields = job_fields(record)
    if record.code is not None:
        fields["job_error_code"], fields["job_error"] = record.code, record.error
        if record.fields:
            fields["details"] = record.fields
    else:
        fields["result"] = record.fields
    return fields


class WebMessages:
    """Makes messages for readers of jobs and streams.

    Args:
        responses: has the dialect and the clock.
    """

    def __init__(self, responses: Responses) -> None:
        self._dialect = responses.dialect
        self._timestamps = responses.timestamps

    def stream(
        self, command: str, stream_id: str, message_id: str, payload: Mapping[str, Any]
    ) -> bytes:
        """One value for one reader.

        Args:
            command: how readers tell what it is: `/{petal}/publish_{name}`.
            stream_id: how this reader calls it.
            message_id: of this message.
            payload: the value.

        Raises:
            PayloadError: JSON cannot say it.
        """
        return self._envelope(
            command, message_id, {"published_stream_id": stream_id, "stream_payload": payload}
        )

    def second_phase(self, command: str, message_id: str, fields: Mapping[str, Any]) -> bytes:
        """What a command that was answered before has come to.

        Raises:
            PayloadError: JSON cannot say it.
        """
        return self._envelope(command, message_id, fields)

    def _envelope(self, command: str, message_id: str, arguments: Mapping[str, Any]) -> bytes:
        return encode_json(
            {
                "messageId": message_id,
                "command": command,
                "timestamp": self._timestamps(),
                "waitResponse": False,
                "deviceId": self._dialect.device_id,
                self._dialect.arguments: arguments,
            }
        )
