"""Publishing by POST: several at once, each of another topic, and in order within a topic.

The rules:

* A message keeps its place at the head of its topic until it is accepted, or until HTTP says that
  it never will be. A sidecar that is away, or has no broker, is asked again and again; the link
  lives as long as its health is good, and the supervisor ends it when nothing at all is accepted
  for `publish_timeout`.
* One that is refused for so long while others are accepted is the message's own fault: it is
  refused, so that what waits behind it leaves.

So a restart of the sidecar costs no message anything. Each has a request of its own and an answer
of its own: what is under way when a link is lost has not brought it down.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable

import msgspec
import trio

from .._errors import ConnectionLost, RejectedByBroker, TransportError
from .._messages import Message
from ._contract import OnDone
from ._sidecar_answers import SidecarError, Unreachable, check_answer
from ._sidecar_connection import PostConnection

logger = logging.getLogger("petalkit.transport")

RETRY_MIN = 0.1  # seconds; doubles
RETRY_MAX = 5.0
_PAYLOAD_FORMAT_INVALID = 0x99  # these three: MQTT 5.0, section 2.4
_PACKET_TOO_LARGE = 0x95
_UNSPECIFIED = 0x80
_encode = msgspec.json.Encoder().encode


class Publisher:
    """See the module; `run` is its one task.

    Args:
        connect: makes a connection; called once per lane at most.
        lanes: requests at once.
        maximum: messages that are here at once.
        payload_max: bytes; a larger message is refused.
        request_timeout: seconds for one answer.
        give_up_after: seconds; see the second rule.
        callback_url: said in every request, as the guide's host does.
        on_broken: called when a request got no answer.
    """

    def __init__(
        self,
        connect: Callable[[], PostConnection],
        *,
        lanes: int,
        maximum: int,
        payload_max: int,
        request_timeout: float,
        give_up_after: float,
        callback_url: str,
        on_broken: Callable[[], object],
    ) -> None:
        self._connect = connect
        self._lanes = lanes
        self._maximum = maximum
        self._payload_max = payload_max
        self._request_timeout = request_timeout
        self._give_up_after = give_up_after
        self._callback_url = _encode(callback_url)
        self._on_broken = on_broken
        self._lines: dict[str, deque[tuple[Message, OnDone]]] = {}
        self._ready: deque[str] = deque()  # topics with messages that no lane is sending
        self._idle: list[PostConnection] = []
        self._count = 0
        self._sleepers = trio.lowlevel.ParkingLot()
        self._publishers = trio.lowlevel.ParkingLot()
        self._empty = trio.Event()
        self._empty.set()
        self._accepted_at = -math.inf  # Trio's clock

    def __len__(self) -> int:
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether `put` may be called."""
        return self._count < self._maximum

    def put(self, message: Message, on_done: OnDone) -> None:
        """Put a message last in its topic's line; there must be room."""
        self._count += 1
        if self._count == 1:
            self._empty = trio.Event()
        line = self._lines.get(message.topic)
        if line is None:
            line = self._lines[message.topic] = deque()
            self._ready.append(message.topic)
            self._sleepers.unpark()
        line.append((message, on_done))

    async def wait_room(self) -> None:
        """Wait until something has changed. Has no limit: the link's end wakes it too."""
        await self._publishers.park()

    async def wait_empty(self) -> None:
        """Wait until everything has its outcome. Has to be bounded by the caller."""
        await self._empty.wait()

    def fail_all(self, error: Callable[[], ConnectionLost]) -> None:
        """The link is gone: tell everybody who waits."""
        lines, self._lines = self._lines, {}
        self._ready.clear()
        self._count = 0
        self._empty.set()
        self._publishers.unpark_all()
        for line in lines.values():
            for _, on_done in line:
                on_done(error())

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for number in range(self._lanes):
                    nursery.start_soon(self._lane, name=f"petalkit sidecar publisher {number}")
        finally:
            for connection in self._idle:
                await connection.aclose()

    async def _lane(self) -> None:
        while True:
            while not self._ready:
                await self._sleepers.park()
            # The one that was used last, so that no more are open than are needed.
            connection = self._idle.pop() if self._idle else self._connect()
            try:
                await self._send_first(connection, self._ready.popleft())
            finally:
                self._idle.append(connection)

    async def _send_first(self, connection: PostConnection, topic: str) -> None:
        """Send the first of a topic's line; until it has its outcome it stays there."""
        line = self._lines[topic]
        outcome = await self._outcome(connection, line[0][0])
        if self._lines.get(topic) is not line:
            return  # the link was lost in the same step, and everybody has been told
        _, on_done = line.popleft()
        self._count -= 1
        if line:
            self._ready.append(topic)
            if len(self._ready) > 1:
                self._sleepers.unpark()
        else:
            del self._lines[topic]
        if not self._count:
            self._empty.set()
        self._publishers.unpark_all()
        on_done(outcome)

    async def _outcome(self, connection: PostConnection, message: Message) -> TransportError | None:
        try:
            body = self._body(message)
            began, delay = trio.current_time(), RETRY_MIN
            while True:
                try:
                    await self._post(connection, body)
                    self._accepted_at = trio.current_time()
                    return None
                except SidecarError as error:
                    problem = error
                if delay == RETRY_MIN:
                    logger.warning(
                        "the sidecar has not taken a message for %r, which is sent again: %s",
                        message.topic,
                        problem,
                    )
                late = trio.current_time() - began >= self._give_up_after
                if late and self._accepted_at > began:
                    text = f"it takes other messages, and not this one: {problem}"
                    return RejectedByBroker(_UNSPECIFIED, text)
                await trio.sleep(delay)
                delay = min(2 * delay, RETRY_MAX)
        except RejectedByBroker as error:
            await trio.lowlevel.checkpoint()
            return error

    async def _post(self, connection: PostConnection, body: bytes) -> None:
        answer: tuple[int, bytes] | None = None
        with trio.move_on_after(self._request_timeout):
            try:
                answer = await connection.post(body)
            except Unreachable:
                self._on_broken()
                raise
        if answer is None:
            self._on_broken()
            raise Unreachable(f"no answer within {self._request_timeout:g} s")
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
