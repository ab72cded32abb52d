"""The asyncio-mqtt client, made to work on paho 2 and to do no input or output of its own.

paho is given a `Wire` in place of a socket. The futures of asyncio-mqtt remain, for CONNACK, SUBACK
and UNSUBACK.

The trap: asyncio-mqtt 0.16.2 knows paho 1 only, and this module knows the insides of both. Its
version is pinned; what is overridden here, and why, stands at each method. S numbers are the
rows of the regression tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Container
from typing import Any, TypeVar, cast

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ..._values.messages import Message
from ..._values.messages import Properties as MessageProperties
from ..._values.settings.settings import Settings
from .._connecting.tls import Address
from .._contract import ConnectOptions
from .._reason_codes import FAILURE
from .._receiving.publish_reader import head_to_keep
from ._library import asyncio_mqtt
from ._paho import Events, Paho, Reason
from ._properties import Packed, connect_properties, will_properties
from ._wire import Wire

T = TypeVar("T")


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
        self._init_base(loop, address, options)
        self._wire = wire
        self._events = events
        self.session_present = False
        self.connack_reason = ""

        v5 = settings.protocol == "5"
        clean = options.clean_start or (not v5 and options.session_expiry == 0)
        self._clean_start: Any = clean if v5 else paho.MQTT_CLEAN_START_FIRST_ONLY
        self._properties = connect_properties(options) if v5 else None
        self._v5 = v5
        # The last properties published, packed: those of most messages are one and the same value.
        self._packed: tuple[MessageProperties | None, bytes | None] = (None, None)

        self._client = self._make_paho(settings, options, clean)

    def _init_base(
        self, loop: asyncio.AbstractEventLoop, address: Address, options: ConnectOptions
    ) -> None:
        """The attributes of the base, as its own `__init__` would set them."""
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

    def _make_paho(self, settings: Settings, options: ConnectOptions, clean: bool) -> Paho:
        client = Paho(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if self._v5 else clean,
            protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            reconnect_on_failure=False,  # no fallback to MQTT 3.1 either
        )
        client.wire = self._wire
        client.events = self._events
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
            properties = will_properties(options) if self._v5 else None
            client.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        return client

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

    def publish_nowait(self, message: Message, taken: Container[int]) -> int:
        """Write a PUBLISH and return its packet ID; 0 at QoS 0.

        Args:
            message: what to publish.
            taken: packet IDs that are in flight.

        Raises:
            ValueError: it cannot be sent.
        """
        client = cast(Paho, self._client)
        properties: bytes | None = None
        if self._v5:
            properties = b"\0"
            if message.properties is not None:
                if message.properties is not self._packed[0]:
                    self._packed = (message.properties, Packed(message.properties).pack())
                properties = self._packed[1]
        while message.qos and client.next_id() in taken:
            client.skip_id()  # it is still in flight after 65 535 others
        head = 0x30 | message.qos << 1 | message.retain
        return client.write_publish(message.topic, message.payload, head, properties)

    def ping(self) -> None:
        """Write a PINGREQ. Not paho's own clockwork: S9, it uses the real clock, tick 1 s."""
        self._client._send_pingreq()

    def write_disconnect(self) -> None:
        """Write a DISCONNECT after all that is written already."""
        self._client.disconnect()
        self.loop_write()

    def loop_read(self) -> bool:
        """Read one packet or more; False when the connection is over."""
        cast(Paho, self._client).read_plain()
        if self._wire.paused or not self._wire.unread:
            return True
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
        self._client.loop_write()

    @property
    def unsent(self) -> int:
        """Bytes on the wire that the socket had no room for."""
        return len(self._wire.outgoing)

    def want_write(self) -> bool:
        """Whether paho has something queued."""
        return bool(self._client.want_write())

    def connack_refusal(self) -> tuple[int, str] | None:
        """Code and text of a CONNACK that refuses, or None."""
        code: int | None = cast(Paho, self._client).connack_code
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
        self._events.on_puback(mid, self._as_sent(rc) if rc.value == FAILURE else rc)

    def _on_subscribe(  # version 2 of paho's callbacks
        self, client: Any, userdata: Any, mid: int, granted_qos: Any, properties: Any = None
    ) -> None:
        codes = cast(Paho, self._client).codes
        reasons = [Reason(PacketTypes.SUBACK, identifier=code) for code in codes]
        super()._on_subscribe(client, userdata, mid, cast(Any, reasons), properties)

    def _as_sent(self, reason: Any) -> Any:
        """What paho was not shown: see `Paho`."""
        codes = cast(Paho, self._client).codes
        if reason.value != FAILURE or len(codes) != 1 or codes[0] < FAILURE:
            return reason
        return Reason(reason.packetType, identifier=codes[0])

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
