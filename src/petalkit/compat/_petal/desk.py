"""Where one petal's registered handlers, open exchanges and messages meet the runtime.

The rule: everything here is touched in the petal's loop, which runs in Trio's thread. What comes
from a thread, or from the loop of another petal, crosses over first.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import threading
import uuid
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import attrs
import trio

from ..._authoring.context import PetalHost
from ..._authoring.petal import WEB
from ..._serving.identity.device import resolve_device_id
from ..._values.errors import PayloadError
from .._loop.calls import owner
from .._loop.loop import PetalLoop
from .exchange import Exchange

logger = logging.getLogger("petalkit.compat")

Handler = Callable[[str, dict[str, Any]], Any]


@attrs.frozen
class Registration:
    """A handler that takes commands.

    Attributes:
        handler: `(topic, message)`; asyncio-flavored, or plain and then called in a thread.
        cpu_heavy: whether it gets a thread and a loop of its own.
        in_loop: whether it is called in the petal's loop: asyncio-flavored, and not heavy.
    """

    handler: Handler
    cpu_heavy: bool
    in_loop: bool


class Desk:
    """See the module.

    Args:
        petal: its name.

    Attributes:
        registrations: handlers by subscription ID, in order of registration.
        registered: set when there is one, or never will be.
        takes_commands: False for a petal that has said by nothing that it wants commands.
    """

    def __init__(self, petal: str) -> None:
        self.petal = petal
        self.registrations: dict[str, Registration] = {}
        self.registered = trio.Event()
        self.takes_commands = True
        self._warned = False
        self._exchanges: dict[str, Exchange] = {}
        self._host: PetalHost | None = None
        self._loop: Any = None  # trio-asyncio's, which has no types
        self._device_id: str | None = None
        self._closing = threading.Lock()
        self._crossings: set[concurrent.futures.Future[bool]] = set()  # from other loops

    # -- its life

    def open(self, host: PetalHost, loop: PetalLoop) -> None:
        """The petal is served from now on."""
        self._host, self._loop = host, loop.loop
        self._device_id = resolve_device_id(host.settings)
        self.registered = trio.Event()

    def close(self) -> None:
        """It is not any more."""
        self._host = self._loop = None
        self.registrations.clear()
        self.registered.set()
        for exchange in list(self._exchanges.values()):
            exchange.abandon()
        self._exchanges.clear()
        with self._closing:
            crossings, self._crossings = self._crossings, set()
        for crossing in crossings:
            crossing.cancel()  # nobody is there any more who could end it

    @property
    def host(self) -> PetalHost | None:
        """What serves the petal; None when nobody does."""
        return self._host

    @property
    def tells_receipts(self) -> bool:
        """Whether the runtime answers `waitAck`, so that the petal need not."""
        return self._host is not None and self._host.sends_receipts

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The petal's loop; None when it is not served."""
        return self._loop  # type: ignore[no-any-return]

    @property
    def device_id(self) -> str | None:
        """The device ID; None before the petal is served."""
        return self._device_id

    # -- handlers

    def register(self, handler: Handler, *, cpu_heavy: bool) -> str:
        """Let a handler take commands; its subscription ID."""
        if not callable(handler):
            raise TypeError(f"a handler is called with topic and message; {handler!r} cannot be")
        subscription_id = str(uuid.uuid4())
        self.registrations[subscription_id] = Registration(
            handler, cpu_heavy, inspect.iscoroutinefunction(handler) and not cpu_heavy
        )
        self._warn_if_unexpected()
        self._in_loop(self.registered.set)
        return subscription_id

    def expect(self, *, commands: bool) -> None:
        """Whether the petal says that it wants commands is known from now on."""
        self.takes_commands = commands
        self._warn_if_unexpected()

    def _warn_if_unexpected(self) -> None:
        if self.registrations and not self.takes_commands and not self._warned:
            self._warned = True
            logger.warning(
                "petal %r registers a handler, and is no MQTT petal: write use_mqtt_proxy = True, "
                "or the host will not set it up",
                self.petal,
                extra={"petal": self.petal},
            )

    def unregister(self, subscription_id: str) -> bool:
        """Let a handler take no more commands; False when there is none of that ID."""
        return self.registrations.pop(subscription_id, None) is not None

    # -- exchanges

    def begin(self, exchange: Exchange) -> None:
        """A command is given to the petal."""
        self._exchanges[exchange.message_id] = exchange

    def end(self, exchange: Exchange) -> None:
        """Nobody waits for the petal's answer any more."""
        exchange.closed = True
        if self._exchanges.get(exchange.message_id) is exchange:
            del self._exchanges[exchange.message_id]

    def _exchange(self, message_id: str) -> Exchange | None:
        """The one that a response belongs to."""
        mine = owner.get()
        # Several can have no ID at all; whose code it is says which one then, open or not.
        if isinstance(mine, Exchange) and mine.message_id == message_id:
            return mine
        return self._exchanges.get(message_id)

    async def respond(self, message_id: str, fields: Mapping[str, Any]) -> bool:
        """Asyncio-flavored: take a response; False when it will not be sent."""
        exchange = self._exchange(message_id)
        text = "a response was not sent: nobody waits for one to this messageId (any more)"
        level, command = logging.WARNING, None
        if exchange is not None and not (exchange.closed and exchange.words is None):
            command = exchange.command.command
            try:
                if exchange.answer(fields, self._device_id):
                    return True
                text = "a second response to one command was not sent"
            except PayloadError as error:
                level, text = logging.ERROR, f"a response was not sent: {error.message}"
        extra = {"petal": self.petal, "message_id": message_id}
        if command is not None:
            extra["command"] = command
        logger.log(level, "%s", text, extra=extra)
        return False

    async def acknowledge(self, message_id: str, service: str, kind: str) -> bool:
        """Asyncio-flavored: tell that a command has arrived; False when it will not be told."""
        host = self._host
        exchange = self._exchange(message_id)
        if exchange is not None and exchange.acknowledged and kind == "service-received":
            return True  # the runtime has said it, as it was accepted
        if host is None or exchange is None:
            return False  # of what came under which identity, nobody could say
        return host.acknowledge(exchange.identity, message_id, service, kind)

    async def publish(self, payload: Mapping[str, Any], qos: int) -> bool:
        """Asyncio-flavored: send an event to web clients; False when it will not be sent."""
        host = self._host
        if host is None:
            return False
        # Written over the petal's, in both dialects, as every version of the host does.
        if isinstance(payload, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            payload = {**payload, "deviceId": self._device_id}
        try:
            try:
                host.publish_event_nowait(payload, topic=WEB, qos=qos)
            except trio.WouldBlock:
                await self._loop.trio_as_future(self._publish_later, host, payload, qos)
        except PayloadError as error:
            extra = {"petal": self.petal}
            logger.error("an event was not sent: %s", error.message, extra=extra)
            return False
        return True

    async def _publish_later(self, host: PetalHost, payload: Mapping[str, Any], qos: int) -> None:
        await host.publish_event(payload, topic=WEB, qos=qos, expiry=None)

    # -- crossing over

    async def cross(
        self, function: Callable[..., Coroutine[Any, Any, bool]], *arguments: Any
    ) -> bool:
        """Asyncio-flavored, in any loop: call a function in the petal's loop.

        False, and logged, when the petal is not served, or has just ended.
        """
        loop = self._loop
        if loop is not None and asyncio.get_running_loop() is loop:
            return await function(*arguments)
        made = function(*arguments)
        try:
            if loop is None:
                raise RuntimeError("the petal is not served")
            crossing = asyncio.run_coroutine_threadsafe(made, loop)
        except (RuntimeError, AttributeError) as error:  # closed, or being closed, meanwhile
            made.close()
            logger.warning("nothing is sent: %s", error, extra={"petal": self.petal})
            return False
        with self._closing:
            if self._loop is loop:
                self._crossings.add(crossing)
            else:
                crossing.cancel()
        try:
            return await asyncio.wrap_future(crossing)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._loop is loop or (task is not None and task.cancelling()):
                raise  # ours, and not only the petal's end
            return False
        finally:
            with self._closing:
                self._crossings.discard(crossing)

    def _in_loop(self, function: Callable[[], object]) -> None:
        """Call a function in Trio's thread, now if this is it."""
        if self._loop is None:
            function()
            return
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            function()
        else:
            self._loop.call_soon_threadsafe(function)
