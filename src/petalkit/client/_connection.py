"""`open_client`: a caller's link, from connect to disconnect.

The client has a client ID of its own, so it never takes over the device's session, and a clean
start, so that nothing is kept for it.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import AsyncGenerator

import trio

from .._serving.identity.device import resolve_identity_now
from .._serving.waiting import beside
from .._values.errors import ConfigError
from .._values.messages import Identity
from .._values.settings.settings import Settings
from .._values.topics import TopicFilter
from ..transports import ConnectOptions, Transport, create_transport
from ._calls import Calls
from ._client import Client


@contextlib.asynccontextmanager
async def open_client(
    settings: Settings,
    *,
    identity: Identity | None = None,
    transport: Transport | None = None,
) -> AsyncGenerator[Client, None]:
    """Connect, subscribe to the device's responses, and give a `Client`; leaving disconnects.

    Entering blocks until the subscription is acknowledged. The settings' `connect_timeout` and
    `subscribe_timeout` bound it; both are limits of silence on a slow line. Leaving blocks for
    DISCONNECT, at most `disconnect_timeout`. Calls that still wait when the block is left fail with
    `trio.ClosedResourceError`. A lost link is not made anew: open another client.

    Args:
        settings: the broker and the topics; `client_id` is not used.
        identity: whom to call; None takes it from the settings.
        transport: None makes the one that the settings name.

    Raises:
        ConfigError: the settings cannot work, or no organization ID is known.
        ConnectFailed: no connection to the broker.
        RejectedByBroker: it said no.
        ConnectionLost: the link was lost while subscribing.
    """
    if identity is None:
        identity = resolve_identity_now(settings)
    if identity is None:
        raise ConfigError(
            "organization_id",
            f"is not known: set it, or organization_file (now {str(settings.organization_file)!r})",
        )
    if transport is None:
        if settings.transport == "sidecar":
            raise ConfigError(
                "transport",
                "cannot be sidecar for a caller, which needs a connection to the broker itself",
            )
        transport = create_transport(settings)
    async with transport.connect(connect_options(settings)) as link:
        await link.subscribe([TopicFilter(identity.topic(settings.response_topic))])
        calls = Calls(settings)
        take = functools.partial(calls.take_responses, link)
        async with beside(take, "petalkit client responses"):
            try:
                yield Client(link, identity, settings, calls)
            finally:
                calls.close(trio.ClosedResourceError("the client's context has been left"))


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
