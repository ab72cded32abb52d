"""A job as its caller has it: started, watched, waited for, cancelled.

The rule: its end is told once, whichever way it is heard of, by a report or by asking.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from ..._authoring.jobs.options import CANCEL, RESULT, UNSUBSCRIBE, beside
from ..._values.errors import PetalkitError
from ..._values.job_states import JobState
from ..._values.messages import Response
from .._errors import JobCancelled, JobFailed
from .._reading.buffer import Buffer
from .._reading.told import Readers
from .._reading.web import Told
from .._wire.routes import Route
from .following import Caller, Following, How

_STATES: Mapping[str, JobState] = {str(one): one for one in JobState}


@attrs.frozen
class JobUpdate:
    """How a job stands, as its device says it.

    Attributes:
        job_id: its ID.
        state: where it stands.
        progress: from 0 to 1; None when it has not said.
        message: what it says of itself, for people.
        details: what else it reports.
        position: in the queue, while it waits for its turn.
        fields: all of it, with `result` or `job_error_code` at the end.
    """

    job_id: str
    state: JobState
    progress: float | None
    message: str | None
    details: Mapping[str, Any]
    position: int | None
    fields: Mapping[str, Any] = attrs.field(repr=False)

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self.state.final

    @property
    def says(self) -> tuple[Any, ...]:
        """All but when and how it was said."""
        return (self.state, self.progress, self.message, self.details, self.position)


def read_update(fields: Any) -> JobUpdate | None:
    """What is said of a job; None where that is nothing that can be understood."""
    if not isinstance(fields, Mapping):
        return None
    job_id, state = fields.get("job_id"), fields.get("state")
    if not isinstance(job_id, str) or not isinstance(state, str) or state not in _STATES:
        return None
    progress, message = fields.get("progress"), fields.get("message")
    details, position = fields.get("fields"), fields.get("position")
    return JobUpdate(
        job_id,
        _STATES[state],
        _fraction(progress),
        message if isinstance(message, str) else None,
        details if isinstance(details, Mapping) else {},
        position if type(position) is int else None,
        fields,
    )


def _fraction(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(min(1, max(0, value)))


class JobUpdates(AsyncIterator[JobUpdate]):
    """How a job stands, each time that it is another; ends behind its end."""

    def __init__(self, buffer: Buffer[JobUpdate]) -> None:
        self._buffer = buffer

    async def __anext__(self) -> JobUpdate:
        return await self._buffer.get()


@attrs.frozen
class Start:
    """How a job is started, and left.

    Attributes:
        data: its arguments.
        cancel_on_leave: whether it is cancelled when its block is left before its end.
        job_id: of one that was started before, and is only followed; None to start one.
    """

    data: Mapping[str, Any]
    cancel_on_leave: bool
    job_id: str | None = None

    def begin(self, name: str) -> tuple[str, Mapping[str, Any]]:
        """The command, and its arguments, whose answer says how the job stands."""
        if self.job_id is None:
            return name, self.data
        return beside(name, RESULT), {"job_id": self.job_id}


class ClientJob(Following):
    """A job that a caller has started; made by `Client.job`. Any number of tasks may use it.

    Attributes:
        id: its `job_id`.
        latest: how it stands, as far as that is known here.
    """

    id: str
    latest: JobUpdate

    def __init__(
        self, name: str, route: Route, readers: Readers, call: Caller, how: How, start: Start
    ) -> None:
        super().__init__(name, route, readers, call, how)
        self._start = start
        self._reads = False
        self._ended = trio.Event()
        self._error: Exception | None = None
        self._watching: weakref.WeakSet[Buffer[JobUpdate]] = weakref.WeakSet()

    # -- life

    async def __aenter__(self) -> Self:
        """Start it, or ask how it stands. See `Client.job`."""
        started = await self._call(*self._start.begin(self.name))
        update = read_update(started.fields)
        if update is None:
            raise NotAJob(self.name)
        self.id, self.latest = update.job_id, update
        if update.ended:
            self._ended.set()  # before anybody asked: there is nothing to read
            return self
        self._reads = True
        self._readers.add(self._route, self)
        try:
            with trio.fail_after(self._how.timeout):
                await self._readers.wait(self._route)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self._must_look = True  # by its task: the job runs, whatever becomes of that
        self._how.spawn(self.follow, f"client: job {self.id}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read no more. The job goes on, if it was not to be cancelled. Shielded and bounded."""
        over = self._is_over
        self.leave()
        told: list[tuple[str, Mapping[str, Any]]] = []
        if not over and self._start.cancel_on_leave:
            told.append((beside(self.name, CANCEL), {"job_id": self.id}))
        if self._reads:
            reader = {"subscribed_stream_id": self.stream_id}
            told.append((beside(self.name, UNSUBSCRIBE), reader))
        await self.say_farewell(*told)
        if not over:
            self.fail(trio.ClosedResourceError(f"the job {self.name!r} is not watched any more"))

    # -- what it does

    def updates(self) -> AsyncIterator[JobUpdate]:
        """How it stands, now and each time that it is another, at most at the rate asked for.

        Behind its end the loop ends. It waits without a limit: put `trio.move_on_after` around it.
        Who reads slowly misses the oldest (`call_buffer`), and never the end.

        Raises:
            CommandRefused: the device knows nothing of it any more.
            trio.ClosedResourceError: the job's block, or the client's, has been left.
        """
        buffer: Buffer[JobUpdate] = Buffer(self._how.buffer, self._how.on_drop)
        buffer.put(self.latest)
        if self._is_over:
            buffer.end(self._error)
        else:
            self._watching.add(buffer)
        return JobUpdates(buffer)

    async def result(self, timeout: float = math.inf) -> Any:
        """Wait for its end, and return what it has come to: the `result` that the job returned.

        Args:
            timeout: seconds; without it there is no limit but that of the job. The device is asked
                every half minute in which it says nothing, so a report that got lost is no end.

        Cancellation: the job goes on.

        Raises:
            JobCancelled: it was cancelled.
            JobFailed: it has ended in another way, and not well.
            CommandRefused: the device knows nothing of it any more.
            trio.TooSlowError: it has not ended by then.
            trio.ClosedResourceError: the job's block, or the client's, has been left.
        """
        with trio.fail_after(timeout):
            await self._ended.wait()
        if self._error is not None:
            raise self._error
        state, fields = self.latest.state, self.latest.fields
        if state is JobState.SUCCEEDED:
            return fields.get("result")
        kind = JobCancelled if state is JobState.CANCELLED else JobFailed
        raise kind(self.name, state, fields, self._readers.codes)

    async def cancel(self) -> JobUpdate:
        """Ask for its cancellation, and return how it stands then: it may go on to clean up.

        Raises:
            CallTimeout, CommandRefused: as `Client.call`.
        """
        return self._heard(await self._call(beside(self.name, CANCEL), {"job_id": self.id}))

    async def status(self) -> JobUpdate:
        """Ask the device how it stands.

        Raises:
            CallTimeout, CommandRefused: as `Client.call`.
        """
        return self._heard(await self._call(beside(self.name, RESULT), {"job_id": self.id}))

    def _heard(self, response: Response) -> JobUpdate:
        update = read_update(response.fields)
        if update is not None:
            self._know(update)
        return self.latest

    # -- what it hears

    def _take(self, told: Told) -> None:
        update = read_update(told.value)
        if update is not None:
            self._know(update)

    def _know(self, update: JobUpdate) -> None:
        if update.job_id != self.id or self._is_over or update.says == self.latest.says:
            return
        self.latest = update
        for buffer in list(self._watching):
            buffer.put(update)
            if update.ended:
                buffer.end()
        if update.ended:
            self._ended.set()
            self._wake.set()

    async def _ask(self) -> None:
        await self._subscribe(self.id)
        await self.status()

    def fail(self, error: Exception) -> None:
        if not self._is_over:
            self._error = error
            for buffer in list(self._watching):
                buffer.end(error)
            self._ended.set()

    @property
    def _is_over(self) -> bool:
        return self._ended.is_set()


class NotAJob(PetalkitError):
    """What was to start a job has answered, and not as a job does.

    Attributes:
        command: its name.
    """

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command

    def __str__(self) -> str:
        return f"{self.command!r} is no job: its answer has no job_id and no state; use call()"
