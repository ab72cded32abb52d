"""A broker that answers everything, and delivers nothing: noticed over every wire, if asked for."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from petalkit import Settings, open_runtime

from ..brokers import Mosquitto
from ..serving.recorder import Recorder
from .fake_broker import CONNECT, Packet, Peer, connack, open_fake_broker

pytestmark = pytest.mark.trio

LIMIT = 20.0  # seconds; only a test that fails gets near it
WIRES: list[dict[str, Any]] = [{}, {"protocol": "5"}, {"transport": "native"}]
each_wire = pytest.mark.parametrize("wire", WIRES, ids=["3.1.1", "5", "native"])
WHO: dict[str, Any] = {"organization_id": "acme", "device_id": "Instance-1"}


@each_wire
async def test_a_broker_that_stalls_deliveries_is_left_though_it_answers_pings(
    wire: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    v5 = bool(wire)
    again = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b"" if v5 else None))
        if len(broker.peers) == 2:
            again.set()
        # One comes back, so that it is known that they do.
        await peer.serve(v5=v5, echo=b"/probe" if len(broker.peers) == 1 else b"")

    async with open_fake_broker(script) as broker:
        settings = Settings(
            broker=broker.url,
            keep_alive=1,
            probe_interval=0.05,
            probe_timeout=1.5,
            reconnect_delay_min=0.01,
            **WHO,
            **wire,
        )
        async with open_runtime([Recorder()], settings) as runtime:
            with trio.fail_after(LIMIT):
                await again.wait()
            assert runtime.statistics().links_stalled == 1
    assert "has not come back within 1.5 s, and nothing else has come" in caplog.text


@pytest.mark.parametrize("wire", WIRES[1:], ids=["5", "native"])
async def test_no_maximum_packet_size_is_announced_unless_asked_for(wire: dict[str, Any]) -> None:
    connects: list[Packet] = []

    async def script(peer: Peer) -> None:
        connects.append(await peer.expect(CONNECT))
        await peer.send(connack(properties=b""))
        await peer.serve(v5=True)

    async with open_fake_broker(script) as broker:
        wanted: list[dict[str, Any]] = [{}, {"packet_maximum": 0x00ABCDEF}]
        for more in wanted:
            settings = Settings(broker=broker.url, **WHO, **wire, **more)
            with trio.fail_after(LIMIT):
                async with open_runtime([Recorder()], settings) as runtime:
                    await runtime.wait_connected()
    maximum = b"\x27\x00\xab\xcd\xef"
    assert [maximum in packet.body for packet in connects] == [False, True]
    # Flags, keep alive of 20 s, and the properties, in which 0x27 would begin one.
    protocol = connects[0].body
    assert b"\x27" not in protocol[: protocol.index(b"petalkit-")]


@pytest.mark.broker
@each_wire
async def test_probes_of_a_real_broker_come_back(
    wire: dict[str, Any], mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(broker=mosquitto.url, probe_interval=0.02, **WHO, **wire)
    with trio.fail_after(LIMIT):
        async with open_runtime([Recorder()], settings) as runtime:
            await runtime.wait_connected()
            while runtime.statistics().received < 20:
                await trio.sleep(0.02)
            statistics = runtime.statistics()
    assert (statistics.links, statistics.unexpected_topic, statistics.links_stalled) == (1, 0, 0)
    assert "probed" not in caplog.text
