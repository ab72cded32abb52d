"""What the kernel still holds of what a socket was given: the only sign that a slow line moves.

The rule: it is asked only when a limit is about to be judged, so that sending costs nothing. The
trap: a kernel takes a hundred kilobytes at once and tells nobody when they leave; on a line of
1.2 kB/s that is more than a minute, and looks like a dead peer. What the peer has not acknowledged
counts as held, so a peer that has vanished takes nothing, however much is tried.
"""

from __future__ import annotations

import socket
import sys
from typing import NamedTuple, Protocol, runtime_checkable

import trio

_SO_NWRITE = 0x1024  # macOS, <sys/socket.h>: bytes in the send buffer


class Outflow(NamedTuple):
    """The way out of one socket.

    Attributes:
        written: bytes that the kernel has taken, from the first on.
        queued: of these, what it still holds.
    """

    written: int
    queued: int

    @property
    def left(self) -> int:
        """What has left. It only rises while bytes leave; its zero means nothing."""
        return self.written - self.queued


@runtime_checkable
class _Asked(Protocol):
    def outflow(self) -> Outflow | None: ...


def queued(sock: socket.socket | trio.socket.SocketType) -> int | None:
    """Bytes that the kernel holds for this socket: unsent, or sent and not acknowledged.

    For TCP and Unix sockets, on Linux (SIOCOUTQ, tcp(7)) and macOS; None where it cannot be asked.
    """
    try:
        if sys.platform == "linux":
            # Here, since the modules are not everywhere.
            import fcntl
            import termios

            answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
            return int.from_bytes(answer, sys.byteorder)
        if sys.platform == "darwin":
            return int(sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE))
    except (OSError, ValueError):  # the latter for one that is closed
        pass
    return None


def outflow(stream: object) -> Outflow | None:
    """The way out of the socket that a stream ends in, through the layers around it.

    A layer (TLS, WebSocket) is one with a `transport_stream`. A stream of any kind may answer by
    itself, with a method `outflow()`. None for one that cannot be asked, such as one in memory.
    """
    while True:
        if isinstance(stream, _Asked):
            return stream.outflow()
        if isinstance(stream, trio.SocketStream):
            held = queued(stream.socket)
            return None if held is None else Outflow(0, held)  # nobody has counted
        stream = getattr(stream, "transport_stream", None)
        if stream is None:
            return None
