"""Cancellation on the wire: of any command that waits or runs, and of any job."""

from __future__ import annotations

from typing import Any

import trio

from ...._values.errors import CommandError, ErrorCode
from ...dispatch.dispatcher import Dispatcher
from ...dispatch.execution import Execution
from ...ledger.contract import Ledger
from ..messages import job_fields
from ..running import Jobs

BY_COMMAND = "it was cancelled by petalkit/cancel"


class Cancelling:
    """See the module.

    Args:
        dispatcher: ends commands.
        ledger: knows them by their `messageId`.
        jobs: by their `job_id`.
    """

    def __init__(self, dispatcher: Dispatcher, ledger: Ledger[Execution], jobs: Jobs) -> None:
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._jobs = jobs

    def list_jobs(self) -> list[dict[str, Any]]:
        """Every job that has not ended."""
        return [{"command": one.spec.name, **job_fields(one)} for one in self._jobs]

    def cancel(self, message_id: str | None, job_id: str | None) -> dict[str, Any]:
        """End a command, or a job; what has ended is left as it is.

        Raises:
            CommandError: nothing is known of it, or not one of the two is given.
        """
        if (message_id is None) == (job_id is None):
            raise CommandError(ErrorCode.INVALID_DATA, "give either messageId or job_id")
        if job_id is not None:
            record = self._jobs.find(job_id)
            if record is None:
                raise CommandError(ErrorCode.UNKNOWN_JOB, f"there is no job {job_id!r}")
            self._jobs.cancel(record)
            return {"command": record.spec.name, **job_fields(record)}
        assert message_id is not None
        found = self._dispatcher.slots.going_on(message_id) or self._ledger.find(
            message_id, trio.current_time()
        )
        if found is None:
            text = f"there is no command {message_id!r}"
            raise CommandError(ErrorCode.UNKNOWN_MESSAGE_ID, text)
        if not isinstance(found, Execution):
            return {"cancelled": False, "state": "finished"}
        self._dispatcher.cancel_command(found, ErrorCode.CANCELLED, BY_COMMAND)
        state = "cancelled" if found.finished and not found.goes_on else "cancelling"
        return {"cancelled": True, "command": found.spec.name, "state": state}
