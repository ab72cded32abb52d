"""Jobs and streams in tests: started, watched and cancelled over the broker, as callers do it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import trio

from .._values.job_states import FINAL_STATES, JobState
from .._values.messages import Response
from ..transports.memory import Observer

RATE = 100.0  # Hz, of what a handle is told
_STEP = 0.01  # seconds on Trio's clock


class Call(Protocol):
    """Sends a command and waits for its response."""

    def __call__(self, command: str, data: Mapping[str, Any], /) -> Awaitable[Response]:
        """See `Harness.call`."""
        ...


class StartedJob:
    """A job that a test has started; made by `Harness.start_job`.

    Attributes:
        name: of the job, in full.
        started: the answer to its start.
        id: its `job_id`.
    """

    def __init__(
        self, name: str, started: Response, stream_id: str, call: Call, seen: Observer
    ) -> None:
        self.name = name
        self.started = started
        self.id: str = started["job_id"]
        self._stream_id = stream_id
        self._call = call
        self._seen = seen

    @property
    def updates(self) -> list[Mapping[str, Any]]:
        """What its readers have been told so far, in order: at most 100 a second."""
        found = values_of(self._seen, self._stream_id)
        return [one for one in found if one.get("job_id") == self.id]

    @property
    def latest(self) -> Mapping[str, Any]:
        """The last of that; before the first, the answer to the start."""
        return (self.updates or [self.started])[-1]

    @property
    def state(self) -> JobState:
        """Where it stands."""
        return JobState(self.latest["state"])

    @property
    def progress(self) -> float | None:
        """How far it is, from 0 to 1; None when it has not said."""
        return self.latest.get("progress")

    async def wait(self, timeout: float = 7 * 86400.0) -> Mapping[str, Any]:
        """Wait until it has ended, and return its last message: state, `result` or `job_error`.

        Args:
            timeout: seconds on Trio's clock.

        Raises:
            trio.TooSlowError: it has not ended by then.
        """
        with trio.fail_after(timeout):
            while self.state not in FINAL_STATES:
                await self._seen.wait(len(self._seen) + 1)
        return self.latest

    async def cancel(self) -> Response:
        """Ask for its cancellation; it may go on to clean up."""
        return await self._call(beside(self.name, "cancel"), {"job_id": self.id})


class StreamValues(Sequence[Mapping[str, Any]]):
    """What a reader gets of a stream, in order; grows while its block lasts."""

    def __init__(self, stream_id: str, seen: Observer) -> None:
        self._stream_id = stream_id
        self._seen = seen

    def _all(self) -> list[Mapping[str, Any]]:
        return values_of(self._seen, self._stream_id)

    def __len__(self) -> int:
        return len(self._all())

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]

    async def wait(self, count: int) -> list[Mapping[str, Any]]:
        """Wait until so many have come in all, and return all. The caller bounds it."""
        while len(found := self._all()) < count:
            await self._seen.wait(len(self._seen) + 1)
        return found


@contextlib.asynccontextmanager
async def started_job(
    name: str,
    data: Mapping[str, Any],
    call: Call,
    observe: Callable[[], contextlib.AbstractContextManager[Observer]],
    stream_id: str,
) -> AsyncGenerator[StartedJob]:
    """A job for the length of a block; see `Harness.start_job`."""
    with observe() as seen:
        reader = {"subscribed_stream_id": stream_id, "data_rate_hz": RATE}
        _check(await call(beside(name, "subscribe"), reader))
        started = _check(await call(name, data))
        yield StartedJob(name, started, stream_id, call, seen)
        await call(beside(name, "unsubscribe"), {"subscribed_stream_id": stream_id})


@contextlib.asynccontextmanager
async def read_stream(
    name: str,
    rate: float,
    call: Call,
    observe: Callable[[], contextlib.AbstractContextManager[Observer]],
    stream_id: str,
) -> AsyncGenerator[StreamValues]:
    """A stream for the length of a block; see `Harness.stream`."""
    with observe() as seen:
        reader = {"subscribed_stream_id": stream_id, "data_rate_hz": rate}
        _check(await call(beside(name, "subscribe"), reader))
        yield StreamValues(stream_id, seen)
        await call(beside(name, "unsubscribe"), {"subscribed_stream_id": stream_id})


def values_of(seen: Observer, stream_id: str) -> list[Mapping[str, Any]]:
    """The values among the messages for the web that one reader gets, whatever the dialect."""
    found: list[Mapping[str, Any]] = []
    for message in seen:
        envelope = msgspec.json.decode(message.payload)
        arguments = envelope.get("data") or envelope.get("payload") or {}
        if arguments.get("published_stream_id") == stream_id:
            found.append(arguments["stream_payload"])
    return found


def beside(name: str, verb: str) -> str:
    """The full name of a command that belongs to a job or a stream."""
    front, _, last = name.rpartition("/")
    return f"{front}/{verb}_{last}"


def _check(response: Response) -> Response:
    """The response of a success.

    Raises:
        AssertionError: it is none.
    """
    if not response.success:
        raise AssertionError(f"it was refused: {dict(response)}")
    return response
