"""What is around the data of a command on the wire, as JSON Schema: the same for every device.

The rule: said as a reader meets it in either dialect, so what only one of them has is not required.
"""

from __future__ import annotations

from typing import Any

from ..._values.errors import ErrorCode
from ..._values.job_states import FINAL_STATES, JobState
from .contract import Schema

_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
JOB_CODES = ("UNKNOWN_JOB", "UNKNOWN_MESSAGE_ID")


def command(name: str, data: Schema) -> dict[str, Any]:
    """A command."""
    return {
        "type": "object",
        "properties": {
            "command": {"const": name},
            "messageId": {
                "type": "string",
                "description": "another one for each command; a copy has the same",
            },
            "waitResponse": {"type": "boolean", "description": "to be answered on `response`"},
            "data": data,
            "timestamp": _TIME,
            "expiresAt": {**_TIME, "description": "it is not started after that"},
        },
        "required": ["command", *(["data"] if data.get("required") else [])],
    }


def response(result: Schema) -> dict[str, Any]:
    """The answer of a success."""
    own = {
        "type": "object",
        "properties": {
            "messageId": _TEXT,
            "timestamp": _TIME,
            "success": {"const": True},
        },
        "required": ["messageId", "timestamp"],
    }
    return {"allOf": [own, result]}


def failure() -> dict[str, Any]:
    """The answer that says no."""
    codes = [*(str(code) for code in ErrorCode), *JOB_CODES]
    return {
        "type": "object",
        "properties": {
            "messageId": _TEXT,
            "timestamp": _TIME,
            "success": {"const": False},
            "error": {"type": "string", "description": "for people"},
            "error_code": {
                "type": "string",
                "examples": list(dict.fromkeys(codes)),
                "description": "for programs: one of these, or one of the petal's own",
            },
            "retryable": {"type": "boolean"},
            "retry": {
                "enum": ["same_id", "new_id"],
                "description": "how it can be sent again, where it is retryable",
            },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"path": _TEXT, "message": _TEXT},
                    "required": ["path", "message"],
                },
            },
            "available_commands": {"type": "array", "items": _TEXT},
        },
        "required": ["messageId", "timestamp", "error_code"],
    }


def job_start() -> dict[str, Any]:
    """What the start of a job is answered with."""
    return {
        "type": "object",
        "properties": {
            "job_id": _TEXT,
            "state": {"enum": [str(one) for one in JobState]},
            "position": {"type": "integer", "description": "in the queue; 1 starts next"},
            "progress": _PROGRESS,
        },
        "required": ["job_id", "state"],
    }


_PROGRESS: Schema = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]}


def job_progress() -> dict[str, Any]:
    """How a job stands while it goes on."""
    found = job_start()
    found["properties"] = {
        **found["properties"],
        "state": {"enum": [str(one) for one in JobState if not one.final]},
        "message": {"type": "string", "description": "for people"},
        "fields": {"type": "object", "description": "what it reports beside"},
    }
    return found


def job_end(result: Schema) -> dict[str, Any]:
    """How a job has ended: with a result, or why it has none."""
    ends = sorted(str(one) for one in FINAL_STATES - {JobState.SUCCEEDED})
    good = {
        "type": "object",
        "properties": {
            "job_id": _TEXT,
            "state": {"const": str(JobState.SUCCEEDED)},
            "progress": _PROGRESS,
            "message": _TEXT,
            "fields": {"type": "object"},
            "result": result,
        },
        "required": ["job_id", "state"],
    }
    bad = {
        "type": "object",
        "properties": {
            "job_id": _TEXT,
            "state": {"enum": ends},
            "progress": _PROGRESS,
            "message": _TEXT,
            "fields": {"type": "object"},
            "job_error_code": _TEXT,
            "job_error": _TEXT,
            "details": {"type": "object"},
        },
        "required": ["job_id", "state", "job_error_code"],
    }
    return {"oneOf": [good, bad]}


def stream_end() -> dict[str, Any]:
    """The last that readers of a stream are told."""
    return {
        "type": "object",
        "properties": {"ended": {"const": True}, "error_code": _TEXT, "error": _TEXT},
        "required": ["ended"],
    }


def for_web(about: str, payload: Schema) -> dict[str, Any]:
    """What readers of a job or a stream are told, around how it stands."""
    return {
        "type": "object",
        "properties": {
            "messageId": _TEXT,
            "command": {"const": about},
            "timestamp": _TIME,
            "waitResponse": {"const": False},
            "deviceId": _TEXT,
            "data": {
                "type": "object",
                "properties": {
                    "published_stream_id": {
                        "type": "string",
                        "description": "the `subscribed_stream_id` of the reader",
                    },
                    "stream_payload": payload,
                },
                "required": ["published_stream_id", "stream_payload"],
            },
        },
        "required": ["command"],
    }


def status() -> dict[str, Any]:
    """The retained status: the birth, and the will."""
    petal = {
        "type": "object",
        "properties": {"name": _TEXT, "version": _TEXT},
        "required": ["name", "version"],
    }
    return {
        "type": "object",
        "properties": {
            "status": {"enum": ["online", "offline"]},
            "timestamp": {**_TIME, "description": "the will has none"},
            "petals": {"type": "array", "items": petal},
            "schema_hash": _TEXT,
        },
        "required": ["status"],
    }


def subscription(*, job: bool) -> dict[str, Any]:
    """What subscribes to a job or a stream."""
    own: dict[str, Any] = {"job_id": {"type": "string"}} if job else {}
    return {
        "type": "object",
        "properties": {
            "subscribed_stream_id": {"type": "string", "minLength": 1, "maxLength": 128},
            "data_rate_hz": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
            **own,
        },
        "required": ["subscribed_stream_id"],
    }


def reader() -> dict[str, Any]:
    """Who ends a subscription."""
    return {
        "type": "object",
        "properties": {"subscribed_stream_id": _TEXT},
        "required": ["subscribed_stream_id"],
    }


def which_job() -> dict[str, Any]:
    """Of which job something is asked; without an ID of the only one, or the last."""
    return {"type": "object", "properties": {"job_id": _TEXT}}
