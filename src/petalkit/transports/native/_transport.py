"""The native transport: MQTT 5 on Trio's own streams, with no second event loop.

Needs the extra `native`: the `mqtt5` codec; for ws:// and wss:// the extra `websocket`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from ..._values.errors import ConfigError, ConnectFailed
from ..._values.settings.settings import Settings
from .._connecting.credentials import BROKER_SECRETS, renew
from .._connecting.kept_sessions import KeptSessions
from .._connecting.referrals import Attempt, Referrals
from .._connecting.sockets import ConnectLimit, PlainStream, open_plain_socket
from .._connecting.tls import (
    Address,
    broker_address,
    tls_context,
    with_present_credentials,
)
from .._connecting.websocket_settings import offer_http, read_headers
from .._contract import ConnectOptions, Link, Transport
from .._hold import hold_link
from ._link import NativeLink
from ._session import ClientSession

OpenStream = Callable[[], Awaitable[trio.abc.Stream]]


class NativeTransport(Transport):
    """Links over TCP, TLS, WebSockets or Unix sockets, MQTT 5. Made by `create`.

    Args:
        settings: where to, and as whom.
        open_stream: an async function of no arguments that makes the stream to the broker
            instead, such as one through a tunnel, or in memory for a test; called for every
            link. It has `connect_timeout`, as a time. When it raises `OSError` or
            `trio.BrokenResourceError`, that is a failed connect, which is tried again; anything
            else is an error of the program, and comes out.

    Raises:
        ConfigError: the broker's address cannot be used, or the settings beside it.
        ModuleNotFoundError: the address is a WebSocket's, and wsproto is not installed.
    """

    def __init__(self, settings: Settings, *, open_stream: OpenStream | None = None) -> None:
        self._settings = settings
        self._address = broker_address(settings)
        self._open = open_stream
        self._referrals = Referrals(settings, self._address, follow=open_stream is None)
        if self._address.resource is not None and open_stream is None:
            from .._connecting import websocket_handshake  # noqa: F401 - what is missing is found now
        # Not strict: what comes over the Receive Maximum is bounded by not reading.
        self._sessions = KeptSessions(lambda: ClientSession(strict=False))

    def __repr__(self) -> str:
        return f"<NativeTransport to {self._name(self._address)}>"

    def _name(self, address: Address) -> str:
        return str(address) if self._open is None else "the broker"

    def connect(self, options: ConnectOptions) -> AbstractAsyncContextManager[Link]:
        """See `Transport.connect`."""
        return self._referrals.connect(options, self._open_link)

    @asynccontextmanager
    async def _open_link(
        self, address: Address, options: ConnectOptions, deadline: float
    ) -> AsyncGenerator[Link]:
        limit = ConnectLimit(options.connect_timeout, deadline)
        with self._referrals.attempt(address) as attempt:
            settings = await renew(self._settings, BROKER_SECRETS, limit.scope.deadline)
            door = with_present_credentials(address, settings)
            stream = await self._open_stream(door, settings, limit)
            async with self._hold_link(stream, address, settings, options, limit, attempt) as link:
                yield link

    @asynccontextmanager
    async def _hold_link(
        self,
        stream: trio.abc.Stream,
        address: Address,
        settings: Settings,
        options: ConnectOptions,
        limit: ConnectLimit,
        attempt: Attempt,
    ) -> AsyncGenerator[Link]:
        link: NativeLink | None = None
        session = self._sessions.lend(options.client_id)
        try:
            link = NativeLink(
                stream,
                session,
                options,
                self._name(address),
                username=settings.username,
                password=settings.password,
            )
            async with hold_link(link, limit.deadline, options.disconnect_timeout):
                attempt.up = trio.current_time()
                yield link
        finally:
            attempt.referral = None if link is None else link.referral
            if not options.session_expiry:
                session.forget()
            # What was in flight is sent again as the same packets, if the broker kept the session.
            self._sessions.take_back(options.client_id, session, worth_keeping=not session.is_empty)
            with trio.CancelScope(shield=True):  # it does not wait, and what was raised goes first
                await trio.aclose_forcefully(stream)

    async def _open_stream(
        self, address: Address, settings: Settings, limit: ConnectLimit
    ) -> trio.abc.Stream:
        name = self._name(address)
        with limit.scope:
            try:
                if self._open is not None:
                    return await self._open()
                return await self._connect(address, settings, limit)
            except (OSError, trio.BrokenResourceError) as error:
                raise ConnectFailed(f"no connection to {name}: {error}") from error
        raise ConnectFailed(f"no connection to {name} in time")

    async def _connect(
        self, address: Address, settings: Settings, limit: ConnectLimit
    ) -> trio.abc.Stream:
        """A stream of our own: plain, TLS on it, a WebSocket on either."""
        context = tls_context(settings) if address.tls else None
        headers = read_headers(settings.websocket_headers_file)
        plain = PlainStream(await open_plain_socket(address))
        stream: trio.abc.Stream = plain
        limit.moved()
        plain.on_moved = limit.moved
        try:
            if context is not None:
                if address.resource is not None and not settings.alpn:
                    offer_http(context)
                stream = await _shake_hands(stream, context, address)
            if address.resource is not None:
                from .._connecting.websocket_handshake import open_websocket

                stream = await open_websocket(stream, address, headers)
            plain.on_moved = None
        except BaseException:
            with trio.CancelScope(shield=True):  # it does not wait
                await trio.aclose_forcefully(stream)
            raise
        return stream


async def _shake_hands(
    plain: trio.abc.Stream, context: ssl.SSLContext, address: Address
) -> trio.abc.Stream:
    try:
        # Not what HTTPS does: a broker that goes without a word has not said goodbye.
        stream = trio.SSLStream(plain, context, server_hostname=address.server_name)
        await stream.do_handshake()
    except (trio.BrokenResourceError, ValueError) as error:  # the name may be unfit
        cause = error.__cause__ or error
        raise ConnectFailed(f"no TLS with {address}: {cause}") from error
    return stream


def create(settings: Settings) -> Transport:
    """The transport for these settings; nothing is connected yet.

    Raises:
        ConfigError: the protocol is not "5", or the broker's address cannot be used, or the
            settings beside it.
    """
    if settings.protocol != "5":
        raise ConfigError("protocol", 'must be "5" for the native transport, which has no other')
    return NativeTransport(settings)
