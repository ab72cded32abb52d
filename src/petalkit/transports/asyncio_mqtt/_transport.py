"""The default transport: the asyncio-mqtt client on a trio-asyncio loop of its own.

The rule: asyncio is behind one link, and nowhere else. Each link has its own `open_loop()` in a
task beside the user's block, so whatever an asyncio callback raises ends that link and nothing
more (S13).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing

import trio

from ..._values.errors import ConfigError
from ..._values.settings.settings import Settings
from .._connecting.credentials import BROKER_SECRETS, renew
from .._connecting.kept_sessions import KeptSessions
from .._connecting.referrals import Referrals
from .._connecting.sockets import ConnectLimit
from .._connecting.tls import (
    Address,
    broker_address,
    tls_context,
    with_present_credentials,
)
from .._contract import ConnectOptions, Link, Transport
from .._hold import hold_link
from .._receiving.receiving import Receiving
from ._link import AsyncioLink
from ._socket import open_socket


class AsyncioMqttTransport(Transport):
    """Links over TCP or TLS, MQTT 3.1.1 or 5. Made by `create`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._address = broker_address(settings)
        if self._address.resource is not None:
            text = "cannot be asyncio-mqtt for ws:// and wss://: use native, which speaks MQTT 5"
            raise ConfigError("transport", text)
        self._referrals = Referrals(settings, self._address)
        v5 = settings.protocol == "5"
        self._sessions = KeptSessions(lambda: Receiving(v5=v5))

    def __repr__(self) -> str:
        return f"<AsyncioMqttTransport to {self._address}>"

    def connect(self, options: ConnectOptions) -> AbstractAsyncContextManager[Link]:
        """See `Transport.connect`."""
        return self._referrals.connect(options, self._open_link)

    @asynccontextmanager
    async def _open_link(
        self, address: Address, options: ConnectOptions, deadline: float
    ) -> AsyncGenerator[Link]:
        limit = ConnectLimit(options.connect_timeout, deadline)
        settings = await renew(self._settings, BROKER_SECRETS, limit.scope.deadline)
        context = tls_context(settings) if address.tls else None
        door = with_present_credentials(address, settings)
        with (
            self._referrals.attempt(address) as attempt,
            closing(await open_socket(door, context, limit)) as sock,
        ):
            session = self._sessions.lend(options.client_id)
            link: AsyncioLink | None = None
            try:
                link = AsyncioLink(sock, address, settings, options, session)
                async with hold_link(link, limit.deadline, options.disconnect_timeout):
                    attempt.up = trio.current_time()
                    yield link
            finally:
                attempt.referral = None if link is None else link.referral
                if not options.session_expiry:
                    session.forget_session()
                self._sessions.take_back(
                    options.client_id, session, worth_keeping=not session.is_empty
                )


def create(settings: Settings) -> Transport:
    """The transport for these settings; nothing is connected yet.

    Raises:
        ConfigError: the broker's address cannot be used, or the settings beside it.
    """
    return AsyncioMqttTransport(settings)
