"""What comes and goes for each command is read and written beside paho, to the same end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from petalkit import Properties
from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit.transports._connecting.tls import Address
from petalkit.transports.asyncio_mqtt._client import HardenedClient
from petalkit.transports.asyncio_mqtt._paho import Paho
from petalkit.transports.asyncio_mqtt._wire import Wire

from ..links import OPTIONS

CONNACK = {"3.1.1": b"\x20\x02\0\0", "5": b"\x20\x03\0\0\0"}
PINGRESP = b"\xd0\0"
PROTOCOLS = pytest.mark.parametrize("protocol", ["3.1.1", "5"])


class Seen:
    """What the client reports, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_connected(self, connack: Any) -> None: ...
    def on_output(self) -> None: ...

    def on_publish(self, first: int, body: bytes, size: int) -> None:
        self.events.append(("publish", first, body, size))

    def on_puback(self, packet_id: int, reason: Any) -> None:
        self.events.append(("puback", packet_id, reason.value))

    def on_pong(self) -> None:
        self.events.append("pong")

    def on_end(self, reason: str, *, reason_code: int | None) -> None:
        self.events.append("end")


def connected(protocol: Any) -> tuple[HardenedClient, Wire, Seen]:
    wire, seen = Wire(), Seen()
    loop = asyncio.new_event_loop()  # for the futures alone; it does not run
    try:
        client = HardenedClient(
            loop,
            wire,
            seen,  # type: ignore[arg-type]
            Address("h", 1883, tls=False),
            Settings(protocol=protocol),
            OPTIONS,
        )
    finally:
        loop.close()
    client._client.connect(
        "h", 1883, 20, clean_start=client._clean_start, properties=client._properties
    )
    client._connected = type("Done", (), {"done": lambda self: True})()
    client.loop_write()
    wire.outgoing.clear()
    wire.feed(CONNACK[protocol])
    assert client.loop_read()
    return client, wire, seen


def publish(topic: bytes, payload: bytes, *, v5: bool, packet_id: int = 0) -> bytes:
    body = len(topic).to_bytes(2) + topic
    if packet_id:
        body += packet_id.to_bytes(2)
    body += (b"\0" if v5 else b"") + payload
    size, length = b"", len(body)
    while True:
        size += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
        length >>= 7
        if not length:
            return bytes([0x32 if packet_id else 0x30]) + size + body


def stream(*, v5: bool) -> bytes:
    packets = [
        publish(b"t", b"small", v5=v5, packet_id=1),
        b"\x40\x02\0\x07",
        publish(b"t", b"x" * 300, v5=v5),
        PINGRESP,
        b"\x40\x02\0\x08",
        publish(b"t", b"", v5=v5, packet_id=2),
    ]
    if v5:
        packets += [b"\x40\x03\0\x09\x97", b"\x40\x04\0\x0a\x10\0"]
    return b"".join([*packets, PINGRESP])


def read_all(client: HardenedClient, wire: Wire) -> None:
    while wire.unread and not wire.paused:
        assert client.loop_read()


@PROTOCOLS
def test_the_same_is_read_wherever_the_stream_is_cut(protocol: str) -> None:
    data = stream(v5=protocol == "5")
    client, wire, seen = connected(protocol)
    client.keep_head_of_long(1000)
    patch = pytest.MonkeyPatch()
    patch.setattr(Paho, "read_plain", lambda self: None)  # all by paho
    wire.feed(data)
    read_all(client, wire)
    patch.undo()
    expected = seen.events
    assert len(expected) == data.count(PINGRESP) + (5 if protocol == "3.1.1" else 7)
    for cut in range(len(data) + 1):
        client, wire, seen = connected(protocol)
        for piece in (data[:cut], data[cut:]):
            wire.feed(piece)
            read_all(client, wire)
        assert seen.events == expected, cut


def test_bytes_that_come_one_by_one_are_read() -> None:
    client, wire, seen = connected("5")
    for byte in stream(v5=True):
        wire.feed(bytes([byte]))
        read_all(client, wire)
    assert len(seen.events) == 9


def test_what_is_plain_is_not_shown_to_paho(monkeypatch: pytest.MonkeyPatch) -> None:
    client, wire, seen = connected("5")
    monkeypatch.setattr(Paho, "_packet_read", lambda self: pytest.fail("paho reads"))
    wire.feed(publish(b"t", b"x", v5=True, packet_id=1) + b"\x40\x02\0\x07")
    read_all(client, wire)
    assert [one[0] for one in seen.events] == ["publish", "puback"]


def test_a_callback_that_pauses_the_wire_stops_before_the_next_packet() -> None:
    client, wire, seen = connected("5")

    def pause(first: int, body: bytes, size: int) -> None:
        seen.events.append("publish")
        wire.paused = True

    seen.on_publish = pause  # type: ignore[method-assign]
    wire.feed(2 * publish(b"t", b"x", v5=True, packet_id=1))
    assert client.loop_read()
    assert (seen.events, wire.unread) == (["publish"], len(publish(b"t", b"x", v5=True)) + 2)


def test_a_length_without_an_end_is_for_paho_to_refuse() -> None:
    client, wire, seen = connected("5")
    wire.feed(b"\x30\xff\xff\xff\xff\xff" + b"x" * 20)
    assert not client.loop_read()
    assert "publish" not in {one[0] for one in seen.events}


@PROTOCOLS
@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("size", [0, 5, 200, 20_000])
def test_a_publish_is_what_paho_would_write(
    protocol: str, qos: int, retain: bool, size: int
) -> None:
    properties = Properties(content_type="text/plain", user_properties=(("a", "ü"),))
    message = Message("grüße/t", b"x" * size, qos, retain, properties)
    client, wire, _ = connected(protocol)
    packet_id = client.publish_nowait(message, ())
    ours = bytes(wire.outgoing)
    wire.outgoing.clear()
    assert (packet_id > 0) == (qos > 0)
    client._client._last_mid -= qos
    packed: Any = None
    if protocol == "5":
        packed = type("Packed", (), {"pack": lambda self: client._packed[1]})()
    client._client.publish(message.topic, message.payload, qos, retain, packed)
    client.loop_write()
    assert ours == bytes(wire.outgoing)


def test_a_packet_id_that_is_still_in_flight_is_passed_over() -> None:
    client, _, _ = connected("5")
    message = Message("t", b"x", 1)
    assert [client.publish_nowait(message, {2, 3}) for _ in range(2)] == [1, 4]
    client._client._last_mid = 65_535
    assert client.publish_nowait(message, {1}) == 2


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0b", "x" * 70_000])
def test_a_topic_that_nothing_can_be_published_to_is_refused(topic: str) -> None:
    client, wire, _ = connected("5")
    message = Message("t", b"x", 1)
    with pytest.raises(ValueError, match="wildcard"):
        client._client.write_publish(topic, message.payload, 0x32, b"\0")  # type: ignore[attr-defined]
    assert not wire.outgoing
