"""One HTTP connection to the sidecar, kept open, for one POST after another. By h11.

httpx would do the same for six times the CPU (640 us instead of 90 for a POST), and this is done
for every command. The trap: the other end may close a connection that has been idle, in the very
moment in which it is used again. So what breaks before any answer on a connection that was used
before is sent once more, on a new one; it may then arrive twice, as with QoS 1 everything may.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import h11
import trio

from ._sidecar_answers import ANSWER_MAX, Away, Unreachable

OpenStream = Callable[[], Awaitable[trio.abc.Stream]]
Headers = list[tuple[bytes, bytes]]

_READ_SIZE = 16 * 1024
_Broken = (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError)


class _Silent(Exception):
    """The connection broke before there was any answer."""


class PostConnection:
    """See the module. Used by one task at a time.

    Args:
        open_stream: makes a stream to the sidecar; `OSError` says that there is no way.
        target: path of the request.
        headers: of every request, without its length.
    """

    def __init__(self, open_stream: OpenStream, target: bytes, headers: Headers) -> None:
        self._open_stream = open_stream
        self._target = target
        self._headers = headers
        self._stream: trio.abc.Stream | None = None
        self._state = h11.Connection(h11.CLIENT)

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
            self._state = h11.Connection(h11.CLIENT)
        whole = False
        answered = closed = False
        try:
            await self._stream.send_all(self._request(body))
            answer = bytearray()
            status = 0
            while True:
                event = self._state.next_event()
                if event is h11.NEED_DATA:
                    data = bytes(await self._stream.receive_some(_READ_SIZE))
                    answered, closed = answered or bool(data), not data
                    self._state.receive_data(data)  # an end may be what ends the answer, too
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    answer += event.data
                    if len(answer) > ANSWER_MAX:
                        raise Unreachable(f"its answer has more than {ANSWER_MAX} bytes")
                elif isinstance(event, h11.EndOfMessage):
                    break
                elif isinstance(event, h11.ConnectionClosed):
                    raise trio.BrokenResourceError
            if self._state.our_state is self._state.their_state is h11.DONE:
                self._state.start_next_cycle()
                whole = True
            return status, bytes(answer)
        except _Broken as error:
            what = "it was closed" if closed else error.__cause__ or error
            text = f"the connection broke: {what}"
            raise (Unreachable if answered else _Silent)(text) from None
        finally:
            if not whole:
                await self.aclose()

    def _request(self, body: bytes) -> bytes:
        send = self._state.send
        headers = [*self._headers, (b"content-length", b"%d" % len(body))]
        parts = (
            send(h11.Request(method=b"POST", target=self._target, headers=headers)),
            send(h11.Data(data=body)),
            send(h11.EndOfMessage()),
        )
        return b"".join(part for part in parts if part)
