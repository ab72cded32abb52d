"""Our own messages on their way: packet identifiers, what is in flight, and what a lost link left.

The rule (MQTT 5.0, section 4.4): a message that was not acknowledged when its connection was lost
is sent again, if the session lives on, as the same packet: its packet identifier, and DUP. Who
published it decides when: publishing the same `Message` object again is what sends it, so that an
outbox that has dropped it, or sends it alone, is not overruled by the session below it. What is not
published again before the next loss is forgotten and its identifier is free; with QoS 2 it is kept,
because the broker may hold that identifier too. A connection that no CONNACK opened does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import mqtt5

from .._errors import RejectedByBroker
from .._messages import Message, Properties
from ._contract import OnDone

Awaiting: TypeAlias = Literal["PUBACK", "PUBREC", "PUBCOMP"]

_MAX_PACKET_ID = 65_535
_TOPIC_NAME_INVALID = 0x90  # MQTT 5.0, section 2.4
_MALFORMED_PACKET = 0x81
_PACKET_TOO_LARGE = 0x95
_QUOTA_EXCEEDED = 0x97
_QUALITY = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)


PACKET_MAXIMUM = 0x0FFF_FFFF  # bytes; a little less than the Remaining Length can say


class InFlight:
    """One message with QoS 1 or 2 that has no final answer yet."""

    __slots__ = ("awaiting", "message", "on_done", "packet_id")

    def __init__(
        self, packet_id: int, message: Message, on_done: OnDone, awaiting: Awaiting
    ) -> None:
        self.packet_id = packet_id
        self.message = message
        self.on_done = on_done
        self.awaiting = awaiting


class Publishing:
    """See the module. One for each session, over all its connections."""

    def __init__(self) -> None:
        self.packet_maximum = PACKET_MAXIMUM  # of the broker, on this connection
        self._last_id = 0
        self._asked: set[int] = set()  # of SUBSCRIBE and UNSUBSCRIBE
        self._in_flight: dict[int, InFlight] = {}  # on this connection, in the order sent
        self._carried: dict[int, InFlight] = {}  # from the connection before it
        # Of the message object -> packet identifiers, the one sent first at the end.
        self._carried_ids: dict[int, list[int]] = {}

    def __len__(self) -> int:
        """Messages in flight on this connection."""
        return len(self._in_flight)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to be remembered for another connection."""
        return not (self._in_flight or self._carried)

    # -- packet identifiers

    def new_id(self) -> int:
        """The next packet identifier that is not in use (MQTT 5.0, section 2.2.1).

        Raises:
            RejectedByBroker: all of them are.
        """
        packet_id = self._last_id
        for _ in range(_MAX_PACKET_ID):
            packet_id = packet_id + 1 if packet_id < _MAX_PACKET_ID else 1
            if not (
                packet_id in self._in_flight
                or packet_id in self._carried
                or packet_id in self._asked
            ):
                self._last_id = packet_id
                return packet_id
        raise RejectedByBroker(_QUOTA_EXCEEDED, "Quota exceeded: no packet identifier is free")

    def new_question(self) -> int:
        """A packet identifier for a SUBSCRIBE or UNSUBSCRIBE; in use until `answered`."""
        packet_id = self.new_id()
        self._asked.add(packet_id)
        return packet_id

    def answered(self, packet_id: int) -> None:
        """The SUBACK or UNSUBACK came."""
        self._asked.discard(packet_id)

    # -- one message

    def write(self, message: Message, on_done: OnDone) -> bytes:
        """The PUBLISH for a message, which counts as sent; its PUBREL, if that is all it lacks.

        Raises:
            RejectedByBroker: MQTT cannot carry it, or the broker takes none as long. It does not
                count as sent.
        """
        if message.qos == 0:
            return self._fit(_write(message, None))
        if self._carried_ids and (waiting := self._carried_ids.get(id(message))):
            return self._write_again(message, on_done, waiting)
        packet_id = self.new_id()
        data = self._fit(_write(message, packet_id))
        awaiting: Awaiting = "PUBACK" if message.qos == 1 else "PUBREC"
        self._in_flight[packet_id] = InFlight(packet_id, message, on_done, awaiting)
        return data

    def _write_again(self, message: Message, on_done: OnDone, waiting: list[int]) -> bytes:
        packet_id = waiting[-1]
        found = self._carried[packet_id]
        if found.awaiting == "PUBCOMP":
            data = mqtt5.PubRelPacket(packet_id).write()
        else:
            data = self._fit(_write(message, packet_id, duplicate=True))
        found.on_done = on_done
        self._in_flight[waiting.pop()] = self._carried.pop(packet_id)
        return data

    def _fit(self, data: bytes) -> bytes:
        if len(data) > self.packet_maximum:
            raise _too_large(len(data), self.packet_maximum)
        return data

    def find(self, packet_id: int) -> InFlight | None:
        """The message in flight with that identifier."""
        return self._in_flight.get(packet_id)

    def take(self, packet_id: int) -> InFlight | None:
        """The same, and it is in flight no more."""
        return self._in_flight.pop(packet_id, None)

    # -- between connections

    def lose_connection(self) -> Sequence[OnDone]:
        """Keep what is in flight for the next one; who is to be told, in the order sent."""
        lost = self._in_flight
        stays = {key: old for key, old in self._carried.items() if old.message.qos == 2}
        self._carried = {**stays, **lost}
        self._carried_ids = {}
        for one in reversed(self._carried.values()):
            self._carried_ids.setdefault(id(one.message), []).append(one.packet_id)
        self._in_flight = {}
        self._asked.clear()
        return [one.on_done for one in lost.values()]

    def forget_session(self) -> None:
        """The broker knows nothing of what was in flight."""
        self._carried.clear()
        self._carried_ids.clear()


def _write(message: Message, packet_id: int | None, *, duplicate: bool = False) -> bytes:
    topic = message.topic
    if "\0" in topic:  # the codec lets it pass; MQTT 5.0, section 1.5.4
        raise RejectedByBroker(_TOPIC_NAME_INVALID, "Topic Name invalid: it holds U+0000")
    if len(message.payload) >= PACKET_MAXIMUM:  # from somewhere above on the codec panics
        raise _too_large(len(message.payload), PACKET_MAXIMUM)
    properties = message.properties
    if properties is not None:
        _check_texts(properties)
    try:
        if properties is None:
            packet = mqtt5.PublishPacket(
                topic,
                message.payload,
                qos=_QUALITY[message.qos],
                retain=message.retain,
                packet_id=packet_id,
                duplicate=duplicate,
            )
        else:
            packet = mqtt5.PublishPacket(
                topic,
                message.payload,
                qos=_QUALITY[message.qos],
                retain=message.retain,
                packet_id=packet_id,
                duplicate=duplicate,
                message_expiry_interval=properties.message_expiry,
                content_type=properties.content_type,
                response_topic=properties.response_topic,
                correlation_data=properties.correlation_data,
                user_properties=list(properties.user_properties),
            )
        return packet.write()
    except (ValueError, OverflowError) as error:
        raise RejectedByBroker(_TOPIC_NAME_INVALID, f"cannot be sent: {error}") from None


def _check_texts(properties: Properties) -> None:
    """What the codec lets pass, and a broker may end the connection for; each time it is sent."""
    if properties.response_topic == "":  # section 4.7.3
        raise RejectedByBroker(_TOPIC_NAME_INVALID, "Topic Name invalid: an empty response topic")
    texts = [properties.response_topic or "", properties.content_type or ""]
    texts.extend(text for pair in properties.user_properties for text in pair)
    if any("\0" in text for text in texts):  # section 1.5.4
        raise RejectedByBroker(_MALFORMED_PACKET, "a property holds U+0000")


def _too_large(size: int, maximum: int) -> RejectedByBroker:
    text = f"Packet too large ({size} bytes; the broker takes {maximum})"
    return RejectedByBroker(_PACKET_TOO_LARGE, text)
