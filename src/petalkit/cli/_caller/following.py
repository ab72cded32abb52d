"""A job that a call has started, followed to its end; Ctrl-C cancels it.

The rule: the job is the device's, and its end is what counts: whoever presses Ctrl-C too late gets
the result. The trap: a petal may answer with a `job_id` and a `state` of its own, and serve nothing
that tells more; then its answer is a response like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import trio

from ..._serving.waiting import beside
from ..._values.errors import PetalkitError
from ..._values.job_states import JobState
from ..._values.messages import Response
from ...client import ClientJob, CommandRefused, UnknownCommand
from ...client._long.jobs import read_update
from .._errors import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    NO_ANSWER,
    CommandFailed,
    report,
)
from .._output.printing import print_json
from .options import Ask
from .progress import JobProgress
from .responses import ENVELOPE, HOST_ENVELOPE, readable_json
from .session import Session

CANCEL_LIMIT = 30.0  # seconds for a job to clean up after Ctrl-C, before it is left alone


def starts_job(response: Response) -> bool:
    """Whether it may be the start of a job that goes on."""
    update = read_update(response.fields) if response.success else None
    return update is not None and not update.ended


@attrs.frozen
class Followed:
    """What a job has come to.

    Attributes:
        command: that started it.
        state: how it ended.
        fields: what the device says of it, without the envelope of its message.
        interrupted: whether Ctrl-C was pressed.
    """

    command: str
    state: JobState
    fields: Mapping[str, Any]
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """Of the process."""
        if self.state is JobState.SUCCEEDED:
            return EXIT_OK
        return EXIT_INTERRUPTED if self.interrupted else EXIT_ERROR

    @property
    def error(self) -> dict[str, Any]:
        """Code and text, as a response has them; nothing where it succeeded."""
        if self.state is JobState.SUCCEEDED:
            return {}
        code, text = self.fields.get("job_error_code"), self.fields.get("job_error")
        return {
            "error_code": code if isinstance(code, str) and code else str(self.state).upper(),
            "error": text if isinstance(text, str) else f"the job ended as {self.state}",
        }

    def show(self, *, as_json: bool) -> None:
        """Print it: in one line with `success`, or what matters, for people."""
        if as_json:
            head = {"success": self.state is JobState.SUCCEEDED, **self.error}
            print_json({**head, "command": self.command, **self.fields})
            return
        error = self.error
        if error:
            report(
                f"the job {self.command!r} ended as {self.state}: "
                f"{error['error_code']}: {error['error']}"
            )
        print(readable_json({**error, **self.fields}), flush=True)  # noqa: T201

    def next_steps(self, ask: Ask) -> Iterator[str]:
        """What to do where it has not succeeded."""
        if self.state is JobState.INTERRUPTED:
            yield "the device has stopped while it ran; to repeat it, make a new call"
        elif self.state is JobState.FAILED and "error_id" in self.fields:
            yield "the log of the device has the traceback"


async def follow(
    session: Session, command: str, started: Response, limit: float = math.inf
) -> Followed | None:
    """Follow a job to its end.

    Args:
        session: with whom.
        command: that has started it.
        started: the answer.
        limit: seconds; then it is left to itself.

    Returns:
        What it has come to; None where the device has nothing more to say of it.

    Raises:
        CommandFailed: it is left before its end, or cannot be followed.
    """
    update = read_update(started.fields)
    assert update is not None
    job = session.client.job(command, job_id=update.job_id, **session.how)
    pressed = trio.Event()
    if session.interrupts.asked:
        pressed.set()  # while the answer was waited for
    try:
        # From here on Ctrl-C is about the job, also while it is not followed yet.
        with session.interrupts.handled_by(pressed.set):
            try:
                await job.__aenter__()
            except UnknownCommand:  # later it is that of a device which is another one by now
                return None
            try:
                with trio.CancelScope(deadline=trio.current_time() + limit) as scope:
                    await _watch(session, job, scope, pressed)
            finally:
                await job.__aexit__(None, None, None)
    except (PetalkitError, trio.TooSlowError) as error:
        raise _lost(session.ask, command, update.job_id, error) from None
    asked = session.interrupts.asked
    if not job.latest.ended:
        raise _left(session.ask, job, limit, asked=asked)
    hidden = ENVELOPE if "phase" not in job.latest.fields else ENVELOPE | HOST_ENVELOPE
    fields = {
        key: value
        for key, value in job.latest.fields.items()
        if key not in hidden and not (key == "status" and value in ("success", "error"))
    }
    return Followed(command, job.latest.state, fields, asked)


async def _watch(
    session: Session, job: ClientJob, scope: trio.CancelScope, pressed: trio.Event
) -> None:
    progress = JobProgress(job.name, wanted=not session.ask.as_json)

    async def cancel() -> None:
        await pressed.wait()
        scope.deadline = min(scope.deadline, trio.current_time() + CANCEL_LIMIT)
        progress.say(f"cancelling job {job.id}; Ctrl-C again leaves it as it is")
        try:
            await job.cancel()
        except (PetalkitError, trio.TooSlowError) as error:
            progress.say(f"it could not be cancelled: {error}")
            scope.cancel()

    async with progress.shown(), beside(cancel, "petalkit: Ctrl-C"):
        async for update in job.updates():
            progress.show(update)


def _lost(ask: Ask, command: str, job_id: str, error: Exception) -> CommandFailed:
    code = error.code if isinstance(error, CommandRefused) else ""
    why = str(error) or f"the broker did not answer within {ask.timeout:g} s"
    return CommandFailed(
        f"the job {command!r} was started, and cannot be followed: {why}",
        code=code or NO_ANSWER,
        exit_code=EXIT_ERROR if code else EXIT_USAGE,
        hint=_where_it_goes_on(ask, command, job_id),
        more={"job_id": job_id},
    )


def _where_it_goes_on(ask: Ask, command: str, job_id: str) -> list[str]:
    return [
        f"`{ask.line('watch', command)}` shows how it goes on",
        f"`{ask.line('cancel', job_id)}` ends it",
    ]


def _left(ask: Ask, job: ClientJob, limit: float, *, asked: bool) -> CommandFailed:
    why = "was told to stop, and has not yet" if asked else f"has not ended within {limit:g} s"
    return CommandFailed(
        f"the job {job.name!r} {why}: it is {job.latest.state}, and goes on by itself",
        code=NO_ANSWER,
        exit_code=EXIT_INTERRUPTED if asked else EXIT_USAGE,
        hint=_where_it_goes_on(ask, job.name, job.id),
        more={"job_id": job.id, "state": str(job.latest.state)},
    )
