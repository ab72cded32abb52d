"""What a CONNACK limits, as the links tell it: the same over every transport."""

from __future__ import annotations

from typing import Any

import pytest

from petalkit import Settings
from petalkit.transports import ConnectOptions, create_transport
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from .fake_broker import Peer, connack, open_fake_broker

pytestmark = pytest.mark.trio

EVERYTHING = (
    b"\x11\x00\x00\x00\x3c"  # Session Expiry Interval
    b"\x13\x00\x0f"  # Server Keep Alive
    b"\x21\x00\x14"  # Receive Maximum
    b"\x24\x01"  # Maximum QoS
    b"\x25\x00"  # Retain Available
    b"\x27\x00\x00\x07\xd0"  # Maximum Packet Size
)
NOTHING_LESS = b"\x21\xff\xff\x25\x01"  # said, and what holds anyway


@pytest.mark.parametrize("wire", [{"protocol": "5"}, {"transport": "native"}])
@pytest.mark.parametrize(
    ("properties", "limits"),
    [
        (
            EVERYTHING,
            {
                "session_expiry_interval": 60,
                "server_keep_alive": 15,
                "receive_maximum": 20,
                "maximum_qos": 1,
                "retain_available": 0,
                "maximum_packet_size": 2000,
            },
        ),
        (NOTHING_LESS, {}),
        (b"", {}),
    ],
)
async def test_mqtt_5(wire: dict[str, Any], properties: bytes, limits: dict[str, int]) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=properties))
        await peer.serve(v5=True)

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        async with transport.connect(ConnectOptions(client_id="c")) as link:
            assert link.broker_limits == limits


async def test_none_with_3_1_1_and_in_memory() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.serve()

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url))
        async with transport.connect(ConnectOptions(client_id="c")) as link:
            assert link.broker_limits == {}
    async with MemoryTransport(MemoryBroker()).connect(ConnectOptions(client_id="c")) as link:
        assert link.broker_limits == {}
