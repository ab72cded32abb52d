"""A Trio loop in a thread of its own, with an open client in it: what programs without Trio call.

The rule: whoever waits is told, whatever becomes of the loop, and who gives up cancels what it
waited for. So each question is a task there with a scope of its own, and a future here. The traps:
what is handed over may find the loop gone, or its nursery closed; and a future that was cancelled
takes no result.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

import trio

from .._values.settings.settings import Settings
from ..transports import Transport
from ._client import Client
from ._opening import make_settings, open_client

T = TypeVar("T")

THREAD_NAME = "petalkit client"
END: Any = object()  # stands for the end of an iterator


class Portal:
    """See the module.

    Args:
        settings: as `open_client` takes it.
        transport: the same.
        more: its other arguments.

    Attributes:
        opened: the client, when it is open; or why it is not.
        ended: done when the thread has ended.
        most: calls that may be handed over at once.
    """

    def __init__(
        self, settings: Settings | None, transport: Transport | str | None, more: dict[str, Any]
    ) -> None:
        own = {one: more.pop(one) for one in ("identity", "reconnect") if one in more}
        settings = make_settings(settings, transport, more)
        given = transport if isinstance(transport, Transport) else None
        self._open = functools.partial(open_client, settings, transport=given, **own)
        self.most = settings.call_concurrency
        self.opened: Future[Client] = Future()
        self.ended: Future[None] = Future()
        self._lock = threading.Lock()
        self._pending: set[Future[Any]] = set()
        self._closed = False
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        # A program that ends without leaving its block is not held up by it.
        self._thread = threading.Thread(target=self._main, name=THREAD_NAME, daemon=True)

    # -- here

    def start(self) -> None:
        """Begin to open the client; `opened` tells what comes of it."""
        self._thread.start()

    def stop(self) -> None:
        """Begin to close it; `ended` is done when that is over, after `disconnect_timeout`."""
        with self._lock:
            self._closed = True
            token = self._token
        if token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._scope.cancel)

    def join(self) -> None:
        """Wait for the last moment of the thread, behind `ended`."""
        self._thread.join()

    @property
    def client(self) -> Client:
        """The client; to be used in the loop only."""
        return self.opened.result(0)

    def submit(self, call: Callable[[], Awaitable[T]]) -> Future[T]:
        """Call a function in the loop. Cancelling the future cancels the call.

        A client that is closed, or whose loop has ended, fails it with `trio.ClosedResourceError`.
        """
        future: Future[T] = Future()
        scope = trio.CancelScope()

        def start() -> None:
            if future.cancelled():
                return
            try:
                assert self._nursery is not None
                self._nursery.start_soon(_answer, call, future, scope, name="client: a call")
            except RuntimeError:  # it ends; raised here it would end the whole loop, at once
                _fail(future, _closed())

        def done(future: Future[T]) -> None:
            self._pending.discard(future)
            if future.cancelled() and self._token is not None:
                with contextlib.suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(scope.cancel)

        with self._lock:
            closed = self._closed or self._token is None
            if not closed:
                self._pending.add(future)
        if closed:
            _fail(future, _closed())
            return future
        future.add_done_callback(done)
        assert self._token is not None
        try:
            self._token.run_sync_soon(start)
        except trio.RunFinishedError:
            _fail(future, _closed())
        return future

    # -- there

    def _main(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # a bug of ours: who waits must hear of it
            self._end(error)
        else:
            self._end(_closed())
        self.ended.set_result(None)

    def _end(self, error: BaseException) -> None:
        with self._lock:
            self._closed = True
            pending = [self.opened, *self._pending]
        for future in pending:
            _fail(future, error)

    async def _serve(self) -> None:
        with self._scope:
            with self._lock:
                self._token = trio.lowlevel.current_trio_token()
                if self._closed:
                    return
            try:
                async with self._open() as client, trio.open_nursery() as nursery:
                    self._nursery = nursery
                    self.opened.set_result(client)
                    await trio.sleep_forever()
            except Exception as error:
                if self.opened.done():
                    raise
                self.opened.set_exception(error)


async def _answer(
    call: Callable[[], Awaitable[T]], future: Future[T], scope: trio.CancelScope
) -> None:
    try:
        with scope:
            result = await call()
            with contextlib.suppress(InvalidStateError):  # it was cancelled in this moment
                future.set_result(result)
    except Exception as error:
        _fail(future, error)
    finally:
        if not future.done():
            _fail(future, _closed())


def _fail(future: Future[Any], error: BaseException) -> None:
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)


def _closed() -> Exception:
    return trio.ClosedResourceError("the client's context has been left")


async def next_of(iterator: AsyncIterator[T]) -> T:
    """The next value of an iterator; `END` behind the last."""
    return await anext(iterator, END)


def limit_of(method: Callable[..., Any]) -> float | None:
    """The default of a method's `timeout`; None where it has none."""
    found = inspect.signature(method).parameters.get("timeout")
    return None if found is None or found.default is inspect.Parameter.empty else found.default
