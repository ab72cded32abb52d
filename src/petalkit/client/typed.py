"""Types for clients that `petalkit schema` writes: what their methods take and give.

The rule: these say nothing new. A job and a stream are those of `petalkit.client`, `aio` or `sync`,
with the type of what comes of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Protocol, Self, TypedDict, TypeVar

from .._values.messages import UserProperties
from ._long.following import Envelope
from ._long.jobs import JobUpdate

R_co = TypeVar("R_co", covariant=True)


class CallOptions(TypedDict, total=False):
    """Those of `Client.call`."""

    timeout: float
    message_id: str | None
    user_properties: UserProperties
    expires_in: float | None
    retries: int | None
    repeatable: bool
    second_phase: bool


class StreamOptions(TypedDict, total=False):
    """Those of `Client.stream`."""

    rate: float
    timeout: float
    envelope: Envelope


class JobOptions(StreamOptions, total=False):
    """Those of `Client.job`."""

    cancel_on_leave: bool


class Job(Protocol[R_co]):
    """See `petalkit.client.ClientJob`; of `aio` too."""

    @property
    def id(self) -> str:
        """Its `job_id`."""
        ...

    @property
    def latest(self) -> JobUpdate:
        """How it stands, as far as that is known here."""
        ...

    def updates(self) -> AsyncIterator[JobUpdate]:
        """How it stands, now and each time that it is another."""
        ...

    async def result(self, timeout: float = ...) -> R_co:
        """Wait for its end, and return what it has come to."""
        ...

    async def cancel(self) -> JobUpdate:
        """Ask for its cancellation, and return how it stands then."""
        ...

    async def status(self) -> JobUpdate:
        """Ask the device how it stands."""
        ...


class BlockingJob(Protocol[R_co]):
    """The same of `sync`."""

    @property
    def id(self) -> str:
        """Its `job_id`."""
        ...

    @property
    def latest(self) -> JobUpdate:
        """How it stands, as far as that is known here."""
        ...

    def updates(self) -> Iterator[JobUpdate]:
        """How it stands, now and each time that it is another."""
        ...

    def result(self, timeout: float = ...) -> R_co:
        """Wait for its end, and return what it has come to."""
        ...

    def cancel(self) -> JobUpdate:
        """Ask for its cancellation, and return how it stands then."""
        ...

    def status(self) -> JobUpdate:
        """Ask the device how it stands."""
        ...


class Stream(Protocol[R_co]):
    """See `petalkit.client.ClientStream`; of `aio` too."""

    def __aiter__(self) -> AsyncIterator[R_co]:
        """Its values."""
        ...

    async def __anext__(self) -> R_co:
        """The next value."""
        ...

    async def __aenter__(self) -> Self:
        """Subscribe."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read no more."""
        ...


class BlockingStream(Protocol[R_co]):
    """The same of `sync`."""

    def __iter__(self) -> Iterator[R_co]:
        """Its values."""
        ...

    def __next__(self) -> R_co:
        """The next value."""
        ...

    def __enter__(self) -> Self:
        """Subscribe."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read no more."""
        ...
