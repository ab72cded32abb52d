"""The states of a job, and which may follow which: every job ends in exactly one final state.

accepted -> running -> succeeded | failed | cancelled | timed_out | interrupted
running -> cancelling -> (the same)
accepted -> cancelled | failed | timed_out | interrupted    it never ran
"""

from __future__ import annotations

import enum
from collections.abc import Mapping


class JobState(enum.StrEnum):
    """Where a job stands."""

    ACCEPTED = "accepted"
    """It waits for its turn."""
    RUNNING = "running"
    CANCELLING = "cancelling"
    """It was told to stop, and cleans up."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    """The process ended while it ran."""

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in FINAL_STATES


_ENDS = frozenset(
    {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMED_OUT,
        JobState.INTERRUPTED,
    }
)
FINAL_STATES = _ENDS

NEXT: Mapping[JobState, frozenset[JobState]] = {
    JobState.ACCEPTED: frozenset(
        {JobState.RUNNING, *(_ENDS - {JobState.SUCCEEDED})},
    ),
    JobState.RUNNING: _ENDS | {JobState.CANCELLING},
    JobState.CANCELLING: _ENDS,
    **dict.fromkeys(_ENDS, frozenset[JobState]()),
}
