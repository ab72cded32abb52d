"""A WebSocket as Trio's stream of bytes: RFC 6455 as wsproto speaks it, MQTT as section 6 wants it.

    _websocket_handshake    the way in     here    what comes after it

The rules: MQTT is in binary frames, and where a frame ends says nothing (MQTT 5.0, section 6); a
text frame ends the connection. What one `send_all` gets leaves as one frame and one write below. A
ping is answered with what is sent next, or at once if the line takes it: reading never waits for a
line that is full, so a pong may be late on one, and only the newest is sent. The close frame is
what this stream has for half a close: nothing is sent after it, and reading goes on until the peer
has answered it. The trap: a frame that was cut by a cancellation breaks all that come after, so
nothing is sent any more then.
"""

from __future__ import annotations

import operator

import trio
from wsproto import WSConnection
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

READ_SIZE = 64 * 1024
ANSWER_PATIENCE = 0.1  # seconds that reading waits for the line to take a pong or a close frame
CLOSE_PATIENCE = 1.0  # seconds that closing waits for the same

_GOOD_ENDS = (CloseReason.NORMAL_CLOSURE, CloseReason.NO_STATUS_RCVD)


class WebSocketStream(trio.abc.HalfCloseableStream):
    """See the module. Made by `open_websocket`.

    Unlike other streams that close by halves, it sends nothing more once the peer has closed, for
    then the answer is due, and is the last frame.

    Args:
        transport_stream: what the WebSocket was opened on; owned from here on.
        connection: of wsproto, open.
        peer: who is at its other end, for the text of an error.

    Attributes:
        transport_stream: the stream below: plain, or TLS.
    """

    def __init__(
        self,
        transport_stream: trio.abc.Stream,
        connection: WSConnection | Connection,
        peer: str = "the broker",
    ):
        self.transport_stream = transport_stream
        self._connection = connection
        self._peer = peer
        self._incoming = bytearray()  # read and not given out: less than two reads
        self._ended: str | None = None  # nothing more comes; the text is the error, "" is the end
        self._pong: Pong | None = None
        self._close: CloseConnection | None = None  # that we owe
        self._lock = trio.Lock()  # who writes below
        self._sending = self._receiving = self._closed = False
        self._torn = False  # what was written below may be half a frame
        self._take_events()  # of what came with the answer to the handshake

    # -- receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`.

        Raises:
            BrokenResourceError: the peer broke the protocol, or closed with a code that says why.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be above 0")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving")
        self._receiving = True
        try:
            return await self._receive(max_bytes)
        finally:
            self._receiving = False

    async def _receive(self, max_bytes: int | None) -> bytes:
        self._check_open()
        if self._incoming or self._ended is not None:
            await trio.lowlevel.checkpoint()
        while not self._incoming:
            if self._pong or self._close:
                await self._answer()
            if self._ended is not None:
                await trio.lowlevel.checkpoint_if_cancelled()
                self._check_open()
                if self._ended:
                    raise trio.BrokenResourceError(self._ended)
                return b""
            data = await self.transport_stream.receive_some(READ_SIZE)
            self._check_open()
            if data:
                self._connection.receive_data(bytes(data))
                self._take_events()
            else:
                self._ended = ""  # without a close frame; MQTT knows itself where it ends
        taken = bytes(self._incoming[:max_bytes])
        del self._incoming[:max_bytes]
        return taken

    def _take_events(self) -> None:
        for event in self._connection.events():
            if isinstance(event, BytesMessage):
                self._incoming += event.data
            elif isinstance(event, Ping):
                self._pong = event.response()
            elif isinstance(event, CloseConnection):
                self._on_close(event)
                return
            elif isinstance(event, TextMessage):
                # MQTT 5.0, section 6: the connection is closed.
                self._give_up(CloseReason.UNSUPPORTED_DATA, "a text frame, where MQTT has none")
                return

    def _on_close(self, event: CloseConnection) -> None:
        state = self._connection.state
        if state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):  # wsproto's own verdict
            self._give_up(event.code, event.reason or "a frame that cannot be read")
            return
        if state is ConnectionState.REMOTE_CLOSING:
            self._close = event.response()
        good = state is ConnectionState.CLOSED or (event.code in _GOOD_ENDS and not event.reason)
        self._ended = "" if good else f"{self._peer} closed the WebSocket: {_reason(event)}"

    def _give_up(self, code: int, text: str) -> None:
        self._close = CloseConnection(code=code, reason=text)
        self._ended = f"{self._peer} broke the WebSocket protocol: {text}"

    async def _answer(self) -> None:
        """Send a pong or a close frame, if the line takes it now; else with what is sent next.

        A close frame is the last word: nothing comes next that could bring it, and whoever reads
        closes the stream now, so it waits for its turn behind a write that is under way.
        """
        if self._lock.locked() and self._close is None:
            return
        with trio.move_on_after(ANSWER_PATIENCE):
            async with self._lock:
                if not self._may_send():
                    self._pong = self._close = None
                    return
                try:
                    await self.transport_stream.wait_send_all_might_not_block()
                    await self._write(self._take_owed())
                except trio.BrokenResourceError:
                    self._torn = True  # reading tells why

    # -- sending

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream`. Cancellation: nothing can be sent any more."""
        with _Turn(self):
            async with self._lock:
                self._check_sendable()
                frames = self._take_owed()
                if data and not self._is_closing():
                    frames += self._connection.send(BytesMessage(data=bytes(data)))
                if frames:
                    await self._write(frames)
                self._check_sendable()

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        with _Turn(self):
            async with self._lock:
                self._check_sendable()
                await self.transport_stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Send a close frame: nothing can be sent any more, and the peer is to close, too.

        Reading goes on, until `receive_some` returns b"" because the peer has. See
        `trio.abc.HalfCloseableStream`.
        """
        with _Turn(self):
            async with self._lock:
                self._check_open()
                if self._torn:
                    raise trio.BrokenResourceError("the WebSocket takes nothing more")
                if self._may_send():
                    await self._write(self._close_frame())

    def _is_closing(self) -> bool:
        return self._connection.state is not ConnectionState.OPEN

    def _may_send(self) -> bool:
        """Whether a control frame can be sent."""
        state = self._connection.state
        return not self._torn and state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING)

    def _take_owed(self) -> bytes:
        """The frames of our own that wait."""
        pong, self._pong = self._pong, None
        if self._close is not None:
            return self._close_frame()
        if pong is None or self._is_closing():
            return b""
        return self._connection.send(pong)

    def _close_frame(self) -> bytes:
        close, self._close = self._close, None
        return self._connection.send(close or CloseConnection(code=CloseReason.NORMAL_CLOSURE))

    async def _write(self, frames: bytes) -> None:
        self._torn = True
        await self.transport_stream.send_all(frames)
        self._torn = False

    def _check_sendable(self) -> None:
        self._check_open()
        if self._connection.state is ConnectionState.LOCAL_CLOSING and self._ended is None:
            raise trio.ClosedResourceError("this WebSocket was closed for sending")
        if self._torn or self._is_closing():
            raise trio.BrokenResourceError(self._ended or "the WebSocket takes nothing more")

    # -- closing

    async def aclose(self) -> None:
        """Send a close frame, if none was sent, and close; does not wait for the peer's.

        Whoever wants to know that the peer has read everything calls `send_eof`, and reads to
        the end. Bounded by `CLOSE_PATIENCE`, and what the stream below needs.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            if self._may_send() and not self._lock.locked():
                with trio.move_on_after(CLOSE_PATIENCE):
                    await self.transport_stream.send_all(self._close_frame())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # there is nobody to be told
        finally:
            await self.transport_stream.aclose()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")


class _Turn:
    """One task sends at a time: Trio wants the second to be refused."""

    def __init__(self, stream: WebSocketStream) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        if self._stream._sending:
            raise trio.BusyResourceError("another task is sending")
        self._stream._sending = True

    def __exit__(self, *_: object) -> None:
        self._stream._sending = False


def _reason(event: CloseConnection) -> str:
    """Code and words of a close frame (RFC 6455, section 7.4)."""
    try:
        name = CloseReason(event.code).name.replace("_", " ").lower()
    except ValueError:
        name = "a code of its own"
    said = f": {event.reason!r}" if event.reason else ""
    return f"{int(event.code)} ({name}){said}"
