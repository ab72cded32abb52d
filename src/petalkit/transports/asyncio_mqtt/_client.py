"""The asyncio-mqtt client, made to work on paho 2 and to do no input or output of its own.

paho is given a `Wire` in place of a socket: what it reads was put there, and what it writes is
picked up there, by the link's tasks. So paho never blocks, never opens or closes a connection,
never calls into the event loop from a thread, and everything it has to say in one wake-up leaves
in one `send`. The futures of asyncio-mqtt remain, for CONNACK, SUBACK and UNSUBACK.

The trap: asyncio-mqtt 0.16.2 knows paho 1 only, and this module knows the insides of both. Its
version is pinned; what is overridden here, and why, stands at each method. S numbers are the
rows of the regression tests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, cast

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ..._values.messages import Message
from ..._values.messages import Properties as MessageProperties
from ..._values.settings.settings import Settings
from .._connecting.tls import Address
from .._contract import ConnectOptions
from .._limits import real_limits
from .._reason_codes import FAILURE
from .._receiving.publish_reader import head_to_keep

T = TypeVar("T")


def _properties(packet_type: int) -> Any:
    return Properties(packet_type)  # type: ignore[no-untyped-call]


class _Packed:
    """Properties of a PUBLISH as paho wants them, but packed once: paho does it each time."""

    __slots__ = ("_bytes",)

    def __init__(self, properties: MessageProperties) -> None:
        properties.check_sendable()
        packed = _properties(PacketTypes.PUBLISH)
        if properties.response_topic is not None:
            packed.ResponseTopic = properties.response_topic
        if properties.correlation_data is not None:
            packed.CorrelationData = properties.correlation_data
        if properties.message_expiry is not None:
            packed.MessageExpiryInterval = properties.message_expiry
        if properties.content_type is not None:
            packed.ContentType = properties.content_type
        if properties.user_properties:
            packed.UserProperty = list(properties.user_properties)
        self._bytes: bytes = packed.pack()

    def pack(self) -> bytes:
        return self._bytes


# paho's name of what a CONNACK may limit -> the contract's
_LIMITS = {
    "ReceiveMaximum": "receive_maximum",
    "MaximumPacketSize": "maximum_packet_size",
    "MaximumQoS": "maximum_qos",
    "RetainAvailable": "retain_available",
    "SessionExpiryInterval": "session_expiry_interval",
    "ServerKeepAlive": "server_keep_alive",
}


def read_limits(connack: Any) -> Mapping[str, int]:
    """What the properties of a CONNACK limit; see `Link.broker_limits`."""
    return real_limits({name: getattr(connack, said, None) for said, name in _LIMITS.items()})


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
_NO_PROPERTIES = _properties(PacketTypes.PUBACK)


@contextmanager
def _without_rename_notice() -> Generator[None]:
    """S17: asyncio-mqtt warns of its new name whenever it is imported; that one record is cut."""

    def wanted(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("We renamed asyncio-mqtt to aiomqtt")

    logger = logging.getLogger("mqtt")
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


with _without_rename_notice():
    import asyncio_mqtt

MqttError = asyncio_mqtt.MqttError


class Wire:
    """What paho takes for its socket: bytes in, bytes out, and a gate between packets.

    Attributes:
        incoming: received and not yet read by paho.
        outgoing: written by paho and not yet sent.
        paused: paho finds nothing to read, whatever is there. Set from a message callback it
            takes effect before the next packet, and never inside one.
    """

    __slots__ = ("_position", "incoming", "outgoing", "paused")

    def __init__(self) -> None:
        self.incoming = b""
        self.outgoing = bytearray()
        self.paused = False
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Append received bytes; cheap when everything before them was read."""
        rest = self.incoming[self._position :]
        self.incoming = rest + data if rest else data
        self._position = 0

    @property
    def unread(self) -> int:
        """Bytes that paho has not read."""
        return len(self.incoming) - self._position

    def recv(self, buffer_size: int) -> bytes:
        start = self._position
        end = start + buffer_size
        data = self.incoming[start:end]
        if not data or self.paused:
            raise BlockingIOError
        self._position = start + len(data)
        return data

    def send(self, buffer: bytes | bytearray) -> int:
        self.outgoing += buffer
        return len(buffer)

    def close(self) -> None:
        """The socket is the link's to close."""

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None:
        pass


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


class _Reason(ReasonCode):
    """A reason code as it was on the wire, also one that paho has no name for."""

    def getName(self) -> str:  # noqa: N802 - paho calls it so
        try:
            return super().getName()
        except (KeyError, ValueError):
            return f"reason code {self.value:#04x}"


def _is_named(packet_type: int, code: int) -> bool:
    return any(packet_type in types for types in ReasonCode.names.get(code, {}).values())


class _Paho(paho.Client):
    """paho's client over a `Wire`.

    The trap: paho takes a reason code that it does not know for a malformed packet, and ends the
    connection without a word of the code. So it is shown 0x80 for one that refuses, and what stood
    there is in `codes` while the callback runs.
    """

    wire: Wire
    events: Events
    connack_code: int | None = None  # as on the wire; paho gives 3.1.1's codes those of 5
    codes: Sequence[int] = ()  # of the last packet that has any, as on the wire

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
        # paho builds a reason code and a set of properties from the form that has neither; that
        # is half of what a PUBACK costs, and there is one for every message published.
        packet: Any = self._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) != 2:
            if cmd == "PUBACK":
                self._note_codes(PacketTypes.PUBACK, 2)
            return super()._handle_pubackcomp(cmd)
        packet_id = int.from_bytes(packet, "big")
        if packet_id not in self._out_messages:
            return paho.MQTT_ERR_SUCCESS
        return self._do_on_publish(packet_id, _SUCCESS, _NO_PROPERTIES)


class HardenedClient(asyncio_mqtt.Client):
    """One connection's client: a new one for each (S8), because its futures are single-use."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wire: Wire,
        events: Events,
        address: Address,
        settings: Settings,
        options: ConnectOptions,
    ) -> None:
        # S1: the base's own __init__ cannot run on paho 2: it asks for callbacks of version 1,
        # which are deprecated and say nothing of an error PUBACK, and calls
        # `message_retry_set`, which is gone. So its attributes are set here, as it sets them.
        self._hostname = address.host
        self._port = address.port
        self._keepalive = options.keep_alive
        self._loop = loop
        self._connected: asyncio.Future[Any] = loop.create_future()
        self._disconnected: asyncio.Future[Any] = loop.create_future()
        self._pending_subscribes = {}
        self._pending_unsubscribes = {}
        self._pending_publishes = {}
        self._pending_calls_threshold = 10
        self._on_message_callbacks = []
        self._unfiltered_messages_callback = None
        self._outgoing_calls_sem = None

        self._wire = wire
        self._events = events
        self._writing = False
        self.session_present = False
        self.connack_reason = ""

        v5 = settings.protocol == "5"
        clean = options.clean_start or (not v5 and options.session_expiry == 0)
        self._clean_start: Any = clean if v5 else paho.MQTT_CLEAN_START_FIRST_ONLY
        self._properties = self._connect_properties(options) if v5 else None
        self._v5 = v5
        # The last properties published, packed: those of most messages are one and the same value.
        self._packed: tuple[MessageProperties | None, _Packed | None] = (None, None)

        client = _Paho(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if v5 else clean,
            protocol=paho.MQTTv5 if v5 else paho.MQTTv311,
            reconnect_on_failure=False,  # no fallback to MQTT 3.1 either
        )
        client.wire = wire
        client.events = events
        # Any other number makes paho go through its whole queue at every PUBACK; the link counts.
        client.max_inflight_messages_set(0)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = cast(Any, self._on_subscribe)  # typed for version 1
        client.on_unsubscribe = self._on_unsubscribe
        client.on_publish = self._on_publish
        client.on_socket_register_write = self._on_socket_register_write
        if settings.username is not None:
            client.username_pw_set(settings.username, settings.password)
        if options.will is not None:
            will = options.will
            properties = self._will_properties(options) if v5 else None
            client.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        self._client = client

    @staticmethod
    def _connect_properties(options: ConnectOptions) -> Any:
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = options.session_expiry
        properties.ReceiveMaximum = options.receive_maximum
        if options.packet_maximum:
            properties.MaximumPacketSize = options.packet_maximum
        return properties

    @staticmethod
    def _will_properties(options: ConnectOptions) -> Any:
        if not options.will_delay:
            return None
        properties = _properties(PacketTypes.WILLMESSAGE)
        properties.WillDelayInterval = options.will_delay
        return properties

    # -- what the link calls

    async def connect(self, *, timeout: float = 0) -> None:
        """Send CONNECT over the wire and wait for CONNACK.

        Args:
            timeout: not used; the link's deadline stands around every call.
        """
        # S2, S6: not in a thread, for nothing blocks here; so there is also no socket that a
        # cancelled call could leave behind.
        self._client.connect(
            self._hostname,
            self._port,
            self._keepalive,
            clean_start=self._clean_start,
            properties=self._properties,
        )
        await self._wait_for(self._connected, timeout=None)

    async def subscribe_all(self, filters: list[str]) -> list[ReasonCode]:
        """Subscribe at QoS 1; S20: on MQTT 5 retained messages come for a new one only."""
        wanted: list[tuple[str, Any]] = [
            (text, SubscribeOptions(qos=1, retainHandling=1) if self._v5 else 1) for text in filters
        ]
        answer: Any = await self.subscribe(wanted)
        return list(answer)

    async def unsubscribe_all(self, filters: list[str]) -> None:
        await self.unsubscribe(filters)

    def publish_nowait(self, message: Message) -> int:
        """Write a PUBLISH and return its packet ID.

        Raises:
            ValueError: paho will not send this.
        """
        client = self._client
        properties: Any = None
        if message.properties is not None and self._v5:
            if message.properties is not self._packed[0]:
                self._packed = (message.properties, _Packed(message.properties))
            properties = self._packed[1]
        while True:
            info = client.publish(
                message.topic, message.payload, message.qos, message.retain, properties
            )
            # A packet ID that is still in flight after 65 535 others is passed over.
            if info.rc != paho.MQTT_ERR_QUEUE_SIZE:
                return info.mid

    def ping(self) -> None:
        """Write a PINGREQ. Not paho's own clockwork: S9, it uses the real clock, tick 1 s."""
        self._client._send_pingreq()

    def write_disconnect(self) -> None:
        """Write a DISCONNECT after all that is written already."""
        self._client.disconnect()
        self.loop_write()

    def loop_read(self) -> bool:
        """Let paho read one packet or more; False when the connection is over."""
        return bool(self._client.loop_read() == paho.MQTT_ERR_SUCCESS)

    def keep_head_of_long(self, limit: int) -> bool:
        """Of a PUBLISH of more than `limit` bytes that paho is reading, keep the head alone.

        Or one message of 256 MB takes all the memory, and is delivered again after the crash.

        Returns:
            False when another packet is so long, which is a violation.
        """
        packet: Any = self._client._in_packet
        size = 1 + len(packet["remaining_count"]) + packet["remaining_length"]
        if not packet["have_remaining"] or size <= limit:
            return True
        first, body = packet["command"], packet["packet"]
        if first >> 4 != _PUBLISH:
            return False
        del body[head_to_keep(first, body, limit, v5=self._v5) :]  # paho counts on
        return True

    def loop_write(self) -> None:
        """Let paho put what it has queued on the wire."""
        self._writing = True
        self._client.loop_write()
        self._writing = False

    @property
    def unsent(self) -> int:
        """Bytes on the wire that the socket had no room for."""
        return len(self._wire.outgoing)

    def want_write(self) -> bool:
        """Whether paho has something queued."""
        return bool(self._client.want_write())

    def connack_refusal(self) -> tuple[int, str] | None:
        """Code and text of a CONNACK that refuses, or None."""
        code: int | None = cast(_Paho, self._client).connack_code
        if not code:
            return None
        if not self._v5 or code < 0x80:
            return code, _RETURN_CODES.get(code, f"return code {code}")
        return code, self.connack_reason or f"reason code {code:#04x}"

    # -- what paho calls

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, rc: Any, properties: Any = None
    ) -> None:
        self.session_present = bool(flags.session_present)
        self.connack_reason = self._reason(self._as_sent(rc), properties)
        if not rc.is_failure:
            self._events.on_connected(properties)
        if not self._connected.done():
            if rc.is_failure:
                self._connected.set_exception(asyncio_mqtt.MqttError(str(rc)))
            else:
                self._connected.set_result(rc)

    def _on_disconnect(  # type: ignore[override]  # version 2 of paho's callbacks
        self, client: Any, userdata: Any, flags: Any, rc: Any, properties: Any = None
    ) -> None:
        # S6: the base asks a cancelled future for its exception here, which raises.
        if not self._connected.done():
            self._connected.set_exception(asyncio_mqtt.MqttError(str(rc)))
            self._connected.exception()  # retrieved, should nobody be waiting any more
        if flags.is_disconnect_packet_from_server:
            rc = self._as_sent(rc)
            text = self._reason(rc, properties)
            self._events.on_end(
                f"the broker disconnected: {text} ({rc.value:#04x})",
                reason_code=rc.value,
            )
        else:
            self._events.on_end(f"the connection broke off: {rc.getName()}", reason_code=None)

    def _reason(self, rc: Any, properties: Any) -> str:
        """The broker's reason, or the name of its code; and the other server that it names."""
        text: str = getattr(properties, "ReasonString", "") or rc.getName()
        reference: str = getattr(properties, "ServerReference", "")
        if not reference:
            return text
        self._events.on_referral(rc.value, reference)
        return f"{text}; it names another server: {reference}"

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, rc: Any = None, properties: Any = None
    ) -> None:
        # A QoS 0 message is reported from `loop_write`, under an ID that may be another's too.
        if not self._writing:
            self._events.on_puback(mid, self._as_sent(rc) if rc.value == FAILURE else rc)

    def _on_subscribe(  # version 2 of paho's callbacks
        self, client: Any, userdata: Any, mid: int, granted_qos: Any, properties: Any = None
    ) -> None:
        codes = cast(_Paho, self._client).codes
        reasons = [_Reason(PacketTypes.SUBACK, identifier=code) for code in codes]
        super()._on_subscribe(client, userdata, mid, cast(Any, reasons), properties)

    def _as_sent(self, reason: Any) -> Any:
        """What paho was not shown: see `_Paho`."""
        codes = cast(_Paho, self._client).codes
        if reason.value != FAILURE or len(codes) != 1 or codes[0] < FAILURE:
            return reason
        return _Reason(reason.packetType, identifier=codes[0])

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        self._events.on_output()

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None, **kwargs: Any) -> T:
        # S11: `asyncio.wait_for` of 3.11 can swallow a cancellation; Trio's deadlines stand
        # around every call instead.
        return await fut


_PUBLISH = 3  # MQTT 3.1.1, section 2.2.1

_RETURN_CODES = {  # MQTT 3.1.1, table 3.1
    1: "unacceptable protocol version",
    2: "identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
}
