"""Real connections on loopback, with TLS and without: on the real clock, which jumps over nothing.

The broker is a task of the same `trio.run`, so its steps are moments too.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

from petalkit import Message, Settings, TopicFilter
from petalkit.cli._embedded_broker import EmbeddedBroker, open_embedded_broker
from petalkit.transports import ConnectOptions, Transport, create_transport
from petalkit.transports.asyncio_mqtt import AsyncioMqttTransport
from petalkit.transports.asyncio_mqtt._link import AsyncioLink
from petalkit.transports.native import NativeTransport
from petalkit.transports.native._link import NativeLink

from ..brokers import Certificates
from ..transports.fake_broker import (
    CONNECT,
    DISCONNECT,
    SUBSCRIBE,
    Peer,
    connack,
    open_fake_broker,
    publish,
)
from .sweep import Case
from .table import case, on

LIMIT = 20.0  # seconds of the real clock
T = TopicFilter("t")
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
OPTIONS = ConnectOptions(client_id="device", publish_maximum=1)


@functools.cache
def certificates() -> Certificates:
    folder = tempfile.mkdtemp(prefix="petalkit-sweep-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Certificates.make(Path(folder))


Script = Callable[[Peer], Awaitable[None]]


@attrs.frozen
class Wired:
    """A transport, and the broker at its other end."""

    transport: Transport
    peers: list[Peer]


@asynccontextmanager
async def wired(kind: str, *, tls: bool) -> AsyncGenerator[Wired]:
    v5 = kind == "native"

    async def script(peer: Peer) -> None:
        greeting = connack(properties=b"" if v5 else None)
        await peer.accept(publish(1, b"{}", v5=v5), connack=greeting)
        await peer.serve(v5=v5)

    found = certificates() if tls else None
    async with open_fake_broker(_patient(script), found) as broker:
        settings = Settings(
            broker=broker.url,
            transport=kind,
            protocol="5" if v5 else "3.1.1",
            **({} if found is None else {"ca_file": found.ca}),
        )
        yield Wired(create_transport(settings), broker.peers)
        for peer in broker.peers:
            assert peer.kinds()[:1] in ([], [CONNECT])
            if SUBSCRIBE in peer.kinds():
                assert peer.kinds()[-1] == DISCONNECT


def _patient(script: Script) -> Script:
    """A client may go at any time, also in the middle of the handshake."""

    async def run(peer: Peer) -> None:
        with suppress(AssertionError, IndexError, *_GONE):
            await script(peer)

    return run


async def life(wire: Wired) -> None:
    async with wire.transport.connect(OPTIONS) as link:
        await link.subscribe([T])
        await link.publish(Message("out", b"{}"))
        [delivery] = await link.receive()
        delivery.ack()
        await link.unsubscribe([T])
    assert delivery.payload == b"{}"


def on_broker(url: str, kind: str, protocol: str) -> Case:
    """The same against a broker that is there: a case, and in no table."""

    @asynccontextmanager
    async def ground() -> AsyncGenerator[Wired]:
        settings = Settings(broker=url, transport=kind, protocol=protocol)
        yield Wired(create_transport(settings), [])

    async def echo(wire: Wired) -> None:
        async with wire.transport.connect(OPTIONS) as link:
            await link.subscribe([T])
            await link.publish(Message("t", b"{}"))
            for delivery in await link.receive():  # of an earlier one too: the session is kept
                assert delivery.payload == b"{}"
                delivery.ack()

    return Case(
        name=f"{kind} {protocol}",
        covers=(),
        ground=ground,
        operation=echo,
        others=2,
        real_clock=True,
        limit=LIMIT,
    )


for _kind, _transport, _link in (
    ("native", NativeTransport, NativeLink),
    ("asyncio-mqtt", AsyncioMqttTransport, AsyncioLink),
):
    for _tls in (False, True):
        case(
            *on(_transport, "connect"),
            *on(_link, "run", "leave", "subscribe", "unsubscribe", "receive", "publish"),
            ground=functools.partial(wired, _kind, tls=_tls),
            name=f"sockets-{_kind}{'-tls' if _tls else ''}",
            others=3 if _tls else 1,
            real_clock=True,
            limit=LIMIT,
        )(life)


@asynccontextmanager
async def nothing() -> AsyncGenerator[None]:
    yield


@case(open_embedded_broker, ground=nothing, real_clock=True, limit=LIMIT, others=2)
async def embedded_broker_start(_: None) -> None:
    """What it listens on is bound before anybody serves it."""
    async with open_embedded_broker() as broker:
        assert isinstance(broker, EmbeddedBroker)


@case(
    open_embedded_broker,
    ground=nothing,
    real_clock=True,
    limit=LIMIT,
    others=0,
)
async def embedded_broker(_: None) -> None:
    async with open_embedded_broker() as broker:
        settings = Settings(broker=broker.url, transport="asyncio-mqtt")
        async with create_transport(settings).connect(OPTIONS) as link:
            await link.publish(Message("out", b"{}"))
