"""One HTTP connection to the sidecar, kept open, for one POST after another.

httpx would do the same for ten times the CPU (640 us for a POST, 60 here), and this is done for
every command. So the request is written as it is, and the answer that nearly every one is, with a
length and in one piece, is read by one pattern; whatever else comes goes through h11.

The trap: the other end may close a connection that has been idle, in the very moment in which it is
used again. So what breaks before any answer on a connection that was used before is sent once more,
on a new one; it may then arrive twice, as with QoS 1 everything may.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import h11
import trio

from .._answers import ANSWER_MAX, Away, Unreachable

OpenStream = Callable[[], Awaitable[trio.abc.Stream]]
Headers = list[tuple[bytes, bytes]]

_READ_SIZE = 16 * 1024
_Broken = (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError)
_HEAD = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])[ -~]*\r\n((?:[!-9;-~]+:[ -~]*\r\n)+)\r\n")
_LENGTH = re.compile(rb"^content-length:[ ]*([0-9]{1,9})[ ]*\r$", re.MULTILINE)


class _Silent(Exception):
    """The connection broke before there was any answer."""


class PostConnection:
    """See the module. Used by one task at a time.

    Args:
        open_stream: makes a stream to the sidecar; `OSError` says that there is no way.
        target: path of the request.
        headers: of every request, without its length; nothing in them is checked here.
    """

    def __init__(self, open_stream: OpenStream, target: bytes, headers: Headers) -> None:
        self._open_stream = open_stream
        self._target = target
        self._headers = headers
        fields = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self._head = b"POST " + target + b" HTTP/1.1\r\n" + fields + b"content-length: "
        self._stream: trio.abc.Stream | None = None

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Send one request; the status and the body of its answer.

        Has to be bounded by its caller. Cancellation: it may or may not have been taken; the
        connection is closed.

        Raises:
            Unreachable: there was no whole answer.
        """
        used_before = self._stream is not None
        try:
            try:
                return await self._exchange(body)
            except _Silent as error:
                if not used_before:
                    raise Unreachable(str(error)) from None
            return await self._exchange(body)
        except _Silent as error:
            raise Unreachable(str(error)) from None

    async def aclose(self) -> None:
        """Close at once, without a word. Does not wait."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _exchange(self, body: bytes) -> tuple[int, bytes]:
        if self._stream is None:
            try:
                self._stream = await self._open_stream()
            except (OSError, trio.BrokenResourceError) as error:
                raise Away(f"no connection: {error}") from None
        stream, self._stream = self._stream, None  # kept only when all goes well
        data = b""
        try:
            await stream.send_all(self._head + b"%d\r\n\r\n" % len(body) + body)
            data = bytes(await stream.receive_some(_READ_SIZE))
            answer = read_plain_answer(data)
            if answer is not None:
                self._stream = stream
                return answer
            state = h11.Connection(h11.CLIENT)
            length = (b"content-length", b"%d" % len(body))
            state.send(
                h11.Request(method=b"POST", target=self._target, headers=[*self._headers, length])
            )
            state.send(h11.Data(data=body))
            state.send(h11.EndOfMessage())
            found = await _read_answer(stream, state, data)
            if state.our_state is state.their_state is h11.DONE and not state.trailing_data[0]:
                self._stream = stream
            return found
        except _Broken as error:
            text = f"the connection broke: {error.__cause__ or error}"
            raise (Unreachable if data else _Silent)(text) from None
        finally:
            if self._stream is None:
                with trio.CancelScope(shield=True):  # it does not wait
                    await trio.aclose_forcefully(stream)


def read_plain_answer(data: bytes) -> tuple[int, bytes] | None:
    """The answer, if it is whole, has a length, and leaves the connection as it was; else None."""
    head = _HEAD.match(data)
    if head is None:
        return None
    fields = head[2].lower()
    if b"transfer-encoding" in fields or b"close" in fields:
        return None
    lengths = _LENGTH.findall(fields)
    if len(lengths) != 1 or int(lengths[0]) != len(data) - head.end():
        return None
    return int(head[1]), data[head.end() :]


async def _read_answer(
    stream: trio.abc.Stream, state: h11.Connection, data: bytes
) -> tuple[int, bytes]:
    """Any answer that HTTP/1.1 has.

    Raises:
        Unreachable: it is too long.
        h11.RemoteProtocolError: it is none, or was cut off.
    """
    if not data:
        raise trio.BrokenResourceError("it was closed")
    state.receive_data(data)
    answer = bytearray()
    status = 0
    while True:
        event = state.next_event()
        if event is h11.NEED_DATA:
            state.receive_data(bytes(await stream.receive_some(_READ_SIZE)))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            answer += event.data
            if len(answer) > ANSWER_MAX:
                raise Unreachable(f"its answer has more than {ANSWER_MAX} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(answer)
        elif isinstance(event, h11.ConnectionClosed):
            raise trio.BrokenResourceError("it was closed")
