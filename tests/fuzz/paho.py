"""What a broker may send to the default transport: paho's parser, as `AsyncioLink` drives it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from petalkit import Settings
from petalkit.transports import ConnectOptions
from petalkit.transports._connecting.tls import Address
from petalkit.transports._receiving.publish_reader import (
    head_to_keep,
    read_oversized,
    read_publish,
)
from petalkit.transports._receiving.receiving import Receiving
from petalkit.transports._receiving.violations import Violation
from petalkit.transports.asyncio_mqtt._client import HardenedClient
from petalkit.transports.asyncio_mqtt._properties import read_limits
from petalkit.transports.asyncio_mqtt._wire import Wire

from .mqtt5_packets import stream
from .reader import Reader

LIMIT = 200  # bytes of a packet that is read whole
HEAD_MAX = 2 + 65_535 + 2 + 4  # topic, packet identifier, and the length of the properties
logging.getLogger("mqtt").setLevel(logging.CRITICAL)  # it tells of answers that nobody waits for
_LOOP = asyncio.new_event_loop()  # which nobody runs: it makes the futures
_SETTINGS = {protocol: Settings(protocol=protocol) for protocol in ("3.1.1", "5")}


class _Link:
    """What paho tells, checked as it comes."""

    def __init__(self, *, v5: bool, outgoing: bytearray) -> None:
        self._v5 = v5
        self._receiving = Receiving(v5=v5)
        self._receiving.lenient = True
        self._receiving.connect(outgoing, 100)
        self.ended = False

    def on_connected(self, connack: Any) -> None:
        for value in read_limits(connack).values():
            assert type(value) is int

    def on_publish(self, first: int, body: bytes, size: int) -> None:
        try:
            if size > LIMIT:
                keep = head_to_keep(first, body, LIMIT, v5=self._v5)
                publish = read_oversized(first, body[:keep], size, v5=self._v5)
                assert publish.fault is not None
            else:
                publish = read_publish(first, body, v5=self._v5)
            delivery = self._receiving.take(publish)
        except Violation:
            self.ended = True
            return
        if delivery is not None:
            assert type(delivery.payload) is bytes
            assert len(delivery.payload) <= LIMIT
            assert delivery.qos in (0, 1)
            assert bool(delivery.packet_id) == bool(delivery.qos)
            delivery.ack()
            self._receiving.write_acknowledgements()

    def on_pubrel(self, packet_id: int) -> None:
        self._receiving.on_pubrel(packet_id)

    def on_puback(self, packet_id: int, reason: Any) -> None:
        assert 0 <= packet_id <= 0xFFFF
        assert 0 <= reason.value <= 0xFF

    def on_end(self, reason: str, *, reason_code: int | None) -> None:
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
    wire = Wire()
    link = _Link(v5=protocol == "5", outgoing=wire.outgoing)
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
            if not (ok and client.keep_head_of_long(LIMIT)):
                return
            assert wire.unread < before or not ok, "it makes no progress"
        packet: Any = client._client._in_packet
        assert len(packet["packet"]) <= max(LIMIT, HEAD_MAX) + size
        client.loop_write()
        wire.outgoing.clear()
