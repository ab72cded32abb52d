"""Writing to a descriptor without ever waiting in `write`, where the system lets one.

The rule: `Outlet.write` takes what there is room for now and returns, whoever else writes to the
same pipe or terminal. The traps: that a descriptor is ready does not mean that a write returns,
since another process may fill the room in between; and to make it non-blocking would make it so for
all who share it, as the shell that started us. So a pipe and a terminal are opened once more, which
has flags of its own, and a socket is told with each call. A file has no such thing: a disk that
does not answer holds up whoever writes.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Callable

_PTMX = os.makedev(5, 2)  # the controlling side: to open it makes another terminal
_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Outlet:
    """See the module. Made by `open_outlet`.

    Args:
        descriptor: of its own.
        write: writes to it, and raises BlockingIOError where it would have to wait.
        close: closes it. The descriptor that it was made for stays open.
    """

    def __init__(
        self, descriptor: int, write: Callable[[bytes], int], close: Callable[[], None]
    ) -> None:
        self._descriptor = descriptor
        self._write = write
        self.close = close

    def write(self, data: bytes) -> int:
        """Write what there is room for; how many bytes that were.

        Raises:
            OSError: nobody reads any more.
        """
        try:
            return self._write(data)
        except BlockingIOError:
            return 0

    def wait_room(self) -> None:
        """Wait until there is room, or nobody reads any more. No limit: for a thread of its own."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()


def open_outlet(descriptor: int) -> Outlet | None:
    """One for a pipe, a terminal, a stream socket or the null device; None for all else.

    None also where the system refuses it, as for a pipe of another user.
    """
    try:
        found = os.fstat(descriptor)
        if stat.S_ISSOCK(found.st_mode):
            return _of_socket(descriptor)
        if stat.S_ISFIFO(found.st_mode) or _never_full(found) or _is_terminal(descriptor, found):
            return _opened_again(descriptor, found)
    except OSError:
        return None
    return None


def _of_socket(descriptor: int) -> Outlet | None:
    if socket.getdefaulttimeout() is not None:  # a new object would change the flags of all
        return None
    own = socket.socket(fileno=os.dup(descriptor))
    if own.type != socket.SOCK_STREAM:
        own.close()
        return None
    send, flags = own.send, socket.MSG_DONTWAIT
    # The object keeps the descriptor, so it is closed by it alone.
    return Outlet(own.fileno(), lambda data: send(data, flags), own.close)


def _opened_again(descriptor: int, found: os.stat_result) -> Outlet | None:
    own = os.open(f"/proc/self/fd/{descriptor}", _FLAGS)
    if not os.path.samestat(os.fstat(own), found):
        os.close(own)
        return None
    return Outlet(own, lambda data: os.write(own, data), lambda: os.close(own))


def _is_terminal(descriptor: int, found: os.stat_result) -> bool:
    return os.isatty(descriptor) and found.st_rdev != _PTMX


def _never_full(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.stat(os.devnull).st_rdev
