"""Jobs as the dispatcher sees them: what goes on beside commands, and ends with them."""

from __future__ import annotations

from collections.abc import Callable

from ..._values.errors import ErrorCode
from ..._values.job_states import JobState
from ..dispatch.execution import Execution
from .running import Jobs


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
                self._jobs.cancel(record, JobState.CANCELLED, code, text)

    def refuse_waiting(
        self, code: ErrorCode, text: str, which: Callable[[Execution], bool]
    ) -> None:
        """See `Beside`."""
        for record in list(self._jobs):
            left = self._jobs.stopping and record.note is not None
            if record.state is JobState.ACCEPTED and which(record.execution) and not left:
                self._jobs.cancel(record, JobState.CANCELLED, code, text)

    def stop_begins(self) -> None:
        """See `Beside`. What waits and is noted is left to the next run, as commands are."""
        self._jobs.stopping = True
        code, text = ErrorCode.SHUTTING_DOWN, "the device is shutting down"
        self.refuse_waiting(code, text, lambda _: True)

    def group_is_free(self) -> None:
        """See `Beside`."""
        self._jobs.start_waiting()

    def link_is_gone(self) -> None:
        """See `Beside`."""
        for record in list(self._jobs):
            if record.spec.options.end_on_link_loss:
                text = "the link to the broker was lost"
                self._jobs.cancel(record, JobState.CANCELLED, ErrorCode.CANCELLED, text)
