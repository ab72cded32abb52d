"""The sidecar transport: the guide's own architecture, with an external MQTT client over HTTP.

The external client owns certificates, broker link and session. We ask it to subscribe, publish
through it, and take what it sends to our endpoint, which stays open from one link to the next.
Needs the extra `http`.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import trio

from ..._values.errors import ConfigError, ConnectFailed
from ..._values.settings.settings import Settings
from .._connecting.credentials import SIDECAR_SECRETS, renew
from .._connecting.tls import is_loopback, tls_context
from .._contract import ConnectOptions, Link, Transport
from ._addresses import callback_url, check_renewed_token, sidecar_addresses
from ._answers import SidecarError
from ._callback.app import CallbackApp
from ._callback.server import CallbackServer
from ._canary import Canary
from ._client import open_sidecar_client
from ._health import Health
from ._link import SidecarLink
from ._publishing.connection import Headers, OpenStream, PostConnection
from ._publishing.publisher import PublishBounds, Publisher

logger = logging.getLogger("petalkit.transport")


class SidecarTransport(Transport):
    """Links over an external MQTT client. Made by `create`.

    Args:
        settings: where it is, where we are, and the limits.
        http: a transport of httpx for health and subscriptions; for tests.
        open_stream: makes the stream for publishing; for tests.

    Raises:
        ConfigError: an address cannot be used, or the settings beside it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        http: httpx.AsyncBaseTransport | None = None,
        open_stream: OpenStream | None = None,
    ) -> None:
        self._settings = settings
        self._addresses = sidecar_addresses(settings)
        self._http = http
        self._open = open_stream or self._open_stream
        self._server = CallbackServer(settings.callback_connections)
        self._port = 0  # on which it is served; 0 while it is not
        self.app = CallbackApp(settings, self._server.is_crowded, self._server.bodies)
        self._context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<SidecarTransport to {self._addresses.url}>"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Serve the callback endpoint; without a link it answers 503. See `Transport.open`."""
        host, port = self._addresses.listen_host, self._addresses.listen_port
        async with AsyncExitStack() as stack:
            try:
                serving = self._server.serve(self.app, host, port)
                port = await stack.enter_async_context(serving)
            except (OSError, UnicodeError) as error:  # the second from a name that can be no host's
                text = f"{self._settings.callback_listen!r} cannot be listened on: {error}"
                raise ConfigError("callback_listen", text) from error
            self._port = port
            if not self._settings.origin_of("sidecar_token"):
                logger.warning(
                    "any program on this machine can send commands to %s: set sidecar_token"
                    if is_loopback(host)
                    else "whoever reaches %s can send commands: set sidecar_token, or listen on "
                    "this machine only",
                    self._settings.callback_listen,
                )
            try:
                yield
            finally:
                self._port = 0

    @asynccontextmanager
    async def connect(self, options: ConnectOptions) -> AsyncGenerator[Link]:
        """See `Transport.connect`. Connected means that its health is good."""
        async with AsyncExitStack() as stack:
            if not self._port:
                await stack.enter_async_context(self.open())
            # Anew for every link, so that what was renewed is used without a restart.
            deadline = trio.current_time() + options.connect_timeout
            settings = await renew(self._settings, SIDECAR_SECRETS, deadline)
            check_renewed_token(self._settings, settings)
            self._context = tls_context(settings) if self._addresses.tls else None
            client = await stack.enter_async_context(
                open_sidecar_client(settings, self._addresses, self._context, self._http)
            )
            with trio.move_on_at(deadline) as scope:
                try:
                    await client.check_health()
                except SidecarError as error:
                    url = self._addresses.url
                    raise ConnectFailed(f"no sidecar at {url}: {error}") from error
            if scope.cancelled_caught:
                raise ConnectFailed(f"no health of the sidecar at {self._addresses.url} in time")
            if settings.sidecar_token is not None:
                self.app.requests.use_token(settings.sidecar_token)
            told = callback_url(settings, self._port)
            health = Health(client, settings, told)
            link = SidecarLink(
                health,
                self._publisher(settings, options, told, health.suspect),
                self._canary(health.suspect),
                options,
                settings.callback_connections,
                self.app.requests.forget_old_token,
            )
            async with self._hold(link, options.disconnect_timeout):
                yield link

    @asynccontextmanager
    async def _hold(self, link: SidecarLink, timeout: float) -> AsyncGenerator[None]:
        """Run a link's tasks around a block; what the block raises comes out as it is."""
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run, name="petalkit sidecar link")
            self.app.link = link
            try:
                try:
                    yield
                finally:
                    with trio.move_on_after(timeout, shield=True):
                        await link.leave()
            except BaseException as error:
                failure = error  # kept out of the nursery, which would put it into a group
            if self.app.link is link:
                self.app.link = None
            link.close()
            # Shielded, so that a cancellation from outside cannot take the place of `failure`;
            # bounded, because the tasks of the link end at once.
            nursery.cancel_scope.shield = True
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # or it holds this frame, which holds it

    def _canary(self, on_end: Callable[[], object]) -> Canary:
        addresses = self._addresses
        head = f"GET {addresses.prefix}/health HTTP/1.1\r\nhost: {addresses.authority}\r\n\r\n"
        interval = self._settings.sidecar_probe_interval
        return Canary(self._open, head.encode(), interval, on_end)

    def _publisher(
        self,
        settings: Settings,
        options: ConnectOptions,
        told: str,
        on_broken: Callable[[], object],
    ) -> Publisher:
        addresses = self._addresses
        headers: Headers = [
            (b"host", addresses.authority.encode()),
            (b"content-type", b"application/json"),
        ]
        if settings.sidecar_token is not None:
            headers.append((b"authorization", b"Bearer " + settings.sidecar_token.encode()))
        target = f"{addresses.prefix}/publish".encode()
        bounds = PublishBounds(
            lanes=settings.sidecar_publish_concurrency,
            maximum=options.publish_maximum,
            payload_max=options.payload_max,
            request_timeout=settings.sidecar_request_timeout,
            give_up_after=settings.publish_timeout,
        )
        return Publisher(
            lambda: PostConnection(self._open, target, headers), bounds, told, on_broken
        )

    async def _open_stream(self) -> trio.abc.Stream:
        plain = await trio.open_tcp_stream(self._addresses.host, self._addresses.port)
        if self._context is None:
            return plain
        stream = trio.SSLStream(
            plain, self._context, server_hostname=self._addresses.server_name, https_compatible=True
        )
        try:
            await stream.do_handshake()
        except BaseException:
            with trio.CancelScope(shield=True):  # it does not wait
                await trio.aclose_forcefully(plain)
            raise
        return stream


def create(settings: Settings) -> Transport:
    """The transport for these settings; nothing is connected yet.

    Raises:
        ConfigError: the protocol is 5, or an address cannot be used, or the settings beside it.
    """
    if settings.protocol != "3.1.1":
        raise ConfigError("protocol", "cannot be 5: the sidecar's HTTP has no words for MQTT 5")
    return SidecarTransport(settings)
