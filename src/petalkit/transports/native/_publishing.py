"""Our own messages on their way: packet identifiers, what is in flight, and what a lost link left.

The rule (MQTT 5.0, section 4.4): a message that was not acknowledged when its connection was lost
is sent again, if the session lives on, as the same packet: its packet identifier, and DUP. Who
published it decides when: publishing it again (the same payload object, on the same topic, with the
same QoS) is what sends it, so that an outbox that has dropped it, or sends it alone, is not
overruled by the session below it. What is not published again before the next loss is forgotten
and its identifier is free; with QoS 2 it is kept, because the broker may hold that identifier too.
A connection that no CONNACK opened does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import mqtt5
import msgspec

from ..._values.errors import RejectedByBroker
from ..._values.messages import Message
from .._contract import OnDone
from .._reason_codes import FAILURE
from .._receiving.violations import PROTOCOL_ERROR, Violation
from ._encoding import Encoder
from ._events import Published
from ._reasons import reason_text

Awaiting: TypeAlias = Literal["PUBACK", "PUBREC", "PUBCOMP"]

_MAX_PACKET_ID = 65_535
_QUOTA_EXCEEDED = 0x97


class WindowFull(RuntimeError):
    """As many of our messages are in flight as the broker takes."""

    def __init__(self) -> None:
        super().__init__("as many messages are in flight as the broker takes")


class InFlight(msgspec.Struct, eq=False):
    """One message with QoS 1 or 2 that has no final answer yet."""

    packet_id: int
    message: Message
    on_done: OnDone
    awaiting: Awaiting


class Publishing:
    """See the module. One for each session, over all its connections.

    Args:
        outgoing: where PUBREL is written.

    Attributes:
        maximum: how many messages may be in flight on this connection.
        check_size: see `Encoder.check_size`.
    """

    def __init__(self, outgoing: bytearray) -> None:
        self._outgoing = outgoing
        self.maximum = 0
        self._encoder = Encoder()
        self.check_size = self._encoder.check_size
        self._last_id = _MAX_PACKET_ID
        self._asked: set[int] = set()  # of SUBSCRIBE and UNSUBSCRIBE
        self._in_flight: dict[int, InFlight] = {}  # on this connection, in the order sent
        self._carried: dict[int, InFlight] = {}  # from the connection before it
        # Of the message -> packet identifiers, the one sent first at the end.
        self._carried_ids: dict[tuple[str, int, int], list[int]] = {}

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
        last = packet_id = self._last_id
        while True:
            packet_id = packet_id % _MAX_PACKET_ID + 1
            if not (
                packet_id in self._in_flight
                or packet_id in self._carried
                or packet_id in self._asked
            ):
                self._last_id = packet_id
                return packet_id
            if packet_id == last:
                text = "Quota exceeded: no packet identifier is free"
                raise RejectedByBroker(_QUOTA_EXCEEDED, text)

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
            WindowFull: as many are in flight as the broker takes.
            RejectedByBroker: MQTT cannot carry it, or the broker takes none like it. It does not
                count as sent.
        """
        qos = message.qos
        if qos and len(self._in_flight) >= self.maximum:
            raise WindowFull
        self._encoder.check(message)
        if not qos:
            return self._encoder.encode(message, None)
        if self._carried_ids and (waiting := self._carried_ids.get(_key(message))):
            return self._write_again(message, on_done, waiting)
        packet_id = self.new_id()
        data = self._encoder.encode(message, packet_id)
        awaiting: Awaiting = "PUBACK" if qos == 1 else "PUBREC"
        self._in_flight[packet_id] = InFlight(packet_id, message, on_done, awaiting)
        return data

    def _write_again(self, message: Message, on_done: OnDone, waiting: list[int]) -> bytes:
        packet_id = waiting[-1]
        found = self._carried[packet_id]
        if found.awaiting == "PUBCOMP":
            data = mqtt5.PubRelPacket(packet_id).write()
        else:
            data = self._encoder.encode(message, packet_id, duplicate=True)
        found.message = message
        found.on_done = on_done
        self._in_flight[waiting.pop()] = self._carried.pop(packet_id)
        return data

    # -- answers

    def on_puback(self, packet: mqtt5.PubAckPacket) -> Published | None:
        """The final answer to a message of QoS 1.

        Raises:
            Violation: its QoS was 2.
        """
        packet_id = packet.packet_id
        found = self._in_flight.get(packet_id)
        if found is None:
            return None  # of a message that was given up with an earlier connection
        if found.awaiting != "PUBACK":
            raise Violation(PROTOCOL_ERROR, "PUBACK for a message of QoS 2")
        del self._in_flight[packet_id]
        return _published(found, packet)

    def on_pubrec(self, packet: mqtt5.PubRecPacket) -> Published | None:
        """The broker has a message of QoS 2; or refuses it, which is final.

        Raises:
            Violation: its QoS was 1.
        """
        packet_id = packet.packet_id
        found = self._in_flight.get(packet_id)
        refused = int(packet.reason_code) >= FAILURE
        if found is None:
            if not refused:  # one that refuses is the last word: section 4.3.3
                code = mqtt5.PubRelReasonCode.PACKET_ID_NOT_FOUND
                self._outgoing += mqtt5.PubRelPacket(packet_id, reason_code=code).write()
            return None
        if found.awaiting == "PUBACK":
            raise Violation(PROTOCOL_ERROR, "PUBREC for a message of QoS 1")
        if refused:
            del self._in_flight[packet_id]
            return _published(found, packet)
        found.awaiting = "PUBCOMP"
        self._outgoing += mqtt5.PubRelPacket(packet_id).write()
        return None

    def on_pubcomp(self, packet: mqtt5.PubCompPacket) -> Published | None:
        """The final answer to a message of QoS 2.

        Raises:
            Violation: another was due.
        """
        found = self._in_flight.get(packet.packet_id)
        if found is None:
            return None
        if found.awaiting != "PUBCOMP":
            raise Violation(PROTOCOL_ERROR, f"PUBCOMP where {found.awaiting} was due")
        del self._in_flight[packet.packet_id]
        # Also with "packet identifier not found": the broker has it no more, and had it once.
        return Published(found.on_done, 0, "")

    # -- connections

    def connected(self, packet: mqtt5.ConnAckPacket, maximum: int) -> None:
        """What the broker's CONNACK allows us (MQTT 5.0, section 3.2.2.3).

        Args:
            packet: the CONNACK.
            maximum: in flight, as we want it.
        """
        self.maximum = min(maximum, packet.receive_max)
        self._encoder.accept_limits(packet)

    def lose_connection(self) -> Sequence[OnDone]:
        """Keep what is in flight for the next one; who is to be told, in the order sent."""
        lost = self._in_flight
        stays = {key: old for key, old in self._carried.items() if old.message.qos == 2}
        self._carried = {**stays, **lost}
        self._carried_ids = {}
        for one in reversed(self._carried.values()):
            self._carried_ids.setdefault(_key(one.message), []).append(one.packet_id)
        self._in_flight = {}
        self._asked.clear()
        return [one.on_done for one in lost.values()]

    def forget_session(self) -> None:
        """The broker knows nothing of what was in flight."""
        self._carried.clear()
        self._carried_ids.clear()


def _key(message: Message) -> tuple[str, int, int]:
    """What makes a message the same one: its expiry is counted down while it waits."""
    payload = message.payload
    # Python has one object for each of the shortest.
    return message.topic, message.qos, id(payload if len(payload) > 1 else message)


def _published(message: InFlight, packet: mqtt5.PubAckPacket | mqtt5.PubRecPacket) -> Published:
    code = int(packet.reason_code)
    return Published(message.on_done, code, reason_text(packet) if code >= FAILURE else "")
