"""What is owed for messages to us, over all connections of one client ID. No library, no I/O.

The rules: an acknowledgement leaves when its delivery was acknowledged, in order of arrival, and
never for a delivery of an earlier connection.

QoS 2 (which we never subscribe to, but a session made by another program may hold): delivered at
the PUBLISH, and the PUBREC is its acknowledgement; from there on the packet identifier is
remembered, over connections, until its PUBREL: a copy that comes meanwhile is not delivered, and
PUBREL is always answered by PUBCOMP. The trap: the quota of the Receive Maximum starts anew with
each connection (MQTT 5.0, section 4.9), so a PUBREL that is still to come from an earlier one
takes no place in it.

What cannot be read (`Fault`): the first such message ends its connection, as MQTT 5.0, section
4.13 and MQTT 3.1.1, section 4.8 have it. From then on each is refused alone: delivered with its
fault, to be counted and acknowledged, with a reason code where there is one. Were it not, one
message of one sender would end every connection of the session for as long as the broker keeps it:
it comes first each time. Not known again by its packet identifier, because there are brokers that
deliver it with another one. What is only too large breaks no rule, and ends no connection.
"""

from __future__ import annotations

from collections.abc import Callable

from .._delivery import AckWindow, Delivery
from .publish_reader import Publish
from .violations import PROTOCOL_ERROR, TOPIC_ALIAS_INVALID, Violation

_RECEIVE_MAXIMUM_EXCEEDED = 0x93  # MQTT 5.0, section 2.4
_FAILURE = 0x80
_PACKET_ID_NOT_FOUND = 0x92  # MQTT 5.0, section 3.7.2.1

# What an acknowledgement says, in the number that the window keeps of a delivery.
_PACKET_ID = 0xFFFF
_PUBREC_DUE = 0x1_0000
_REASON = 20  # bits below the reason code

# Packets with nothing but a packet identifier, and with a reason code behind it.
_PUBACK, _PUBREC, _PUBCOMP = b"\x40\x02", b"\x50\x02", b"\x70\x02"
_PUBACK_WITH_CODE, _PUBREC_WITH_CODE, _PUBCOMP_WITH_CODE = b"\x40\x03", b"\x50\x03", b"\x70\x03"


def nobody() -> None:
    """Who asks for output need not be told of it."""


class Receiving:
    """See the module. One for each client ID; used by one connection at a time.

    Args:
        v5: whether acknowledgements have reason codes.
        strict: whether more messages than the Receive Maximum allows are a violation.

    Attributes:
        alias_maximum: of topic aliases that the broker may use on the next connection; set it
            before `connect`.
        window: deliveries of this connection that are not acknowledged.
        lenient: whether a message that cannot be read is refused alone.
        aliases_failed: whether a broker has used an alias that it had not defined. Brokers do that
            which define it in a message that they then do not send; so we allow none any more.
    """

    def __init__(self, *, v5: bool = True, strict: bool = False) -> None:
        self._v5 = v5
        self._strict = strict
        self._received: set[int] = set()  # QoS 2: PUBREC sent, PUBREL to come
        self._topic = ""  # the last one
        self.lenient = False
        self.aliases_failed = False
        self.alias_maximum = 0
        self.connect(bytearray(), 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to be remembered for another connection."""
        return not (self._received or self.lenient or self.aliases_failed)

    def connect(
        self, outgoing: bytearray, receive_maximum: int, on_output: Callable[[], None] = nobody
    ) -> None:
        """A connection begins.

        Args:
            outgoing: where acknowledgements are written.
            receive_maximum: see `ConnectOptions`.
            on_output: called when acknowledgements may leave.
        """
        self._outgoing = outgoing
        self._receive_maximum = receive_maximum
        self.window = AckWindow(on_output)
        self._owed: set[int] = set()  # delivered with QoS 2, PUBREC owed
        self._unreleased: set[int] = set()  # those of `_received` that came on this connection
        self._aliases: dict[int, str] = {}

    def lose_connection(self) -> None:
        """It ends: what is owed on it is owed no more, and comes again."""
        for turn in self.window.drain():
            if turn & _PUBREC_DUE and not turn >> _REASON:
                self._received.add(turn & _PACKET_ID)  # whoever acknowledged it has dealt with it
        self.window.close()

    def forget_session(self) -> None:
        """The broker knows nothing of what it had sent."""
        self._received.clear()

    # -- messages

    def take(self, publish: Publish) -> Delivery | None:
        """The delivery that a PUBLISH makes; None for a copy.

        Raises:
            Violation: it cannot be read, and is the first; or its alias or its packet identifier
                is wrong, or there are too many.
        """
        fault = publish.fault
        if fault is not None and not fault.too_large and not self.lenient:
            self.lenient = True
            text = f"{fault.text}; the next message like that is refused alone"
            raise Violation(fault.reason_code, text)
        topic = publish.topic
        if publish.topic_alias and (fault is None or self._may_resolve(publish)):
            topic = self.resolve(topic, publish.topic_alias)
        turn = 0
        if publish.packet_id:
            turn = self.turn(publish.packet_id, exactly_once=publish.qos == 2)
            if not turn:
                return None
            if fault is not None:
                turn |= fault.answer << _REASON
        return Delivery(
            self.same_topic(topic),
            publish.payload if fault is None else b"",
            qos=min(publish.qos, 1),
            retain=publish.retain,
            dup=publish.dup,
            window=self.window if turn else None,
            packet_id=turn,
            properties=publish.properties,
            fault=fault,
        )

    def same_topic(self, topic: str) -> str:
        """One string for all of a topic: thousands of deliveries may be waiting."""
        if topic != self._topic:
            self._topic = topic
        return self._topic

    def turn(self, packet_id: int, *, exactly_once: bool) -> int:
        """The number of a delivery for the window; 0 for a copy, which is none.

        Raises:
            Violation: of the packet identifier, or the Receive Maximum.
        """
        if packet_id == 0:
            raise Violation(PROTOCOL_ERROR, "a PUBLISH with packet identifier 0")
        if exactly_once and self._is_copy(packet_id):
            return 0
        if self._strict and len(self.window) + len(self._unreleased) >= self._receive_maximum:
            text = f"more than {self._receive_maximum} unacknowledged messages"
            raise Violation(_RECEIVE_MAXIMUM_EXCEEDED, text)
        if exactly_once:
            self._owed.add(packet_id)
            return packet_id | _PUBREC_DUE
        return packet_id

    def _is_copy(self, packet_id: int) -> bool:
        if packet_id in self._received:  # PUBREC was lost, or is on its way
            self._write(_PUBREC, packet_id)
            return True
        return packet_id in self._owed  # PUBREC leaves when the first is acknowledged

    def _may_resolve(self, publish: Publish) -> bool:
        """Whether the alias of a message that is refused can be taken: no more is to fail."""
        alias = publish.topic_alias
        return alias <= self.alias_maximum and bool(publish.topic or alias in self._aliases)

    def resolve(self, topic: str, alias: int) -> str:
        """Topic aliases: MQTT 5.0, section 3.3.2.3.4.

        Raises:
            Violation: it was not allowed, or has no topic.
        """
        if alias > self.alias_maximum:
            self.aliases_failed = True
            raise Violation(TOPIC_ALIAS_INVALID, f"topic alias {alias} was not allowed")
        if topic:
            self._aliases[alias] = topic
            return topic
        try:
            return self._aliases[alias]
        except KeyError:
            self.aliases_failed = True
            raise Violation(PROTOCOL_ERROR, f"topic alias {alias} has no topic") from None

    # -- acknowledgements

    def write_acknowledgements(self) -> None:
        """Write those whose turn has come, in order."""
        outgoing = self._outgoing
        for turn in self.window.take_ready():
            if turn <= _PACKET_ID:
                outgoing += _PUBACK
                outgoing += turn.to_bytes(2)
            else:
                self._write_other(turn & _PACKET_ID, turn)

    def _write_other(self, packet_id: int, turn: int) -> None:
        code = turn >> _REASON
        if not turn & _PUBREC_DUE:
            self._write(_PUBACK_WITH_CODE, packet_id, code)
            return
        self._owed.discard(packet_id)
        if code < _FAILURE or not self._v5:  # else it is free again: section 4.3.3
            self._received.add(packet_id)
            self._unreleased.add(packet_id)
        self._write(_PUBREC_WITH_CODE if code else _PUBREC, packet_id, code)

    def on_pubrel(self, packet_id: int) -> None:
        """The identifier is free again; also one that is not known gets its PUBCOMP."""
        known = packet_id in self._received
        self._received.discard(packet_id)
        self._unreleased.discard(packet_id)
        if known:
            self._write(_PUBCOMP, packet_id)
        else:
            self._write(_PUBCOMP_WITH_CODE, packet_id, _PACKET_ID_NOT_FOUND)

    def _write(self, head: bytes, packet_id: int, code: int = 0) -> None:
        """With its reason code where there is one to say, and MQTT has one."""
        outgoing = self._outgoing
        if code and self._v5:
            outgoing += head + packet_id.to_bytes(2) + bytes([code])
        else:
            outgoing += bytes([head[0], 2]) + packet_id.to_bytes(2)
