"""`open_client`: a caller's connection, from the first connect to the last disconnect.

The client has a client ID of its own, so it never takes over the device's session, and a clean
start, so that nothing is kept for it.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import trio

from .._serving.identity.device import resolve_identity_now
from .._serving.identity.sources import organization_file_of
from .._serving.waiting import beside
from .._values.errors import ConfigError
from .._values.messages import Identity
from .._values.settings.settings import Settings
from ..transports import ConnectOptions, Transport, create_transport
from ._client import Client
from ._wire.calling import Calling
from ._wire.connection import Connection, Hooks
from ._wire.statistics import Counters


@contextlib.asynccontextmanager
async def open_client(
    settings: Settings | None = None,
    *,
    identity: Identity | None = None,
    transport: Transport | str | None = None,
    reconnect: bool = True,
    prepare: bool = True,
    **more: Any,
) -> AsyncGenerator[Client, None]:
    """Connect, subscribe to the device's responses, and give a `Client`; leaving disconnects.

    Entering blocks until the subscription is acknowledged. The settings' `connect_timeout` and
    `subscribe_timeout` bound it; both are limits of silence on a slow line. Leaving blocks for
    DISCONNECT, at most `disconnect_timeout`. Calls that still wait when the block is left fail with
    `trio.ClosedResourceError`.

    A link that is lost later is made anew, after waits of `reconnect_delay_min` to
    `reconnect_delay_max`; calls wait for it as long as their time lasts.

    Args:
        settings: the broker, TLS, topics and bounds, as devices have them; `client_id` is not used.
            None for the defaults.
        identity: the device that is called where none is named; None takes it from the settings.
        transport: None makes the one that the settings name; a text is the setting.
        reconnect: whether a lost link is made anew. Without, all that waits fails with
            `ConnectionLost`, and so does all that comes later.
        prepare: whether to subscribe to the device's responses before anything is called; without,
            it is done with the first call of a device.
        more: settings by their names, such as `broker="mqtts://example.org"`.

    Raises:
        ConfigError: the settings cannot work, or no organization ID is known.
        ConnectFailed: no connection to the broker.
        RejectedByBroker: it said no.
        ConnectionLost: the link was lost while subscribing.
    """
    settings = make_settings(settings, transport, more)
    if identity is None:
        identity = resolve_identity_now(settings)
    if identity is None:
        file = str(organization_file_of(settings.organization_file))
        raise ConfigError(
            "organization_id", f"is not known: set it, or organization_file (now {file!r})"
        )
    if not isinstance(transport, Transport):
        if settings.transport == "sidecar":
            raise ConfigError(
                "transport",
                "cannot be sidecar for a caller, which needs a connection to the broker itself",
            )
        transport = create_transport(settings)
    options = connect_options(settings)
    counters = Counters()
    calling = Calling(settings, identity, options.client_id, counters)
    client: Client
    async with _tasks() as nursery:
        client = Client(calling, settings, nursery)
        hooks = Hooks(client._take, client._on_link, client._end)  # pyright: ignore[reportPrivateUsage]
        calling.connection = Connection(
            settings, transport, options, counters, hooks, reconnect=reconnect
        )
        if prepare:
            calling.expect(calling.route(None))
        async with beside(calling.connection.run, "petalkit client"):
            await calling.connection.wait_first()
            if prepare:
                await calling.prepare(calling.route(None))
            try:
                yield client
            finally:
                closed = trio.ClosedResourceError("the client's context has been left")
                client._end(closed)  # pyright: ignore[reportPrivateUsage]


@contextlib.asynccontextmanager
async def _tasks() -> AsyncGenerator[trio.Nursery]:
    """A nursery for the tasks of jobs and streams, which end with it.

    What the block raises comes out as it is, and not in a group.
    """
    started = trio.Event()
    found: list[trio.Nursery] = []

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            found.append(nursery)
            started.set()
            await trio.sleep_forever()

    async with beside(run, "petalkit client: jobs and streams"):
        await started.wait()
        yield found[0]


def make_settings(
    settings: Settings | None, transport: Transport | str | None, more: dict[str, Any]
) -> Settings:
    """The settings that are meant.

    Raises:
        ConfigError: one cannot be used.
        TypeError: there is none of that name.
    """
    if isinstance(transport, str):
        more = {**more, "transport": transport}
    if settings is None:
        return Settings(**more)
    return attrs.evolve(settings, **more) if more else settings


def connect_options(settings: Settings) -> ConnectOptions:
    """Those of a caller: a client ID of its own, and nothing is kept for it."""
    # 22 characters: MQTT 3.1.1 promises 23 (section 3.1.3.1).
    client_id = f"petalkit-call-{secrets.token_hex(4)}"
    return ConnectOptions(
        client_id=client_id,
        clean_start=True,
        session_expiry=0,
        keep_alive=settings.keep_alive,
        receive_maximum=settings.receive_maximum,
        publish_maximum=settings.publish_maximum,
        payload_max=settings.payload_max,
        packet_maximum=settings.packet_maximum,
        will=None,
        connect_timeout=settings.connect_timeout,
        subscribe_timeout=settings.subscribe_timeout,
        disconnect_timeout=settings.disconnect_timeout,
    )
