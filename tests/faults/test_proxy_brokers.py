"""The faults that need a broker's part in them, with mosquitto."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from petalkit import ConnectionLost, RejectedByBroker, Settings, TransportError
from petalkit._values.messages import Message
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, Delivery, Link, create_transport

from ..brokers import Mosquitto
from .faults import DOWN, UP, Cut, Duplicate, Fault, ForgetSession, Refuse, Swallow
from .packets import Kind
from .proxy import FaultProxy

pytestmark = pytest.mark.trio

LIMIT = 10.0  # seconds
WIRES = pytest.mark.parametrize(
    "wire",
    [{"protocol": "3.1.1"}, {"protocol": "5"}, {"transport": "native"}],
    ids=["3.1.1", "5", "native"],
)
Wire = dict[str, str]


@pytest.fixture
async def proxy(mosquitto: Mosquitto, nursery: trio.Nursery) -> FaultProxy:
    made = FaultProxy(mosquitto.port)
    await nursery.start(made.run)
    return made


@asynccontextmanager
async def device(url: str, wire: Wire, name: str = "device") -> AsyncGenerator[Link]:
    transport = create_transport(Settings(broker=url, **wire))  # type: ignore[arg-type]
    with trio.fail_after(LIMIT):
        async with transport.connect(ConnectOptions(client_id=name)) as link:
            yield link


async def deliveries(link: Link, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    while len(found) < count:
        found += await link.receive()
    return found


async def until_lost(link: Link) -> None:
    with pytest.raises(ConnectionLost):
        while True:
            await link.receive()


@WIRES
async def test_a_broker_sends_again_what_it_saw_no_puback_of(
    mosquitto: Mosquitto, proxy: FaultProxy, wire: Wire
) -> None:
    proxy.play([Fault(Swallow(), UP, Kind.PUBACK, 2), Fault(Cut(), UP, Kind.PUBACK)])
    async with device(mosquitto.url, {"transport": "native"}, "sender") as sender:
        async with device(proxy.url, wire) as link:
            await link.subscribe([TopicFilter("t")])
            for n in range(3):
                await sender.publish(Message("t", b"%d" % n))
            for delivery in await deliveries(link, 3):
                delivery.ack()
            await until_lost(link)
        async with device(proxy.url, wire) as link:
            assert link.session_present
            (again,) = await deliveries(link, 1)
            assert (again.payload, again.dup) == (b"1", True)


@WIRES
async def test_a_doubled_publish_harms_nothing(
    mosquitto: Mosquitto, proxy: FaultProxy, wire: Wire
) -> None:
    proxy.arm(Fault(Duplicate(), DOWN, Kind.PUBLISH))
    async with (
        device(mosquitto.url, {"transport": "native"}, "sender") as sender,
        device(proxy.url, wire) as link,
    ):
        await link.subscribe([TopicFilter("t")])
        await sender.publish(Message("t", b"one"))
        for delivery in await deliveries(link, 2):
            assert delivery.payload == b"one"
            delivery.ack()
        await sender.publish(Message("t", b"two"))
        (delivery,) = await deliveries(link, 1)
        assert delivery.payload == b"two"


@WIRES
async def test_a_session_is_forgotten_with_what_it_held(
    mosquitto: Mosquitto, proxy: FaultProxy, wire: Wire
) -> None:
    lost: list[None] = []
    proxy.on_session_lost = lambda: lost.append(None)
    proxy.arm(Fault(ForgetSession(), DOWN, Kind.SUBACK))
    async with device(mosquitto.url, {"transport": "native"}, "sender") as sender:
        async with device(proxy.url, wire) as link:
            with pytest.raises(ConnectionLost):
                await link.subscribe([TopicFilter("t")])  # the SUBACK may come before the end
                await link.receive()
        await sender.publish(Message("t", b"lost"))
        async with device(proxy.url, wire) as link:
            assert lost
            assert not link.session_present
            await link.subscribe([TopicFilter("t")])
            await sender.publish(Message("t", b"new"))
            (delivery,) = await deliveries(link, 1)
            assert delivery.payload == b"new"
            proxy.cut()
        async with device(proxy.url, wire) as link:
            assert link.session_present, "once is enough"


@WIRES
async def test_who_is_refused_by_connack_is_told_so(proxy: FaultProxy, wire: Wire) -> None:
    proxy.arm(Fault(Refuse(1, "connack"), DOWN, Kind.CONNACK))
    for error in (TransportError, RejectedByBroker):  # the first may have had its CONNACK
        with pytest.raises(error):
            async with device(proxy.url, wire) as link:
                await link.receive()
    async with device(proxy.url, wire):
        pass
    assert proxy.refused == 1


@WIRES
async def test_a_half_open_connection_is_taken_over_by_the_next(
    mosquitto: Mosquitto, proxy: FaultProxy, wire: Wire
) -> None:
    async with device(proxy.url, wire) as link:
        proxy.half_open(60)
        with trio.move_on_after(0.2):
            await link.subscribe([TopicFilter("t")])
            raise AssertionError("nobody can have answered")
        async with device(proxy.url, wire) as other:
            await other.subscribe([TopicFilter("t")])
    assert "already connected" in mosquitto.log
