"""What a CONNACK limits, as the links tell it: the same over every transport."""

from __future__ import annotations

import struct
from typing import Any

import pytest
import trio

from petalkit import ConnectionLost, RejectedByBroker, Settings, open_runtime
from petalkit._values.messages import Message
from petalkit.transports import ConnectOptions, create_transport
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from ..serving.recorder import Recorder
from .fake_broker import (
    DISCONNECT,
    PUBACK,
    PUBLISH,
    SUBACK,
    SUBSCRIBE,
    Packet,
    Peer,
    answer,
    connack,
    open_fake_broker,
    packet,
)

pytestmark = pytest.mark.trio

EVERYTHING = (
    b"\x11\x00\x00\x00\x3c"  # Session Expiry Interval
    b"\x13\x00\x0f"  # Server Keep Alive
    b"\x21\x00\x14"  # Receive Maximum
    b"\x24\x01"  # Maximum QoS
    b"\x25\x00"  # Retain Available
    b"\x27\x00\x00\x07\xd0"  # Maximum Packet Size
)
WIRES = pytest.mark.parametrize("wire", [{"protocol": "5"}, {"transport": "native"}])
LIMIT = 10.0  # seconds
NOTHING_LESS = b"\x21\xff\xff\x25\x01"  # said, and what holds anyway


@WIRES
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


@WIRES
@pytest.mark.parametrize(
    ("properties", "expiry"), [(b"", 3600), (b"\x11\0\0\0\0", 0), (b"\x11\0\0\x01\x2c", 300)]
)
async def test_the_session_expiry_is_that_which_was_granted(
    wire: dict[str, Any], properties: bytes, expiry: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=properties))
        await peer.serve(v5=True)

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        async with transport.connect(ConnectOptions(client_id="c")) as link:
            assert link.session_expiry == expiry


def topic_of(found: Packet) -> bytes:
    size: int = struct.unpack_from(">H", found.body)[0]
    return found.body[2 : 2 + size]


async def serve_limited(peer: Peer, *, qos: int, retain: bool) -> None:
    """Serve as MQTT 5.0 says (section 3.3.4): what is over the limits ends the link."""
    limits = (b"" if qos else b"\x24\0") + (b"" if retain else b"\x25\0")
    await peer.accept(connack=connack(properties=limits))
    while (found := await peer.packet()) is not None:
        if found.kind == PUBLISH and (found.flags >> 1 & 3) > qos:
            await peer.send(packet(DISCONNECT, b"\x9b"))
            return
        if found.kind == PUBLISH and found.flags & 1 and not retain:
            await peer.send(packet(DISCONNECT, b"\x9a"))
            return
        if found.kind == SUBSCRIBE:
            command = b"org/acme/device/Instance-1/command"
            payload = b'{"command": "rec/note", "messageId": "7", "waitResponse": true}'
            body = len(command).to_bytes(2, "big") + command + b"\0" + payload
            count = found.body.count(b"org/")
            await peer.send(answer(SUBACK, found, b"\0" + b"\1" * count), packet(PUBLISH, body))
        elif found.kind == PUBLISH and found.flags & 2:
            await peer.send(answer(PUBACK, found))


@WIRES
@pytest.mark.parametrize(("qos", "retain"), [(0, True), (1, False), (0, False)])
async def test_a_device_serves_a_broker_of_limits(
    wire: dict[str, Any], qos: int, retain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Maximum QoS 0 and Retain Available 0: it connects, says so once, and its answer is sent."""
    answered = trio.Event()
    published: list[Packet] = []

    class Watched(Peer):
        async def packet(self) -> Packet | None:
            found = await super().packet()
            if found is not None and found.kind == PUBLISH:
                published.append(found)
                if topic_of(found).endswith(b"/response"):
                    answered.set()
            return found

    async def script(peer: Peer) -> None:
        await serve_limited(Watched(peer.stream), qos=qos, retain=retain)

    async with open_fake_broker(script) as broker:
        settings = Settings(
            broker=broker.url, organization_id="acme", device_id="Instance-1", **wire
        )
        with trio.fail_after(LIMIT):
            async with open_runtime([Recorder()], settings) as runtime:
                await runtime.wait_connected()
                await answered.wait()
                while runtime.statistics().outbox:
                    await trio.sleep(0.01)
                statistics = runtime.statistics()
                assert (statistics.published, statistics.publish_rejected) == (1, 0)
                assert (statistics.links, statistics.connects_failed) == (1, 0)
    assert {found.flags >> 1 & 3 for found in published} == {qos}
    assert {bool(found.flags & 1) for found in published} == ({True, False} if retain else {False})
    for part, limited in (("Maximum QoS 0", not qos), ("Retain Available 0", not retain)):
        assert sum(part in record.getMessage() for record in caplog.records) == limited


@WIRES
@pytest.mark.parametrize("code", [0x9A, 0x9B])
async def test_a_connect_that_is_refused_for_its_will_says_so_in_its_code(
    wire: dict[str, Any], code: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(code, properties=b""))

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        with pytest.raises(RejectedByBroker) as caught:
            async with transport.connect(ConnectOptions(client_id="c")):
                pass
        assert caught.value.reason_code == code


# -- what a link says of its end, and of a PUBACK


@pytest.mark.parametrize(
    "wire", [{"protocol": "3.1.1"}, {"protocol": "5"}, {"transport": "native"}]
)
async def test_a_bare_close_is_told_as_such(wire: dict[str, Any]) -> None:
    v5 = wire != {"protocol": "3.1.1"}

    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b"" if v5 else None))

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost) as caught:
            async with transport.connect(ConnectOptions(client_id="c")) as link:
                await link.receive()
    assert (caught.value.closed, caught.value.reason_code) == (True, None)


@WIRES
@pytest.mark.parametrize("code", [0x8B, 0x8E, 0x95])
async def test_a_disconnect_is_told_with_its_code(wire: dict[str, Any], code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(packet(DISCONNECT, bytes([code])), connack=connack(properties=b""))

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost) as caught:
            async with transport.connect(ConnectOptions(client_id="c")) as link:
                await link.receive()
    assert (caught.value.closed, caught.value.reason_code) == (False, code)
    assert caught.value.taken_over == (code == 0x8E)


@WIRES
async def test_what_the_broker_says_wrong_is_not_its_closing(wire: dict[str, Any]) -> None:
    """A PUBACK without a body: it is we who end the link."""

    async def script(peer: Peer) -> None:
        await peer.accept(packet(PUBACK, b"\0"), connack=connack(properties=b""))
        await trio.sleep_forever()

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost) as caught:
            async with transport.connect(ConnectOptions(client_id="c")) as link:
                await link.receive()
    assert (caught.value.closed, caught.value.reason_code) == (False, None)


@WIRES
@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x97])
async def test_a_puback_that_refuses_is_told_with_its_code(wire: dict[str, Any], code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b""))
        await peer.send(answer(PUBACK, await peer.expect(PUBLISH), bytes([code])))
        await peer.serve(v5=True)

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        async with transport.connect(ConnectOptions(client_id="c")) as link:
            with trio.fail_after(LIMIT), pytest.raises(RejectedByBroker) as caught:
                await link.publish(Message("t", b"x", 1))
            assert caught.value.reason_code == code
