"""Messages to us, as the codec has read them: packets -> deliveries. See `_receiving`."""

from __future__ import annotations

import mqtt5

from ..._values.messages import Properties
from .._delivery import Delivery
from .._receiving.publish_reader import Publish, format_fault
from .._receiving.receiving import Receiving
from .._receiving.violations import PROTOCOL_ERROR, Violation

_EXACTLY_ONCE = mqtt5.QoS.EXACTLY_ONCE


class Mqtt5Receiving(Receiving):
    """`Receiving`, with the codec's packets."""

    def on_publish(self, packet: mqtt5.PublishPacket) -> Delivery | None:
        """The delivery that a PUBLISH makes; None for a copy.

        Raises:
            Violation: see `Receiving.take`.
        """
        if packet.payload_format_indicator > 1:  # which the codec takes for one
            return self.take(_faulty(packet))
        topic = packet.topic
        alias = packet.topic_alias
        if alias is not None:
            topic = self.resolve(topic, alias)
        # One string for all of a topic: thousands of deliveries may be waiting.
        if topic == self._topic:
            topic = self._topic
        else:
            self._topic = topic
        packet_id = packet.packet_id  # with QoS 1 and 2 only
        window = None
        qos = 0
        turn = 0
        if packet_id is not None:
            turn = self.turn(packet_id, exactly_once=packet.qos == _EXACTLY_ONCE)
            if not turn:
                return None
            window = self.window
            qos = 1
        return Delivery(
            topic,
            packet.payload,
            qos=qos,
            retain=packet.retain,
            dup=packet.duplicate,
            window=window,
            packet_id=turn,
            properties=_properties(packet),
        )

    def on_pubrel_packet(self, packet: mqtt5.PubRelPacket) -> None:
        """See `Receiving.on_pubrel`."""
        self.on_pubrel(packet.packet_id)


def _faulty(packet: mqtt5.PublishPacket) -> Publish:
    if packet.packet_id == 0:
        raise Violation(PROTOCOL_ERROR, "a PUBLISH with packet identifier 0")
    return Publish(
        packet.topic,
        b"",
        0 if packet.packet_id is None else 2 if packet.qos == _EXACTLY_ONCE else 1,
        packet.retain,
        packet.duplicate,
        packet.packet_id or 0,
        topic_alias=packet.topic_alias or 0,
        fault=format_fault(packet.payload_format_indicator),
    )


def _properties(packet: mqtt5.PublishPacket) -> Properties | None:
    response_topic = packet.response_topic
    correlation_data = packet.correlation_data
    expiry = packet.message_expiry_interval
    content_type = packet.content_type
    user = packet.user_properties
    if (
        response_topic is None
        and correlation_data is None
        and expiry is None
        and content_type is None
        and not user
    ):
        return None
    return Properties(
        response_topic=response_topic,
        correlation_data=correlation_data,
        message_expiry=expiry,
        content_type=content_type,
        user_properties=tuple(user),
    )
