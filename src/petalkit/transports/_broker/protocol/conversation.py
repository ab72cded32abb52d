"""What each packet of a connected client does; everything after its CONNECT.

The rule: QoS 1 and 2 are acknowledged when the core has the message, in the order in which they
came (MQTT 5.0, section 4.6); a message of QoS 2 is passed on when it comes, and its identifier is
kept until it is released (section 4.3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mqtt5

from ...._values.topics import TopicError, TopicFilter
from ..._receiving.violations import PROTOCOL_ERROR, Violation
from ..codec.choice import Codec
from ..codec.header import PINGRESP_PACKET, PUBACK, PUBCOMP, PUBREC, PUBREL
from ..core.broker import Broker
from ..core.session import Session
from ..core.values import FAILURE, QUOTA_EXCEEDED, SUCCESS, TOPIC_FILTER_INVALID, Subscription
from .output import Output
from .publishing import PublishReader

_PACKET_ID_NOT_FOUND = 0x92  # MQTT 5.0, section 2.4
_RECEIVE_MAXIMUM_EXCEEDED = 0x93
FILTERS_MAX = 1000  # in one packet; or as many as a client may have, if that is more


class Conversation:
    """See the module.

    Args:
        broker: the core.
        codec: of the version that the client speaks.
        session: its own.
        output: what is to be sent.

    Attributes:
        over: the client has said that it leaves.
        keeps_will: and that its will is to be published.
        owed: subscriptions that are to get retained messages, before the next packet is taken.
    """

    __slots__ = (
        "_broker",
        "_codec",
        "_output",
        "_reader",
        "_session",
        "_v5",
        "keeps_will",
        "over",
        "owed",
    )

    def __init__(self, broker: Broker, codec: Codec, session: Session, output: Output) -> None:
        self._broker = broker
        self._codec = codec
        self._session = session
        self._output = output
        self._reader = PublishReader(broker)
        self._v5 = codec.name == "5"
        self.over = self.keeps_will = False
        self.owed: list[Subscription] = []

    def take(self, packet: mqtt5.Packet) -> None:
        """Do what a packet asks for.

        Raises:
            Violation: it may not ask for that.
        """
        handler = _HANDLERS.get(type(packet))
        if handler is None:
            raise Violation(PROTOCOL_ERROR, f"{type(packet).__name__} from a client")
        handler(self, packet)

    def go_on(self) -> None:
        """Do a part of what is owed: there may be many filters, and many retained messages."""
        self._broker.send_retained(self._session, [self.owed.pop(0)])

    def _ack(self, kind: int, packet_id: int, reason_code: int = 0) -> None:
        self._output.write(self._codec.ack(kind, packet_id, reason_code))

    # -- messages from the client

    def _on_publish(self, packet: mqtt5.PublishPacket) -> None:
        publication = self._reader.read(packet)
        qos = publication.qos
        session = self._session
        if qos == 0:
            self._broker.publish(publication, session)
            return
        packet_id = packet.packet_id
        if not packet_id:
            raise Violation(PROTOCOL_ERROR, "a PUBLISH with packet identifier 0")
        if qos == 1:
            self._ack(PUBACK, packet_id, self._broker.publish(publication, session))
            return
        if packet_id in session.received:
            self._ack(PUBREC, packet_id)  # again, and passed on already
            return
        if len(session.received) >= self._broker.bounds.receive_maximum:
            raise Violation(_RECEIVE_MAXIMUM_EXCEEDED, "more than the Receive Maximum in flight")
        code = self._broker.publish(publication, session)
        if code < FAILURE or not self._v5:
            session.keep_received(packet_id)
        self._ack(PUBREC, packet_id, code)

    def _on_pubrel(self, packet: mqtt5.PubRelPacket) -> None:
        known = self._session.release(packet.packet_id)
        self._ack(PUBCOMP, packet.packet_id, 0 if known else _PACKET_ID_NOT_FOUND)

    # -- acknowledgements of messages to it

    def _on_puback(self, packet: mqtt5.PubAckPacket) -> None:
        if not self._session.acknowledge(packet.packet_id):
            raise Violation(PROTOCOL_ERROR, "PUBACK for a message of QoS 2")

    def _on_pubrec(self, packet: mqtt5.PubRecPacket) -> None:
        packet_id = packet.packet_id
        found = self._session.receive(packet_id)
        if found is False:
            raise Violation(PROTOCOL_ERROR, "PUBREC for a message of QoS 1")
        if int(packet.reason_code) >= FAILURE:
            self._session.finish(packet_id)  # the last word: section 4.3.3
        else:
            self._ack(PUBREL, packet_id, 0 if found else _PACKET_ID_NOT_FOUND)

    def _on_pubcomp(self, packet: mqtt5.PubCompPacket) -> None:
        self._session.finish(packet.packet_id)

    # -- subscriptions

    def _on_subscribe(self, packet: mqtt5.SubscribePacket) -> None:
        if not packet.topic_filters:
            raise Violation(PROTOCOL_ERROR, "a SUBSCRIBE without a filter")
        self._check(packet.packet_id, len(packet.topic_filters))
        asked = [_subscription(one, packet.subscription_id) for one in packet.topic_filters]
        codes, wanted = self._broker.subscribe(self._session, asked)
        self._output.write(self._codec.suback(packet.packet_id, codes))
        self.owed += wanted

    def _check(self, packet_id: int, filters: int) -> None:
        """The identifier says something (section 2.2.1), and it is not too much for one go."""
        if not packet_id:
            raise Violation(PROTOCOL_ERROR, "packet identifier 0")
        if filters > max(self._broker.bounds.max_subscriptions, FILTERS_MAX):
            raise Violation(QUOTA_EXCEEDED, f"{filters} filters in one packet")

    def _on_unsubscribe(self, packet: mqtt5.UnsubscribePacket) -> None:
        if not packet.patterns:
            raise Violation(PROTOCOL_ERROR, "an UNSUBSCRIBE without a filter")
        self._check(packet.packet_id, len(packet.patterns))
        filters = [_filter(one) for one in packet.patterns]
        codes = self._broker.unsubscribe(self._session, filters)
        self._output.write(self._codec.unsuback(packet.packet_id, codes))

    # -- life

    def _on_ping(self, _: mqtt5.PingReqPacket) -> None:
        self._output.write(PINGRESP_PACKET)

    def _on_disconnect(self, packet: mqtt5.DisconnectPacket) -> None:
        session = self._session
        expiry = packet.session_expiry_interval
        if expiry is not None:
            if expiry and not session.lifetime:  # MQTT 5.0, section 3.14.2.2.2
                raise Violation(PROTOCOL_ERROR, "a session expiry where none was asked for")
            session.lifetime = min(expiry, self._broker.bounds.max_session_expiry)
        self.over = True
        self.keeps_will = int(packet.reason_code) != SUCCESS  # section 3.14.4


def _filter(text: str) -> TopicFilter:
    try:
        return TopicFilter(text)
    except TopicError as error:
        raise Violation(TOPIC_FILTER_INVALID, str(error)) from None


def _subscription(asked: mqtt5.TopicFilter, identifier: int | None) -> Subscription:
    topic_filter = _filter(asked.pattern)
    if topic_filter.share is not None and asked.no_local:  # MQTT 5.0, section 3.8.3.1
        raise Violation(PROTOCOL_ERROR, "a shared subscription with no local")
    return Subscription(
        topic_filter,
        int(asked.max_qos),
        no_local=asked.no_local,
        retain_as_published=asked.retain_as_published,
        retain_handling=int(asked.retain_handling),
        identifier=identifier or 0,
    )


_HANDLERS: dict[type, Callable[[Conversation, Any], None]] = {
    mqtt5.PublishPacket: Conversation._on_publish,
    mqtt5.PubAckPacket: Conversation._on_puback,
    mqtt5.PubRecPacket: Conversation._on_pubrec,
    mqtt5.PubRelPacket: Conversation._on_pubrel,
    mqtt5.PubCompPacket: Conversation._on_pubcomp,
    mqtt5.SubscribePacket: Conversation._on_subscribe,
    mqtt5.UnsubscribePacket: Conversation._on_unsubscribe,
    mqtt5.PingReqPacket: Conversation._on_ping,
    mqtt5.DisconnectPacket: Conversation._on_disconnect,
}
