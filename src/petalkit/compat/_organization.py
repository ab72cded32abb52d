"""`OrganizationManager`: the host's way to the organization ID, one for the process.

Petals get it by `get_organization_manager()` whenever they like, also while they are imported. It
knows nothing by itself: the runtime that serves petals of the guide tells it who the device is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs

from .._values.messages import Identity
from ._errors import HookFailed
from ._loop.calls import part_of
from ._loop.loop import PetalLoop

logger = logging.getLogger("petalkit.compat")

STARTUP_TIMEOUT = 30.0  # seconds that `wait_for_organization_id` waits unless told else
LOOK_INTERVAL = 0.1  # seconds between two looks of it
INSTANCE = "Instance-"  # what the host puts before the machine ID

OrganizationCallback = Callable[[str | None], Any]


@attrs.frozen
class OrganizationInfo:
    """Who the device is.

    Attributes:
        organization_id: None while it is not known.
        machine_id: the device ID without the host's `Instance-` before it.
        thing_name: not known to petalkit.
        retrieved_at: not known to petalkit.
        last_updated: seconds since the epoch; 0 for never.
    """

    organization_id: str | None = None
    machine_id: str | None = None
    thing_name: str | None = None
    retrieved_at: str | None = None
    last_updated: float = 0.0


class OrganizationManager:
    """See the module. May be used from any thread.

    Attributes:
        poll_interval: seconds; kept for petals that read it.
        startup_timeout: seconds that `wait_for_organization_id` waits unless told else.
    """

    def __init__(
        self,
        file_path: str = "",
        poll_interval: float = 5.0,
        startup_timeout: float = STARTUP_TIMEOUT,
    ) -> None:
        self.file_path = file_path
        self.poll_interval = poll_interval
        self.startup_timeout = startup_timeout
        self.log = logging.getLogger("petalkit.compat.organization")
        self._info = OrganizationInfo()
        self._lock = threading.Lock()
        # Each with whose code has registered it, in whose loop it is called, and what it knows.
        self._callbacks: dict[OrganizationCallback, tuple[Any, str | None]] = {}

    async def start(self) -> None:
        """Does nothing: the runtime watches."""

    async def stop(self) -> None:
        """Does nothing."""

    @property
    def organization_id(self) -> str | None:
        """The organization ID now; None while it is not known."""
        return self._info.organization_id

    @property
    def machine_id(self) -> str | None:
        """The machine ID; None before a runtime serves."""
        return self._info.machine_id

    @property
    def organization_info(self) -> OrganizationInfo:
        """All that is known."""
        return self._info

    def register_callback(self, callback: OrganizationCallback) -> None:
        """Call a function with the organization ID whenever that changes from now on.

        An `async def` is awaited in the loop of the petal that registers it; a plain `def` is
        called in a worker thread.
        """
        whose: Any = part_of.get()  # a petal of several in one loop
        if whose is None:
            try:
                whose = asyncio.get_running_loop()
            except RuntimeError:
                whose = None
        with self._lock:
            self._callbacks.setdefault(callback, (whose, self.organization_id))

    def unregister_callback(self, callback: OrganizationCallback) -> None:
        """Call it no more."""
        with self._lock:
            self._callbacks.pop(callback, None)

    async def wait_for_organization_id(
        self,
        timeout: float | None = None,
    ) -> str | None:
        """Asyncio-flavored: wait for the organization ID; None when it does not come in time.

        Args:
            timeout: seconds; None for `startup_timeout`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self.startup_timeout if timeout is None else timeout)
        # It may be asked from any loop, so it looks, and is not told.
        while not self._info.organization_id:
            if loop.time() >= deadline:
                return None
            await asyncio.sleep(LOOK_INTERVAL)
        return self._info.organization_id

    # -- for the runtime's side

    def tell(self, identity: Identity | None, device_id: str) -> None:
        """Say who the device is from now on; whoever serves calls the callbacks then."""
        known = None if identity is None else identity.organization_id
        machine_id = device_id.removeprefix(INSTANCE)
        if (known, machine_id) != (self._info.organization_id, self._info.machine_id):
            self._info = OrganizationInfo(known, machine_id, last_updated=time.time())

    async def call_back(
        self, loop: PetalLoop, petal: object, limit: float, *, orphans: bool
    ) -> None:
        """Trio-flavored: call the callbacks of one petal. What they raise is logged.

        Args:
            loop: the petal's.
            petal: whose they are.
            limit: seconds for each.
            orphans: also those that are no petal's.
        """
        now = self.organization_id
        with self._lock:
            mine = [
                callback
                for callback, (its, known) in self._callbacks.items()
                if known != now and _is_of(callback, its, loop, petal, orphans=orphans)
            ]
        for callback in mine:
            with self._lock:
                if callback not in self._callbacks:
                    continue
                self._callbacks[callback] = (self._callbacks[callback][0], now)
            extra = {"petal": loop.name}
            try:
                await loop.run_within(limit, "organization callback", self._call, callback)
            except HookFailed as error:
                cause = error.__cause__
                logger.error("petal %r: %s", loop.name, error, exc_info=cause, extra=extra)

    async def _call(self, callback: OrganizationCallback) -> None:
        if asyncio.iscoroutinefunction(callback):
            await callback(self.organization_id)
        else:
            await asyncio.to_thread(callback, self.organization_id)

    def forget(self, loop: PetalLoop) -> None:
        """A petal ends: so do its callbacks."""
        with self._lock:
            for callback, (its, _) in list(self._callbacks.items()):
                if _is_in(its, loop):
                    del self._callbacks[callback]


def _is_of(
    callback: OrganizationCallback, its: Any, loop: PetalLoop, petal: object, *, orphans: bool
) -> bool:
    """Whether a callback is one petal's: registered in its loop, or its own method."""
    if its is not None:
        # What the proxies of several petals register is nobody's.
        return _is_in(its, loop) or (orphans and getattr(its, "of_petal", None) is False)
    whose = getattr(callback, "__self__", None)
    if hasattr(whose, "inject_proxies"):  # a method of a petal, registered before there was a loop
        return whose is petal
    return orphans


def _is_in(its: Any, loop: PetalLoop) -> bool:
    return its is loop.part or (loop.is_alone and its is loop.loop)


_manager = OrganizationManager()


def get_organization_manager() -> OrganizationManager:
    """The process's organization manager."""
    return _manager


def set_organization_manager(manager: OrganizationManager) -> None:
    """Take another one, in a test."""
    global _manager
    _manager = manager
