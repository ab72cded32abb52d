"""paho's client over a `Wire`: what it reads by itself, and what we read instead.

The rules: whatever it reports, it reports synchronously (`Events`), from inside `loop_read` or
`loop_write`. The traps: its own reading of a PUBLISH raises for what a sender can have written; and
a reason code that it does not know counts as a malformed packet. S numbers are the rows of the
regression tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from .._reason_codes import FAILURE
from ._wire import Wire


def _length_of_properties(packet: bytes | bytearray, start: int) -> int:
    """Bytes from `start` to where the properties end, with their length (MQTT 5.0, 2.2.2)."""
    length = shift = 0
    for index in range(start, min(start + 4, len(packet))):
        length |= (packet[index] & 0x7F) << shift
        shift += 7
        if not packet[index] & 0x80:
            return index + 1 - start + length
    return len(packet) - start  # paho refuses it


_SUCCESS = ReasonCode(PacketTypes.PUBACK)
_PLAIN_PUBACK = 0x40


class Events(Protocol):
    """What the client reports, always synchronously and from inside `loop_read` or `loop_write`."""

    def on_connected(self, connack: Any) -> None: ...
    def on_publish(self, first: int, body: bytes, size: int) -> None: ...
    def on_pubrel(self, packet_id: int) -> None: ...
    def on_puback(self, packet_id: int, reason: ReasonCode) -> None: ...
    def on_end(self, reason: str, *, reason_code: int | None) -> None: ...
    def on_referral(self, code: int, reference: str) -> None: ...
    def on_output(self) -> None: ...
    def on_pong(self) -> None: ...


class Reason(ReasonCode):
    """A reason code as it was on the wire, also one that paho has no name for."""

    def getName(self) -> str:  # noqa: N802 - paho calls it so
        try:
            return super().getName()
        except (KeyError, ValueError):
            return f"reason code {self.value:#04x}"


def _is_named(packet_type: int, code: int) -> bool:
    return any(packet_type in types for types in ReasonCode.names.get(code, {}).values())


class Paho(paho.Client):
    """See the module.

    The trap: paho takes a reason code that it does not know for a malformed packet, and ends the
    connection without a word of the code. So it is shown 0x80 for one that refuses, and what stood
    there is in `codes` while the callback runs.
    """

    wire: Wire
    events: Events
    connack_code: int | None = None  # as on the wire; paho gives 3.1.1's codes those of 5
    codes: Sequence[int] = ()  # of the last packet that has any, as on the wire

    def read_plain(self) -> None:
        """Read what needs nothing of paho, up to the first packet that does.

        It reads a packet in four steps with a dictionary between them, and builds a reason code and
        a set of properties for a PUBACK that has neither.
        """
        take, events = self.wire.take_plain, self.events
        while not self._in_packet["command"] and (found := take()) is not None:
            first, body, size = found
            if first == _PLAIN_PUBACK:
                events.on_puback(int.from_bytes(body), _SUCCESS)
            else:
                events.on_publish(first, body, size)

    def next_id(self) -> int:
        """The packet ID of the next message at QoS 1."""
        return self._last_mid % 0xFFFF + 1

    def skip_id(self) -> None:
        """Use another for it."""
        self._mid_generate()

    def write_publish(self, topic: str, payload: bytes, head: int, properties: bytes | None) -> int:
        """Write a PUBLISH (MQTT 3.3) and return its packet ID; paho takes no note of it.

        Args:
            topic: of the message.
            payload: the same.
            head: the first byte.
            properties: packed; None with MQTT 3.1.1.

        Raises:
            ValueError: nothing can be published to this topic.
        """
        name = topic.encode()
        if not name or len(name) > 0xFFFF or b"+" in name or b"#" in name or b"\0" in name:
            text = "a topic is not empty, has no wildcard, no U+0000, and at most 65 535 bytes"
            raise ValueError(text)
        parts = [len(name).to_bytes(2), name]
        packet_id = 0
        if head & 6:
            packet_id = self._mid_generate()
            parts.append(packet_id.to_bytes(2))
        if properties is not None:
            parts.append(properties)
        parts.append(payload)
        body = b"".join(parts)
        packet = bytearray([head])
        self._pack_remaining_length(packet, len(body))
        outgoing = self.wire.outgoing
        outgoing += packet
        outgoing += body
        return packet_id

    def _note_codes(self, packet_type: int, start: int, count: int | None = 1) -> None:
        packet: bytearray = self._in_packet["packet"]
        end = len(packet) if count is None else start + count
        self.codes = bytes(packet[start:end])
        for index, code in enumerate(self.codes, start):
            if code >= FAILURE and not _is_named(packet_type, code):
                packet[index] = FAILURE

    def _handle_disconnect(self) -> None:
        self._note_codes(PacketTypes.DISCONNECT, 0)
        super()._handle_disconnect()

    def _handle_suback(self) -> None:
        packet: bytearray = self._in_packet["packet"]
        start = 2
        if self._protocol == paho.MQTTv5:
            start += _length_of_properties(packet, start)
        self._note_codes(PacketTypes.SUBACK, start, None)
        super()._handle_suback()

    def _create_socket(self) -> Any:
        # S2: paho would connect here, in whatever thread `connect` runs, and block in it.
        return self.wire

    def _handle_connack(self) -> Any:
        packet: Any = self._in_packet["packet"]
        if len(packet) >= 2:
            self.connack_code = packet[1]
            if self._protocol == paho.MQTTv5:
                self._note_codes(PacketTypes.CONNACK, 1)
        return super()._handle_connack()

    def _handle_publish(self) -> Any:
        # S4: there is no time between CONNACK and a listener; S5: and no queue that drops. paho's
        # own reading raises for what a sender can have written, which would end every link of the
        # session; and it delivers at QoS 2 only when PUBREL comes on the connection of the PUBLISH.
        packet: Any = self._in_packet
        size = 1 + len(packet["remaining_count"]) + packet["remaining_length"]
        self.events.on_publish(packet["command"], bytes(packet["packet"]), size)
        return paho.MQTT_ERR_SUCCESS

    def _handle_pubrel(self) -> Any:
        packet: Any = self._in_packet["packet"]
        if len(packet) < 2:
            return paho.MQTT_ERR_PROTOCOL
        self.events.on_pubrel(int.from_bytes(packet[:2]))
        return paho.MQTT_ERR_SUCCESS

    def _handle_pingresp(self) -> Any:
        self.events.on_pong()
        return super()._handle_pingresp()

    def _handle_pubackcomp(self, cmd: Any) -> Any:
        packet: Any = self._in_packet["packet"]
        if cmd == "PUBACK" and len(packet) >= 2:
            self._note_codes(PacketTypes.PUBACK, 2)
            # paho reports one of which it has taken note.
            packet_id = int.from_bytes(packet[:2])
            self._out_messages[packet_id] = paho.MQTTMessage(packet_id)
        return super()._handle_pubackcomp(cmd)
