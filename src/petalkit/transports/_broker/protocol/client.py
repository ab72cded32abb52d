"""One client's connection: its packets in their order, and what the core does for each.

The rule: whatever comes, the outcome is what MQTT has for it, and the same however the bytes were
split; a client that breaks the protocol gets its reason code (MQTT 5.0, section 4.13) and is gone,
with its will. Nothing here waits: the time comes from the core's clock, bytes go to `output`.

The trap: a few bytes can ask for much (each SUBSCRIBE to `#` for all retained messages), and nobody
else is served meanwhile. So a client has its turn, and `more` says that it is not done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import mqtt5

from ..._receiving.violations import PROTOCOL_ERROR, Violation
from ..codec.choice import Codec, WrongVersion, choose
from ..codec.header import PUBREL, measure
from ..core.broker import Broker
from ..core.session import Session
from ..core.values import (
    FAILURE,
    SERVER_SHUTTING_DOWN,
    End,
    Packet,
    Publication,
    Refused,
    Will,
)
from .connecting import connack_properties, read_connect
from .conversation import Conversation
from .output import READY, Output

_KEEP_ALIVE_TIMEOUT = 0x8D  # MQTT 5.0, section 2.4
TURN = 4096  # steps for one client before others have their turn, and a packet: see `Shared.work`

logger = logging.getLogger("petalkit.broker")


class ClientConnection:
    """See the module; for the core it is a `Wire`.

    Args:
        broker: the core.
        peer: where the client is, for the log.
        on_change: called when there is something to send, and was nothing before; and at the end.

    Attributes:
        output: what is to be sent.
        session: None before a CONNECT was accepted.
        lost: why the connection ends; set as soon as what is in `output` is the last of it.
        keep_alive: seconds; 0 for none.
        heard_at: when bytes came last; before its CONNECT, when it came.
        more: its turn is over, and not all that came is done: call `receive` with nothing.
    """

    __slots__ = (
        "_awaited",
        "_broker",
        "_codec",
        "_conversation",
        "_on_change",
        "_packet_maximum",
        "_peer",
        "_rest",
        "heard_at",
        "keep_alive",
        "lost",
        "more",
        "output",
        "session",
        "will",
        "window",
    )

    def __init__(self, broker: Broker, peer: str, on_change: Callable[[], None]) -> None:
        self._broker = broker
        self._peer = peer
        self._codec: Codec | None = None
        self._rest = bytearray()  # the beginning of a packet that is not complete
        self._awaited = 0  # bytes of it, before it is worth a look
        self._conversation: Conversation | None = None
        self._on_change = on_change
        self._packet_maximum = 1 << 28
        self.output = Output(broker.shared, on_change)
        self.session: Session | None = None
        self.lost: End | None = None
        self.keep_alive = 0
        self.more = False
        self.heard_at = broker.clock()
        self.will: Will | None = None
        self.window = 0

    def __str__(self) -> str:
        name = "" if self.session is None else f"{self.session.client_id[:64]!r} at "
        return name + self._peer

    # -- from the socket

    def receive(self, data: bytes | bytearray) -> None:
        """Bytes came."""
        self.more = False
        if self.session is not None:
            self.heard_at = self._broker.clock()
        if self._rest:
            self._rest += data
            if len(self._rest) < self._awaited:
                return
            data = bytes(self._rest)
            self._rest.clear()
        try:
            self._take(memoryview(data))
        except WrongVersion as error:
            self.output.write(error.answer)
            self.lost = End(error.text)
        except Violation as error:
            self._break_off(error)

    def _take(self, view: memoryview) -> None:
        """Do what the packets that begin here ask for, as much as is one turn."""
        shared, limit = self._broker.shared, self._broker.bounds.max_packet_size
        if self._codec is None:
            self._codec = choose(view, limit)
            if self._codec is None:
                self._rest += view
                return
        read = self._codec.read
        until = shared.work + TURN
        while self.lost is None:
            conversation = self._conversation
            if shared.work >= until:
                self._rest += view
                self._awaited = 0
                self.more = True
                return
            if conversation is not None and conversation.owed:
                conversation.go_on()
                continue
            if not view:
                return
            found = read(view)
            if found is None:
                self._awaited = measure(view, limit)[1]
                self._rest += view
                return
            packet, size = found
            view = view[size:]
            if conversation is not None:
                conversation.take(packet)
                if conversation.over:
                    self._leave(conversation)
            elif isinstance(packet, mqtt5.ConnectPacket):
                self._on_connect(packet)
            else:
                raise Violation(PROTOCOL_ERROR, "the first packet is no CONNECT")

    def check_time(self, now: float) -> None:
        """End it, if nothing has come for too long (MQTT 5.0, section 3.1.2.10)."""
        if self.lost is not None:
            return
        silence = now - self.heard_at
        if self.session is None:
            if silence > self._broker.bounds.connect_timeout:
                self.lost = End("no CONNECT")
        elif self.keep_alive and silence > 1.5 * self.keep_alive:
            self.end("nothing came within 1.5 times its keep alive", _KEEP_ALIVE_TIMEOUT)

    def sent(self) -> None:
        """The socket took what there was: more can come."""
        if self.session is not None and self.lost is None and self.session.queue:
            self.session.pump()

    def end(self, text: str, reason_code: int | None = None) -> None:
        """End the connection, from this side or because the client is gone."""
        if self.session is not None:
            self._broker.lose(self, self.session, End(text, reason_code))
        elif self.lost is None:
            self.lost = End(text)

    def shut_down(self) -> None:
        """The broker goes: say so, and publish no will, since nobody is there to have it."""
        self.will = None
        self.end("the broker shuts down", SERVER_SHUTTING_DOWN)

    def _leave(self, conversation: Conversation) -> None:
        if not conversation.keeps_will:
            self.will = None
        self.end("the client has disconnected")

    def _break_off(self, error: Violation) -> None:
        logger.info("%s broke the protocol: %s (0x%02X)", self, error.text, error.reason_code)
        if self.session is None and self._codec is not None and self._codec.name == "5":
            self._refuse(error.reason_code, error.text)
        self.end(error.text, error.reason_code)

    # -- as the core sees it

    def takes(self, publication: Publication) -> bool:
        """See `Wire`."""
        return self.output.size < READY and self.output.has_room(publication)

    def takes_qos_0(self, publication: Publication) -> bool:
        """See `Wire`."""
        return not self.output.is_full and self.output.has_room(publication)

    def send(self, packet: Packet) -> bool:
        """See `Wire`."""
        assert self._codec is not None
        try:
            data = self._codec.publish(packet, self._broker.clock())
        except (ValueError, OverflowError) as error:  # what one codec reads it does not write
            logger.warning("a message for %s cannot be written: %s", self, error)
            return False
        if len(data) > self._packet_maximum:  # MQTT 5.0, section 3.1.2.11.4
            return False
        self.output.write(data)
        return True

    def release(self, packet_id: int) -> None:
        """See `Wire`."""
        assert self._codec is not None
        self.output.write(self._codec.ack(PUBREL, packet_id, 0))

    def close(self, end: End) -> None:
        """See `Wire`."""
        self.lost = end
        logger.debug("%s: the connection ends: %s", self, end.text)
        if end.reason_code is not None and self._codec is not None:
            data = self._codec.disconnect(end.reason_code, end.text[:200])
            if data and len(data) <= self._packet_maximum:
                self.output.write(data)
        self._on_change()

    # -- the way in

    def _on_connect(self, packet: mqtt5.ConnectPacket) -> None:
        broker, codec = self._broker, self._codec
        assert codec is not None
        v5 = codec.name == "5"
        self.window = broker.bounds.max_inflight
        if v5:
            self.window = min(self.window, packet.receive_max)
            self._packet_maximum = packet.max_packet_size or self._packet_maximum
        try:
            hello = read_connect(packet, broker.bounds, v5=v5)
            self.session, present = broker.connect(hello, self)
        except Refused as refused:
            self._refuse(refused.reason_code, refused.text)
            self.lost = End(refused.text)
            return
        self.keep_alive, self.heard_at = packet.keep_alive, broker.clock()
        said = connack_properties(packet, hello, broker.bounds)
        self.output.write(codec.connack(present=present, reason_code=0, properties=said))
        logger.debug("%s has connected with MQTT %s", self, codec.name)
        self._conversation = Conversation(broker, codec, self.session, self.output)
        self.session.resume()

    def _refuse(self, reason_code: int, text: str) -> None:
        logger.info("%s is refused: %s (0x%02X)", self, text, reason_code)
        assert self._codec is not None
        said = {"reason_str": text[:200]}
        try:
            data = self._codec.connack(present=False, reason_code=reason_code, properties=said)
        except ValueError:  # not a code of a CONNACK
            data = self._codec.connack(present=False, reason_code=FAILURE, properties=said)
        self.output.write(data)
