"""What is to be sent to one client, and how much of that there may be.

The rule: QoS 1 and 2 messages are encoded only while little is waiting here, and wait in the
session otherwise; QoS 0 messages, which nobody keeps, are taken up to the bound of a client's
queue. Answers are always taken: whoever reads stops reading while too much waits.
"""

from __future__ import annotations

from collections.abc import Callable

READY = 64 * 1024  # bytes that wait, up to which more messages are encoded


class Output:
    """See the module.

    Args:
        bound: bytes of QoS 0 messages.
        on_output: called when there is something to send, and was nothing before.

    Attributes:
        size: bytes that wait.
    """

    __slots__ = ("_bound", "_chunks", "_on_output", "size")

    def __init__(self, bound: int, on_output: Callable[[], None]) -> None:
        self._chunks: list[bytes] = []  # a deque takes ten times as much while it is empty
        self._bound = bound
        self._on_output = on_output
        self.size = 0

    @property
    def ready(self) -> bool:
        """Whether more messages should be encoded."""
        return self.size < READY

    @property
    def is_full(self) -> bool:
        """Whether QoS 0 messages are dropped, and nothing is read from this client."""
        return self.size >= self._bound

    def write(self, data: bytes) -> None:
        """Send this, after everything else."""
        self._chunks.append(data)
        self.size += len(data)
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
        self.size -= len(data)
        return data

    def put_back(self, data: bytes) -> None:
        """What the socket did not take: it is sent first."""
        self._chunks.insert(0, data)
        self.size += len(data)

    def clear(self) -> None:
        """The client is gone."""
        self._chunks.clear()
        self.size = 0
