"""Types for clients that `petalkit schema` writes: what their methods take and give.

The rule: these say nothing new. A job and a stream are those of `petalkit.client`, `aio` or `sync`,
with the type of what comes of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol, TypedDict, TypeVar

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


class Stream(
    AsyncIterator[R_co], AbstractAsyncContextManager[AsyncIterator[R_co], None], Protocol[R_co]
):
    """See `petalkit.client.ClientStream`; of `aio` too."""


class BlockingStream(Iterator[R_co], AbstractContextManager[Iterator[R_co], None], Protocol[R_co]):
    """The same of `sync`."""
