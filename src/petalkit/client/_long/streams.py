"""Values of a stream, and events, as a caller reads them.

The rule: who stops reading is forgotten, by a block that is left, or because nobody has the
iterator any more. Python may find that out anywhere, so it is only noted then, for the client's own
task.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from ..._authoring.jobs.options import UNSUBSCRIBE, beside
from .._errors import CommandRefused, StreamFailed
from .._reading.buffer import Buffer
from .._reading.devices import Device
from .._reading.told import Readers
from .._reading.web import Event, Told
from .._wire.routes import Route
from .following import Caller, Following, How, Spawn

T = TypeVar("T")


class StreamReader(Following):
    """What the client knows of one reader of a stream. It does not know who reads."""

    def __init__(self, name: str, route: Route, readers: Readers, call: Caller, how: How) -> None:
        super().__init__(name, route, readers, call, how)
        self.buffer: Buffer[Any] = Buffer(how.buffer, how.on_drop)
        self.rate = how.rate
        self._over = False

    async def begin(self) -> None:
        """Subscribe."""
        self._readers.add(self._route, self)
        try:
            with trio.fail_after(self._how.timeout):
                await self._readers.wait(self._route)
            await self._ask()
        except CommandRefused:
            self.leave()
            raise
        except BaseException:  # it may have been subscribed to all the same
            await self.end()
            raise
        self._how.spawn(self.follow, f"client: stream {self.name}")

    async def end(self) -> None:
        """Read no more. Shielded and bounded."""
        over = self._over
        self.fail(trio.ClosedResourceError(f"the stream {self.name!r} is not read any more"))
        self.leave()
        if not over:
            reader = {"subscribed_stream_id": self.stream_id}
            await self.say_farewell((beside(self.name, UNSUBSCRIBE), reader))

    def _take(self, told: Told) -> None:
        if not told.ended:
            self.buffer.put(told.value)
        elif not self._over:
            self._over = True
            error = None
            if told.error is not None:
                code, text = told.error
                error = StreamFailed(self.name, self._readers.codes.get(code, code), text)
            self.buffer.end(error)
            self._wake.set()

    async def _ask(self) -> None:
        response = await self._subscribe()
        said = response.fields.get("data_rate_hz")
        if isinstance(said, int | float) and not isinstance(said, bool):
            self.rate = float(said)

    def fail(self, error: Exception) -> None:
        self._over = True
        self.buffer.end(error)

    @property
    def _is_over(self) -> bool:
        return self._over


class ClientStream(AsyncIterator[Any]):
    """Values of a stream; made by `Client.stream`. Read by one task."""

    def __init__(self, reader: StreamReader, spawn: Spawn) -> None:
        self._reader = reader
        self._begun = False
        token = trio.lowlevel.current_trio_token()
        self._forget = weakref.finalize(self, _end_soon, token, spawn, reader)
        self._forget.atexit = False

    @property
    def rate(self) -> float:
        """Values per second that the device sends at most, as far as it has said so."""
        return self._reader.rate

    async def __aenter__(self) -> Self:
        """Subscribe."""
        if not self._begun:
            self._begun = True
            try:
                await self._reader.begin()
            except BaseException:
                self._forget.detach()
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read no more. Shielded and bounded."""
        if self._forget.detach() is not None:
            await self._reader.end()

    async def __anext__(self) -> Any:
        """The next value. It waits without a limit: a stream may stand still."""
        if not self._begun:
            await self.__aenter__()
        return await self._reader.buffer.get()


def _end_soon(token: trio.lowlevel.TrioToken, spawn: Spawn, reader: StreamReader) -> None:
    with contextlib.suppress(trio.RunFinishedError):  # the client is gone too
        token.run_sync_soon(spawn, reader.end, f"client: end of stream {reader.name}")


class _Heard(AsyncIterator[T]):
    """What a device says to everybody, as one reader has it."""

    def __init__(
        self,
        readers: Readers,
        route: Route,
        buffer: Buffer[T],
        timeout: float,
        add: Callable[[], object],
        remove: Callable[[Route, Buffer[T]], object],
    ) -> None:
        self._readers = readers
        self._route = route
        self._buffer = buffer
        self._timeout = timeout
        self._add = add
        self._remove = remove
        self._begun = False
        self._forget: weakref.finalize[Any, Any] | None = None

    async def __aenter__(self) -> Self:
        """Subscribe; from here on nothing is missed while the link lives."""
        if not self._begun:
            self._begun = True
            self._add()
            token = trio.lowlevel.current_trio_token()
            remove = (self._remove, self._route, self._buffer)
            self._forget = weakref.finalize(self, _call_soon, token, *remove)
            self._forget.atexit = False
            try:
                with trio.fail_after(self._timeout):
                    await self._readers.wait(self._route)
            except BaseException:
                await self.__aexit__(None, None, None)
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read no more."""
        if self._forget is not None and self._forget.detach() is not None:
            self._remove(self._route, self._buffer)
            self._buffer.end(trio.ClosedResourceError("it is not read any more"))

    async def __anext__(self) -> T:
        """The next one. It waits without a limit: none may ever come."""
        if not self._begun:
            await self.__aenter__()
        return await self._buffer.get()


class ClientEvents(_Heard[Event]):
    """Events of a device; made by `Client.events`. Read by one task."""

    def __init__(
        self,
        readers: Readers,
        route: Route,
        buffer: Buffer[Event],
        timeout: float,
        *,
        command: str | None,
        everything: bool,
    ) -> None:
        add = functools.partial(readers.add_events, route, buffer, everything=everything)
        super().__init__(readers, route, buffer, timeout, add, readers.remove_events)
        self._command = None if command is None else command.strip("/")

    async def __anext__(self) -> Event:
        """The next event. It waits without a limit: none may ever come."""
        while True:
            event = await super().__anext__()
            if self._command in (None, event.command.strip("/")):
                return event


class ClientStatuses(_Heard[Device]):
    """Births and farewells of a device; made by `Client.statuses`. Read by one task."""

    def __init__(
        self, readers: Readers, route: Route, buffer: Buffer[Device], timeout: float
    ) -> None:
        add = functools.partial(readers.add_statuses, route, buffer)
        super().__init__(readers, route, buffer, timeout, add, readers.remove_statuses)


def _call_soon(token: trio.lowlevel.TrioToken, call: Callable[..., Any], *arguments: Any) -> None:
    with contextlib.suppress(trio.RunFinishedError):  # the client is gone too
        token.run_sync_soon(call, *arguments)
