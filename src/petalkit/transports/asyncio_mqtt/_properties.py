"""Properties of MQTT 5, as paho wants them and as it gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..._values.messages import Properties as MessageProperties
from .._contract import ConnectOptions
from .._limits import real_limits


def empty_properties(packet_type: int) -> Any:
    """A set of properties of a kind of packet, with nothing in it."""
    return Properties(packet_type)  # type: ignore[no-untyped-call]


class Packed:
    """Properties of a PUBLISH as paho wants them, but packed once: paho does it each time."""

    __slots__ = ("_bytes",)

    def __init__(self, properties: MessageProperties) -> None:
        properties.check_sendable()
        packed = empty_properties(PacketTypes.PUBLISH)
        if properties.response_topic is not None:
            packed.ResponseTopic = properties.response_topic
        if properties.correlation_data is not None:
            packed.CorrelationData = properties.correlation_data
        if properties.message_expiry is not None:
            packed.MessageExpiryInterval = properties.message_expiry
        if properties.content_type is not None:
            packed.ContentType = properties.content_type
        if properties.user_properties:
            packed.UserProperty = list(properties.user_properties)
        self._bytes: bytes = packed.pack()

    def pack(self) -> bytes:
        return self._bytes


# paho's name of what a CONNACK may limit -> the contract's
_LIMITS = {
    "ReceiveMaximum": "receive_maximum",
    "MaximumPacketSize": "maximum_packet_size",
    "MaximumQoS": "maximum_qos",
    "RetainAvailable": "retain_available",
    "SessionExpiryInterval": "session_expiry_interval",
    "ServerKeepAlive": "server_keep_alive",
}


def read_limits(connack: Any) -> Mapping[str, int]:
    """What the properties of a CONNACK limit; see `Link.broker_limits`."""
    return real_limits({name: getattr(connack, said, None) for said, name in _LIMITS.items()})


def connect_properties(options: ConnectOptions) -> Any:
    """What CONNECT says beside the will."""
    properties = empty_properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = options.session_expiry
    properties.ReceiveMaximum = options.receive_maximum
    if options.packet_maximum:
        properties.MaximumPacketSize = options.packet_maximum
    return properties


def will_properties(options: ConnectOptions) -> Any:
    """What a will says, if anything."""
    if not options.will_delay:
        return None
    properties = empty_properties(PacketTypes.WILLMESSAGE)
    properties.WillDelayInterval = options.will_delay
    return properties
