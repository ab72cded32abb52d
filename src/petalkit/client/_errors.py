"""What a caller is told: that no response came, that it says no, or that a job has failed.

The rule: one class for each kind of thing that its caller can do about it; the code of the wire is
in `code`. A code that is no code of petalkit's is the petal's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from .._values.error_codes import OWN_WORDS
from .._values.errors import ErrorCode, PetalkitError
from .._values.job_states import JobState
from .._values.messages import Response

TEXT_MAX = 1000  # characters of a device's own text that are shown


class CallTimeout(PetalkitError, trio.TooSlowError):
    """No response came in time. What became of the command is not known.

    Args:
        command: its full name.
        message_id: its ID: a call with the same one asks for the same answer, and does not run the
            command a second time.
        timeout: seconds that the call had.
        sent: whether the command was handed to the broker.
        expires_at: RFC 3339, after which the device does not start it any more; None for never.
        link_error: why there was no link when the time was over; None when there was one.
    """

    def __init__(
        self,
        command: str,
        message_id: str,
        timeout: float,
        *,
        sent: bool,
        expires_at: str | None,
        link_error: str | None = None,
    ) -> None:
        super().__init__(command, message_id, timeout)
        self.command = command
        self.message_id = message_id
        self.timeout = timeout
        self.sent = sent
        self.expires_at = expires_at
        self.link_error = link_error

    def __str__(self) -> str:
        head = f"no answer to {self.command!r} within {round(self.timeout, 3):g} s"
        if self.link_error is not None:
            head += f"; there is no link to the broker ({self.link_error})"
        if not self.sent:
            return f"{head}; it was not sent"
        if self.expires_at is None:
            start = "may still start it, however late"
        else:
            start = f"may still run it, and does not start it after {self.expires_at} by its clock"
        return f"{head} (messageId {self.message_id}): the device {start}"


class CommandRefused(PetalkitError):
    """The device has answered "no". Its subclasses say what kind of no that is.

    Args:
        command: its full name.
        response: the answer.

    Attributes:
        command: its full name.
        response: the answer, with all its fields.
        code: for programs; empty where the device says none.
        text: for people.
        message_id: of the command.
        retry: how it can be sent again: see `Response.retry`.
    """

    def __init__(self, command: str, response: Response) -> None:
        super().__init__(command, response)
        self.command = command
        self.response = response

    @property
    def code(self) -> str:
        """The code for programs; empty where the device says none."""
        return _text(self.response.error_code)

    @property
    def text(self) -> str:
        """The text for people."""
        return _text(self.response.error)

    @property
    def fields(self) -> Mapping[str, Any]:
        """All that the answer says."""
        return self.response.fields

    @property
    def message_id(self) -> str | None:
        """Of the command."""
        return self.response.message_id

    @property
    def retry(self) -> str | None:
        """See `Response.retry`."""
        return self.response.retry

    def __str__(self) -> str:
        said = f"{self.code or 'no'}: {self.text or 'without a text'}"
        return f"the device refused {self.command!r}: {shortened(said)}"


class InvalidRequest(CommandRefused):
    """The command itself is wrong, and was not run: `INVALID_DATA` and its kind."""

    @property
    def errors(self) -> list[Mapping[str, Any]]:
        """`path` and `message` of each field that is wrong, as far as the device says it."""
        found = self.fields.get("errors")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


class UnknownCommand(CommandRefused):
    """No petal serves it: `UNKNOWN_COMMAND`."""

    @property
    def available_commands(self) -> list[str]:
        """Those that are served, as far as the device names them."""
        found = self.fields.get("available_commands")
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


class UnknownJob(CommandRefused):
    """There is no such job, or command to be cancelled: `UNKNOWN_JOB`, `UNKNOWN_MESSAGE_ID`."""


class NotAllowed(CommandRefused):
    """It may not be done so: `UNAUTHORIZED`."""


class CommandExpired(CommandRefused):
    """It came too late, and was not started: `EXPIRED`."""


class DeviceBusy(CommandRefused):
    """It was not started, because something else is under way: `BUSY`, `DROPPED`."""


class DeviceUnavailable(CommandRefused):
    """The device or the petal is not there for it now: `UNAVAILABLE`, `SHUTTING_DOWN`."""


class CommandUnfinished(CommandRefused):
    """It was started, and did not end: `TIMEOUT`, `CANCELLED`, `INTERRUPTED`.

    It may have done part of its work.
    """


class HandlerFailed(CommandRefused):
    """There is a fault in the petal: `HANDLER_ERROR`, `NO_RESPONSE`."""

    @property
    def error_id(self) -> str | None:
        """Under which the device's log has the traceback."""
        found = self.fields.get("error_id")
        return found if isinstance(found, str) else None


class PetalRefused(CommandRefused):
    """The petal itself says no, with a code of its own."""


FAMILIES: Mapping[str, type[CommandRefused]] = {
    ErrorCode.INVALID_JSON: InvalidRequest,
    ErrorCode.INVALID_COMMAND: InvalidRequest,
    ErrorCode.INVALID_DATA: InvalidRequest,
    ErrorCode.TOO_LARGE: InvalidRequest,
    ErrorCode.RETAINED: InvalidRequest,
    ErrorCode.MESSAGE_ID_REUSED: InvalidRequest,
    ErrorCode.UNKNOWN_COMMAND: UnknownCommand,
    "UNKNOWN_JOB": UnknownJob,
    "UNKNOWN_MESSAGE_ID": UnknownJob,
    ErrorCode.UNAUTHORIZED: NotAllowed,
    ErrorCode.EXPIRED: CommandExpired,
    ErrorCode.BUSY: DeviceBusy,
    ErrorCode.DROPPED: DeviceBusy,
    ErrorCode.UNAVAILABLE: DeviceUnavailable,
    ErrorCode.SHUTTING_DOWN: DeviceUnavailable,
    ErrorCode.TIMEOUT: CommandUnfinished,
    ErrorCode.CANCELLED: CommandUnfinished,
    ErrorCode.INTERRUPTED: CommandUnfinished,
    ErrorCode.HANDLER_ERROR: HandlerFailed,
    ErrorCode.NO_RESPONSE: HandlerFailed,
}


def refusal(command: str, response: Response) -> CommandRefused:
    """The error that a "no" is."""
    code = response.error_code
    kind = FAMILIES.get(code) if isinstance(code, str) else None
    return (kind or PetalRefused)(command, response)


class JobFailed(PetalkitError):
    """A job has ended, and not well.

    Args:
        job: its name.
        state: how it has ended.
        fields: what the device says of it.
        codes: what other words for error codes mean.

    Attributes:
        job: its name.
        job_id: its ID.
        state: `failed`, `cancelled`, `timed_out` or `interrupted`.
        code: for programs; empty where there is none.
        text: for people.
        fields: all that the device says of it.
    """

    def __init__(
        self,
        job: str,
        state: JobState,
        fields: Mapping[str, Any],
        codes: Mapping[str, str] = OWN_WORDS,
    ) -> None:
        super().__init__(job, state, fields)
        self.job = job
        self.state = state
        self.fields = fields
        self.job_id = _text(fields.get("job_id"))
        code = _text(fields.get("job_error_code"))
        self.code = codes.get(code, code)
        self.text = _text(fields.get("job_error"))

    def __str__(self) -> str:
        why = f": {self.code}: {self.text}" if self.code else ""
        return f"the job {self.job!r} ended as {self.state}{shortened(why)}"


class JobCancelled(JobFailed):
    """It was cancelled, by whomever."""


class StreamFailed(PetalkitError):
    """A stream has ended with an error.

    Attributes:
        stream: its name.
        code: for programs.
        text: for people.
    """

    def __init__(self, stream: str, code: str, text: str) -> None:
        super().__init__(stream, code, text)
        self.stream, self.code, self.text = stream, code, text

    def __str__(self) -> str:
        return f"the stream {self.stream!r} failed: {shortened(f'{self.code}: {self.text}')}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def shortened(text: str) -> str:
    """What a device says, as far as an error shows it, without what steers a terminal."""
    plain = "".join(one if one.isprintable() else " " for one in text[:TEXT_MAX])
    return plain if len(text) <= TEXT_MAX else f"{plain}..."
