"""The same client for asyncio programs: `async with aio.open_client(...) as client`.

The rule: thin. The client is in a Trio loop of a thread of its own, and each method here asks the
method of the same name there; what it says holds here too. Cancelling the asyncio task cancels the
call. At most `call_concurrency` calls are handed over at once; more wait for their turn here, which
counts as part of their time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from .._values.settings.settings import Settings
from ..transports import Transport
from . import _client as core
from ._errors import CallTimeout
from ._front import ClientFront, JobFront, ValuesFront, opener
from ._long.jobs import JobUpdate
from ._portal import END, Portal, limit_of, next_of
from ._reading.devices import Device
from ._reading.web import Event
from ._wire.statistics import ClientStatistics

P = ParamSpec("P")
T = TypeVar("T")


async def _ask(portal: Portal, call: Callable[[], Awaitable[T]]) -> T:
    return await asyncio.wrap_future(portal.submit(call))


def _method(
    method: Callable[Concatenate[core.Client, P], Awaitable[T]],
) -> Callable[Concatenate[Client, P], Coroutine[Any, Any, T]]:
    """The method of the same name, asked in the loop."""
    default = limit_of(method)

    @functools.wraps(method)
    async def ask(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        limit: Any = kwargs.get("timeout", default)
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None if limit == float("inf") else limit):
                await self._turns.acquire()
        except TimeoutError:
            name = str(args[0]) if args else method.__name__
            raise CallTimeout(name, "", limit, sent=False, expires_at=None) from None
        try:
            if limit is not None:
                waited = asyncio.get_running_loop().time() - started
                kwargs["timeout"] = max(0.0, limit - waited)
            call = functools.partial(method, self._portal.client, *args, **kwargs)
            return await _ask(self._portal, call)
        finally:
            self._turns.release()

    return ask


class Job(JobFront):
    """See `petalkit.client.ClientJob`; made by `Client.job`."""

    async def __aenter__(self) -> Self:
        """Start it."""
        self._job = await _ask(self._portal, self._enter)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read no more. Bounded."""
        await asyncio.shield(asyncio.wrap_future(self._portal.submit(self._leave)))

    async def result(self, timeout: float = float("inf")) -> Any:
        """See `petalkit.client.ClientJob.result`."""
        return await _ask(self._portal, functools.partial(self._core.result, timeout))

    async def cancel(self) -> JobUpdate:
        """See `petalkit.client.ClientJob.cancel`."""
        return await _ask(self._portal, self._core.cancel)

    async def status(self) -> JobUpdate:
        """See `petalkit.client.ClientJob.status`."""
        return await _ask(self._portal, self._core.status)

    async def updates(self) -> AsyncGenerator[JobUpdate]:
        """See `petalkit.client.ClientJob.updates`."""
        updates = self._core.updates()
        while (update := await _ask(self._portal, functools.partial(next_of, updates))) is not END:
            yield update


class Values(ValuesFront, AsyncIterator[T], Generic[T]):
    """See `petalkit.client.ClientStream` and `ClientEvents`; made by `stream` and `events`."""

    async def __aenter__(self) -> Self:
        """Subscribe."""
        if self._values is None:
            self._values = await _ask(self._portal, self._enter)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read no more. Bounded."""
        await asyncio.shield(asyncio.wrap_future(self._portal.submit(self._leave)))

    async def __anext__(self) -> T:
        """The next one. It waits without a limit: none may ever come."""
        if self._values is None:
            await self.__aenter__()
        values: Any = self._values
        value: Any = await _ask(self._portal, functools.partial(next_of, values))
        if value is END:
            raise StopAsyncIteration
        found: T = value
        return found


class Client(ClientFront):
    """See `petalkit.client.Client`; made by `open_client`. Any number of tasks may use it."""

    def __init__(self, portal: Portal) -> None:
        super().__init__(portal)
        self._turns = asyncio.Semaphore(portal.most)

    call = _method(core.Client.call)
    request = _method(core.Client.request)
    send = _method(core.Client.send)
    devices = _method(core.Client.devices)
    info = _method(core.Client.info)

    job = opener(core.Client.job, Job)
    stream = opener(core.Client.stream, Values[Any])
    events = opener(core.Client.events, Values[Event])
    statuses = opener(core.Client.statuses, Values[Device])

    async def statistics(self) -> ClientStatistics:
        """See `petalkit.client.Client.statistics`."""
        return await _ask(self._portal, self._statistics)


@contextlib.asynccontextmanager
async def open_client(
    settings: Settings | None = None,
    *,
    transport: Transport | str | None = None,
    **more: Any,
) -> AsyncGenerator[Client, None]:
    """See `petalkit.client.open_client`: its arguments, and what it raises.

    Leaving the block waits for the thread, at most `disconnect_timeout` and a little.
    """
    portal = Portal(settings, transport, more)
    portal.start()
    try:
        await asyncio.shield(asyncio.wrap_future(portal.opened))
        yield Client(portal)
    finally:
        portal.stop()
        await asyncio.shield(asyncio.wrap_future(portal.ended))
        portal.join()
