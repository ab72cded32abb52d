"""In the device: when the bytes of a command were read from the socket, and when it was started.

Each is one line at the end of a file: `what messageId time waited`. The last is how long this
thread has been ready and had no processor, ever: with it, what a busy machine adds to the time
between two lines can be told from what petalkit adds. (Linux; 0 elsewhere.)

The rule: nothing of it is done for other messages, but for one search in each piece that is read.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time

from petalkit.transports._connecting.sockets import PlainStream
from petalkit.transports.asyncio_mqtt._socket import LinkSocket

FILE = "PETALKIT_TEST_PROBES"  # the environment variable
PREFIX = "stop-"  # of the messageIds that are looked for
_FOUND = re.compile(rb'"messageId":"(stop-[0-9a-z-]+)"')
_SIGN = b'"stop-'
_LONGEST = 64  # bytes of one of these

_file = -1
_schedstat = -1


def install() -> None:
    """Look for commands in what is read from now on; nothing where no file is named."""
    global _file, _schedstat
    name = os.environ.get(FILE)
    if name is None:
        return
    _file = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    with contextlib.suppress(OSError):
        thread = threading.get_native_id()
        _schedstat = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY)
    _look_at_native()
    _look_at_asyncio()


def note(what: str, message_id: str | None) -> None:
    """Put down that something has happened to a command."""
    line = f"{what} {message_id} {time.monotonic():.6f} {_waited():.6f}\n"
    os.write(_file, line.encode())


def _waited() -> float:
    if _schedstat < 0:
        return 0.0
    return int(os.pread(_schedstat, 100, 0).split()[1]) / 1e9


class _Watch:
    """What one connection has read, and the last bytes before that."""

    def __init__(self) -> None:
        self._last = b""

    def look(self, data: bytes | bytearray) -> None:
        before = len(self._last)
        edge = self._last + data[:_LONGEST]
        if _SIGN in data or _SIGN in edge:
            whole = self._last + data
            for found in _FOUND.finditer(whole):
                if found.end() > before:  # else it was seen with the piece before
                    note("read", found[1].decode())
        self._last = bytes(data[-_LONGEST:] if len(data) >= _LONGEST else edge[-_LONGEST:])


def _look_at_native() -> None:
    original = PlainStream.receive_some
    watches: dict[int, _Watch] = {}

    async def receive_some(self: PlainStream, max_bytes: int | None = None) -> bytes:
        data = await original(self, max_bytes)
        if data:
            watches.setdefault(id(self), _Watch()).look(data)
        return data

    PlainStream.receive_some = receive_some  # type: ignore[method-assign]


def _look_at_asyncio() -> None:
    original = LinkSocket.receive
    watches: dict[int, _Watch] = {}

    def receive(self: LinkSocket, size: int) -> bytes | None:
        data = original(self, size)
        if data:
            watches.setdefault(id(self), _Watch()).look(data)
        return data

    LinkSocket.receive = receive  # type: ignore[method-assign]
