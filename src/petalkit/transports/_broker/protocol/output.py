"""What is to be sent to one client, and how much of that there may be.

The rule: QoS 1 and 2 messages are encoded only while little is waiting here, and wait in the
session otherwise; QoS 0 messages, which nobody keeps, are taken up to the bound of a client's
queue. Answers are always taken: whoever reads stops reading while too much waits. The trap: a
message to a thousand clients is encoded a thousand times, so all outputs have a bound together;
and each a share beyond it, or a few that do not read would hold up all.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.shared import Shared
from ..core.values import Publication

READY = 64 * 1024  # bytes that wait, up to which more messages are encoded


class Output:
    """See the module.

    Args:
        shared: the bounds, and what waits for all clients.
        on_output: called when there is something to send, and was nothing before.

    Attributes:
        size: bytes that wait.
    """

    __slots__ = ("_chunks", "_on_output", "_shared", "size")

    def __init__(self, shared: Shared, on_output: Callable[[], None]) -> None:
        self._chunks: list[bytes] = []  # a deque takes ten times as much while it is empty
        self._shared = shared
        self._on_output = on_output
        self.size = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing is to be read from this client."""
        return self.size >= self._shared.bounds.max_queued_bytes

    def has_room(self, publication: Publication) -> bool:
        """Whether there is room for one more message, for all that waits for others."""
        shared = self._shared
        bounds = shared.bounds
        return (
            shared.sending_bytes < bounds.max_queued_bytes_total
            # Those who do not read are not to be the end of those who do.
            or self.size + publication.size <= bounds.sending_share
        )

    def write(self, data: bytes) -> None:
        """Send this, after everything else."""
        self._chunks.append(data)
        self._count(len(data))
        if len(self._chunks) == 1:
            self._on_output()

    def take(self) -> bytes:
        """What is to be sent next: all, or as much as is good for one write."""
        chunks = self._chunks
        if self.size <= READY:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
        else:
            count = size = 0
            while count < len(chunks) and size < READY:
                size += len(chunks[count])
                count += 1
            data = b"".join(chunks[:count])
            del chunks[:count]
        self._count(-len(data))
        return data

    def put_back(self, data: bytes) -> None:
        """What the socket did not take: it is sent first."""
        self._chunks.insert(0, data)
        self._count(len(data))

    def clear(self) -> None:
        """The client is gone."""
        self._chunks.clear()
        self._count(-self.size)

    def _count(self, size: int) -> None:
        self.size += size
        self._shared.sending_bytes += size
