"""What has come to a socket and is not read: the sign of a reader that cannot keep up.

The rule: it is asked a few times a second, so that reading costs nothing. The trap: whoever reads
without a pause can be behind all the same, and then the broker keeps what comes, and drops it.
"""

from __future__ import annotations

import socket
from typing import Protocol, runtime_checkable

import trio


@runtime_checkable
class _Asked(Protocol):
    def unread(self) -> int: ...


def unread_of(sock: socket.socket | trio.socket.SocketType) -> int:
    """Bytes that the kernel holds for whoever reads this socket; 0 where it cannot be asked."""
    try:
        import fcntl  # not everywhere
        import sys
        import termios

        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)
    except (ImportError, OSError, ValueError):  # the last for one that is closed
        return 0


def unread(stream: object) -> int:
    """The same of the socket that a stream ends in, through the layers around it (TLS, WebSocket).

    A stream may answer by itself, with a method `unread()`. 0 for one in memory.
    """
    while stream is not None:
        if isinstance(stream, _Asked):
            return stream.unread()
        if isinstance(stream, trio.SocketStream):
            return unread_of(stream.socket)
        stream = getattr(stream, "transport_stream", None)
    return 0
