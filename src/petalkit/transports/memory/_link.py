"""A link to an in-process broker: the contract without a network, in Trio's time.

The rule: the same promises as a real link, and the same freedom to break the caller's wrong
assumptions: what is published leaves at the end of the wake-up, `on_done` is never called inside
`publish_nowait`, and nothing arrives that nobody reads. The trap: an `ack()` reaches the broker
at once, so the AckWindow has to be closed in the same step in which the link is lost.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import msgspec
import trio

from ..._values.errors import ConnectionLost, RejectedByBroker, TransportError
from ..._values.messages import Message
from ..._values.topics import TopicFilter
from .._contract import ConnectOptions, Link, OnDone
from .._delivery import AckWindow, Delivery
from ._connection import ARRIVED_MAX, Connection
from ._core import BrokerCore

_PACKET_TOO_LARGE = 0x95  # MQTT 5.0, section 2.4
_FAILURE = 0x80  # this reason code and those above it


class MemoryLink(Link):
    """One connection to a `MemoryBroker`; made by `MemoryTransport.connect`."""

    def __init__(
        self,
        broker: BrokerCore,
        connection: Connection,
        options: ConnectOptions,
        *,
        session_present: bool,
    ) -> None:
        self._broker = broker
        self._connection = connection
        self._options = options
        self._session_present = session_present
        self._window: AckWindow | None = AckWindow(self._send_acks)
        self._receiving = False
        self._receiver = trio.lowlevel.ParkingLot()
        # -- publishing: each message is in exactly one of these until its on_done is called
        self._outgoing: list[tuple[Message, OnDone]] = []
        self._unanswered: dict[int, OnDone] = {}
        self._published = 0
        self._sender = trio.lowlevel.ParkingLot()
        self._publishers = trio.lowlevel.ParkingLot()
        # -- SUBSCRIBE and UNSUBSCRIBE that wait for their answer
        self._waiting: set[trio.Event] = set()
        self._ended = trio.Event()

    # -- life

    def start(self, nursery: trio.Nursery) -> None:
        """Hang into the connection, and run what the link needs in `nursery`."""

        def start_late() -> None:
            nursery.start_soon(
                self._connection.deliver_late, name="petalkit memory link: late packets"
            )

        connection = self._connection
        connection.on_arrival = self._on_arrival
        connection.on_lost = self._on_lost
        connection.on_late = start_late
        if connection.late:
            start_late()
        nursery.start_soon(self._send, name="petalkit memory link: sender")

    def leave(self) -> None:
        """Send what is still to be sent, then DISCONNECT; the end of every wait on this link."""
        if self._connection.lost is None:
            self._flush()
            self._broker._leave(self._connection)  # pyright: ignore[reportPrivateUsage]
        self._fail_all()

    def _on_arrival(self) -> None:
        self._receiver.unpark_all()

    def _on_lost(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None
        self._ended.set()
        self._receiver.unpark_all()
        self._sender.unpark_all()
        self._publishers.unpark_all()
        for answered in self._waiting:
            answered.set()

    def _fail_all(self) -> None:
        error = self._lost()
        unsent, self._outgoing = self._outgoing, []
        unanswered, self._unanswered = self._unanswered, {}
        for on_done in unanswered.values():
            on_done(error)
        for _, on_done in unsent:
            on_done(error)

    def _lost(self) -> ConnectionLost:
        lost = self._connection.lost
        assert lost is not None
        # A fresh one each time: an exception that is raised twice gathers tracebacks.
        return copy.copy(lost)

    @property
    def session_present(self) -> bool:
        """See `Link.session_present`."""
        return self._session_present

    @property
    def session_expiry(self) -> int:
        """See `Link.session_expiry`."""
        if self._connection.protocol == "3.1.1":
            return self._options.session_expiry
        return int(min(self._connection.session.lifetime, 0xFFFF_FFFF))

    # -- subscribing

    async def subscribe(self, filters: Sequence[TopicFilter]) -> Sequence[int]:
        """See `Link.subscribe`."""
        await trio.lowlevel.checkpoint()
        if self._connection.lost is not None:
            raise self._lost()
        codes, answered = self._broker._subscribe(self._connection, tuple(filters))  # pyright: ignore[reportPrivateUsage]
        await self._answer("SUBACK", answered)
        for code in codes:
            if code >= _FAILURE:
                raise RejectedByBroker(code, "a refusal on demand")
        return codes

    async def unsubscribe(self, filters: Sequence[TopicFilter]) -> None:
        """See `Link.unsubscribe`."""
        await trio.lowlevel.checkpoint()
        if self._connection.lost is not None:
            raise self._lost()
        answered = self._broker._unsubscribe(self._connection, tuple(filters))  # pyright: ignore[reportPrivateUsage]
        await self._answer("UNSUBACK", answered)

    async def _answer(self, packet: str, answered: bool) -> None:
        """Wait until the broker's answer has arrived, which is at once without a fault."""
        if answered and not self._is_late():
            return
        event = trio.Event()
        self._waiting.add(event)
        if answered:
            self._connection.later(event.set)
        try:
            with trio.move_on_after(self._options.subscribe_timeout) as scope:
                await event.wait()
        finally:
            self._waiting.discard(event)
        if self._connection.lost is not None:
            raise self._lost()
        if scope.cancelled_caught:
            raise ConnectionLost(f"no {packet} within {self._options.subscribe_timeout} s")

    def _is_late(self) -> bool:
        return self._broker.delay > 0 or bool(self._connection.late)

    # -- receiving

    @property
    def publish_maximum(self) -> int:
        """See `Link.publish_maximum`."""
        return self._options.publish_maximum

    @property
    def ended(self) -> trio.Event:
        """See `Link.ended`."""
        return self._ended

    async def receive(self) -> Sequence[Delivery]:
        """See `Link.receive`."""
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this link")
        self._receiving = True
        connection = self._connection
        pipe = connection.pipe
        try:
            if pipe or connection.lost is not None:
                await trio.lowlevel.checkpoint()
            while not pipe:
                if connection.lost is not None:
                    raise self._lost()
                await self._receiver.park()
        finally:
            self._receiving = False
        window = self._window
        deliveries: list[Delivery] = []
        for _ in range(min(len(pipe), ARRIVED_MAX)):
            packet, properties = pipe.popleft()
            publication = packet.publication
            deliveries.append(
                Delivery(
                    publication.topic,
                    publication.payload,
                    qos=packet.qos,
                    retain=packet.retain,
                    dup=packet.dup,
                    window=window if packet.qos else None,
                    packet_id=packet.packet_id,
                    properties=properties,
                )
            )
        return deliveries

    def _send_acks(self) -> None:
        window = self._window
        assert window is not None
        packet_ids = window.take_ready()
        self._broker._receive_acks(self._connection, packet_ids)  # pyright: ignore[reportPrivateUsage]
        window.sent()

    # -- publishing

    def publish_nowait(self, message: Message, on_done: OnDone) -> None:
        """See `Link.publish_nowait`."""
        if self._connection.lost is not None:
            raise self._lost()
        outgoing = self._outgoing
        if len(outgoing) + len(self._unanswered) >= self._options.publish_maximum:
            raise trio.WouldBlock
        outgoing.append((message, on_done))
        if len(outgoing) == 1:
            self._sender.unpark()

    async def wait_publishable(self) -> None:
        """See `Link.wait_publishable`."""
        await trio.lowlevel.checkpoint()
        while True:
            if self._connection.lost is not None:
                raise self._lost()
            if len(self._outgoing) + len(self._unanswered) < self._options.publish_maximum:
                return
            await self._publishers.park()

    async def _send(self) -> None:
        while self._connection.lost is None:
            if not self._outgoing:
                await self._sender.park()
            else:
                self._flush()
                await trio.lowlevel.checkpoint()
        self._fail_all()

    def _flush(self) -> None:
        """Hand over what waits, and the PUBACKs that come back at once."""
        batch, self._outgoing = self._outgoing, []
        late = self._is_late()
        receive = self._broker._receive_publish  # pyright: ignore[reportPrivateUsage]
        protocol = self._connection.protocol
        payload_max = self._options.payload_max
        for message, on_done in batch:
            error: TransportError | None = None
            answered = True
            if self._connection.lost is not None:  # something above cut it: not sent any more
                on_done(self._lost())
                continue
            if len(message.payload) > payload_max:
                error = RejectedByBroker(_PACKET_TOO_LARGE, "packet too large")
            else:
                if message.properties is not None and protocol == "3.1.1":
                    message = msgspec.structs.replace(message, properties=None)
                code, answered = receive(message, protocol)
                if code:
                    error = RejectedByBroker(code, "a refusal on demand")
            if answered and not late:
                on_done(error)
                continue
            self._published += 1
            self._unanswered[self._published] = on_done
            if answered:
                self._connection.later(self._puback(self._published, error))
        if self._publishers:
            self._publishers.unpark_all()

    def _puback(self, number: int, error: TransportError | None) -> Callable[[], None]:
        def arrive() -> None:
            on_done = self._unanswered.pop(number, None)
            if on_done is not None:
                on_done(error)
                self._publishers.unpark_all()

        return arrive
