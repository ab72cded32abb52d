"""One message sent once: the request, its answer, and how long that may take.

Whoever breaks, or does not answer in time, may have died: that is said to whoever looks after it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import trio

from ...._values.errors import RejectedByBroker
from ...._values.messages import Message
from .._answers import Unreachable, check_answer
from .connection import PostConnection

_PAYLOAD_FORMAT_INVALID = 0x99  # these two: MQTT 5.0, section 2.4
_PACKET_TOO_LARGE = 0x95
_encode = msgspec.json.Encoder().encode


class PublishRequests:
    """See the module.

    Args:
        payload_max: bytes; a larger message is refused.
        timeout: seconds for one answer.
        callback_url: said in every request, as the guide's host does.
        on_broken: called when a request got no answer.
    """

    def __init__(
        self,
        payload_max: int,
        timeout: float,
        callback_url: str,
        on_broken: Callable[[], object],
    ) -> None:
        self._payload_max = payload_max
        self._timeout = timeout
        self._callback_url = _encode(callback_url)
        self._on_broken = on_broken

    async def send(self, connection: PostConnection, message: Message) -> None:
        """Return when it was accepted.

        Raises:
            SidecarError: it was not.
            RejectedByBroker: it never will be.
        """
        await self._post(connection, self._body(message))

    async def _post(self, connection: PostConnection, body: bytes) -> None:
        answer: tuple[int, bytes] | None = None
        with trio.move_on_after(self._timeout):
            try:
                answer = await connection.post(body)
            except Unreachable:
                self._on_broken()
                raise
        if answer is None:
            self._on_broken()
            raise Unreachable(f"no answer within {self._timeout:g} s")
        check_answer(*answer)

    def _body(self, message: Message) -> bytes:
        """The request; the payload is JSON already, and is not read again.

        Raises:
            RejectedByBroker: it is too large, or no JSON object.
        """
        payload = message.payload
        if len(payload) > self._payload_max:
            text = f"Packet too large ({len(payload)} bytes of payload)"
            raise RejectedByBroker(_PACKET_TOO_LARGE, text)
        if not payload.startswith(b"{"):
            raise RejectedByBroker(
                _PAYLOAD_FORMAT_INVALID, "the sidecar carries nothing but JSON objects"
            )
        return b'{"topic":%b,"payload":%b,"qos":%d,"callbackUrl":%b}' % (
            _encode(message.topic),
            payload,
            message.qos,
            self._callback_url,
        )
