"""One live connection: the socket, the tasks that drive it, and how it ends.

Three Trio tasks inside the link's own trio-asyncio loop: one reads, one writes, one watches the
clock. They wait for the socket with Trio's own `wait_readable` rather than the loop's
`add_reader`, which costs two tasks' wake-ups and a queue per event; the callbacks of paho run in
them, so a message reaches the receiver with no crossing of the border. Measured, CPU per QoS 1
echo through mosquitto with 64 in flight: asyncio-mqtt's own wiring 170 to 200 us on asyncio and 840
on trio-asyncio, this 45.

What came is `_incoming`'s business, what leaves is `_outgoing`'s; here is when to read, and when to
write. More than 300 lines, because that is one state machine: each method asks whether the link is
up, being left, or lost, and each may end it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from ..._values.errors import ConnectFailed, RejectedByBroker, TransportError
from ..._values.messages import Message
from ..._values.settings.server_references import referral_of
from ..._values.settings.settings import Settings
from ..._values.topics import TopicFilter
from .._base_link import MAYBE_3_1_1, OUTGOING_BYTES, READ_SIZE, BaseLink
from .._connecting.sockets import is_peers_doing
from .._connecting.tls import Address
from .._contract import ConnectOptions, OnDone, wait_within
from .._limits import filter_batches, fitted
from .._line.receive_queue import unread_of
from .._line.send_queue import Outflow
from .._reason_codes import FAILURE
from .._receiving.receiving import Receiving
from .._receiving.violations import PACKET_TOO_LARGE, Violation
from .._trio_asyncio import trio_asyncio
from ._calls import Calls
from ._client import HardenedClient
from ._incoming import Incoming
from ._outgoing import Outgoing
from ._properties import read_limits
from ._socket import TLS_RETRY, LinkSocket
from ._wire import Wire


class AsyncioLink(BaseLink):
    """A `Link` over one socket. Made and driven by `AsyncioMqttTransport.connect`."""

    def __init__(
        self,
        sock: socket.socket,
        address: Address,
        settings: Settings,
        options: ConnectOptions,
        receiving: Receiving,
    ) -> None:
        super().__init__(options)
        self._sock = LinkSocket(sock)
        self._address = address
        self._settings = settings
        self._wire = Wire()
        self._v5 = settings.protocol == "5"
        self._receiving = receiving
        receiving.connect(self._wire.outgoing, options.receive_maximum, self._wake_writer)
        self._outgoing = Outgoing(options, receiving, self._wake_writer, self._wake_publishers)
        self._incoming = Incoming(
            self._wire, receiving, self._inbox, self._packet_limit, v5=self._v5
        )
        # From the client, as what is named alike below.
        self.on_publish = self._incoming.on_publish
        self.on_pubrel = self._incoming.on_pubrel
        self.on_puback = self._outgoing.on_puback

    def __repr__(self) -> str:
        return f"<AsyncioLink to {self._address}, {self._state()}>"

    @property
    def session_present(self) -> bool:
        """See `Link.session_present`."""
        return self._client.session_present

    # -- life, for the transport

    @asynccontextmanager
    async def _open(self, deadline: float) -> AsyncGenerator[None]:
        # An exception in a callback of the loop ends it, and this (S13).
        async with trio_asyncio.open_loop() as loop, trio.open_nursery() as nursery:
            self._calls = Calls(loop, nursery, self._lose)
            self._client = self._outgoing.client = HardenedClient(
                loop, self._wire, self, self._address, self._settings, self._options
            )
            nursery.start_soon(self._read)
            nursery.start_soon(self._write)
            await self._connect(deadline)
            yield

    async def _connect(self, deadline: float) -> None:
        scope = trio.CancelScope()
        decided, _ = self._calls.start(self._client.connect, scope)
        try:
            await self._wait_connack(decided, deadline)
        finally:
            scope.cancel()
        if not self._up:
            self._lose(f"no CONNACK in time{MAYBE_3_1_1 if self._v5 else ''}")

    def on_connected(self, connack: Any) -> None:
        """From the client: accepted, and what the CONNACK says (MQTT 5.0, section 3.2.2.3).

        Here, and not where `_connect` goes on: more packets may follow in the same wake-up.
        """
        self._up = self._incoming.accepted = True
        if not self._client.session_present:
            self._receiving.forget_session()
        self._outgoing.accept_limits(connack)
        self._accept_limits(read_limits(connack))
        keep_alive: int = getattr(connack, "ServerKeepAlive", 0) or self._options.keep_alive
        self._watch.interval = min(self._watch.interval, keep_alive)

    def _connect_error(self) -> TransportError:
        refusal = self._client.connack_refusal()
        if refusal is not None:
            return RejectedByBroker(*refusal)
        return ConnectFailed(f"no link to {self._address}: {self._lost}")

    async def leave(self) -> None:
        """See `BaseLink.leave`."""
        if self._lost is not None or not self._up:
            return
        self._leaving = True
        self._outgoing.flush()
        self._client.write_disconnect()
        if self._send():  # at once: the caller may leave us no time at all
            self._half_close()
        self._inbox.read_on()
        self._wake_writer()
        await self._ended.wait()

    def _take_owed(self) -> Iterable[OnDone]:
        self._incoming.over = True
        return self._outgoing.take_owed()

    # -- reading

    async def _read(self) -> None:
        # What is left on the wire of a lost link is not parsed, so it must not be waited out.
        while self._lost is None:
            if self._inbox.is_full() and not self._leaving:
                await self._inbox.wait_for_room()
            self._wire.paused = False
            if not self._wire.unread or self._leaving:
                await trio.lowlevel.wait_readable(self._sock.raw)
                if not await self._fill():
                    return
            self._parse()

    async def _fill(self) -> bool:
        """Move bytes from the socket to the wire; False when there will be no more."""
        try:
            data = self._sock.receive(READ_SIZE)
        except ssl.SSLWantWriteError:
            await trio.sleep(TLS_RETRY)
            return True
        except OSError as error:
            self._lose_stream(f"reading failed: {error}", error, speaks_mqtt_5=self._v5)
            return False
        if data == b"":
            self._lose_stream("the broker closed the connection", None, speaks_mqtt_5=self._v5)
            return False
        if data is not None:
            self._watch.heard(trio.current_time())
            if not self._leaving:
                self._wire.feed(data)
        return True

    def _parse(self) -> None:
        """Let paho handle whole packets until the wire is empty or the buffer is full."""
        wire = self._wire
        while wire.unread and not wire.paused and self._lost is None and not self._leaving:
            ok = self._client.loop_read()
            if self._incoming.violation is not None:
                self._break_off(self._incoming.violation)
            elif not ok:
                self._lose("the broker broke the protocol")
            elif not self._client.keep_head_of_long(self._packet_limit):
                text = f"a packet of more than {self._packet_limit} bytes"
                self._break_off(Violation(PACKET_TOO_LARGE, text))
        self._inbox.hand_over()
        if wire.outgoing:
            self._wake_writer()
        if len(wire.outgoing) > 2 * OUTGOING_BYTES:  # ours alone stop at the half of it
            self._lose("the broker does not take the answers that it asks for")

    def _break_off(self, violation: Violation) -> None:
        """The broker has broken the protocol; MQTT 5 has a DISCONNECT that says how."""
        if self._v5 and self._up:
            self._receiving.write_acknowledgements()
            self._wire.outgoing += bytes([0xE0, 1, violation.reason_code])
            self._send()
        code = f" ({violation.reason_code:#04x})" if self._v5 else ""
        self._lose(f"the broker broke the protocol: {violation.text}{code}")

    def on_end(self, reason: str, *, reason_code: int | None) -> None:
        """From the client: DISCONNECT of the broker, or a packet that paho cannot read."""
        if not self._leaving:
            self._lose(reason, reason_code=reason_code)

    def on_referral(self, code: int, reference: str) -> None:
        """From the client: a CONNACK or DISCONNECT names another server."""
        self.referral = referral_of(code, reference)

    @property
    def publish_maximum(self) -> int:
        """See `Link.publish_maximum`."""
        return self._outgoing.in_flight_max

    # -- writing

    async def _write(self) -> None:
        # A lost link may have something pending for ever: paho has closed, and writes no more.
        while self._lost is None:
            if not (self._wire.outgoing or self._outgoing.pending()):
                await self._writer.park()
                if self._outgoing.only_acks():
                    # The answer is mostly one step behind: then both leave in one packet.
                    await trio.lowlevel.checkpoint()
            self._outgoing.flush()
            if not self._send():
                await trio.lowlevel.wait_writable(self._sock.raw)
                continue
            self._outgoing.window.sent()
            if self._leaving:
                self._half_close()
                return
            self._wake_publishers()

    def _send(self) -> bool:
        """Send what is on the wire; False when the socket has no more room."""
        outgoing = self._wire.outgoing
        while outgoing:
            try:
                if not self._sock.send_from(outgoing):
                    return False
            except OSError as error:
                self._writing_failed(error)
                return True
            self._watch.sent(trio.current_time(), more=bool(outgoing))
        return True

    def _writing_failed(self, error: OSError) -> None:
        # The broker may have said why before it closed: a DISCONNECT that waits to be read.
        self._wire.outgoing.clear()
        try:
            data = self._sock.receive(READ_SIZE)
        except OSError:
            data = None
        if data and not self._leaving:
            self._wire.feed(data)
            self._parse()
        self._lose(f"writing failed: {error}", closed=is_peers_doing(error))

    def _half_close(self) -> None:
        try:
            self._sock.half_close()
        except OSError as error:
            self._lose(f"writing failed: {error}")

    def publish_nowait(self, message: Message, on_done: OnDone) -> None:
        """See `Link.publish_nowait`."""
        self._check_up()
        if not self._fits_all:
            message = fitted(message, self._broker_limits)
        self._outgoing.publish(message, on_done)

    def _publishable(self) -> bool:
        return self._outgoing.publishable()

    def _ping(self) -> None:
        self._outgoing.flush()  # what was published before stands before it
        self._client.ping()

    def on_pong(self) -> None:
        """From the client: a PINGRESP."""
        self._watch.echoed(trio.current_time())

    def on_output(self) -> None:
        """From the client: there is something to write."""
        self._wake_writer()

    def _outflow(self) -> Outflow | None:
        return self._sock.outflow()

    def unread(self) -> int:
        """See `Link.unread`."""
        return unread_of(self._sock.raw)

    def _unsent(self) -> int:
        return self._client.unsent

    # -- asking

    async def subscribe(self, filters: Sequence[TopicFilter]) -> Sequence[int]:
        """See `Link.subscribe`."""
        granted: list[int] = []
        for batch in filter_batches(filters):
            answer = await self._ask(self._client.subscribe_all, batch, "SUBACK")
            if len(answer) != len(batch):
                self._lose(f"the broker gave {len(answer)} answers to {len(batch)} filters")
                raise self._gone()
            for text, reason in zip(batch, answer, strict=True):
                if reason.value >= FAILURE:
                    raise RejectedByBroker(reason.value, f"{reason.getName()} to filter {text!r}")
                granted.append(reason.value)
        return granted

    async def unsubscribe(self, filters: Sequence[TopicFilter]) -> None:
        """See `Link.unsubscribe`."""
        for batch in filter_batches(filters):
            await self._ask(self._client.unsubscribe_all, batch, "UNSUBACK")

    async def _ask(
        self, method: Callable[[list[str]], Awaitable[Any]], filters: list[str], answer: str
    ) -> Any:
        """Run one of the client's coroutines, and wait for its end."""
        self._check_up()
        scope = trio.CancelScope()
        try:
            with self._inbox.answer_awaited():
                done, results = self._calls.start(method, scope, filters)
                await wait_within(done, self.patience(self._options.subscribe_timeout))
        finally:
            scope.cancel()
        if results:
            return results[0]
        self._lose(f"no {answer} in time")
        raise self._gone()
