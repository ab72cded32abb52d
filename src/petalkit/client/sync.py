"""The same client for programs without an event loop: `with sync.open_client(...) as client`.

The rule: thin. The client is in a Trio loop of a thread of its own, and each method here asks the
method of the same name there, and blocks until it has answered; what it says holds here too. Any
number of threads may call. What interrupts a thread that waits (Ctrl-C) cancels the call.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
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


def _ask(portal: Portal, call: Callable[[], Awaitable[T]]) -> T:
    future = portal.submit(call)
    try:
        return future.result()  # its own limits bound it, and the loop's end fails it
    except BaseException:
        future.cancel()
        raise


def _method(
    method: Callable[Concatenate[core.Client, P], Awaitable[T]],
) -> Callable[Concatenate[Client, P], T]:
    """The method of the same name, asked in the loop."""
    default = limit_of(method)

    @functools.wraps(method)
    def ask(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        limit: Any = kwargs.get("timeout", default)
        started = time.monotonic()
        if not self._turns.acquire(timeout=-1 if limit in (None, float("inf")) else limit):
            name = str(args[0]) if args else method.__name__
            raise CallTimeout(name, "", float(limit or 0), sent=False, expires_at=None)
        try:
            if limit is not None:
                kwargs["timeout"] = max(0.0, limit - (time.monotonic() - started))
            call = functools.partial(method, self._portal.client, *args, **kwargs)
            return _ask(self._portal, call)
        finally:
            self._turns.release()

    del ask.__wrapped__  # it is no coroutine function
    return ask


class Job(JobFront):
    """See `petalkit.client.ClientJob`; made by `Client.job`."""

    def __enter__(self) -> Self:
        """Start it."""
        self._job = _ask(self._portal, self._enter)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read no more. Bounded."""
        _ask(self._portal, self._leave)

    def result(self, timeout: float = float("inf")) -> Any:
        """See `petalkit.client.ClientJob.result`."""
        return _ask(self._portal, functools.partial(self._core.result, timeout))

    def cancel(self) -> JobUpdate:
        """See `petalkit.client.ClientJob.cancel`."""
        return _ask(self._portal, self._core.cancel)

    def status(self) -> JobUpdate:
        """See `petalkit.client.ClientJob.status`."""
        return _ask(self._portal, self._core.status)

    def updates(self) -> Generator[JobUpdate]:
        """See `petalkit.client.ClientJob.updates`."""
        updates = self._core.updates()
        while (update := _ask(self._portal, functools.partial(next_of, updates))) is not END:
            yield update


class Values(ValuesFront, Iterator[T], Generic[T]):
    """See `petalkit.client.ClientStream` and `ClientEvents`; made by `stream` and `events`."""

    def __enter__(self) -> Self:
        """Subscribe."""
        if self._values is None:
            self._values = _ask(self._portal, self._enter)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read no more. Bounded."""
        _ask(self._portal, self._leave)

    def __next__(self) -> T:
        """The next one. It blocks without a limit: none may ever come."""
        if self._values is None:
            self.__enter__()
        values: Any = self._values
        value: Any = _ask(self._portal, functools.partial(next_of, values))
        if value is END:
            raise StopIteration
        found: T = value
        return found


class Client(ClientFront):
    """See `petalkit.client.Client`; made by `open_client`. Any number of threads may use it."""

    def __init__(self, portal: Portal) -> None:
        super().__init__(portal)
        self._turns = threading.BoundedSemaphore(portal.most)

    call = _method(core.Client.call)
    request = _method(core.Client.request)
    send = _method(core.Client.send)
    devices = _method(core.Client.devices)
    info = _method(core.Client.info)

    job = opener(core.Client.job, Job)
    stream = opener(core.Client.stream, Values[Any])
    events = opener(core.Client.events, Values[Event])
    statuses = opener(core.Client.statuses, Values[Device])

    def statistics(self) -> ClientStatistics:
        """See `petalkit.client.Client.statistics`."""
        return _ask(self._portal, self._statistics)


@contextlib.contextmanager
def open_client(
    settings: Settings | None = None,
    *,
    transport: Transport | str | None = None,
    **more: Any,
) -> Generator[Client]:
    """See `petalkit.client.open_client`: its arguments, and what it raises.

    Leaving the block waits for the thread, at most `disconnect_timeout` and a little.
    """
    portal = Portal(settings, transport, more)
    portal.start()
    try:
        portal.opened.result()  # the settings' limits bound it
        yield Client(portal)
    finally:
        portal.stop()
        portal.ended.result()
        portal.join()
