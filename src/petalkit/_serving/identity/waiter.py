"""The organization-ID waiter: who this device is, known now, late, or another from here on.

The rule: no identity, no topic. Nothing is connected or published before the organization ID is
known, and a source that turns bad (deleted, malformed, empty) never takes away an ID that was
good: a device that flies does not lose its name because a file is being rewritten.
"""

from __future__ import annotations

import logging

import trio

from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ..._values.topics import TopicError
from .device import resolve_device_id
from .sources import SourceError, make_source

logger = logging.getLogger("petalkit.identity")

REMIND_INTERVAL = 60.0  # seconds between two log lines of an ID that does not come


class IdentityWaiter:
    """Asks a source until it answers, and goes on asking: the ID may change.

    Args:
        settings: for the source, the device ID and the poll interval.

    Attributes:
        device_id: known from the start, and the same for ever.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._source = make_source(settings)
        self.device_id = resolve_device_id(settings)
        self._current: Identity | None = None
        self._changed = trio.Event()
        self._problem: str | None = None
        self._reported_at = 0.0

    @property
    def current(self) -> Identity | None:
        """The identity now; None while it is not known."""
        return self._current

    async def wait(self) -> Identity:
        """Wait until the identity is known. No limit: it may come in a month."""
        while self._current is None:
            await self._changed.wait()
        return self._current

    async def wait_other(self, known: Identity) -> Identity:
        """Wait until the identity is another than `known`. No limit: most never change."""
        while self._current is None or self._current == known:
            await self._changed.wait()
        return self._current

    async def wait_same(self, known: Identity) -> None:
        """Wait until the identity is `known` again. No limit: it may never be."""
        while self._current != known:
            await self._changed.wait()

    async def run(self) -> None:
        """Ask until cancelled; returns only when the source can never change."""
        while True:
            await self.ask()
            if self._source.fixed:
                return
            await trio.sleep(self._settings.organization_poll_interval)

    async def ask(self) -> None:
        """Ask the source once."""
        try:
            organization_id = await self._source.read()
            identity = Identity(
                organization_id, self.device_id, base_topic=self._settings.base_topic
            )
        except SourceError as error:
            self._report(str(error))
            return
        except TopicError as error:
            self._report(f"gives an ID that cannot be used: {error}")
            return
        self._problem = None
        if identity == self._current:
            return
        if self._current is None:
            logger.info("organization ID is %r, from %s", organization_id, self._source.description)
        else:
            logger.warning(
                "organization ID changed from %r to %r, by %s",
                self._current.organization_id,
                organization_id,
                self._source.description,
            )
        self._current = identity
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _report(self, problem: str) -> None:
        now = trio.current_time()
        again = self._current is None and now >= self._reported_at + REMIND_INTERVAL
        if problem == self._problem and not again:
            return
        self._problem = problem
        self._reported_at = now
        if self._current is None:
            logger.warning(
                "waiting for the organization ID: %s %s; asked again every %g s. Nothing is "
                "connected before it is known; set organization_id to give it by hand",
                self._source.description,
                problem,
                self._settings.organization_poll_interval,
            )
        else:
            logger.warning(
                "%s %s; going on as organization %r",
                self._source.description,
                problem,
                self._current.organization_id,
            )
