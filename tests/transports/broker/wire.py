"""A client of one step at a time, on plain sockets, in both versions of MQTT.

What comes is read as values that can be compared: of two brokers, or with what a test expects.
Everything waits for at most `LIMIT`.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import attrs
import mqtt5

LIMIT = 5.0  # seconds
PINGREQ, PINGRESP = b"\xc0\x00", 13


@attrs.frozen
class Seen:
    """One packet from the broker, without what differs by right (packet identifiers)."""

    kind: str
    code: int | tuple[int, ...] = 0
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    properties: tuple[tuple[str, Any], ...] = ()


class WireClient:
    """One client ID, connected or not.

    Attributes:
        acks: whether what comes is acknowledged.
    """

    def __init__(self, client_id: str, *, v5: bool) -> None:
        self.client_id = client_id
        self.v5 = v5
        self.acks = True
        self._socket: socket.socket | None = None
        self._data = b""
        self._id = 0

    @property
    def connected(self) -> bool:
        return self._socket is not None

    # -- out

    def connect(
        self,
        port: int,
        *,
        clean: bool = True,
        expiry: int = 0,
        will: mqtt5.Will | None = None,
        receive_max: int = 65_535,
        max_packet_size: int | None = None,
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""
        if self.v5:
            packet = mqtt5.ConnectPacket(
                self.client_id,
                clean_start=clean,
                session_expiry_interval=expiry,
                will=will,
                receive_max=receive_max,
                max_packet_size=max_packet_size,
            )
            self.send(packet.write())
            return
        flags = 2 if clean else 0
        body = _text(self.client_id)
        if will is not None:
            flags |= 4 | int(will.qos) << 3 | will.retain << 5
            payload = will.payload or b""
            body += _text(will.topic) + struct.pack(">H", len(payload)) + payload
        self.send(_packet(0x10, _text("MQTT") + bytes((4, flags, 0, 0)) + body))

    def subscribe(self, filters: list[mqtt5.TopicFilter], identifier: int | None = None) -> None:
        self._id += 1
        if self.v5:
            packet = mqtt5.SubscribePacket(self._id, filters, subscription_id=identifier)
            self.send(packet.write())
            return
        body = b"".join(_text(one.pattern) + bytes((int(one.max_qos),)) for one in filters)
        self.send(_packet(0x82, struct.pack(">H", self._id) + body))

    def unsubscribe(self, patterns: list[str]) -> None:
        self._id += 1
        if self.v5:
            self.send(mqtt5.UnsubscribePacket(self._id, patterns).write())
            return
        body = b"".join(_text(one) for one in patterns)
        self.send(_packet(0xA2, struct.pack(">H", self._id) + body))

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, **properties: Any
    ) -> None:
        self._id += 1
        packet_id = self._id if qos else None
        if self.v5:
            quality = mqtt5.QoS(qos)
            packet = mqtt5.PublishPacket(
                topic, payload, qos=quality, retain=retain, packet_id=packet_id, **properties
            )
            self.send(packet.write())
            return
        head = _text(topic) + (struct.pack(">H", packet_id) if packet_id else b"")
        self.send(_packet(0x30 | qos << 1 | retain, head + payload))

    def disconnect(self, reason_code: int = 0) -> None:
        self.send(bytes((0xE0, 1, reason_code)) if self.v5 and reason_code else b"\xe0\x00")
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.sendall(data)

    # -- in

    def settle(self) -> list[Seen]:
        """Everything that comes before the answer to a ping, acknowledged; or before the end."""
        seen: list[Seen] = []
        if self._socket is None:
            return seen
        try:
            self.send(PINGREQ)
            while (packet := self._read()) is not None:
                if packet[0] >> 4 == PINGRESP:
                    return seen
                seen.append(self._see(packet))
            seen.append(Seen("closed"))
        except OSError as error:
            seen.append(Seen("closed" if not isinstance(error, TimeoutError) else "TIMEOUT"))
        self.close()
        return seen

    def read(self) -> Seen | None:
        """The next packet; None at the end."""
        packet = self._read()
        return None if packet is None else self._see(packet)

    def _read(self) -> bytes | None:
        assert self._socket is not None
        while True:
            size = _size(self._data)
            if size and len(self._data) >= size:
                packet, self._data = self._data[:size], self._data[size:]
                return packet
            data = self._socket.recv(65_536)
            if not data:
                return None
            self._data += data

    def _see(self, data: bytes) -> Seen:
        if self.v5:
            return self._see_v5(mqtt5.read(memoryview(data))[0])
        kind, body = data[0] >> 4, data[2:]
        match kind:
            case 2:
                return Seen("CONNACK", (body[0], body[1]))
            case 3:
                return self._see_publish(data)
            case 9:
                return Seen("SUBACK", tuple(body[2:]))
            case 5:
                self.send(bytes((0x62, 2)) + body)
                return Seen("PUBREC")
            case 6:
                if self.acks:
                    self.send(bytes((0x70, 2)) + body)
                return Seen("PUBREL")
        return Seen({4: "PUBACK", 7: "PUBCOMP", 11: "UNSUBACK"}[kind])

    def _see_publish(self, data: bytes) -> Seen:
        at = 2
        while data[at - 1] & 0x80:
            at += 1
        end = at + 2 + int.from_bytes(data[at : at + 2])
        topic, qos = data[at + 2 : end].decode(), data[0] >> 1 & 3
        if qos:
            self._ack(qos, int.from_bytes(data[end : end + 2]))
            end += 2
        return Seen("PUBLISH", 0, topic, data[end:], qos, bool(data[0] & 1), bool(data[0] & 8))

    def _ack(self, qos: int, packet_id: int) -> None:
        if self.acks:
            self.send(bytes((0x40 if qos == 1 else 0x50, 2)) + packet_id.to_bytes(2))

    def _see_v5(self, packet: Any) -> Seen:
        match packet:
            case mqtt5.ConnAckPacket():
                return Seen("CONNACK", (int(packet.session_present), int(packet.reason_code)))
            case mqtt5.PublishPacket():
                if packet.packet_id:
                    self._ack(int(packet.qos), packet.packet_id)
                said = {
                    "content_type": packet.content_type,
                    "response_topic": packet.response_topic,
                    "correlation_data": packet.correlation_data,
                    "user_properties": tuple(packet.user_properties) or None,
                    "expiry": packet.message_expiry_interval,
                    "identifiers": tuple(sorted(packet.subscription_ids)) or None,
                    "format": packet.payload_format_indicator or None,
                }
                return Seen(
                    "PUBLISH", 0, packet.topic, packet.payload, int(packet.qos), packet.retain,
                    packet.duplicate,
                    tuple((name, value) for name, value in said.items() if value is not None),
                )  # fmt: skip
            case mqtt5.SubAckPacket() | mqtt5.UnsubAckPacket():
                kind = type(packet).__name__.removesuffix("Packet").upper()
                return Seen(kind, tuple(int(code) for code in packet.reason_codes))
            case mqtt5.PubRecPacket():
                if int(packet.reason_code) < 0x80:
                    self.send(bytes((0x62, 2)) + packet.packet_id.to_bytes(2))
                return Seen("PUBREC", int(packet.reason_code))
            case mqtt5.PubRelPacket():
                if self.acks:
                    self.send(bytes((0x70, 2)) + packet.packet_id.to_bytes(2))
                return Seen("PUBREL", int(packet.reason_code))
        kind = type(packet).__name__.removesuffix("Packet").upper()
        return Seen(kind, int(packet.reason_code))


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def _packet(first: int, body: bytes) -> bytes:
    length, size = b"", len(body)
    while size > 0x7F:
        length += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return bytes((first,)) + length + bytes((size,)) + body


def _size(data: bytes) -> int:
    length = 0
    for index in range(1, min(5, len(data))):
        length |= (data[index] & 0x7F) << 7 * (index - 1)
        if data[index] < 0x80:
            return index + 1 + length
    return 0
