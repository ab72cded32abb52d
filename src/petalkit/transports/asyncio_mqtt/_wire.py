"""What paho has for a socket: bytes that it reads, and bytes that it has written.

What paho reads was put here, and what it writes is picked up here, by the link's tasks. So paho
never blocks, never opens or closes a connection, never calls into the event loop from a thread, and
everything it has to say in one wake-up leaves in one `send`.
"""

from __future__ import annotations

_PUBLISH = 3  # the upper half of the first byte; the lower has flags
_PUBACK = 0x40


class Wire:
    """What paho takes for its socket: bytes in, bytes out, and a gate between packets.

    Attributes:
        incoming: received and not yet read by paho.
        outgoing: written by paho and not yet sent.
        paused: paho finds nothing to read, whatever is there. Set from a message callback it
            takes effect before the next packet, and never inside one.
    """

    __slots__ = ("_position", "incoming", "outgoing", "paused")

    def __init__(self) -> None:
        self.incoming = b""
        self.outgoing = bytearray()
        self.paused = False
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Append received bytes; cheap when everything before them was read."""
        rest = self.incoming[self._position :]
        self.incoming = rest + data if rest else data
        self._position = 0

    @property
    def unread(self) -> int:
        """Bytes that paho has not read."""
        return len(self.incoming) - self._position

    def take_plain(self) -> tuple[int, bytes, int] | None:
        """Take the next packet off, if it is whole and one of the two that come for each command.

        Returns:
            The first byte, the body, and the size of the whole: of a PUBLISH, or of a PUBACK that
            says nothing but its packet ID. None leaves what there is to paho.
        """
        data, start = self.incoming, self._position
        if self.paused or len(data) < start + 4:
            return None
        first, length, body = data[start], data[start + 1], start + 2
        if first == _PUBACK:
            if length != 2:
                return None
        elif first >> 4 != _PUBLISH:
            return None
        elif length & 0x80:
            length &= 0x7F
            for shift in (7, 14, 21):
                if body >= len(data):
                    return None
                length |= (data[body] & 0x7F) << shift
                body += 1
                if not data[body - 1] & 0x80:
                    break
            else:
                return None  # too long for a length: paho knows what to say
        end = body + length
        if end > len(data):
            return None
        self._position = end
        return first, data[body:end], end - start

    def recv(self, buffer_size: int) -> bytes:
        start = self._position
        end = start + buffer_size
        data = self.incoming[start:end]
        if not data or self.paused:
            raise BlockingIOError
        self._position = start + len(data)
        return data

    def send(self, buffer: bytes | bytearray) -> int:
        self.outgoing += buffer
        return len(buffer)

    def close(self) -> None:
        """The socket is the link's to close."""

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None:
        pass
