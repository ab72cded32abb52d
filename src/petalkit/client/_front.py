"""What the fronts for asyncio programs and for threads have in common: all that waits for nothing.

The rule: thin. The client is in a Trio loop of a thread of its own (`_portal`), and what is asked
here is asked of the thing of the same name there.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from .._values.messages import Identity
from ._client import Client
from ._long.jobs import ClientJob, JobUpdate
from ._long.streams import ClientEvents, ClientStatuses, ClientStream
from ._portal import Portal
from ._wire.statistics import ClientStatistics

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class ClientFront:
    """What a front's `Client` has of a client that is open."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    @property
    def identity(self) -> Identity:
        """The device for which it was opened."""
        return self._portal.client.identity

    async def _statistics(self) -> ClientStatistics:
        """In the loop."""
        return self._portal.client.statistics()


def opener(
    method: Callable[Concatenate[Client, P], T], kind: Callable[[Portal, Callable[[], T]], R]
) -> Callable[Concatenate[ClientFront, P], R]:
    """What the method of the same name makes, for a block here."""

    @functools.wraps(method)
    def make(self: ClientFront, /, *args: P.args, **kwargs: P.kwargs) -> R:
        portal = self._portal
        return kind(portal, functools.partial(method, portal.client, *args, **kwargs))

    return make


class JobFront:
    """What a front's `Job` has of a job that was started."""

    def __init__(self, portal: Portal, make: Callable[[], ClientJob]) -> None:
        self._portal = portal
        self._make = make
        self._job: ClientJob | None = None

    @property
    def _core(self) -> ClientJob:
        if self._job is None:
            raise RuntimeError("a job is started by a with block: `with client.job(...) as job`")
        return self._job

    @property
    def id(self) -> str:
        """Its `job_id`."""
        return self._core.id

    @property
    def latest(self) -> JobUpdate:
        """How it stands, as far as that is known here."""
        return self._core.latest

    async def _enter(self) -> ClientJob:
        """In the loop."""
        return await self._make().__aenter__()

    def _leave(self) -> Awaitable[None]:
        """In the loop."""
        return self._core.__aexit__(None, None, None)


class ValuesFront:
    """What a front's stream, or its events, has of one that is subscribed."""

    def __init__(
        self,
        portal: Portal,
        make: Callable[[], ClientStream]
        | Callable[[], ClientEvents]
        | Callable[[], ClientStatuses],
    ) -> None:
        self._portal = portal
        self._make = make
        self._values: Any = None

    async def _enter(self) -> Any:
        """In the loop."""
        return await self._make().__aenter__()

    def _leave(self) -> Awaitable[None]:
        """In the loop."""
        left: Awaitable[None] = self._values.__aexit__(None, None, None)
        return left
