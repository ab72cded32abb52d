"""What a caller is told when no response came."""

from __future__ import annotations

import trio

from .._values.errors import PetalkitError


class CallTimeout(PetalkitError, trio.TooSlowError):
    """No response came in time. What became of the command is not known.

    Args:
        command: its full name.
        message_id: its ID: a call with the same one asks for the same answer, and does not run the
            command a second time.
        timeout: seconds that the call had.
        sent: whether the command was handed to the broker.
        expires_at: RFC 3339, after which the device does not start it any more; None for never.
    """

    def __init__(
        self, command: str, message_id: str, timeout: float, *, sent: bool, expires_at: str | None
    ) -> None:
        super().__init__(command, message_id, timeout)
        self.command = command
        self.message_id = message_id
        self.timeout = timeout
        self.sent = sent
        self.expires_at = expires_at

    def __str__(self) -> str:
        head = f"no answer to {self.command!r} within {self.timeout:g} s"
        if not self.sent:
            return f"{head}; it was not sent"
        if self.expires_at is None:
            start = "may still start it, however late"
        else:
            start = f"may still run it, and does not start it after {self.expires_at} by its clock"
        return f"{head} (messageId {self.message_id}): the device {start}"
