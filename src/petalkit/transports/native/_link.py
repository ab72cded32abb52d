"""One live connection of the native transport: a stream, a session, and the tasks between them.

Three Trio tasks: one reads, one writes, one watches the clock. The protocol is the session's
business (`_session`), which knows no I/O; what leaves is `_outgoing`'s. Here is only when to read,
when to write, and whom to tell. More than 300 lines, because that is one state machine: each method
asks whether the link is up, being left, or lost, and each may end it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import trio

from ..._values.errors import ConnectFailed, ConnectionLost, RejectedByBroker, TransportError
from ..._values.messages import Message
from ..._values.settings.server_references import referral_of
from ..._values.topics import TopicFilter
from .._base_link import MAYBE_3_1_1, OUTGOING_BYTES, READ_SIZE, BaseLink
from .._connecting.sockets import is_peers_doing
from .._contract import ConnectOptions, OnDone, wait_within
from .._delivery import Delivery
from .._limits import filter_batches, fitted
from .._line.receive_queue import unread
from .._line.send_queue import Outflow
from .._reason_codes import FAILURE
from ._events import Connected, Ended, Event, Published, Refused
from ._outgoing import Outgoing
from ._questions import filter_reason
from ._session import ClientSession

LAST_WORDS = 1.0  # seconds in which a broker that takes nothing more may still say why

_Broken = (trio.BrokenResourceError, trio.ClosedResourceError)


class _Question:
    """A SUBSCRIBE or UNSUBSCRIBE that waits for its answer."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.codes: Sequence[int] | None = None


class NativeLink(BaseLink):
    """A `Link` over one stream. Made and driven by `NativeTransport.connect`.

    Args:
        stream: connected; closed by whoever opened it.
        session: of the client ID; nobody else uses it meanwhile.
        options: what CONNECT says, and the bounds.
        name: of the broker, for messages.
        username: for the broker.
        password: the same.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        session: ClientSession,
        options: ConnectOptions,
        name: str,
        *,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        super().__init__(options)
        self._stream = stream
        self._session = session
        self._name = name
        self._session_present = False
        self._refused: Refused | None = None
        self._decided = trio.Event()  # CONNACK, or none any more
        self._questions: dict[int, _Question] = {}
        self._pongs = session.pongs
        self._outgoing = Outgoing(
            stream, session, self._watch, options.payload_max, self._wake_writer
        )
        session.connect(
            options,
            packet_limit=self._packet_limit,
            on_output=self._wake_writer,
            username=username,
            password=password,
        )

    def __repr__(self) -> str:
        return f"<NativeLink to {self._name}, {self._state()}>"

    @property
    def session_present(self) -> bool:
        """See `Link.session_present`."""
        return self._session_present

    @property
    def publish_maximum(self) -> int:
        """See `Link.publish_maximum`."""
        return self._session.publish_maximum

    # -- life

    @asynccontextmanager
    async def _open(self, deadline: float) -> AsyncGenerator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            nursery.start_soon(self._write)
            await self._wait_connack(self._decided, deadline)
            if not self._up:
                self._lose(f"no CONNACK in time{MAYBE_3_1_1}")
            yield

    def _connect_error(self) -> TransportError:
        if self._refused is not None:
            return RejectedByBroker(self._refused.reason_code, self._refused.text)
        return ConnectFailed(f"no link to {self._name}: {self._lost}")

    async def leave(self) -> None:
        """See `BaseLink.leave`."""
        if self._lost is not None or not self._up:
            return
        self._leaving = True
        self._session.disconnect()
        self._inbox.read_on()
        self._wake_writer()
        await self._ended.wait()

    def _take_owed(self) -> Iterable[OnDone]:
        self._decided.set()
        for question in self._questions.values():
            question.done.set()
        for on_done, error in self._outgoing.take_untold():
            on_done(error or self._gone())  # it never left
        return self._session.lose_connection()

    def _check_up(self) -> None:
        super()._check_up()
        if self._session.state != "connected":
            raise ConnectionLost("the connection is ending")

    # -- reading

    async def _read(self) -> None:
        while self._lost is None:
            if self._inbox.is_full() and not self._leaving:
                await self._inbox.wait_for_room()
            try:
                data = await self._stream.receive_some(READ_SIZE)
            except _Broken as error:
                cause = error.__cause__ or error
                self._lose_stream(f"reading failed: {cause}", cause, speaks_mqtt_5=True)
                return
            if not data:
                self._lose_stream("the broker closed the connection", None, speaks_mqtt_5=True)
                return
            self._watch.heard(trio.current_time())
            if not self._leaving:
                last_words = self._take(self._session.receive_data(data), len(data))
                if last_words:
                    await self._send_last(last_words)

    def _take(self, events: list[Event], size: int) -> bytes:
        """Tell everybody what has happened; what is to be sent on a link that is lost now.

        Args:
            events: what was in the last bytes.
            size: how many those were. So topics and properties count too, and cost nothing.
        """
        inbox = self._inbox
        for event in events:
            kind = type(event)
            if kind is Delivery:
                inbox.deliveries.append(event)  # type: ignore[arg-type]
            elif kind is Published:
                self._on_published(event)  # type: ignore[arg-type]
            elif isinstance(event, Ended):
                last_words = b"" if event.by_server else self._session.data_to_send()
                self.referral = referral_of(event.reason_code, event.server_reference)
                self._lose(event.text, reason_code=event.reason_code if event.by_server else None)
                return last_words
            else:
                self._on_answer(event)
        if self._session.pongs != self._pongs:
            self._count_pongs()
        if inbox.deliveries:
            inbox.size += size
        inbox.hand_over()
        if self._session.unsent:
            self._wake_writer()
            if self._session.unsent > 2 * OUTGOING_BYTES:  # ours alone stop at the half of it
                self._lose("the broker does not take the answers that it asks for")
        return b""

    def _count_pongs(self) -> None:
        while self._pongs < self._session.pongs:
            self._pongs += 1
            self._watch.echoed(trio.current_time())

    def _on_published(self, event: Published) -> None:
        if self._publishers.taken:
            self._wake_publishers()
        if event.reason_code >= FAILURE:
            event.on_done(RejectedByBroker(event.reason_code, event.text))
        else:
            event.on_done(None)

    def _on_answer(self, event: Event) -> None:
        if isinstance(event, Connected):
            self._up = True
            self._session_present = event.session_present
            self._accept_limits(self._session.broker_limits)
            # 0 turns it off; pinging all the same is allowed, and finds a dead peer.
            keep_alive = event.keep_alive or self._options.keep_alive
            self._watch.interval = min(self._watch.interval, keep_alive)
            self._decided.set()
        elif isinstance(event, Refused):
            self._refused = event
            self.referral = referral_of(event.reason_code, event.server_reference)
            self._lose(event.text)
        elif not isinstance(event, Delivery | Published | Ended):
            question = self._questions.pop(event.packet_id, None)
            if question is not None:
                question.codes = event.reason_codes
                question.done.set()

    async def _send_last(self, data: bytes) -> None:
        """The DISCONNECT that says what the broker did wrong; the link is lost already."""
        if self._outgoing.sending:
            return  # in the middle of a packet that the broker does not take
        with trio.move_on_after(self._options.disconnect_timeout, shield=True):
            with contextlib.suppress(*_Broken):  # nobody there to be told
                await self._stream.send_all(data)

    # -- writing

    async def _write(self) -> None:
        outgoing = self._outgoing
        while self._lost is None:
            if not outgoing.pending():
                await self._writer.park()
                if outgoing.only_acks and not self._leaving:
                    # The answer is mostly one step behind, and leaves with them.
                    await trio.lowlevel.checkpoint()
            else:
                # More came meanwhile, maybe by `on_done`, and sending need not be a checkpoint.
                await trio.lowlevel.checkpoint()
            data = outgoing.flush()
            if data:
                try:
                    await outgoing.send(data)
                except _Broken as error:
                    await self._writing_failed(error)
                    return
                self._session.sent()
            if self._leaving and not self._session.wants_to_send:
                await self._half_close()
                return
            self._wake_publishers()

    async def _writing_failed(self, error: Exception) -> None:
        # The broker may have said why before it closed: a DISCONNECT that waits to be read.
        self._inbox.read_on()
        with trio.move_on_after(LAST_WORDS):
            await self._ended.wait()
        text = f"writing failed: {error.__cause__ or error}"
        self._lose(text, closed=is_peers_doing(error))

    async def _half_close(self) -> None:
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            try:
                await self._stream.send_eof()
            except _Broken as error:
                self._lose(f"writing failed: {error.__cause__ or error}")

    def _publishable(self) -> bool:
        return self._session.publishable and not self._outgoing.is_stuffed()

    def publish_nowait(self, message: Message, on_done: OnDone) -> None:
        """See `Link.publish_nowait`."""
        # The session of a lost link may be connected again, over another.
        if self._lost is not None or self._session.state != "connected":
            self._check_up()
        if not self._fits_all:
            message = fitted(message, self._broker_limits)
        self._outgoing.publish(message, on_done)

    def _ping(self) -> None:
        if self._session.state == "connected":
            self._outgoing.ping()

    def _outflow(self) -> Outflow | None:
        return self._outgoing.outflow()

    def unread(self) -> int:
        """See `Link.unread`."""
        return unread(self._stream)

    def _unsent(self) -> int:
        return self._outgoing.unsent

    # -- asking

    async def subscribe(self, filters: Sequence[TopicFilter]) -> Sequence[int]:
        """See `Link.subscribe`."""
        granted: list[int] = []
        for batch in filter_batches(filters):
            codes = await self._ask(self._session.subscribe, batch, "SUBACK")
            for text, code in zip(batch, codes, strict=True):
                if code >= FAILURE:
                    raise RejectedByBroker(code, f"{filter_reason(code)} to filter {text!r}")
                granted.append(code)
        return granted

    async def unsubscribe(self, filters: Sequence[TopicFilter]) -> None:
        """See `Link.unsubscribe`."""
        for batch in filter_batches(filters):
            await self._ask(self._session.unsubscribe, batch, "UNSUBACK")

    async def _ask(
        self, send: Callable[[Sequence[str]], int], filters: list[str], answer: str
    ) -> Sequence[int]:
        self._check_up()
        packet_id = send(filters)
        question = self._questions[packet_id] = _Question()
        self._wake_writer()
        try:
            with self._inbox.answer_awaited():
                await wait_within(question.done, self.patience(self._options.subscribe_timeout))
        finally:
            self._questions.pop(packet_id, None)
        if question.codes is None:
            self._lose(f"no {answer} in time")
            raise self._gone()
        return question.codes
