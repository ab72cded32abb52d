"""The default transport: the asyncio-mqtt client on a trio-asyncio loop of its own.

    _tls               address and TLS context          no library
    _credentials       secrets that are renewed         knows Trio
    _keepalive         when to ping, when to give up    no library
    _sockets           a connected socket               knows Trio
    _asyncio_socket    TLS on it, for paho              knows Trio
    _base_link         what all links have in common    knows Trio
    _asyncio_client    asyncio-mqtt and paho, mended    knows both, does no I/O
    _asyncio_outgoing  what is owed and in flight       knows the client
    _asyncio_link      the tasks, and all of these      knows Trio and the loop

The rule: asyncio is behind one link, and nowhere else. Each link has its own `open_loop()` in a
task beside the user's block, so whatever an asyncio callback raises ends that link and nothing
more (S13).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing

import trio

from .._errors import ConfigError
from .._settings import Settings
from ._asyncio_link import AsyncioLink
from ._asyncio_socket import open_socket
from ._base_link import hold_link
from ._contract import ConnectOptions, Link, Transport
from ._credentials import BROKER_SECRETS, renew
from ._referrals import Referrals
from ._tls import Address, broker_address, tls_context


class AsyncioMqttTransport(Transport):
    """Links over TCP or TLS, MQTT 3.1.1 or 5. Made by `create`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._address = broker_address(settings)
        if self._address.resource is not None:
            text = "cannot be asyncio-mqtt for ws:// and wss://: use native, which speaks MQTT 5"
            raise ConfigError("transport", text)
        self._referrals = Referrals(settings, self._address)

    def __repr__(self) -> str:
        return f"<AsyncioMqttTransport to {self._address}>"

    @asynccontextmanager
    async def connect(self, options: ConnectOptions) -> AsyncGenerator[Link]:
        """See `Transport.connect`."""
        deadline = trio.current_time() + options.connect_timeout
        async with AsyncExitStack() as stack:
            yield await self._referrals.enter(
                stack, lambda address: self._open_link(address, options, deadline)
            )

    @asynccontextmanager
    async def _open_link(
        self, address: Address, options: ConnectOptions, deadline: float
    ) -> AsyncGenerator[Link]:
        settings = await renew(self._settings, BROKER_SECRETS, deadline)
        context = tls_context(settings) if address.tls else None
        with (
            self._referrals.attempt(address) as attempt,
            closing(await open_socket(address, context, deadline)) as sock,
        ):
            link = AsyncioLink(sock, address, settings, options)
            try:
                async with hold_link(link, deadline, options.disconnect_timeout):
                    attempt.up = trio.current_time()
                    yield link
            finally:
                attempt.referral = link.referral


def create(settings: Settings) -> Transport:
    """The transport for these settings; nothing is connected yet.

    Raises:
        ConfigError: the broker's address cannot be used, or the settings beside it.
    """
    return AsyncioMqttTransport(settings)
