"""PUBLISH from a client: topic, topic alias and properties -> what the core is to pass on.

The rule: what is passed on unaltered (MQTT 5.0, section 3.3.2.3) is kept as the codec takes it
again, and is nobody else's. The trap: most messages have a topic that was published on before, so
a topic that has a route is known to be valid.
"""

from __future__ import annotations

from typing import Any

import mqtt5

from ...._values.topics import TopicError, check_topic
from ..._receiving.violations import PROTOCOL_ERROR, TOPIC_ALIAS_INVALID, Violation
from ..core.bounds import Bounds
from ..core.broker import Broker
from ..core.values import QUOTA_EXCEEDED, Publication

_TOPIC_NAME_INVALID = 0x90  # MQTT 5.0, section 2.4
ALIASES_MAX = 64 * 1024  # characters of the topics of all aliases of one client


class PublishReader:
    """Reads those of one client, which has topic aliases of its own.

    Args:
        broker: knows the topics that have routes.
    """

    __slots__ = ("_aliases", "_bounds", "_broker", "_known")

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._bounds = broker.bounds
        self._known = broker.routes.known
        self._aliases: dict[int, str] = {}

    def read(self, packet: mqtt5.PublishPacket) -> Publication:
        """What it publishes.

        Raises:
            Violation: it cannot be published, or says what a client must not.
        """
        topic = packet.topic
        alias = packet.topic_alias
        if alias is not None:
            topic = self._resolve(topic, alias)
        if topic not in self._known:
            self._check_topic(topic)
        if packet.duplicate and int(packet.qos) == 0:
            raise Violation(PROTOCOL_ERROR, "DUP on a message of QoS 0")
        if packet.subscription_ids:
            raise Violation(PROTOCOL_ERROR, "a subscription identifier from a client")
        origin = property_arguments(packet)
        publication = Publication(topic, packet.payload, int(packet.qos), packet.retain, origin)
        if origin is not None:
            publication.extra = property_size(origin)
            if any(character in origin.get("response_topic", "") for character in "+#"):
                raise Violation(PROTOCOL_ERROR, "a Response Topic with a wildcard")
        expiry = packet.message_expiry_interval
        if expiry is not None:
            publication.expires_at = self._broker.clock() + expiry
        return publication

    def _resolve(self, topic: str, alias: int) -> str:
        """The topic for which an alias stands, or stands from now on (section 3.3.2.3.4)."""
        if alias > self._bounds.topic_alias_maximum:
            raise Violation(TOPIC_ALIAS_INVALID, f"topic alias {alias}")
        if topic:
            if self._aliases.get(alias) != topic:
                self._aliases[alias] = topic
                if sum(map(len, self._aliases.values())) > ALIASES_MAX:
                    raise Violation(QUOTA_EXCEEDED, "the topics of aliases are too long together")
            return topic
        try:
            return self._aliases[alias]
        except KeyError:
            raise Violation(PROTOCOL_ERROR, f"topic alias {alias} has no topic") from None

    def _check_topic(self, topic: str) -> None:
        try:
            check_topic(topic)
        except TopicError as error:
            raise Violation(_TOPIC_NAME_INVALID, str(error)) from None
        if topic.startswith("$share/"):
            raise Violation(_TOPIC_NAME_INVALID, "nothing is published on $share")
        check_levels(topic, self._bounds)


def check_levels(topic: str, bounds: Bounds) -> None:
    """Refuse a topic of more levels than are taken.

    Raises:
        Violation: it has more.
    """
    if topic.count("/") >= bounds.max_topic_levels:
        text = f"a topic has at most {bounds.max_topic_levels} levels"
        raise Violation(_TOPIC_NAME_INVALID, text)


def property_arguments(packet: mqtt5.PublishPacket | mqtt5.Will) -> dict[str, Any] | None:
    """What is passed on, by the names that the codec has for it; None for nothing."""
    found: dict[str, Any] = {}
    if packet.payload_format_indicator:
        found["payload_format_indicator"] = packet.payload_format_indicator
    if packet.content_type is not None:
        found["content_type"] = packet.content_type
    if packet.response_topic is not None:
        found["response_topic"] = packet.response_topic
    if packet.correlation_data is not None:
        found["correlation_data"] = packet.correlation_data
    if pairs := packet.user_properties:
        found["user_properties"] = pairs
    return found or None


def property_size(origin: dict[str, Any] | None) -> int:
    """Bytes that they count for."""
    if origin is None:
        return 0
    size = sum(len(value) for value in origin.values() if isinstance(value, str | bytes))
    pairs = origin.get("user_properties", ())
    return size + sum(len(name) + len(value) + 100 for name, value in pairs)
