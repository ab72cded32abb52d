"""The native transport: MQTT 5 on Trio's own streams, with no second event loop.

    _tls                address and TLS context             no library
    _credentials        secrets that are renewed            Trio
    _keepalive          when to ping, when to give up       no library
    _publish_reader     what a PUBLISH says                 no library, no I/O
    _receiving          what is owed for messages to us     no library, no I/O
    _kept_sessions      what outlives a link                no library
    _patience           when an answer is overdue           no library
    _send_queue         what has really left                Trio
    _mqtt5_unnamed      refusals with codes of their own    the codec, no I/O
    _mqtt5_framing      bytes -> packets                    the codec, no I/O
    _mqtt5_publishing   our messages on their way           the codec, no I/O
    _mqtt5_receiving    messages to us                      the codec, no I/O
    _mqtt5_session      the state of one client             these three
    _sockets            TCP and Unix sockets, as streams    Trio
    _base_link          what all links have in common       Trio
    _native_link        the tasks between both              Trio and the session

Needs the extra `native`: the `mqtt5` codec.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from .._errors import ConfigError, ConnectFailed
from .._settings import Settings
from ._base_link import hold_link
from ._contract import ConnectOptions, Link, Transport
from ._credentials import BROKER_SECRETS, renew
from ._kept_sessions import KeptSessions
from ._mqtt5_session import ClientSession
from ._native_link import NativeLink
from ._sockets import ConnectLimit, PlainStream, open_plain_socket
from ._tls import broker_address, tls_context

OpenStream = Callable[[], Awaitable[trio.abc.Stream]]


class NativeTransport(Transport):
    """Links over TCP, TLS or Unix sockets, MQTT 5. Made by `create`.

    Args:
        settings: where to, and as whom.
        open_stream: an async function of no arguments that makes the stream to the broker
            instead, such as one through a tunnel, or in memory for a test; called for every
            link. It has `connect_timeout`, as a time. When it raises `OSError` or
            `trio.BrokenResourceError`, that is a failed connect, which is tried again; anything
            else is an error of the program, and comes out.

    Raises:
        ConfigError: the broker's address cannot be used, or the settings beside it.
    """

    def __init__(self, settings: Settings, *, open_stream: OpenStream | None = None) -> None:
        self._settings = settings
        self._address = broker_address(settings)
        self._open = open_stream
        self._name = str(self._address) if open_stream is None else "the broker"
        # Not strict: what comes over the Receive Maximum is bounded by not reading.
        self._sessions = KeptSessions(lambda: ClientSession(strict=False))

    def __repr__(self) -> str:
        return f"<NativeTransport to {self._name}>"

    @asynccontextmanager
    async def connect(self, options: ConnectOptions) -> AsyncGenerator[Link]:
        """See `Transport.connect`."""
        limit = ConnectLimit(options.connect_timeout)
        settings = await renew(self._settings, BROKER_SECRETS, limit.scope.deadline)
        stream: trio.abc.Stream | None = None
        with limit.scope:
            try:
                stream = await (self._open() if self._open else self._open_stream(settings, limit))
            except (OSError, trio.BrokenResourceError) as error:
                raise ConnectFailed(f"no connection to {self._name}: {error}") from error
        if stream is None:
            raise ConnectFailed(f"no connection to {self._name} in time")
        session = self._sessions.lend(options.client_id)
        try:
            link = NativeLink(
                stream,
                session,
                options,
                self._name,
                username=settings.username,
                password=settings.password,
            )
            async with hold_link(link, limit.deadline, options.disconnect_timeout):
                yield link
        finally:
            if not options.session_expiry:
                session.forget()
            # What was in flight is sent again as the same packets, if the broker kept the session.
            self._sessions.take_back(options.client_id, session, worth_keeping=not session.is_empty)
            with trio.CancelScope(shield=True):  # it does not wait, and what was raised goes first
                await trio.aclose_forcefully(stream)

    async def _open_stream(self, settings: Settings, limit: ConnectLimit) -> trio.abc.Stream:
        context = tls_context(settings) if self._address.tls else None
        plain = PlainStream(await open_plain_socket(self._address))
        if context is None:
            return plain
        try:
            # Not what HTTPS does: a broker that goes without a word has not said goodbye.
            stream = trio.SSLStream(plain, context, server_hostname=self._address.server_name)
            limit.moved()
            plain.on_moved = limit.moved
            await stream.do_handshake()
            plain.on_moved = None
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(plain)
            if isinstance(error, trio.BrokenResourceError | ValueError):  # the name may be unfit
                cause = error.__cause__ or error
                raise ConnectFailed(f"no TLS with {self._address}: {cause}") from error
            raise
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
