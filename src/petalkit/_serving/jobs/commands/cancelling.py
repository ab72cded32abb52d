"""Cancellation on the wire: of any command that waits or runs, and of any job.

The trap: a command may wait where the dispatcher does not know it yet, in the ledger only, or read
and not accepted. To say that there is none would be wrong: it starts later.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Protocol

import trio

from ...._values.errors import CommandError, ErrorCode
from ...dispatch.dispatcher import Dispatcher
from ...dispatch.execution import Execution
from ...ledger.contract import Ledger
from ...ledger.entry import Left
from ..messages import job_fields, several
from ..running import Jobs

BY_COMMAND = "it was cancelled by petalkit/cancel"


class Parked(Protocol):
    """Commands that are read and not accepted."""

    def cancel(self, message_id: str, code: ErrorCode, text: str) -> bool:
        """Say no to one; False when it is not there."""
        ...


class Waiting(Protocol):
    """Commands that wait in the ledger only."""

    def find(self, left: Left) -> object | None:
        """One, if it waits there."""
        ...

    def cancel(self, left: Left, code: ErrorCode, text: str) -> bool:
        """Give one that waits there its end; False when it is not safe yet."""
        ...


class Cancelling:
    """See the module.

    Args:
        dispatcher: ends commands.
        ledger: knows them by their `messageId`.
        jobs: by their `job_id`.
        parked: what else may hold a command.
        waiting: the same.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        ledger: Ledger[Execution],
        jobs: Jobs,
        parked: Parked,
        waiting: Waiting,
    ) -> None:
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._jobs = jobs
        self._parked = parked
        self._waiting = waiting

    def list_jobs(self) -> dict[str, Any]:
        """Every job that has not ended, as `jobs`, as far as a message has room for them."""
        jobs = ({"command": one.spec.name, **job_fields(one)} for one in self._jobs)
        return several(jobs, self._jobs.readers.room)

    async def cancel(self, message_id: str | None, job_id: str | None) -> dict[str, Any]:
        """End a command, or a job; what has ended is left as it is. Returns when that is safe.

        Raises:
            CommandError: nothing is known of it, or not one of the two is given.

        Cancellation: it ends all the same.
        """
        found = self._cancel(message_id, job_id)
        await self._jobs.notes.wait_safe()  # or it could run after a crash
        return found

    def _cancel(self, message_id: str | None, job_id: str | None) -> dict[str, Any]:
        if (message_id is None) == (job_id is None):
            raise CommandError(ErrorCode.INVALID_DATA, "give either messageId or job_id")
        if job_id is not None:
            record = self._jobs.find(job_id)
            if record is None:
                raise CommandError(ErrorCode.UNKNOWN_JOB, f"there is no job {job_id!r}")
            self._jobs.cancel(record)
            return {"command": record.spec.name, **self._jobs.readers.shown(record)}
        assert message_id is not None
        return self._cancel_command(message_id)

    def _cancel_command(self, message_id: str) -> dict[str, Any]:
        found = self._dispatcher.slots.going_on(message_id) or self._ledger.find(
            message_id, trio.current_time()
        )
        if isinstance(found, Left):
            return self._cancel_waiting(message_id, found)
        if found is None:
            if self._parked.cancel(message_id, ErrorCode.CANCELLED, BY_COMMAND):
                return {"cancelled": True, "state": "cancelled"}
            text = f"there is no command {message_id!r}"
            raise CommandError(ErrorCode.UNKNOWN_MESSAGE_ID, text)
        if not isinstance(found, Execution):
            return {"cancelled": False, "state": "finished"}
        self._dispatcher.cancel_command(found, ErrorCode.CANCELLED, BY_COMMAND)
        state = "cancelled" if found.finished and not found.goes_on else "cancelling"
        return {"cancelled": True, "command": found.spec.name, "state": state}

    def _cancel_waiting(self, message_id: str, left: Left) -> dict[str, Any]:
        if self._waiting.find(left) is None:
            return {"cancelled": False, "state": "finished"}
        if self._waiting.cancel(left, ErrorCode.CANCELLED, BY_COMMAND):
            return {"cancelled": True, "state": "cancelled"}
        self._ledger.when_safe(functools.partial(self._cancel_again, message_id))
        return {"cancelled": True, "state": "cancelling"}

    def _cancel_again(self, message_id: str) -> None:
        """It is safe now, or known no more."""
        with contextlib.suppress(CommandError):
            self._cancel_command(message_id)
