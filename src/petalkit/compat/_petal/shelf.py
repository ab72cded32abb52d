"""Proxies that factories make in one asyncio loop: made once, started, tried again, stopped.

The rules: a proxy is made when the first petal asks for it, or when one starts whose code names it,
so that it is started before that petal uses it, as in the host. One that cannot be made or started
is no petal's end: it is logged, and tried again, ever more slowly.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import trio

from ..._values.settings.settings import Settings
from .._errors import HookFailed
from .._loop.calls import Call
from .._loop.loop import PetalLoop

logger = logging.getLogger("petalkit.compat")

START_WAIT = 10.0  # seconds that a petal's start waits for all its proxies; they go on after that
AGAIN_MIN = 1.0  # seconds before the second attempt of a start; twice as long after each
AGAIN_MAX = 60.0

ProxyFactory = Callable[..., Any]


class NotStarted:
    """In the place of a proxy whose start has failed, and is tried again."""

    connected = False


@attrs.define(eq=False)
class _Made:
    """A proxy.

    Attributes:
        name: as petals know it.
        proxy: None while a factory that awaits has not made it.
        tried: its first start has ended, well or not.
        failed: its last start that has ended did.
        starting: the start that runs.
        again: the next attempt; None when there is none to come.
        delay: seconds before that.
    """

    name: str
    proxy: Any
    tried: trio.Event = attrs.field(factory=trio.Event)
    failed: bool = False
    starting: Call | None = None
    again: Any = None
    delay: float = AGAIN_MIN


class Shelf:
    """See the module.

    Args:
        factories: by name. One may have an attribute `needs`: which other proxies it is called
            with, their names by keyword.
    """

    def __init__(self, factories: Mapping[str, ProxyFactory]) -> None:
        self.factories = factories
        self._made: dict[str, _Made] = {}
        self._loop: PetalLoop | None = None
        self._limit = 0.0
        self._thread = 0

    def open(self, loop: PetalLoop, settings: Settings) -> None:
        """They are made in this loop from now on."""
        self._made.clear()
        self._loop, self._limit = loop, settings.compat_hook_timeout
        self._thread = threading.get_ident()

    def made(self) -> dict[str, Any]:
        """Those that are there by now, by name; `NotStarted` for some. None is made for it."""
        return {
            name: NotStarted() if one.failed else one.proxy
            for name, one in self._made.items()
            if one.failed or one.proxy is not None
        }

    # -- asking

    def get(self, name: str) -> Any:
        """A proxy, made now if it is not yet; None if it cannot be, which is logged.

        Its start may still run. May be called in any thread.
        """
        made = self._made.get(name)
        if made is None and self._loop is not None:
            if threading.get_ident() == self._thread:
                made = self._make(name, self._loop)
            else:
                made = self._make_from_thread(name, self._loop)
        return None if made is None else made.proxy

    def _make_from_thread(self, name: str, loop: PetalLoop) -> _Made | None:
        found: concurrent.futures.Future[_Made | None] = concurrent.futures.Future()

        def make() -> None:
            found.set_result(self._made.get(name) or self._make(name, loop))

        try:
            loop.loop.call_soon_threadsafe(make)
            return found.result(self._limit)
        except (RuntimeError, AttributeError, concurrent.futures.TimeoutError):
            logger.warning("the proxy %r is not made: the loop has ended, or is blocked", name)
            return None

    def _make(self, name: str, loop: PetalLoop) -> _Made | None:
        factory = self.factories[name]
        needs: Mapping[str, str] = getattr(factory, "needs", {})
        try:
            given = {keyword: self._needed(other) for keyword, other in needs.items()}
            # Not in the context of the petal that asks: what it starts is not that petal's.
            proxy = loop.call_in(factory, **given)
        except Exception:
            logger.exception("the proxy %r cannot be made; tried again when asked for", name)
            return None
        made = _Made(name, None if inspect.isawaitable(proxy) else proxy)
        self._made[name] = made
        self._begin(made, proxy if made.proxy is None else None)
        return made

    def _needed(self, name: str) -> Any:
        found = self.get(name) if name in self.factories else None
        if found is None:
            raise LookupError(f"it needs the proxy {name!r}, which is not there")
        return found

    # -- starting

    def _begin(self, made: _Made, making: Any = None) -> None:
        if self._loop is not None:
            made.again = None
            name = f"start of the proxy {made.name}"
            made.starting = self._loop.start(name, self._start, made, making)
            made.starting.on_end = lambda call: self._started(made, call)

    async def _start(self, made: _Made, making: Any) -> None:
        """Asyncio-flavored."""
        async with asyncio.timeout(self._limit):
            if made.proxy is None:
                making = self.factories[made.name]() if making is None else making
                made.proxy = await making if inspect.isawaitable(making) else making
            await call_if_there(made.proxy, "start")

    def _started(self, made: _Made, call: Call) -> None:
        first = not made.tried.is_set()
        made.tried.set()
        made.failed = call.error is not None
        loop = self._loop
        if call.error is None or loop is None or not loop.is_running:
            if call.error is None and not call.cancelled and not first:
                logger.info("the proxy %r has started after all", made.name)
            return
        error = call.error
        text = "the proxy %r did not start: %s: %s. Tried again in %g s"
        words = str(error) or f"not within {self._limit:g} s"
        # Its traceback once: an hour of attempts says nothing new.
        level, shown = (logging.ERROR, error) if first else (logging.WARNING, None)
        logger.log(level, text, made.name, type(error).__name__, words, made.delay, exc_info=shown)
        made.again = loop.loop.call_later(made.delay, self._begin, made)
        made.delay = min(2 * made.delay, AGAIN_MAX)

    async def wait_started(self, names: Iterable[str], deadline: float) -> None:
        """Trio-flavored: make these, and wait for their first starts, until then at most."""
        wanted = [name for name in names if name in self.factories]
        if wanted and self._loop is not None:
            # In the loop, not only in its thread: a constructor may look for it.
            await self._loop.run("making proxies", lambda: [self.get(name) for name in wanted])
        await self.wait_tried(deadline)

    async def wait_tried(self, deadline: float) -> None:
        """Trio-flavored: wait for the first starts of those that are made, bounded the same."""
        if trio.current_time() >= deadline:
            return
        with trio.CancelScope(deadline=deadline) as scope:
            for made in list(self._made.values()):
                await made.tried.wait()
        if scope.cancelled_caught:
            slow = ", ".join(made.name for made in self._made.values() if not made.tried.is_set())
            logger.warning("not waited for any more: the start of the proxies %s", slow)

    # -- the end

    async def stop(self, limit: float) -> None:
        """Trio-flavored: stop them, the last first, shielded, so many seconds at most together."""
        loop = self._loop
        if loop is None:
            return
        deadline = trio.current_time() + limit
        with trio.CancelScope(shield=True):
            for made in reversed(list(self._made.values())):
                if made.again is not None:
                    made.again.cancel()
                if made.starting is not None and not made.starting.done.is_set():
                    await loop.end([made.starting])
                if made.proxy is not None:
                    await self._stop(loop, made, deadline)
        self._loop = None
        self._made.clear()

    async def _stop(self, loop: PetalLoop, made: _Made, deadline: float) -> None:
        name, extra = f"stop of the proxy {made.name}", {"petal": loop.name}
        if not loop.is_running:
            logger.error("%s: %s: not called, its loop has ended", loop.name, name, extra=extra)
            return
        left = max(0.0, deadline - trio.current_time())
        try:
            await loop.run_within(left, name, call_if_there, made.proxy, "stop")
        except HookFailed as error:
            logger.error("%s: %s", loop.name, error, exc_info=error.__cause__, extra=extra)


async def call_if_there(proxy: Any, name: str) -> None:
    """Asyncio-flavored: call a method of a proxy, plain or not, if it has it."""
    method = getattr(proxy, name, None)
    if callable(method):
        result = method()
        if inspect.isawaitable(result):
            await result
