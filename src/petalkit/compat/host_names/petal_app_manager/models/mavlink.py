"""What the host's MAVLink proxy says of a reboot, and of a formatted card.

A proxy that a user supplies says it in the same words: petals look at the codes.
"""

from __future__ import annotations

from enum import Enum

from petalkit.compat.models import BaseModel, Field

from .._missing import missing_from


class FormatStorageStatusCode(str, Enum):  # noqa: UP042 - its str() is the host's
    """How formatting the card ended."""

    OK_ACK_ACCEPTED = "OK_ACK_ACCEPTED"
    FAIL_ACK_DENIED = "FAIL_ACK_DENIED"
    FAIL_ACK_TEMPORARILY_REJECTED = "FAIL_ACK_TEMPORARILY_REJECTED"
    FAIL_ACK_UNSUPPORTED = "FAIL_ACK_UNSUPPORTED"
    FAIL_ACK_FAILED = "FAIL_ACK_FAILED"
    FAIL_ACK_IN_PROGRESS = "FAIL_ACK_IN_PROGRESS"
    FAIL_ACK_CANCELLED = "FAIL_ACK_CANCELLED"
    FAIL_NO_ACK_MATCH = "FAIL_NO_ACK_MATCH"
    FAIL_TIMEOUT = "FAIL_TIMEOUT"
    FAIL_ACK_UNKNOWN = "FAIL_ACK_UNKNOWN"
    FAIL_NOT_CONNECTED = "FAIL_NOT_CONNECTED"


class RebootStatusCode(str, Enum):  # noqa: UP042 - its str() is the host's
    """How a reboot ended. HB is the heartbeat, which drops and returns."""

    OK_ACK_ACCEPTED = "OK_ACK_ACCEPTED"
    OK_REBOOT_CONFIRMED_NO_ACK = "OK_REBOOT_CONFIRMED_NO_ACK"
    OK_ACK_ACCEPTED_HB_CONFIRMED = "OK_ACK_ACCEPTED_HB_CONFIRMED"
    OK_HB_CONFIRMED_NO_ACK = "OK_HB_CONFIRMED_NO_ACK"
    FAIL_ACK_DENIED = "FAIL_ACK_DENIED"
    FAIL_ACK_TEMPORARILY_REJECTED = "FAIL_ACK_TEMPORARILY_REJECTED"
    FAIL_ACK_UNSUPPORTED = "FAIL_ACK_UNSUPPORTED"
    FAIL_ACK_FAILED = "FAIL_ACK_FAILED"
    FAIL_ACK_IN_PROGRESS = "FAIL_ACK_IN_PROGRESS"
    FAIL_ACK_CANCELLED = "FAIL_ACK_CANCELLED"
    FAIL_NO_ACK_MATCH = "FAIL_NO_ACK_MATCH"
    FAIL_NO_HEARTBEAT_TRACKING = "FAIL_NO_HEARTBEAT_TRACKING"
    FAIL_REBOOT_NOT_CONFIRMED_NO_HB_DROP = "FAIL_REBOOT_NOT_CONFIRMED_NO_HB_DROP"
    FAIL_REBOOT_NOT_CONFIRMED_HB_NO_RETURN = "FAIL_REBOOT_NOT_CONFIRMED_HB_NO_RETURN"
    FAIL_ACK_UNKNOWN = "FAIL_ACK_UNKNOWN"


class _Outcome(BaseModel):
    success: bool = Field(description="Whether the autopilot did it")
    reason: str = Field(description="What happened, for people")
    ack_result: int | None = Field(
        default=None, description="The result of COMMAND_ACK; None without one"
    )


class FormatStorageResponse(_Outcome):
    """The outcome of formatting the card."""

    status_code: FormatStorageStatusCode = Field(description="What happened, for programs")


class RebootAutopilotResponse(_Outcome):
    """The outcome of a reboot."""

    status_code: RebootStatusCode = Field(description="What happened, for programs")


__getattr__ = missing_from(__name__)
