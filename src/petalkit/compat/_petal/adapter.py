"""A petal of the guide as a petal of petalkit.

The rule: the petal's start is over before its commands are judged unknown, and nothing of it, hook,
handler or task, outlives it or holds up anybody else.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import attrs
import trio

from ..._authoring.context import CommandContext, OwnWords, PetalHost
from ..._authoring.declared import CommandOptions
from ..._authoring.inspection.foreign import attribute_of
from ..._authoring.petal import Petal as NativePetal
from ..._authoring.registry import CommandResolver, CommandSpec, make_spec
from ..._values.messages import Command
from ..._values.settings.settings import RestartPolicy
from .._errors import HookFailed
from .._http.health import Served
from .._http.service import HttpService
from .._loop.loop import PetalLoop, open_petal_loop
from .._reading import uses_actions
from .asking import Asking
from .desk import Desk
from .exchange import Claim, Exchange
from .hooks import Hooks
from .routes import Routes
from .supplies import Supplies, make_supplies

logger = logging.getLogger("petalkit.compat")

SPECS_MAX = 1000  # specs kept, of names that a petal has as keys
# Of `cleanup_timeout`: for each call of the petal that is cancelled at the end (at most three), and
# for the tasks that are left after its hooks. `hooks` has the rest of it.
CANCEL_SHARE = 0.05
TASKS_SHARE = 0.2
_NO_TABLE: Mapping[Any, Any] = {}


class GuidePetal(NativePetal):
    """See the module. Made by `adapt`.

    Attributes:
        guide_petal: the petal of the guide.
        settled: its start is over, well or not, and its commands may start.
    """

    __petalkit_beside_others__: ClassVar[bool] = True
    __petalkit_ready_at_once__: ClassVar[bool] = False
    __petalkit_resolver__: CommandResolver | None
    restart_policy: RestartPolicy | None = (
        "never"  # as their host does: they were not written to start twice
    )

    def __init__(self, petal: Any, routes: Routes, supplies: Supplies, http: HttpService) -> None:
        self.guide_petal = petal
        self.name = attribute_of(petal, "name") or type(petal).__name__
        self.version = str(attribute_of(petal, "version", "0"))
        self.__petalkit_resolver__ = routes
        self.__petalkit_service__ = self._http = http
        self.__petalkit_beneath__ = supplies.together
        if uses_actions(petal):
            self.__petalkit_dialect__ = "host-0.2"
        self.settled = trio.Event()
        self._routes = routes
        self._supplies = supplies
        self._desk = Desk(self.name)
        self._asking: Asking | None = None
        self._template: CommandSpec | None = None
        self._specs: dict[str, CommandSpec] = {}
        self._prefixes: set[str] = set()
        self._prefixes_of = -1  # the number of keys that they are made of
        routes.add(self)
        http.add(self.name, self.version)

    # -- what routing needs

    def key_names(self) -> Collection[str]:
        """The commands that it has handlers for, now."""
        return [key for table in self._tables() for key in list(table) if isinstance(key, str)]

    def has_key(self, name: str) -> bool:
        """Whether it has a handler for that command, now."""
        # Twice for every command, so without a detour.
        return name in self._table("_command_handlers") or name in self._table(
            "_mqtt_command_handlers"
        )

    def _has_keys(self) -> bool:
        return bool(self.key_names())

    def _tables(self) -> Iterator[Mapping[Any, Any]]:
        yield self._table("_command_handlers")
        yield self._table("_mqtt_command_handlers")

    def _table(self, attribute: str) -> Mapping[Any, Any]:
        try:
            table = getattr(self.guide_petal, attribute, None)
        except Exception:  # a property of the petal's
            logger.debug("petal %r: no table %s", self.name, attribute, exc_info=True)
            return _NO_TABLE
        return table if type(table) is dict or isinstance(table, Mapping) else _NO_TABLE

    def prefixes(self) -> set[str]:
        """What its commands start with, without the slash."""
        keys = self.key_names()
        if len(keys) != self._prefixes_of:  # asked for every command that nobody has as a key
            self._prefixes = {self.name, *(key.rpartition("/")[0] for key in keys if "/" in key)}
            self._prefixes_of = len(keys)
        return self._prefixes

    @property
    def is_served(self) -> bool:
        """Whether it is in service."""
        return (
            self._asking is not None
            and self.__petalkit_host__ is not None
            and not self.__petalkit_host__.failed
        )

    @property
    def is_starting(self) -> bool:
        """Whether it is in service, and its commands wait for the rest of its start."""
        return self.is_served and not self.settled.is_set()

    @property
    def may_know(self) -> bool:
        """Whether it is in service and has handlers, or is still getting them."""
        return self.is_served and (bool(self._desk.registrations) or not self.settled.is_set())

    def spec(self, name: str) -> CommandSpec | None:
        """What the runtime needs to run a command in its name; None while it is not served."""
        spec = self._specs.get(name)
        if spec is None and self._template is not None:
            known = self.has_key(name)
            spec = attrs.evolve(self._template, name=name, guessed=not known)
            if known:  # other names are made up by senders, without end
                if len(self._specs) >= SPECS_MAX:
                    self._specs.clear()
                self._specs[name] = spec
        return spec

    def begin(self, command: Command, context: CommandContext, claim: Claim) -> Exchange:
        """Give it a command; see `Asking.begin`."""
        if self._asking is None:  # it has just ended
            return Exchange(command, claim, context.identity)
        return self._asking.begin(command, context, claim)

    async def finish(self, exchange: Exchange) -> None:
        """Wait for its answer, or its silence; see `Asking.finish`."""
        if self._asking is not None:
            await self._asking.finish(exchange, has_keys=self._has_keys)

    async def __petalkit_wait_work_done__(self) -> None:
        """Wait until no handler runs on after its answer."""
        if self._asking is not None:
            await self._asking.wait_left()

    async def _serve(self, command: Command, context: CommandContext) -> OwnWords | None:
        return await self._routes.serve(self, self.__petalkit_served__(), command, context)

    # -- life

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Open the loop, call the first hooks, serve; at the end the hooks of the end."""
        host = self.__petalkit_served__()
        settings = host.settings
        options = CommandOptions(name=self.name, timeout=settings.compat_timeout)
        self._template = make_spec(self, options, self._serve)
        self._specs.clear()
        self.settled = trio.Event()
        self._routes.serve_with(host)
        for_tasks = TASKS_SHARE * settings.cleanup_timeout
        together = self._supplies.together
        open_loop = open_petal_loop if together is None else together.open_petal_loop
        async with open_loop(self.name, for_tasks) as loop:
            self._desk.open(host, loop)
            hooks = Hooks(self.guide_petal, host, self._desk, loop, self._supplies)
            try:
                await hooks.begin()
                served = Served(self.guide_petal, host, loop, hooks.made_proxies)
                await self._http.open(self.name, served)
                self._asking = Asking(self._desk, loop, settings)
                first = functools.partial(self._routes.is_first, self)
                self.nursery.start_soon(self._go_on, host, hooks, name=f"start of {self.name}")
                self.nursery.start_soon(hooks.watch_organization, first, name="organization ID")
                self.nursery.start_soon(self._watch_loop, loop, name="asyncio loop")
                yield
            finally:
                loop.cancel_limit = CANCEL_SHARE * settings.cleanup_timeout
                await self._end_calls()
                await hooks.end()
                await loop.end_all(for_tasks)  # which may still need a proxy
                await hooks.stop_proxies()
                self._asking = None
                self._desk.close()
                self._settle(host)

    async def _end_calls(self) -> None:
        """What is under way, by HTTP and of commands: together, so that it takes one share."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as ending:
                ending.start_soon(self._http.close_petal, self.name)
                if self._asking is not None:
                    ending.start_soon(self._asking.end_left)

    async def _go_on(self, host: PetalHost, hooks: Hooks) -> None:
        """The rest of the start; then the commands start that have waited for it.

        When it fails, they are answered for first, and it is settled where the lifespan is left.
        """
        await hooks.go_on()
        for name, other in self._routes.also_served_by(self).items():
            text = "petal %r: the command %r is served by petal %r, which was given first"
            logger.warning(text, self.name, name, other, extra={"petal": self.name})
        if self._desk.takes_commands:
            with trio.move_on_after(host.settings.compat_hook_timeout):
                await self._desk.registered.wait()
        self._settle(host)

    def _settle(self, host: PetalHost) -> None:
        if not self.settled.is_set():
            self.settled.set()
            host.open_line(self.name)

    async def _watch_loop(self, loop: PetalLoop) -> None:
        """A petal that stops its own loop is out of service. No limit: most never do."""
        await loop.wait_stopped()
        raise HookFailed("loop.stop", "was called: the petal's asyncio loop has ended")


def adapt(
    *petals: Any,
    proxies: Mapping[str, Any] | None = None,
    proxy_factories: Mapping[str, Callable[[], Any]] | None = None,
    proxy_factories_per_petal: Mapping[str, Callable[[], Any]] | None = None,
) -> list[NativePetal]:
    """Petals written for the guide, or for its host, as petals that petalkit serves.

    Serve all of one process from one call: they share the routing of commands::

        petalkit.run(*adapt(FlightLogPetal(), CameraPetal()), NativePetal())

    Args:
        petals: instances; what derives from `petalkit.compat.Petal`, or has its methods.
        proxies: further proxies by name, as they are; None for one that petals do without.
        proxy_factories: the same, made once, when the first petal asks, or starts whose code
            names it. What has `start` and `stop` is started before that petal, and stopped after
            the last. With them all these petals live in one asyncio loop, since a proxy is bound to
            one.
        proxy_factories_per_petal: the same, made anew for each petal that asks, in its loop.

    Raises:
        TypeError: one is a class, or no petal of the guide.
        ValueError: a proxy is given twice.
    """
    for petal in petals:
        if isinstance(petal, type):
            raise TypeError(f"adapt() takes instances: write {petal.__name__}()")
        if not all(callable(attribute_of(petal, hook)) for hook in ("inject_proxies", "startup")):
            raise TypeError(f"adapt() takes petals of the guide, and not {type(petal).__name__}")
    supplies = make_supplies(
        len(petals),
        dict(proxies or {}),
        dict(proxy_factories or {}),
        dict(proxy_factories_per_petal or {}),
    )
    routes, http = Routes(), HttpService()
    return [GuidePetal(petal, routes, supplies, http) for petal in petals]
