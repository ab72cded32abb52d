"""One MQTT 5 client as a value: bytes in, events out; intents in, bytes out. No I/O and no clock.

    connect() ... data_to_send()      what has to be written now
    receive_data(bytes)               -> events, in order
    publish() acknowledge by `Delivery.ack()` subscribe() ping() disconnect()
    lose_connection()                 the stream is gone; `connect()` again on another

The rules: nothing the peer sends raises anything here: it ends in `Ended`, after the events that
came before it, with the DISCONNECT queued that says why. The session outlives its connections
(MQTT 5.0, section 4.1): what is in flight, and what was received with QoS 2. The trap: the codec's
enumerations are no integers, whatever its stubs say; all of them are true, and none can be ordered.

More than 300 lines, because it is one state machine and most of them say what a caller may do when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import mqtt5

from ..._values.messages import Message
from .._contract import ConnectOptions, OnDone
from .._receiving.bounded_inbox import TOPIC_ALIAS_MAXIMUM
from .._receiving.publish_reader import Publish
from .._receiving.receiving import nobody
from .._receiving.violations import PROTOCOL_ERROR, UNSUPPORTED_PROTOCOL_VERSION, Violation
from ._connect import check_connack, connect_packet, connected, disconnected, limits_of
from ._events import Ended, Event, Published, Subscribed, Unsubscribed
from ._framing import PacketReader
from ._publishing import Publishing
from ._questions import Questions
from ._reasons import Unnamed, reason_text, unexpected
from ._receiving import Mqtt5Receiving

_PINGREQ = mqtt5.PingReqPacket().write()

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
        outgoing: what `data_to_send` would return, acknowledgements aside; to be looked at.
        pongs: how many PINGRESP have come, over all connections.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self.state: State = "idle"
        self.broker_limits: Mapping[str, int] = {}
        self.pongs = 0
        self._accepted = False  # by CONNACK, on this connection
        self.outgoing = bytearray()
        self._publishing = Publishing(self.outgoing)
        self._questions = Questions(self.outgoing, self._publishing)
        self._receiving = Mqtt5Receiving(strict=strict)
        self._handlers: dict[type, Callable[[Any], Event | None]] = {
            mqtt5.PublishPacket: self._receiving.on_publish,
            Publish: self._receiving.take,  # which is to be refused
            mqtt5.PubRelPacket: self._receiving.on_pubrel_packet,
            mqtt5.PubAckPacket: self._publishing.on_puback,
            mqtt5.PubRecPacket: self._publishing.on_pubrec,
            mqtt5.PubCompPacket: self._publishing.on_pubcomp,
            mqtt5.SubAckPacket: self._questions.on_suback,
            mqtt5.UnsubAckPacket: self._questions.on_unsuback,
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
        receiving.connect(self.outgoing, options.receive_maximum, on_output)
        self._questions.forget()
        self.outgoing.clear()
        self.outgoing += connect_packet(
            options, receiving.alias_maximum, username=username, password=password
        )
        self.state = "connecting"

    def lose_connection(self) -> Sequence[OnDone]:
        """The stream is gone.

        Returns:
            For each message in flight, in the order sent, what was given to `publish`.
        """
        self.state = "idle"
        self.outgoing.clear()
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
        data = bytes(self.outgoing)
        self.outgoing.clear()
        return data

    def sent(self) -> None:
        """What `data_to_send` gave has left; to be called before it is asked again."""
        self._receiving.window.sent()

    @property
    def wants_to_send(self) -> bool:
        """Whether `data_to_send` has something to return."""
        return bool(self.outgoing) or self._receiving.window.ready

    @property
    def unsent(self) -> int:
        """Bytes that `data_to_send` would return, those of acknowledgements aside."""
        return len(self.outgoing)

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
                        raise unexpected(packet)
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
            self.outgoing += mqtt5.DisconnectPacket(reason_code=reason).write()
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
        refused = check_connack(packet, unnamed, self._options)
        if refused is not None:
            self.state = "ended"
            return refused
        self.state = "connected"
        self._accepted = True
        if not packet.session_present:
            self.forget()
        self._publishing.connected(packet, self._options.publish_maximum)
        self.broker_limits = limits_of(packet)
        return connected(packet, self._options, self.publish_maximum)

    # -- messages of ours

    def publish(self, message: Message, on_done: OnDone) -> None:
        """Send a message. With QoS above 0 it is answered by `Published`, or by the loss.

        One that was in flight when the connection before this was lost is sent as the same packet
        again; see `Publishing`.

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
        self.outgoing += self._publishing.write(message, on_done)

    # -- questions

    def subscribe(self, filters: Sequence[str]) -> int:
        """See `Questions.subscribe`.

        Raises:
            RejectedByBroker: MQTT cannot carry a filter, or the broker takes no packet as long.
            RuntimeError: not connected.
        """
        self._check_connected()
        return self._questions.subscribe(filters)

    def unsubscribe(self, filters: Sequence[str]) -> int:
        """See `Questions.unsubscribe`, and `subscribe`."""
        self._check_connected()
        return self._questions.unsubscribe(filters)

    # -- life and end

    def ping(self) -> None:
        """Send PINGREQ.

        Raises:
            RuntimeError: not connected.
        """
        self._check_connected()
        self.outgoing += _PINGREQ

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
        self.outgoing += mqtt5.DisconnectPacket(reason_code=reason).write()
        self._end()

    def _end(self) -> None:
        """Nothing is acknowledged after the DISCONNECT, whoever sent it."""
        self.state = "ended"
        self._receiving.lose_connection()

    def _on_disconnect(self, packet: mqtt5.DisconnectPacket, unnamed: int | None = None) -> Event:
        self._end()
        return disconnected(packet, unnamed)

    def _on_unnamed(self, unnamed: Unnamed) -> Event | None:
        packet, codes = unnamed.packet, unnamed.codes
        if isinstance(packet, mqtt5.DisconnectPacket):
            return self._on_disconnect(packet, codes[0])
        handler = self._handlers.get(type(packet))
        if handler is None:
            raise unexpected(packet)
        event = handler(packet)
        if isinstance(event, Published):
            event.reason_code, event.text = codes[0], reason_text(packet, codes[0])
        elif isinstance(event, Subscribed | Unsubscribed):
            event.reason_codes = list(codes)
        return event

    def _check_connected(self) -> None:
        if self.state != "connected":
            raise RuntimeError(f"the connection is {self.state}")
