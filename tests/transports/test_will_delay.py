"""The will that waits: on the wire, at the broker in memory, and at a real one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio

from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, create_transport
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from ..brokers import Mosquitto
from .fake_broker import Peer, connack, open_fake_broker

pytestmark = pytest.mark.trio

LIMIT = 20.0  # seconds; only a test that fails gets near it
WILL = Message("status", b"offline", 1, True)
DEVICE = ConnectOptions(client_id="device", will=WILL, will_delay=5)
MQTT_5 = pytest.mark.parametrize(
    "wire", [{"protocol": "5"}, {"transport": "native"}], ids=["5", "native"]
)


@MQTT_5
@pytest.mark.parametrize("delay", [0, 5])
async def test_what_connect_says(wire: dict[str, Any], delay: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b""))
        await peer.serve(v5=True)

    options = ConnectOptions(client_id="device", will=WILL, will_delay=delay)
    async with open_fake_broker(script) as broker:
        with trio.fail_after(LIMIT):
            transport = create_transport(Settings(broker=broker.url, **wire))
            async with transport.connect(options):
                pass
    [connect, *_] = broker.peers[0].received
    start = connect.body.index(b"\x00\x06device") + 8
    properties = connect.body[start + 1 : start + 1 + connect.body[start]]
    assert properties == (b"\x18\x00\x00\x00\x05" if delay else b"")


async def lose(broker: MemoryBroker, options: ConnectOptions, *, protocol: Any = "5") -> None:
    """A device that connects and whose link is cut."""
    async with MemoryTransport(broker, protocol).connect(options):
        broker.drop_links("device")


async def test_it_comes_when_the_delay_has_passed(autojump_clock: object) -> None:
    broker = MemoryBroker()
    with broker.observe("status") as seen:
        await lose(broker, DEVICE)
        await trio.sleep(4.9)
        assert len(seen) == 0
        assert await seen.receive() == WILL
    assert broker.retained["status"] == WILL


@pytest.mark.parametrize("expiry", [0, 2])
async def test_it_comes_with_the_end_of_the_session(autojump_clock: object, expiry: int) -> None:
    broker = MemoryBroker()
    options = ConnectOptions(client_id="device", will=WILL, will_delay=5, session_expiry=expiry)
    with broker.observe("status") as seen:
        await lose(broker, options)
        lost_at = trio.current_time()
        await seen.receive()
        assert trio.current_time() - lost_at == expiry


async def test_a_device_that_is_back_in_time_takes_it_away(autojump_clock: object) -> None:
    broker = MemoryBroker()
    with broker.observe("status") as seen:
        await lose(broker, DEVICE)
        await trio.sleep(3)
        async with MemoryTransport(broker, "5").connect(DEVICE):
            await trio.sleep(60)
            assert len(seen) == 0


async def test_each_loss_has_a_delay_of_its_own(autojump_clock: object) -> None:
    broker = MemoryBroker()
    with broker.observe("status") as seen:
        await lose(broker, DEVICE)
        await trio.sleep(3)
        await lose(broker, DEVICE)
        await trio.sleep(4)  # the delay of the first is over
        assert len(seen) == 0
        await trio.sleep(2)
        assert len(seen) == 1


async def test_a_takeover_by_the_same_session_takes_it_away(autojump_clock: object) -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker, "5")
    with broker.observe("status") as seen:
        async with transport.connect(DEVICE), transport.connect(DEVICE):
            await trio.sleep(60)
            assert len(seen) == 0


async def test_a_clean_start_ends_the_session_and_the_wait(autojump_clock: object) -> None:
    broker = MemoryBroker()
    clean = ConnectOptions(client_id="device", clean_start=True)
    with broker.observe("status") as seen:
        await lose(broker, DEVICE)
        async with MemoryTransport(broker, "5").connect(clean):
            assert len(seen) == 1
            await trio.sleep(60)
            assert len(seen) == 1


async def test_a_polite_goodbye_and_a_broker_that_stops_say_nothing(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker()
    with broker.observe("status") as seen:
        async with MemoryTransport(broker, "5").connect(DEVICE):
            pass
        await lose(broker, DEVICE)
        broker.stop(keep_sessions=False)
        await trio.sleep(60)
        assert len(seen) == 0


async def test_mqtt_3_1_1_has_none(autojump_clock: object) -> None:
    broker = MemoryBroker(session_expiry=math.inf)
    with broker.observe("status") as seen:
        await lose(broker, DEVICE, protocol="3.1.1")
        assert len(seen) == 1


@pytest.mark.broker
@MQTT_5
async def test_a_real_broker(wire: dict[str, Any], mosquitto: Mosquitto) -> None:
    """Not sent when the device is back in time; sent, retained, when it is not."""
    settings = Settings(broker=mosquitto.url, **wire)
    options = ConnectOptions(client_id="device", will=WILL, will_delay=2)
    watcher_options = ConnectOptions(client_id="watcher", session_expiry=0)
    transport = create_transport(settings)
    with trio.fail_after(LIMIT):
        async with create_transport(settings).connect(watcher_options) as watcher:
            await watcher.subscribe([TopicFilter("#")])
            await lose_socket(transport, options)
            async with transport.connect(options) as link:
                assert link.session_present
                await trio.sleep(3)
                await link.publish(Message("mark", b""))
            assert [each.topic for each in await watcher.receive()] == ["mark"]
            await lose_socket(transport, options)
            [will] = await watcher.receive()
            assert (will.topic, will.payload) == ("status", b"offline")


async def lose_socket(transport: Any, options: ConnectOptions) -> None:
    """Connect, and let the connection end without DISCONNECT."""
    async with transport.connect(options) as link:
        link._lose("the test cuts it")
