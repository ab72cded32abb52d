"""Links and the transports that make them, without a network: in memory, and over streams in it."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import httpx
import pytest
import trio

from petalkit import ConnectFailed, Message, Settings, TopicFilter
from petalkit.transports import ConnectOptions, Delivery, Link, Transport
from petalkit.transports.memory import MemoryBroker, MemoryLink, MemoryTransport
from petalkit.transports.native import NativeTransport
from petalkit.transports.native._link import NativeLink
from petalkit.transports.sidecar import SidecarTransport
from petalkit.transports.sidecar._link import SidecarLink

from ..transports.fake_sidecar import YES, Answer, FakeSidecar
from ..transports.scripted_peer import Network, publish
from .table import case, on

# So small that what is published has to wait.
OPTIONS = ConnectOptions(client_id="device", publish_maximum=1)
T = TopicFilter("t")
LATE = 0.3  # seconds by which answers are late


@attrs.define
class Wire:
    """A transport and what a broker does behind it.

    Attributes:
        transport: to be swept.
        send: lets a message come in; its payload is a JSON object with a number.
        nursery: of the ground.
        silence: lets the next CONNECT go unanswered.
        link: held by the ground; not for those who sweep `connect`.
        received: what has been received of what was sent, in order.
        sent: how many messages that were.
    """

    transport: Transport
    send: Callable[[Link, bytes], Awaitable[None]]
    nursery: trio.Nursery
    silence: Callable[[], object]
    link: Link = attrs.field(init=False)
    received: list[bytes] = attrs.field(factory=list)
    sent: int = 0

    def send_soon(self, *, after: float = LATE) -> None:
        """Send a message while the operation waits for it."""
        self.sent += 1
        self.nursery.start_soon(self._send_late, after, b'{"n":%d}' % self.sent)

    async def _send_late(self, after: float, payload: bytes) -> None:
        await trio.sleep(after)
        await self.send(self.link, payload)

    def take(self, deliveries: Sequence[Delivery]) -> bool:
        """A sink: enough when everything was received."""
        for delivery in deliveries:
            self.received.append(delivery.payload)
            delivery.ack()
        return len(self.received) < self.sent

    def check(self) -> None:
        """Nothing was lost, nothing came twice, and in its order."""
        assert self.received == [b'{"n":%d}' % n for n in range(1, self.sent + 1)]


# -- the wires


@asynccontextmanager
async def memory() -> AsyncGenerator[Wire]:
    broker = MemoryBroker()
    broker.delay = LATE

    async def send(_: Link, payload: bytes) -> None:
        broker.publish_nowait("t", payload)

    async with trio.open_nursery() as nursery:
        yield Wire(MemoryTransport(broker), send, nursery, lambda: broker.swallow("CONNACK"))
        assert not broker.clients
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def native() -> AsyncGenerator[Wire]:
    async with trio.open_nursery() as nursery:
        network = Network(nursery)
        network.polite = True

        async def send(_: Link, payload: bytes) -> None:
            wire.number += 1
            with suppress(trio.ClosedResourceError, trio.BrokenResourceError):  # it has left
                await network.peer.send(publish(wire.number, payload))

        def silence() -> None:
            network.greet()

        wire = Numbered(network.transport, send, nursery, silence)
        yield wire
        for peer in network.peers:
            await peer.gone.wait()
            assert peer.names()[:1] in ([], ["CONNECT"])
            if "SUBSCRIBE" in peer.names():
                assert peer.names()[-1] == "DISCONNECT"
        nursery.cancel_scope.cancel()


@attrs.define
class Numbered(Wire):
    """Its messages have packet identifiers."""

    number: int = 0


async def late(_: object) -> Answer:
    await trio.sleep(LATE)
    return YES


@asynccontextmanager
async def sidecar() -> AsyncGenerator[Wire]:
    async with trio.open_nursery() as nursery:
        fake = FakeSidecar(nursery)
        fake.answers = dict.fromkeys(("/subscribe", "/unsubscribe", "/publish"), late)
        transport = SidecarTransport(
            Settings(transport="sidecar", callback_listen="127.0.0.1:0"),
            http=httpx.MockTransport(fake.handle),
            open_stream=fake.open_stream,
        )

        async def send(link: Link, payload: bytes) -> None:
            assert isinstance(link, SidecarLink)
            link.offer("t", payload)

        def silence() -> None:
            fake.health = None

        yield Wire(transport, send, nursery, silence)
        nursery.cancel_scope.cancel()


WIRES: dict[str, tuple[type[Link], type[Transport], Any]] = {
    "memory": (MemoryLink, MemoryTransport, memory),
    "native": (NativeLink, NativeTransport, native),
    "sidecar": (SidecarLink, SidecarTransport, sidecar),
}
# A connection to the sidecar is kept for the next message.
KEPT = (f"{FakeSidecar.__module__}.FakeSidecar._serve",)


@asynccontextmanager
async def linked(wire: Callable[[], Any]) -> AsyncGenerator[Wire]:
    """The wire, with a link of the ground's that is subscribed."""
    async with wire() as ground, ground.transport.connect(OPTIONS) as link:
        ground.link = link
        await link.subscribe([T])
        yield ground
        # Nothing is remembered of what was given up.
        assert getattr(link, "_asking", 0) == 0
        assert not getattr(link, "_questions", None)


# -- operations


async def subscribe(wire: Wire) -> None:
    await wire.link.subscribe([T, TopicFilter("u")])


async def unsubscribe(wire: Wire) -> None:
    await wire.link.unsubscribe([T])


async def receive(wire: Wire) -> None:
    wire.send_soon()
    wire.take(await wire.link.receive())
    assert wire.received


async def deliver(wire: Wire) -> None:
    wire.send_soon()
    wire.send_soon(after=2 * LATE)
    await wire.link.deliver(wire.take)
    wire.check()


async def catch_up(wire: Wire) -> None:
    """Whoever receives next gets what came in the meantime, and what comes then."""
    wire.send_soon()
    while len(wire.received) < wire.sent:
        wire.take(await wire.link.receive())
    wire.check()


async def publish_(wire: Wire) -> None:
    for number in range(3):
        await wire.link.publish(Message("out", b'{"n":%d}' % number))


async def wait_publishable(wire: Wire) -> None:
    told: list[object] = []
    while True:
        await wire.link.wait_publishable()
        try:
            wire.link.publish_nowait(Message("out", b"{}"), told.append)
        except trio.WouldBlock:
            continue
        if len(told) >= 2:
            break
    assert set(told) == {None}


async def connect(wire: Wire) -> None:
    """A whole life; entering and leaving are cancelled with the rest."""
    async with wire.transport.connect(OPTIONS) as link:
        await link.subscribe([T])
        await link.publish(Message("out", b"{}"))
        wire.link = link
        wire.send_soon()
        got = await link.receive()
        got[0].ack()
    assert got[-1].payload == b'{"n":%d}' % wire.sent


async def connect_again(wire: Wire) -> None:
    async with wire.transport.connect(OPTIONS) as link:
        await link.subscribe([T])
        await link.publish(Message("out", b"{}"))


async def connect_in_vain(wire: Wire) -> None:
    wire.silence()
    with pytest.raises(ConnectFailed):
        async with wire.transport.connect(OPTIONS):
            raise AssertionError("nobody has answered")


async def nothing(_: Wire) -> None:
    await trio.lowlevel.checkpoint()


async def open_(wire: Wire) -> None:
    async with wire.transport.open(), wire.transport.connect(OPTIONS) as link:
        await link.publish(Message("out", b"{}"))


_OPERATIONS: tuple[tuple[str, Any, Any], ...] = (
    ("subscribe", subscribe, None),
    ("unsubscribe", unsubscribe, subscribe),
    ("receive", receive, catch_up),
    ("deliver", deliver, catch_up),
    ("publish", publish_, None),
    ("wait_publishable", wait_publishable, None),
)

for _kind, (_link, _transport, _wire) in WIRES.items():
    for _name, _operation, _again in _OPERATIONS:
        case(
            *on(_link, _name),
            ground=functools.partial(linked, _wire),
            name=f"{_kind}-{_name}",
            again=_again,
            lasting=KEPT,
        )(_operation)
    for _operation, _again in ((connect, connect_again), (connect_in_vain, nothing), (open_, None)):
        case(
            *on(_transport, "connect", "open"),
            *on(_link, "run", "leave"),  # which whoever connects runs
            ground=_wire,
            name=f"{_kind}-{_operation.__name__.strip('_')}",
            again=_again,
            others=2 if _kind == "sidecar" else 1,
        )(_operation)
