"""The bridge between pages and the broker: one client, its directory of devices, and the pages.

The rule: however many pages are open, there is one connection to the broker. It has no answer of
its own: a page is told what devices say. The bounds: `PAGES_MAX` pages, and for each what
`outgoing` and `visits` say.
"""

from __future__ import annotations

import logging
from typing import Any

import attrs
import trio

from ..._values.errors import PetalkitError
from ..._values.settings.settings import Settings
from ...client import Client, Device
from . import said
from .outgoing import Outgoing
from .visits import Page, Visit

logger = logging.getLogger("petalkit.console")

PAGES_MAX = 8
FULL = f"{PAGES_MAX} pages are open already: close one"
DEVICES_INTERVAL = 1.0  # seconds between two looks at the directory
REFUSED_INTERVAL = 30.0  # seconds until devices are asked for again, when the broker refuses that


@attrs.frozen
class Moves:
    """What a page does by itself when it is opened for the first time: the demo's.

    Attributes:
        watch: streams.
        calls: command and arguments of each.
    """

    watch: tuple[str, ...] = ()
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


class Bridge:
    """See the module.

    Args:
        client: calls devices.
        settings: those of the client.
        moves: what a page does by itself at first; None for nothing. See `Moves`.
    """

    def __init__(self, client: Client, settings: Settings, moves: Moves | None = None) -> None:
        self._client = client
        self._settings = settings
        self._moves = moves
        self._visits: set[Visit] = set()
        self._devices: dict[str, Device] = {}
        self._error: str | None = None
        self._link = said.link(client.statistics())
        self._directory = said.devices([], None)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another page."""
        return len(self._visits) >= PAGES_MAX

    async def visit(self, page: Page) -> str:
        """Serve a page until it is gone, if there is room for it; returns why it is not served.

        Whoever asks `is_full` first spares it the handshake; others may be in theirs, though.
        """
        if self.is_full:
            return FULL
        visit = Visit(page, self._client, self._devices.get)
        self._greet(visit.outgoing)
        self._visits.add(visit)
        try:
            return await visit.run()
        finally:
            self._visits.discard(visit)

    def _greet(self, outgoing: Outgoing) -> None:
        url = self._settings.broker_url()
        identity = self._client.identity
        moves = None if self._moves is None else attrs.asdict(self._moves)
        broker = f"{url.scheme}://{url.hostname or url.path}"
        if url.port is not None:
            broker += f":{url.port}"
        outgoing.answer(said.hello(broker, identity.organization_id, identity.device_id, moves))
        outgoing.state(("link",), self._link)
        outgoing.state(("devices",), self._directory)

    async def run(self) -> None:
        """Keep the directory of devices, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_link)
            nursery.start_soon(self._watch_devices)

    async def _watch_link(self) -> None:
        while True:
            item = said.link(self._client.statistics())
            if item != self._link:
                self._link = item
                self._tell(("link",), item)
            await trio.sleep(DEVICES_INTERVAL)

    async def _watch_devices(self) -> None:
        while True:
            interval, error, found = DEVICES_INTERVAL, None, list(self._devices.values())
            try:
                found = await self._client.devices()
            except trio.TooSlowError:
                pass  # there is no link, which a page is told anyway
            except (PetalkitError, trio.ClosedResourceError, ValueError) as refused:
                interval, error = REFUSED_INTERVAL, str(refused)
            self._take_devices(found, error)
            await trio.sleep(interval)

    def _take_devices(self, found: list[Device], error: str | None) -> None:
        known = {one.device_id: one for one in found}
        if known == self._devices and error == self._error:
            return
        self._devices.clear()  # in place: pages look things up in it
        self._devices.update(known)
        self._error = error
        self._directory = said.devices(found, error)
        self._tell(("devices",), self._directory)
        for visit in self._visits:
            visit.look()

    def _tell(self, key: tuple[str, ...], item: bytes) -> None:
        for visit in self._visits:
            visit.outgoing.state(key, item)
