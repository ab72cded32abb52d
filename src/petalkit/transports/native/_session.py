"""One MQTT 5 client as a value: bytes in, events out; intents in, bytes out. No I/O and no clock.

    connect() ... data_to_send()      what has to be written now
    receive_data(bytes)               -> events, in order
    publish() acknowledge by `Delivery.ack()` subscribe() ping() disconnect()
    lose_connection()                 the stream is gone; `connect()` again on another

The rules: nothing the peer sends raises anything here: it ends in `Ended`, after the events that
came before it, with the DISCONNECT queued that says why. The session outlives its connections
(MQTT 5.0, section 4.1): what is in flight, and what was received with QoS 2. The trap: the codec's
enumerations are no integers, whatever its stubs say; all of them are true, and none can be ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import mqtt5

from ..._values.errors import RejectedByBroker
from ..._values.messages import Message, Properties
from .._contract import ConnectOptions, OnDone
from .._limits import real_limits
from .._reason_codes import FAILURE
from .._receiving.publish_reader import Publish
from .._receiving.receiving import nobody
from .._receiving.violations import PROTOCOL_ERROR, UNSUPPORTED_PROTOCOL_VERSION, Violation
from ._events import Connected, Ended, Event, Published, Refused, Subscribed, Unsubscribed
from ._framing import PacketReader
from ._publishing import Publishing, reason_name, reason_text
from ._receiving import TOPIC_ALIAS_MAXIMUM, Mqtt5Receiving
from ._unnamed import Unnamed

_PINGREQ = mqtt5.PingReqPacket().write()
_AT_LEAST_ONCE = mqtt5.QoS.AT_LEAST_ONCE
_IF_NEW = mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS

State = Literal["idle", "connecting", "connected", "ended"]


class ClientSession:
    """See the module. Made once for a client ID; used by one task, or by several in turn.

    Args:
        strict: end the connection when the broker sends more than the Receive Maximum allows, as
            MQTT 5.0 section 4.9 says. Without it that is taken as it comes: mosquitto 2.0 does so
            while acknowledgements flow, by hundreds.

    Attributes:
        state: of the connection. Intents other than `connect` need "connected".
        broker_limits: what the last CONNACK said; see `Link.broker_limits`.
        pongs: how many PINGRESP have come, over all connections.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self.state: State = "idle"
        self.broker_limits: Mapping[str, int] = {}
        self.pongs = 0
        self._accepted = False  # by CONNACK, on this connection
        self._outgoing = bytearray()
        self._publishing = Publishing(self._outgoing)
        self._receiving = Mqtt5Receiving(strict=strict)
        self._handlers: dict[type, Callable[[Any], Event | None]] = {
            mqtt5.PublishPacket: self._receiving.on_publish,
            Publish: self._receiving.take,  # which is to be refused
            mqtt5.PubRelPacket: self._receiving.on_pubrel_packet,
            mqtt5.PubAckPacket: self._publishing.on_puback,
            mqtt5.PubRecPacket: self._publishing.on_pubrec,
            mqtt5.PubCompPacket: self._publishing.on_pubcomp,
            mqtt5.SubAckPacket: self._on_suback,
            mqtt5.UnsubAckPacket: self._on_unsuback,
            mqtt5.PingRespPacket: self._on_pingresp,
            mqtt5.DisconnectPacket: self._on_disconnect,
            Unnamed: self._on_unnamed,
        }

    @property
    def publish_maximum(self) -> int:
        """How many of our messages may be in flight on this connection."""
        return self._publishing.maximum

    @property
    def publishable(self) -> bool:
        """Whether the broker takes one more message with QoS 1 or 2 now."""
        return len(self._publishing) < self._publishing.maximum

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is worth keeping for another connection."""
        return self._publishing.is_empty and self._receiving.is_empty

    # -- one connection

    def connect(
        self,
        options: ConnectOptions,
        *,
        packet_limit: int,
        on_output: Callable[[], None] = nobody,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        """Begin a connection: CONNECT.

        Args:
            options: what it says, and the bounds of this side.
            packet_limit: bytes of the longest packet that is read whole; see `PacketReader`. The
                broker is not told of it, but of `options.packet_maximum`: a broker that drops what
                is longer then may have defined a topic alias in it, which it goes on to use. So
                none is allowed beside that.
            on_output: called when there is something to send that nothing here was called for: a
                delivery was acknowledged.
            username: for the broker.
            password: the same; UTF-8.

        Raises:
            RuntimeError: there is a connection, or there was one without `lose_connection`.
            RejectedByBroker: the will cannot be sent.
        """
        if self.state != "idle":
            raise RuntimeError(f"this session has a connection already: it is {self.state}")
        if options.clean_start:
            self.forget()
        self._options = options
        self._reader = PacketReader(packet_limit)
        receiving = self._receiving
        without_aliases = options.packet_maximum or receiving.aliases_failed
        receiving.alias_maximum = 0 if without_aliases else TOPIC_ALIAS_MAXIMUM
        receiving.connect(self._outgoing, options.receive_maximum, on_output)
        # Packet identifier -> the kind of the answer, and how many codes it has.
        self._questions: dict[int, tuple[type, int]] = {}
        self._outgoing.clear()
        try:
            self._outgoing += mqtt5.ConnectPacket(
                options.client_id,
                username=username,
                password=None if password is None else password.encode(),
                clean_start=options.clean_start,
                will=None if options.will is None else _will(options.will, options.will_delay),
                keep_alive=options.keep_alive,
                session_expiry_interval=options.session_expiry,
                receive_max=options.receive_maximum,
                topic_alias_max=receiving.alias_maximum,
                max_packet_size=options.packet_maximum or None,
            ).write()
        except (ValueError, OverflowError) as error:
            raise RejectedByBroker(PROTOCOL_ERROR, f"CONNECT cannot be sent: {error}") from None
        self.state = "connecting"

    def lose_connection(self) -> Sequence[OnDone]:
        """The stream is gone.

        Returns:
            For each message in flight, in the order sent, what was given to `publish`.
        """
        self.state = "idle"
        self._outgoing.clear()
        self._receiving.lose_connection()
        if not self._accepted:
            return ()
        self._accepted = False
        return self._publishing.lose_connection()

    def forget(self) -> None:
        """The broker keeps nothing of the session; what was learned of the broker stays."""
        self._publishing.forget_session()
        self._receiving.forget_session()

    # -- bytes

    def data_to_send(self) -> bytes:
        """Everything that is to be written now, once."""
        if self._receiving.window.ready:
            self._receiving.write_acknowledgements()
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    @property
    def wants_to_send(self) -> bool:
        """Whether `data_to_send` has something to return."""
        return bool(self._outgoing) or self._receiving.window.ready

    @property
    def unsent(self) -> int:
        """Bytes that `data_to_send` would return, those of acknowledgements aside."""
        return len(self._outgoing)

    def receive_data(self, data: bytes | bytearray) -> list[Event]:
        """Take what came from the broker, however it was split; nothing counts after the end."""
        events: list[Event] = []
        if self.state not in ("connecting", "connected"):
            return events
        handlers = self._handlers
        try:
            for packet in self._reader.feed(data):
                if self.state == "connected":
                    handler = handlers.get(type(packet))
                    if handler is None:
                        raise _unexpected(packet)
                    event = handler(packet)
                    if event is not None:
                        events.append(event)
                elif self.state == "connecting":
                    events.append(self._on_first(packet))
                else:
                    break
        except Violation as violation:
            self._give_up(violation, events)
        return events

    def _give_up(self, violation: Violation, events: list[Event]) -> None:
        if self.state == "ended":
            return
        code = violation.reason_code
        if self.state == "connected" and code == UNSUPPORTED_PROTOCOL_VERSION:
            code = PROTOCOL_ERROR  # it has spoken MQTT 5 before, and no DISCONNECT says the other
        # Before CONNACK there is nothing to say DISCONNECT to: MQTT 5.0, section 3.2.
        if self.state == "connected":
            self._receiving.write_acknowledgements()
            reason = mqtt5.DisconnectReasonCode(code)
            self._outgoing += mqtt5.DisconnectPacket(reason_code=reason).write()
        self._end()
        text = f"the broker broke the protocol: {violation.text} ({code:#04x})"
        events.append(Ended(code, text, by_server=False))

    # -- CONNACK

    def _on_first(self, packet: Any) -> Event:
        unnamed = None
        if isinstance(packet, Unnamed):
            packet, unnamed = packet.packet, packet.codes[0]
        if isinstance(packet, mqtt5.DisconnectPacket):
            return self._on_disconnect(packet, unnamed)
        if not isinstance(packet, mqtt5.ConnAckPacket):
            raise _unexpected(packet)
        code = int(packet.reason_code) if unnamed is None else unnamed
        if code >= FAILURE:
            self.state = "ended"
            return Refused(code, _told(packet, code), packet.server_reference)
        # Section 3.2.2.1.1 wants more: a client without state is to refuse a session too. Ours
        # has none after a restart, and does not need it: that session holds subscriptions, and
        # commands that were sent meanwhile.
        if packet.session_present and self._options.clean_start:
            raise Violation(PROTOCOL_ERROR, "a session where a clean start was asked for")
        self.state = "connected"
        self._accepted = True
        if not packet.session_present:
            self.forget()
        self._publishing.connected(packet, self._options.publish_maximum)
        self.broker_limits = _limits(packet)
        keep_alive = packet.server_keep_alive
        expiry = packet.session_expiry_interval
        return Connected(
            packet.session_present,
            self._options.keep_alive if keep_alive is None else keep_alive,
            self.publish_maximum,
            self._options.session_expiry if expiry is None else expiry,
        )

    # -- messages of ours

    def publish(self, message: Message, on_done: OnDone) -> None:
        """Send a message. With QoS above 0 it is answered by `Published`, or by the loss.

        One that was in flight when the connection before this was lost is sent as the same packet
        again; see `_mqtt5_publishing`.

        Args:
            message: with any QoS.
            on_done: comes back in `Published`; not called here.

        Raises:
            WindowFull: as many are in flight as the broker takes.
            RejectedByBroker: the broker has said that it takes no such message, or MQTT has none.
            RuntimeError: not connected.
        """
        if self.state != "connected":
            self._check_connected()
        self._outgoing += self._publishing.write(message, on_done)

    # -- questions

    def subscribe(self, filters: Sequence[str]) -> int:
        """Subscribe with QoS 1, to retained messages for a new subscription only.

        Returns:
            The packet identifier that `Subscribed` will have.

        Raises:
            RejectedByBroker: MQTT cannot carry a filter, or the broker takes no packet as long.
            RuntimeError: not connected.
        """
        self._check_connected()
        expected = (mqtt5.SubAckPacket, len(filters))
        return self._ask(
            expected, lambda key: mqtt5.SubscribePacket(key, list(map(_wanted, filters))).write()
        )

    def unsubscribe(self, filters: Sequence[str]) -> int:
        """Unsubscribe; see `subscribe`."""
        self._check_connected()
        expected = (mqtt5.UnsubAckPacket, len(filters))
        return self._ask(expected, lambda key: mqtt5.UnsubscribePacket(key, list(filters)).write())

    def _ask(self, expected: tuple[type, int], write: Callable[[int], bytes]) -> int:
        packet_id = self._publishing.new_question()
        try:
            data = write(packet_id)
            self._publishing.check_size(data)
        except (ValueError, OverflowError) as error:
            self._publishing.answered(packet_id)
            raise RejectedByBroker(PROTOCOL_ERROR, f"cannot be sent: {error}") from None
        except RejectedByBroker:
            self._publishing.answered(packet_id)
            raise
        self._outgoing += data
        self._questions[packet_id] = expected
        return packet_id

    def _on_suback(self, packet: mqtt5.SubAckPacket) -> Event:
        return Subscribed(packet.packet_id, self._check_answer(packet))

    def _on_unsuback(self, packet: mqtt5.UnsubAckPacket) -> Event:
        return Unsubscribed(packet.packet_id, self._check_answer(packet))

    def _check_answer(self, packet: mqtt5.SubAckPacket | mqtt5.UnsubAckPacket) -> list[int]:
        codes = packet.reason_codes
        kind, count = self._questions.pop(packet.packet_id, (None, 0))
        if kind is not type(packet):
            raise _unexpected(packet)
        if count != len(codes):
            raise Violation(PROTOCOL_ERROR, f"{len(codes)} answers where {count} were due")
        self._publishing.answered(packet.packet_id)
        return list(map(int, codes))

    # -- life and end

    def ping(self) -> None:
        """Send PINGREQ.

        Raises:
            RuntimeError: not connected.
        """
        self._check_connected()
        self._outgoing += _PINGREQ

    def _on_pingresp(self, packet: mqtt5.PingRespPacket) -> None:
        self.pongs += 1

    def disconnect(self, reason_code: int = 0) -> None:
        """Send DISCONNECT after all that is queued. With 0, the will is not published.

        Raises:
            RuntimeError: not connected.
        """
        self._check_connected()
        self._receiving.write_acknowledgements()
        reason = mqtt5.DisconnectReasonCode(reason_code)
        self._outgoing += mqtt5.DisconnectPacket(reason_code=reason).write()
        self._end()

    def _end(self) -> None:
        """Nothing is acknowledged after the DISCONNECT, whoever sent it."""
        self.state = "ended"
        self._receiving.lose_connection()

    def _on_disconnect(self, packet: mqtt5.DisconnectPacket, unnamed: int | None = None) -> Event:
        self._end()
        code = int(packet.reason_code) if unnamed is None else unnamed
        text = f"the broker disconnected: {_told(packet, code)} ({code:#04x})"
        return Ended(code, text, by_server=True, server_reference=packet.server_reference)

    def _on_unnamed(self, unnamed: Unnamed) -> Event | None:
        packet, codes = unnamed.packet, unnamed.codes
        if isinstance(packet, mqtt5.DisconnectPacket):
            return self._on_disconnect(packet, codes[0])
        handler = self._handlers.get(type(packet))
        if handler is None:
            raise _unexpected(packet)
        event = handler(packet)
        if isinstance(event, Published):
            event.reason_code, event.text = codes[0], reason_text(packet, codes[0])
        elif isinstance(event, Subscribed | Unsubscribed):
            event.reason_codes = list(codes)
        return event

    def _check_connected(self) -> None:
        if self.state != "connected":
            raise RuntimeError(f"the connection is {self.state}")


def _told(packet: mqtt5.ConnAckPacket | mqtt5.DisconnectPacket, code: int) -> str:
    text = reason_text(packet, code)
    if packet.server_reference:
        return f"{text}; it names another server: {packet.server_reference}"
    return text


def _limits(packet: mqtt5.ConnAckPacket) -> Mapping[str, int]:
    said: dict[str, int | None] = {
        "receive_maximum": packet.receive_max,
        "maximum_packet_size": packet.max_packet_size,
        "maximum_qos": int(packet.max_qos),
        "retain_available": int(packet.retain_available),
        "session_expiry_interval": packet.session_expiry_interval,
        "server_keep_alive": packet.server_keep_alive,
    }
    return real_limits(said)


def _wanted(text: str) -> mqtt5.TopicFilter:
    return mqtt5.TopicFilter(
        text, max_qos=_AT_LEAST_ONCE, retain_as_published=False, retain_handling=_IF_NEW
    )


def _will(message: Message, delay: int) -> mqtt5.Will:
    properties = message.properties or Properties()
    return mqtt5.Will(
        message.topic,
        payload=message.payload,
        qos=mqtt5.QoS(message.qos),
        retain=message.retain,
        will_delay_interval=delay,
        message_expiry_interval=properties.message_expiry,
        content_type=properties.content_type,
        response_topic=properties.response_topic,
        correlation_data=properties.correlation_data,
        user_properties=list(properties.user_properties),
    )


def filter_reason(code: int) -> str:
    """The name of a reason code of a SUBACK."""
    return reason_name(code, mqtt5.SubAckReasonCode)


def _unexpected(packet: object) -> Violation:
    name = type(packet).__name__.removesuffix("Packet").upper()
    return Violation(PROTOCOL_ERROR, f"{name} where it cannot come")
