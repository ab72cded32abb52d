"""Jobs as the dispatcher sees them: what goes on beside commands, and ends with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._values.errors import ErrorCode
from ..._values.job_states import JobState
from ..._values.messages import Identity
from ..dispatch.execution import Execution
from .running import LINK_LOST, Jobs
from .streams import Streams


def long_work_now(jobs: Jobs, streams: Streams) -> dict[str, Any]:
    """How jobs and streams stand, for `Statistics`."""
    return {
        "jobs_waiting": sum(len(kind.waiting) for kind in jobs.kinds.values()),
        "jobs_running": sum(len(kind.running) for kind in jobs.kinds.values()),
        "subscriptions": len(jobs.subscriptions),
        "streams_running": streams.running,
    }


class JobsBeside:
    """See the module, and `Beside`.

    Args:
        jobs: all of a runtime.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def is_quiet(self, petal: str | None) -> bool:
        """See `Beside`."""
        return not any(
            kind.running and petal in (None, kind.spec.method.petal)
            for kind in self._jobs.kinds.values()
        )

    def cancel_running(
        self, code: ErrorCode, text: str, which: Callable[[Execution], bool]
    ) -> None:
        """See `Beside`."""
        for record in list(self._jobs):
            if record.state is not JobState.ACCEPTED and which(record.execution):
                if self._jobs.stopping:
                    self._jobs.stop(record)
                else:
                    self._jobs.cancel(record, JobState.CANCELLED, code, text)

    def refuse_waiting(
        self, code: ErrorCode, text: str, which: Callable[[Execution], bool]
    ) -> None:
        """See `Beside`."""
        for record in list(self._jobs):
            lasts = record.note is not None and record.lease is None
            left = self._jobs.stopping and lasts
            if record.state is JobState.ACCEPTED and which(record.execution) and not left:
                self._jobs.cancel(record, JobState.CANCELLED, code, text)

    def end_identity(self, identity: Identity) -> None:
        """See `Beside`. Readers of streams are meant too."""
        self._jobs.subscriptions.end_identity(identity)

    def stuck(self) -> list[str]:
        """See `Beside`."""
        return [one.spec.name for one in self._jobs if one.state is JobState.CANCELLING]

    def stop_begins(self) -> None:
        """See `Beside`. What waits and is noted is left to the next run, as commands are."""
        self._jobs.stopping = True
        code, text = ErrorCode.SHUTTING_DOWN, "the device is shutting down"
        self.refuse_waiting(code, text, lambda _: True)

    def may_begin(self) -> None:
        """See `Beside`."""
        self._jobs.start_waiting()

    def link_is_up(self) -> None:
        """See `Beside`."""
        self._jobs.turns.has_link = True
        self._jobs.start_waiting()

    def link_is_gone(self) -> None:
        """See `Beside`."""
        self._jobs.turns.has_link = False
        for record in list(self._jobs):
            if record.spec.options.end_on_link_loss:
                self._jobs.cancel(record, JobState.CANCELLED, ErrorCode.CANCELLED, LINK_LOST)
