"""The hooks of a petal, in the host's order, each within a limit.

    inject_proxies, startup            before the petal is served
    _setup_mqtt_topics, then actions   when the organization ID is known and there is a link
    async_startup                      after them, or after five seconds without them
    async_shutdown, shutdown           at the end; the petal's tasks still run
    stop() of proxies                  after its tasks, whose `finally` may need them

The rule: what must work for the petal to serve (`startup`, `_setup_mqtt_topics`) ends the petal
when it fails; what the host lets fail (`async_startup`) is logged, and the petal goes on.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import trio

from ..._authoring.context import PetalHost
from .._base import declares
from .._errors import HookFailed
from .._loop.loop import PetalLoop
from .._organization import get_organization_manager
from .._reading import named_proxies
from .desk import Desk
from .proxies import MQTT, Proxies
from .proxy import MQTTProxy
from .shelf import START_WAIT, Shelf
from .supplies import Supplies

logger = logging.getLogger("petalkit.compat")

ORGANIZATION_WAIT = 5.0  # seconds; the host's: then `async_startup` runs without the ID
# Of `cleanup_timeout`: for the hooks at the end together, and for stopping the proxies together.
HOOKS_SHARE = 0.4
PROXIES_SHARE = 0.2

_Hook = tuple[str, Callable[..., Any], tuple[Any, ...]]


class Hooks:
    """See the module. For one petal, while it is served.

    Args:
        petal: of the guide.
        host: what serves it.
        desk: where its handlers are.
        loop: its own.
        supplies: proxies for it.
    """

    def __init__(
        self, petal: Any, host: PetalHost, desk: Desk, loop: PetalLoop, supplies: Supplies
    ) -> None:
        self._petal = petal
        self._name = desk.petal
        self._host = host
        self._desk = desk
        self._loop = loop
        self._supplies = supplies
        self._own = Shelf(supplies.own_factories)
        self._shelves = [self._own]
        if supplies.together is not None:
            self._shelves.append(supplies.together.shelf)
        self._proxies = self._make_proxies()
        self._started = False
        self._set_up = False

    # -- the start

    async def begin(self) -> None:
        """Everything before the petal is served.

        Raises:
            HookFailed, ProxyNotAvailable: the petal cannot be served.
        """
        petal, loop = self._petal, self._loop
        self._own.open(loop, self._host.settings)
        self._proxies.require(_names(getattr(petal, "get_required_proxies", None)))
        # Before its startup, as in the host, which starts all of them first.
        named = named_proxies(petal).all | set(_names(getattr(petal, "get_required_proxies", None)))
        # One deadline for all, or hanging proxies together would outlast `startup_timeout`.
        deadline = trio.current_time() + START_WAIT
        for shelf in self._shelves:
            await shelf.wait_started(sorted(named), deadline)
        await self._call("inject_proxies", petal.inject_proxies, self._proxies)
        self.tell_organization()
        petal._loop = loop.loop
        await self._call("startup", self._start_up)
        petal._loop = loop.loop  # where the host sets it
        for shelf in self._shelves:
            await shelf.wait_tried(deadline)  # what it has asked for by other names

    async def _start_up(self) -> None:
        """Asyncio-flavored. It has started when its own has run, even if nobody waits any more."""
        result = self._petal.startup()
        if inspect.iscoroutine(result):
            await result
        self._started = True

    def _make_proxies(self) -> Proxies:
        found = {**self._supplies.objects, MQTT: MQTTProxy(self._desk)}
        optional = getattr(self._petal, "get_optional_proxies", tuple)
        return Proxies(self._name, found, self._shelves, optional)

    def made_proxies(self) -> Mapping[str, Any]:
        """Its proxies that are there by now, without `mqtt`."""
        return self._proxies.made()

    async def go_on(self) -> None:
        """The rest of the start, beside serving; with a late organization ID it takes its time.

        Raises:
            HookFailed: the petal cannot be served.
        """
        petal = self._petal
        wanted = self._wants_commands()
        self._desk.expect(commands=wanted)
        if wanted:
            with trio.move_on_after(ORGANIZATION_WAIT):
                await self._host.wait_connected()
            if self._host.identity is not None:
                await self._set_up_commands()
        if "cloud" in getattr(petal, "_proxies", ()):
            await self._call_or_log("_setup_cloud")
        await self._call_or_log("async_startup")
        if wanted and not self._set_up:
            await self._host.wait_identity()  # no limit: it may come in a month
            await self._set_up_commands()

    def _wants_commands(self) -> bool:
        """Whether it is to be set up. Only a False of the petal's own says that it is not.

        The guide asks for `use_mqtt_proxy = True`; the host has forgotten it since, and serves
        what has a `_setup_mqtt_topics`.
        """
        petal = self._petal
        actions = getattr(petal, "has_mqtt_actions", None)
        if getattr(petal, "use_mqtt_proxy", False) or (actions and actions()):
            return True
        if getattr(petal, "_setup_mqtt_topics", None) is None:
            return False
        refused = declares(petal, "use_mqtt_proxy")
        text = (
            "petal %r has _setup_mqtt_topics() and use_mqtt_proxy = False: it is not called. Write "
            "use_mqtt_proxy = True to have it called"
            if refused
            else "petal %r has _setup_mqtt_topics() and no use_mqtt_proxy: it is called all the "
            "same. Write use_mqtt_proxy = True, which the guide asks for"
        )
        logger.warning(text, self._name, extra={"petal": self._name})
        return not refused

    async def _set_up_commands(self) -> None:
        petal = self._petal
        self.tell_organization()
        setup = getattr(petal, "_setup_mqtt_topics", None)
        if setup is not None:
            await self._call("_setup_mqtt_topics", setup)
        actions = getattr(petal, "has_mqtt_actions", None)
        if actions and actions():
            await self._call("_setup_mqtt_actions", petal._setup_mqtt_actions)
        self._set_up = True
        logger.info("petal %r is set up", self._name, extra={"petal": self._name})

    # -- the end

    async def end(self) -> None:
        """The hooks of the end, shielded; together within their share of `cleanup_timeout`."""
        hooks: list[_Hook] = []
        if self._started:
            for name in ("async_shutdown", "shutdown"):
                hooks.append((name, getattr(self._petal, name, _nothing), ()))
        await self._call_last(hooks, HOOKS_SHARE)

    async def stop_proxies(self) -> None:
        """Stop the petal's own proxies, shielded and bounded; after its tasks."""
        await self._own.stop(PROXIES_SHARE * self._host.settings.cleanup_timeout)
        get_organization_manager().forget(self._loop)

    async def _call_last(self, hooks: list[_Hook], share: float) -> None:
        if hooks and not self._loop.is_running:
            names = ", ".join(name for name, _, _ in hooks)
            text = "petal %r has stopped its loop: not called are %s"
            logger.error(text, self._name, names, extra={"petal": self._name})
            return
        deadline = trio.current_time() + share * self._host.settings.cleanup_timeout
        with trio.CancelScope(shield=True):  # each has what is left until the deadline
            for name, function, arguments in hooks:
                left = max(0.0, deadline - trio.current_time())
                try:
                    await self._call(name, function, *arguments, limit=left)
                except HookFailed as error:
                    self._log(error, "petal %r: %s")

    # -- the organization

    def tell_organization(self) -> None:
        """Let the process's organization manager know who the device is."""
        get_organization_manager().tell(self._host.identity, self._desk.device_id or "")

    async def watch_organization(self, is_first: Callable[[], bool]) -> None:
        """Call the petal's callbacks whenever the organization ID changes; until cancelled.

        Args:
            is_first: whether it also calls those that are no petal's.
        """
        limit = self._host.settings.compat_hook_timeout
        known = None
        while True:
            known = await self._host.wait_other_identity(known)
            self.tell_organization()
            await get_organization_manager().call_back(
                self._loop, self._petal, limit, orphans=is_first()
            )

    # -- one hook

    async def _call(
        self, name: str, function: Callable[..., Any], *arguments: Any, limit: float | None = None
    ) -> Any:
        if limit is None:
            limit = self._host.settings.compat_hook_timeout
        return await self._loop.run_within(limit, name, function, *arguments)

    async def _call_or_log(self, name: str) -> None:
        function = getattr(self._petal, name, None)
        if function is not None:
            try:
                await self._call(name, function)
            except HookFailed as error:
                self._log(error, "petal %r goes on without it: %s")

    def _log(self, error: HookFailed, text: str) -> None:
        extra = {"petal": self._name}
        logger.error(text, self._name, error, exc_info=error.__cause__, extra=extra)


def _nothing() -> None:
    """A hook that the petal does not have."""


def _names(function: Any) -> Iterable[str]:
    """The names that a method of the petal lists; none where it has no such method, or fails."""
    if function is None:
        return ()
    try:
        return [name for name in function() if isinstance(name, str)]
    except Exception:
        return ()
