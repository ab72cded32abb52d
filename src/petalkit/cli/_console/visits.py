"""One page, from its first message to its last.

The rule: reading, looking at a device and calling go on beside each other, and all end with the
page. What is sent has a time limit: a page that takes nothing is cut off, and comes back by itself.
"""

from __future__ import annotations

import logging
from typing import Protocol

import trio

from ..._values.errors import PetalkitError
from ...client import Client
from . import said
from .asked import Asked, Call, NotUnderstood, Open, Unwatch, Watch, arguments_of, read_asked
from .device_view import DeviceView, Find
from .outgoing import Outgoing, TooSlow

logger = logging.getLogger("petalkit.console")

CALLS_MAX = 64  # commands of one page whose answers are not there yet
SEND_LIMIT = 10.0  # seconds that a page gets to take one message
BATCH_INTERVAL = 1 / 60  # seconds between two messages; a screen shows no more


class Gone(Exception):
    """The page is closed."""


class Page(Protocol):
    """The WebSocket of a page."""

    async def receive(self) -> str:
        """The next message.

        Raises:
            Gone: there is none any more.
            NotUnderstood: it is no text.
        """
        ...

    async def send(self, text: str) -> None:
        """Send one.

        Raises:
            Gone: nobody takes it.
        """
        ...


class Visit:
    """See the module.

    Args:
        page: its WebSocket.
        client: calls devices.
        find: what is known of one.
    """

    def __init__(self, page: Page, client: Client, find: Find) -> None:
        self.outgoing = Outgoing()
        self._page = page
        self._client = client
        self._find = find
        self._view: DeviceView | None = None
        self._viewing = trio.CancelScope()
        self._calls = 0

    async def run(self) -> str:
        """Serve it until it is gone, or has to go; returns why.

        Cancellation: calls that are under way may have been sent.
        """
        why: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, nursery.cancel_scope, why)
            nursery.start_soon(self._receive, nursery, why)
        return why[0] if why else ""

    def look(self) -> None:
        """The directory of devices has changed."""
        if self._view is not None:
            self._view.look()

    async def _send(self, scope: trio.CancelScope, why: list[str]) -> None:
        dropped = 0
        try:
            while True:
                batch = await self.outgoing.take()
                if self.outgoing.dropped != dropped:
                    dropped = self.outgoing.dropped
                    batch.append(said.encode("dropped", count=dropped))
                with trio.fail_after(SEND_LIMIT):
                    await self._page.send(f"[{','.join(one.decode() for one in batch)}]")
                await trio.sleep(BATCH_INTERVAL)
        except Gone:
            why.append("it is closed")
        except (TooSlow, trio.TooSlowError):
            why.append("it does not take what it is sent")
        scope.cancel()

    async def _receive(self, nursery: trio.Nursery, why: list[str]) -> None:
        try:
            while True:
                asked = read_asked(await self._page.receive())
                await self._take(asked, nursery)
        except Gone:
            why.append("it is closed")
        except NotUnderstood as error:
            why.append(f"it asks for what there is not: {error}")
        nursery.cancel_scope.cancel()

    async def _take(self, asked: Asked, nursery: trio.Nursery) -> None:
        match asked:
            case Open():
                self._viewing.cancel()
                self._viewing = trio.CancelScope()
                self._view = DeviceView(self._client, asked.device, self._find, self.outgoing)
                nursery.start_soon(self._look_at, self._view, self._viewing)
                # It has to have begun before a stream of it can be watched.
                await self._view.ready.wait()
            case Call() if self._calls >= CALLS_MAX:
                text = f"{CALLS_MAX} commands of this page are under way already; wait for one"
                self.outgoing.answer(said.no_response(asked.id, text))
            case Call():
                self._calls += 1
                nursery.start_soon(self._call, asked)
            case Watch() if self._view is not None:
                self._view.watch(asked)
            case Unwatch() if self._view is not None:
                self._view.unwatch(asked.stream)
            case _:
                pass  # no device is looked at

    async def _look_at(self, view: DeviceView, scope: trio.CancelScope) -> None:
        with scope:
            await view.run()

    async def _call(self, asked: Call) -> None:
        try:
            data = arguments_of(asked)
            response = await self._client.request(
                asked.command, data, device=asked.device, timeout=asked.timeout
            )
        except NotUnderstood as error:
            item = said.no_response(asked.id, str(error))
        except (PetalkitError, trio.TooSlowError, trio.ClosedResourceError, ValueError) as error:
            item = said.no_response(asked.id, str(error))
        else:
            item = said.response(asked.id, response)
        finally:
            self._calls -= 1
        self.outgoing.answer(item)
