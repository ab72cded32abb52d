"""The inbox of a link over a byte stream, and its bound: when to stop reading, and when to go on.

The rule: back-pressure. Reading stops when nobody takes what came, and goes on when all of it was
taken; silence is not judged meanwhile. It stops at once when whoever receives says so: an urgent
command that was read must never lie here behind what only waits. The trap: a SUBACK may stand
behind a whole replayed session. While one is awaited, so much more is read (`WAITING_FACTOR`). It
is enough for what a broker sends unacknowledged; and where nobody takes even that, the wait ends.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import trio

from ..._values.errors import ConnectionLost
from .._delivery import Delivery
from .._line.keepalive import KeepAlive
from .inbox import Inbox

BUFFER_MESSAGES = 64  # undelivered; then reading stops
BUFFER_BYTES = 1024 * 1024  # of them, the same
WAITING_FACTOR = 16
# A longer message is cut, or not taken at all. What is left must still be too large for whoever
# checks `payload_max`, and says so.
PACKET_BYTES_MIN = 1024 * 1024
PUBLISH_OVERHEAD = 64 * 1024 + 1024  # the longest topic, and a usual set of properties
ENVELOPE_MAX = 66 * 1024  # bytes of a sidecar's body beside the payload: the same
TOPIC_ALIAS_MAXIMUM = 16  # topics of 64 KiB at most, of a link over MQTT 5


def packet_limit(payload_max: int) -> int:
    """Bytes of the longest packet that is read whole."""
    return max(payload_max + PUBLISH_OVERHEAD, PACKET_BYTES_MIN)


class BoundedInbox(Inbox):
    """See the module.

    Args:
        loss: see `Inbox`.
        watch: knows when reading is paused.
    """

    def __init__(self, loss: Callable[[], ConnectionLost | None], watch: KeepAlive) -> None:
        super().__init__(loss)
        self._watch = watch
        self._room = trio.Event()
        self._declined = False  # whoever receives wants nothing more for now
        self._asking = 0  # questions whose answers stand in the same stream

    def is_full(self) -> bool:
        """Whether no more is to be read."""
        if self._declined and not self._asking:
            return True
        factor = WAITING_FACTOR if self._asking else 1
        return (
            len(self.deliveries) >= BUFFER_MESSAGES * factor or self.size >= BUFFER_BYTES * factor
        )

    async def wait_for_room(self) -> None:
        """Wait until reading may go on. Has no limit: this is the back-pressure."""
        self._room = trio.Event()
        self._watch.pause()
        await self._room.wait()
        self._watch.resume(trio.current_time())

    def read_on(self) -> None:
        """End the wait for room: all was taken, or the link is ending."""
        self._room.set()

    @contextmanager
    def answer_awaited(self) -> Generator[None]:
        """Read more while the block waits for something that may stand behind many messages."""
        self._asking += 1
        if not self.is_full():
            self._room.set()
        try:
            yield
        finally:
            self._asking -= 1

    def _give(self, sink: Callable[[Sequence[Delivery]], bool]) -> bool:
        self._declined = not sink(super()._take())
        if not self._declined:  # else what comes now would lie here
            self._room.set()
        return not self._declined

    def _go_on(self) -> None:
        if self._declined:
            self._declined = False
            self._room.set()

    def _take(self) -> list[Delivery]:
        self._room.set()
        return super()._take()
