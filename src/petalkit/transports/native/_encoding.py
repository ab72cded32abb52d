"""Messages of ours -> PUBLISH packets, as far as MQTT and the broker take them.

The rule: what the broker has said that it does not take is not sent, since it ends the connection
for it; and what the codec lets pass and MQTT does not is found here. The trap: most messages have
the topic and the properties of the one before, so both are checked once.
"""

from __future__ import annotations

from typing import Any

import mqtt5

from ..._values.errors import RejectedByBroker
from ..._values.messages import Message, Properties
from .._receiving.violations import MALFORMED_PACKET, PACKET_TOO_LARGE

# Bytes: half of what MQTT can say, so that topic and properties do not make the codec panic.
PACKET_MAXIMUM = 0x0800_0000
_TOPIC_NAME_INVALID = 0x90  # MQTT 5.0, section 2.4
_RETAIN_NOT_SUPPORTED = 0x9A
_QOS_NOT_SUPPORTED = 0x9B
_QUALITY = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)


class Encoder:
    """See the module. One for each session."""

    def __init__(self) -> None:
        self._packet_maximum = PACKET_MAXIMUM
        self._qos_maximum = 2
        self._retain_available = True
        # The last ones that were found to be good: mostly those of the next message too.
        self._topic = ""
        self._properties: Properties | None = None
        self._property_arguments: dict[str, Any] = {}

    def accept_limits(self, packet: mqtt5.ConnAckPacket) -> None:
        """What the broker's CONNACK allows us (MQTT 5.0, section 3.2.2.3)."""
        self._packet_maximum = min(packet.max_packet_size or PACKET_MAXIMUM, PACKET_MAXIMUM)
        self._qos_maximum = int(packet.max_qos)
        self._retain_available = packet.retain_available

    def check(self, message: Message) -> None:
        """Whether the broker takes a message like this, whatever its size.

        Raises:
            RejectedByBroker: it does not, or MQTT has no such topic.
        """
        if message.qos > self._qos_maximum:
            raise RejectedByBroker(_QOS_NOT_SUPPORTED, f"QoS not supported: {message.qos}")
        if message.retain and not self._retain_available:
            raise RejectedByBroker(_RETAIN_NOT_SUPPORTED, "Retain not supported")
        if message.topic is not self._topic:
            self._check_topic(message.topic)

    def check_size(self, packet: bytes) -> None:
        """Whether the broker takes a packet as long (MQTT 5.0, section 3.2.2.3.6).

        Raises:
            RejectedByBroker: it does not.
        """
        if len(packet) > self._packet_maximum:
            raise _too_large(len(packet), self._packet_maximum)

    def _check_topic(self, topic: str) -> None:
        if "\0" in topic:  # the codec lets it pass; MQTT 5.0, section 1.5.4
            raise RejectedByBroker(_TOPIC_NAME_INVALID, "Topic Name invalid: it holds U+0000")
        self._topic = topic

    def encode(self, message: Message, packet_id: int | None, *, duplicate: bool = False) -> bytes:
        """The PUBLISH for a message that was checked.

        Raises:
            RejectedByBroker: MQTT cannot carry it, or it is too long.
        """
        payload = message.payload
        if len(payload) > self._packet_maximum:  # do not even try
            raise _too_large(len(payload), self._packet_maximum)
        if message.properties is not self._properties:
            self._property_arguments = _arguments(message.properties)
            self._properties = message.properties
        try:
            data = mqtt5.PublishPacket(
                message.topic,
                payload,
                qos=_QUALITY[message.qos],
                retain=message.retain,
                packet_id=packet_id,
                duplicate=duplicate,
                **self._property_arguments,
            ).write()
        except (ValueError, OverflowError) as error:
            raise RejectedByBroker(_TOPIC_NAME_INVALID, f"cannot be sent: {error}") from None
        self.check_size(data)
        return data


def _arguments(properties: Properties | None) -> dict[str, Any]:
    """Properties as the codec takes them."""
    if properties is None:
        return {}
    _check_texts(properties)
    arguments = {
        "message_expiry_interval": properties.message_expiry,
        "content_type": properties.content_type,
        "response_topic": properties.response_topic,
        "correlation_data": properties.correlation_data,
        "user_properties": list(properties.user_properties) or None,
    }
    return {name: value for name, value in arguments.items() if value is not None}


def _check_texts(properties: Properties) -> None:
    """What the codec lets pass, and a broker may end the connection for; each time it is sent."""
    try:
        properties.check_sendable()
    except ValueError as error:
        raise RejectedByBroker(MALFORMED_PACKET, f"cannot be sent: {error}") from None


def _too_large(size: int, maximum: int) -> RejectedByBroker:
    text = f"Packet too large ({size} bytes; the broker takes {maximum})"
    return RejectedByBroker(PACKET_TOO_LARGE, text)
