"""What the tests of the MQTT 5 session share: the broker's half, as bytes."""

from __future__ import annotations

from typing import Any

import mqtt5

from petalkit import TransportError
from petalkit.transports import ConnectOptions
from petalkit.transports.native._events import Event
from petalkit.transports.native._session import ClientSession

PACKET_MAXIMUM = 1000

QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)


def done(error: TransportError | None) -> None:
    raise AssertionError("the session calls nobody")


def connack(**fields: Any) -> bytes:
    return mqtt5.ConnAckPacket(**fields).write()


def session_up(session: ClientSession | None = None, **fields: Any) -> ClientSession:
    """Connected; `fields` are those of CONNACK, and `receive_maximum` of ours."""
    session = session or ClientSession()
    options = ConnectOptions(client_id="c", receive_maximum=fields.pop("receive_maximum", 100))
    session.connect(options, packet_limit=PACKET_MAXIMUM)
    session.data_to_send()
    session.receive_data(connack(**fields))
    assert session.state == "connected"
    return session


def feed(session: ClientSession, *packets: mqtt5.Packet) -> list[Event]:
    return session.receive_data(b"".join(packet.write() for packet in packets))


def incoming(
    payload: bytes, packet_id: int | None = None, qos: int = 1, *, topic: str = "t", **fields: Any
) -> mqtt5.PublishPacket:
    """A PUBLISH to us; without a packet identifier, of QoS 0."""
    quality = QOS[0 if packet_id is None else qos]
    return mqtt5.PublishPacket(topic, payload, qos=quality, packet_id=packet_id, **fields)


def wrote(session: ClientSession) -> list[Any]:
    """The packets that are to be sent now."""
    view = memoryview(session.data_to_send())
    packets: list[Any] = []
    while view:
        packet, size = mqtt5.read(view)
        packets.append(packet)
        view = view[size:]
    return packets


def ids_of(session: ClientSession) -> list[int]:
    """The identifiers of the packets that are to be sent now."""
    return [packet.packet_id for packet in wrote(session)]


def publish_of(packet: object) -> mqtt5.PublishPacket:
    assert isinstance(packet, mqtt5.PublishPacket)
    return packet
