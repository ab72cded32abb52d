"""The endpoints of all petals that are served together, as a service of the runtime.

The rule: it is opened when the first petal that has an endpoint is in service, and serves each as
long as that is. What is not served is said, by its names. Whatever goes wrong here ends no petal,
and no command.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from typing import Any

import trio

from ..._authoring.inspection.foreign import attribute_of
from ..._serving.waiting import wait_any
from ..._values.basics.words import counted
from ..._values.errors import ErrorCode
from ..._values.settings.settings import HTTP_DEFAULT, HTTP_OFF, Settings, split_listen
from ...transports._connecting.credentials import renew
from ...transports._connecting.tls import is_loopback
from ...transports._forks import not_in_child
from .._errors import HookFailed
from .._loop.loop import PetalLoop, open_petal_loop
from .answers import unavailable
from .crossing import Lane
from .endpoints import described, find_folder, prefix_of, why_not_served
from .guard import Guard
from .health import Health, Served

logger = logging.getLogger("petalkit.compat.http")

CLOSE_MAX = 1.0  # seconds that connections get for the rest of their answers, when all is over
TOKEN_MAX = 10.0  # seconds for `compat_http_token_source`
FRONT = "the HTTP server"  # in whose loop what is no petal's is served


class HttpService:
    """See the module. One for all petals of one `adapt()`.

    Attributes:
        name: for the log.
        port: on which it listens; None while it does not.
    """

    name = "HTTP of the petals"

    def __init__(self) -> None:
        self.port: int | None = None
        self._health = Health()
        self._lanes: dict[str, Lane] = {}
        self._pages: dict[str, Any] = {}
        self._front: Lane | None = None
        self._app: Any = None
        self._requests: Any = None
        self._wanted = trio.Event()
        self._closing = trio.Event()
        self._cancelled = trio.Event()

    # -- for the petals

    def add(self, name: str, version: str) -> None:
        """A petal is to be served."""
        self._health.states[name] = ("loading", version)

    async def open(self, name: str, served: Served) -> None:
        """A petal has started, in its loop: serve its endpoints from now on. Never raises."""
        try:
            await self._open(name, served)
        except Exception:
            text = "petal %r: its HTTP endpoints cannot be served; its commands are"
            logger.exception(text, name, extra={"petal": name})

    async def _open(self, name: str, served: Served) -> None:
        petal, settings = served.petal, served.host.settings
        found = described(name, petal)
        if not found and settings.compat_http is None:
            return
        why = why_not_served(settings)
        if why is not None:
            _say_not_served(settings, name, found, why)
            return
        await trio.to_thread.run_sync(_load)
        from .site import make_pages

        static = None
        if attribute_of(petal, "static_dir"):
            static = _folder(name, petal, "static", settings)
        if attribute_of(petal, "template_dir"):
            await _give_templates(name, petal, settings, served.loop)
        pages = make_pages(name, petal, static)
        for text in pages.refused:
            logger.error("petal %r: not served: %s", name, text, extra={"petal": name})
        self._health.served[name] = served
        _, version = self._health.states[name]
        self._health.states[name] = ("loaded", version)
        self._lanes[name] = Lane(name, served.loop)
        self._pages[name] = pages
        self._make_app(settings)
        self._wanted.set()

    async def close_petal(self, name: str) -> None:
        """A petal ends, or has failed: serve it no longer, and answer for what is under way.

        Returns when that has ended; shielded, within what a cancelled call gets.
        """
        _, version = self._health.states[name]
        self._health.states[name] = ("failed", version)
        lane = self._lanes.pop(name, None)
        if lane is None:
            return
        self._pages.pop(name, None)
        served = self._health.served.pop(name)
        if not self._closing.is_set():
            self._make_app(served.host.settings)
        lane.cancel(unavailable(f"petal {name!r} is out of service"))
        with trio.move_on_after(lane.loop.cancel_limit, shield=True):
            await lane.wait_quiet()

    def _make_app(self, settings: Settings) -> None:
        from .site import make_app

        origins = settings.compat_http_origins
        self._app = make_app(list(self._pages.values()), self._health, self._ask, origins)

    async def _ask(self, function: Any) -> dict[str, Any]:
        """Asyncio-flavored, in the front's loop: call a Trio-flavored function."""
        assert self._front is not None
        said: dict[str, Any] = await self._front.loop.loop.trio_as_future(function)
        return said

    # -- for the requests

    def _find(self, path: str) -> tuple[Lane, Any]:
        """Who serves a path, and the application.

        Raises:
            Refusal: a petal that is out of service.
        """
        for name in self._health.states:
            prefix = prefix_of(name)
            if path == prefix or path.startswith(f"{prefix}/"):
                lane = self._lanes.get(name)
                if lane is None:
                    raise unavailable(f"petal {name!r} is not in service")
                return lane, self._app
        assert self._front is not None
        return self._front, self._app

    # -- for the runtime

    async def run(self, settings: Settings) -> None:
        """Serve until `close()`, once there is an endpoint to serve.

        Raises:
            OSError: the address cannot be listened on.
            CredentialsFailed: the token cannot be read.
        """
        self._closing, self._cancelled = trio.Event(), trio.Event()
        # No limit: most programs have none.
        await wait_any(self._wanted.wait, self._closing.wait)
        if not self._closing.is_set():
            deadline = trio.current_time() + TOKEN_MAX
            await self._serve(await renew(settings, ("compat_http_token",), deadline))
        self._wanted = trio.Event()

    async def _serve(self, settings: Settings) -> None:
        from .requests import Requests
        from .server import Server

        listen = settings.compat_http or HTTP_DEFAULT
        host, port = split_listen(listen)
        requests = Requests(settings, Guard(settings, listen), self._find)
        server = Server(requests, settings.compat_http_connections, settings.compat_http_body_max)
        listeners = await trio.open_tcp_listeners(port, host=host)
        for listener in listeners:
            not_in_child(listener.socket.fileno())
        self._requests = requests
        try:
            async with open_petal_loop(FRONT, settings.cleanup_timeout / 4) as loop:
                self._front = Lane(FRONT, loop)
                self.port = listeners[0].socket.getsockname()[1]
                self._say_where(host)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._end, server, nursery.cancel_scope)
                    await server.run(listeners)
                    nursery.cancel_scope.cancel()
        finally:
            self.port = self._front = self._requests = None
            with trio.CancelScope(shield=True):
                for listener in listeners:
                    with contextlib.suppress(OSError):
                        await listener.aclose()  # it does not wait

    async def _end(self, server: Any, scope: trio.CancelScope) -> None:
        """Close the server when the runtime stops, and bound the end."""
        await self._closing.wait()
        self._requests.stop()
        server.close()
        await self._cancelled.wait()  # the runtime's grace bounds it
        for lane in self._all_lanes():
            lane.cancel(unavailable("the device is shutting down", ErrorCode.SHUTTING_DOWN))
        scope.deadline = trio.current_time() + CLOSE_MAX

    def _all_lanes(self) -> list[Lane]:
        return [*self._lanes.values(), *([] if self._front is None else [self._front])]

    def _say_where(self, host: str) -> None:
        total = sum(pages.served for pages in self._pages.values())
        shown = f"[{host}]" if ":" in host else host
        where = f"http://{shown}:{self.port}"
        logger.info("%s of petals on %s", counted(total, "HTTP endpoint"), where)
        if not is_loopback(host):
            logger.warning(
                "other machines reach %s by plain HTTP: whoever can read the network can read "
                "the token; put a server that speaks TLS before it",
                where,
            )

    def close(self) -> None:
        """The runtime stops: take nothing new."""
        self._closing.set()

    async def wait_quiet(self) -> None:
        """Wait until no request is under way. The caller bounds it."""
        for lane in self._all_lanes():
            await lane.wait_quiet()

    def cancel(self) -> None:
        """End what is under way, and answer for it."""
        self._cancelled.set()


def _load() -> None:
    """Import what serves, which takes a second: so it is done in a thread."""
    importlib.import_module(f"{__package__}.site")
    importlib.import_module(f"{__package__}.server")


def _say_not_served(settings: Settings, name: str, found: list[str], why: str) -> None:
    if not found:
        return
    level = logging.INFO if settings.compat_http == HTTP_OFF else logging.WARNING
    text = "petal %r: %d HTTP endpoint%s not served (%s): %s"
    plural = "s are" if len(found) > 1 else " is"
    extra = {"petal": name}
    logger.log(level, text, name, len(found), plural, why, ", ".join(found), extra=extra)


def _folder(name: str, petal: Any, kind: str, settings: Settings) -> Any:
    folder = find_folder(name, petal, kind, settings.compat_http_files)
    if folder is None:
        text = "petal %r wants %s, and there is no such folder: see compat_http_files"
        logger.warning(text, name, kind, extra={"petal": name})
    return folder


async def _give_templates(name: str, petal: Any, settings: Settings, loop: PetalLoop) -> None:
    from .site import make_templates

    folder = _folder(name, petal, "templates", settings)
    inject = attribute_of(petal, "inject_templates")
    if folder is None or not callable(inject):
        return
    try:
        limit = settings.compat_hook_timeout
        await loop.run_within(limit, "inject_templates", lambda: inject(make_templates(folder)))
    except HookFailed as error:
        extra = {"petal": name}
        logger.error("petal %r: %s", name, error, exc_info=error.__cause__, extra=extra)
