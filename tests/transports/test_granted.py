"""What a broker grants, and how it says no: all of it is told, whatever the library knows."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trio

from petalkit._values.errors import ConnectFailed, ConnectionLost, RejectedByBroker
from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, create_transport
from petalkit.transports.asyncio_mqtt import _socket as _asyncio_socket
from petalkit.transports.native import NativeTransport

from ..brokers import Mosquitto
from .fake_broker import (
    CONNECT,
    DISCONNECT,
    PUBACK,
    PUBLISH,
    SUBACK,
    SUBSCRIBE,
    Peer,
    answer,
    connack,
    open_fake_broker,
    packet,
)

pytestmark = pytest.mark.trio

LIMIT = 10.0  # seconds; only a test that fails gets near it
OPTIONS = ConnectOptions(client_id="device", session_expiry=0)
WIRES: list[dict[str, Any]] = [{}, {"protocol": "5"}, {"transport": "native"}]
each_wire = pytest.mark.parametrize("wire", WIRES, ids=["3.1.1", "5", "native"])
each_mqtt_5 = pytest.mark.parametrize("wire", WIRES[1:], ids=["5", "native"])
FILTERS = [TopicFilter("a"), TopicFilter("b")]


@each_wire
async def test_less_than_was_asked_for_is_told(wire: dict[str, Any]) -> None:
    v5 = bool(wire)

    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b"" if v5 else None))
        asked = await peer.expect(SUBSCRIBE)
        await peer.send(answer(SUBACK, asked, b"\0" * v5 + b"\x01\x00"))
        await peer.serve(v5=v5)

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        with trio.fail_after(LIMIT):
            async with transport.connect(OPTIONS) as link:
                assert list(await link.subscribe(FILTERS)) == [1, 0]


@pytest.mark.broker
@each_wire
async def test_a_listener_without_qos_1(wire: dict[str, Any], start_mosquitto: Any) -> None:
    broker: Mosquitto = start_mosquitto(options={"max_qos": "0"})
    transport = create_transport(Settings(broker=broker.url, **wire))
    with trio.fail_after(LIMIT):
        async with transport.connect(OPTIONS) as link:
            assert list(await link.subscribe(FILTERS)) == [0, 0]


@each_wire
async def test_fewer_answers_than_filters_end_the_link(wire: dict[str, Any]) -> None:
    v5 = bool(wire)

    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b"" if v5 else None))
        asked = await peer.expect(SUBSCRIBE)
        await peer.send(answer(SUBACK, asked, b"\0" * v5 + b"\x01"))
        await peer.serve(v5=v5)

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        with trio.fail_after(LIMIT):
            async with transport.connect(OPTIONS) as link:
                with pytest.raises(ConnectionLost, match="1 answers"):
                    await link.subscribe(FILTERS)


# -- reason codes that no library has a name for: those of later versions, and of brokers' own

UNNAMED = 0xB0


@each_mqtt_5
@pytest.mark.parametrize("reason", [b"", b"not today"])
async def test_a_connack_whose_code_has_no_name(wire: dict[str, Any], reason: bytes) -> None:
    said = b"\x1f" + len(reason).to_bytes(2, "big") + reason if reason else b""

    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(UNNAMED, properties=said))
        assert await peer.packet() is None

    async with open_fake_broker(script) as broker:
        with trio.fail_after(LIMIT), pytest.raises(RejectedByBroker) as caught:
            async with create_transport(Settings(broker=broker.url, **wire)).connect(OPTIONS):
                raise AssertionError("it was refused")
    assert caught.value.reason_code == UNNAMED
    assert caught.value.reason == (reason.decode() or "reason code 0xb0")


@each_mqtt_5
@pytest.mark.parametrize(
    ("code", "text"),
    [
        (UNNAMED, r"the broker disconnected: reason code 0xb0 \(0xb0\)"),
        (0x84, r"the broker disconnected: reason code 0x84 \(0x84\)"),  # a name for CONNACK only
        (0x80, r"the broker disconnected: Unspecified error \(0x80\)"),
        (0x8B, r"the broker disconnected: Server shutting down \(0x8b\)"),
    ],
)
async def test_a_disconnect_whose_code_has_no_name(
    wire: dict[str, Any], code: int, text: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(packet(DISCONNECT, bytes([code])), connack=connack(properties=b""))
        await peer.serve(v5=True)

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        with trio.fail_after(LIMIT):
            async with transport.connect(OPTIONS) as link:
                with pytest.raises(ConnectionLost, match=text):
                    await link.receive()


@each_wire
async def test_a_suback_whose_code_has_no_name(wire: dict[str, Any]) -> None:
    v5 = bool(wire)
    said = b"\x05\x26\x00\x00\x00\x00" if v5 else b""  # properties, which stand before the codes

    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b"" if v5 else None))
        asked = await peer.expect(SUBSCRIBE)
        await peer.send(answer(SUBACK, asked, said + bytes([1, UNNAMED])))
        await peer.serve(v5=v5)

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        with trio.fail_after(LIMIT):
            async with transport.connect(OPTIONS) as link:
                with pytest.raises(RejectedByBroker, match="reason code 0xb0 to filter 'b'") as no:
                    await link.subscribe(FILTERS)
                assert no.value.reason_code == UNNAMED
                await link.unsubscribe(FILTERS[:1])  # the link goes on


@each_mqtt_5
async def test_a_puback_whose_code_has_no_name_does_not_end_the_link(
    wire: dict[str, Any],
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b""))
        sent = await peer.expect(PUBLISH)
        await peer.send(answer(PUBACK, sent, bytes([UNNAMED])))
        await peer.serve(v5=True)

    async with open_fake_broker(script) as broker:
        transport = create_transport(Settings(broker=broker.url, **wire))
        with trio.fail_after(LIMIT):
            async with transport.connect(OPTIONS) as link:
                with pytest.raises(RejectedByBroker, match="reason code 0xb0"):
                    await link.publish(Message("t", b"1"))
                await link.publish(Message("t", b"2"))


# -- a connection that ends before CONNACK


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@each_wire
async def test_a_broker_that_ends_the_connection_before_connack(
    wire: dict[str, Any], reset: bool
) -> None:
    async def script(peer: Peer) -> None:
        if reset:
            await peer.stream.receive_some(1)  # what is left unread makes the kernel send a reset
        else:
            await peer.expect(CONNECT)

    async with open_fake_broker(script) as broker:
        with trio.fail_after(LIMIT), pytest.raises(ConnectFailed) as caught:
            async with create_transport(Settings(broker=broker.url, **wire)).connect(OPTIONS):
                raise AssertionError("there was no CONNACK")
    hint = "a broker that speaks only MQTT 3.1.1 may end it like this"
    assert (hint in str(caught.value)) == bool(wire)


@each_mqtt_5
async def test_a_link_that_was_up_gives_no_hint_of_another_version(wire: dict[str, Any]) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b""))

    async with open_fake_broker(script) as broker:
        with trio.fail_after(LIMIT):
            transport = create_transport(Settings(broker=broker.url, **wire))
            async with transport.connect(OPTIONS) as link:
                with pytest.raises(ConnectionLost) as caught:
                    await link.receive()
    assert "3.1.1" not in str(caught.value)


ALERT = ssl.SSLError("tlsv13 alert certificate required")  # comes behind the handshake


class Complaining(trio.abc.Stream):
    """TLS whose other side wants a client certificate."""

    async def send_all(self, data: Any) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError from ALERT

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_what_tls_complains_of_is_not_taken_for_another_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def receive_some(*_: Any) -> bytes:
        raise ALERT

    async def open_stream() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return Complaining()

    async def script(peer: Peer) -> None:
        await peer.expect(CONNECT)
        await peer.send(connack(properties=b""))  # something to read
        await peer.packet()

    monkeypatch.setattr(_asyncio_socket, "receive_some", receive_some)
    async with open_fake_broker(script) as broker:
        native = NativeTransport(Settings(transport="native"), open_stream=open_stream)
        for transport in (create_transport(Settings(broker=broker.url, protocol="5")), native):
            with trio.fail_after(LIMIT), pytest.raises(ConnectFailed) as caught:
                async with transport.connect(OPTIONS):
                    raise AssertionError("there was no CONNACK")
            assert "certificate required" in str(caught.value)
            assert "3.1.1" not in str(caught.value)
