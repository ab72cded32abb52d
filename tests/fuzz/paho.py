"""What a broker may send to the default transport: paho's parser, as `AsyncioLink` drives it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from petalkit import Settings
from petalkit.transports import ConnectOptions
from petalkit.transports._asyncio_client import (
    HardenedClient,
    Wire,
    read_limits,
    read_properties,
    read_topic,
)
from petalkit.transports._tls import Address

from .mqtt5_packets import stream
from .reader import Reader

LIMIT = 200  # bytes of one packet that are read before it is cut
logging.getLogger("mqtt").setLevel(logging.CRITICAL)  # it tells of answers that nobody waits for
_LOOP = asyncio.new_event_loop()  # which nobody runs: it makes the futures
_SETTINGS = {protocol: Settings(protocol=protocol) for protocol in ("3.1.1", "5")}


class _Link:
    """What paho tells, checked as it comes."""

    def __init__(self, *, v5: bool) -> None:
        self._v5 = v5
        self.ended = False

    def on_connected(self, connack: Any) -> None:
        for value in read_limits(connack).values():
            assert type(value) is int

    def on_message(self, message: Any) -> None:
        if read_topic(message) is None:
            self.ended = True
            return
        assert isinstance(message.payload, bytes)
        assert message.qos in (0, 1, 2)
        if self._v5:
            read_properties(message.properties)

    def on_puback(self, packet_id: int, reason: Any) -> None:
        assert 0 <= packet_id <= 0xFFFF
        assert 0 <= reason.value <= 0xFF

    def on_end(self, reason: str, *, taken_over: bool) -> None:
        assert reason
        self.ended = True

    def on_output(self) -> None: ...

    def on_pong(self) -> None: ...


def paho(data: bytes) -> None:
    """The protocol, sizes of pieces, and packets of MQTT 5, or any bytes."""
    reader = Reader(data)
    protocol = reader.choice(("3.1.1", "5"))
    size = 1 + reader.byte()
    received = stream(reader)
    wire, link = Wire(), _Link(v5=protocol == "5")
    options = ConnectOptions(client_id="c")
    client = HardenedClient(
        _LOOP, wire, link, Address("h", 1883, tls=False), _SETTINGS[protocol], options
    )
    client._client.connect(
        "h", 1883, 20, clean_start=client._clean_start, properties=client._properties
    )
    client.loop_write()
    for at in range(0, len(received), size):
        wire.feed(received[at : at + size])
        while wire.unread and not link.ended:
            before = wire.unread
            ok = client.loop_read()
            if ok and client.cut_long_message(LIMIT):
                ok = client.loop_read()
            if not ok:
                return
            assert wire.unread < before or not ok, "it makes no progress"
        packet: Any = client._client._in_packet
        assert len(packet["packet"]) <= LIMIT + size
        client.loop_write()
        wire.outgoing.clear()
