"""Lines to a file descriptor, from a program that must not wait for whoever reads them.

The rule: writing a line never blocks the caller. What the descriptor does not take at once is kept,
up to a bound, and written by a thread; what is beyond the bound is dropped, counted, and told when
there is room again. The trap: a pipe that nobody empties and a terminal that was stopped (Ctrl-S)
block in `write`, which would hold up the event loop, and with it the emergency stop. A terminal
takes a line in part and waits for the rest, so it is written to by the thread alone. Another: a
finalizer or a handler of a signal may write a line while this thread is in `write`.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import threading
import time
from collections import deque
from typing import TextIO

from ...transports._forks import in_child

KEPT_MAX = 1024 * 1024  # bytes of lines that wait for the reader of the log
FLUSH_TIMEOUT = 1.0  # seconds that the end of the process waits for that reader
AT_ONCE_MAX = 4096  # bytes: what can be written at all then is written whole (pipe(7), PIPE_BUF)
_LOST_TEXT = "petalkit: %d lines of the log were dropped: whoever reads it was too slow\n"


class LineWriter:
    """See the module. Any thread may use it.

    Args:
        descriptor: where to; not closed here.
        kept_max: bytes that wait, at most.

    Attributes:
        dropped: lines, since they were last told of.
    """

    def __init__(self, descriptor: int, *, kept_max: int = KEPT_MAX) -> None:
        self._descriptor = descriptor
        self._kept_max = kept_max
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._takes_whole = not os.isatty(descriptor)  # what it takes at all, if it is short
        self._reset()

    def close(self) -> None:
        """No more is written."""
        self._forget()

    def _reset(self) -> None:
        """Begin anew: in a forked child there is no thread, and the lines are the parent's."""
        self.dropped = 0
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._draining = False  # there is a thread, or will be at once
        self._forget = in_child(self._reset)  # in the child of a child, too

    def write(self, text: str) -> None:
        """Write a line now, or soon, or drop it."""
        data = text.encode(errors="backslashreplace")
        with self._changed:
            at_once = self._takes_whole and not self._kept and len(data) <= AT_ONCE_MAX
            if at_once and self._takes():
                with contextlib.suppress(OSError):  # nobody reads any more
                    data = data[os.write(self._descriptor, data) :]
                    if not data:
                        return
            if self._size + len(data) > self._kept_max:
                self.dropped += 1
                return
            self._kept.append(data)
            self._size += len(data)
            if not self._draining:
                self._draining = True
                self._start()

    def _start(self) -> None:
        try:
            # It waits for the reader without a limit, and nobody waits for a daemon thread.
            threading.Thread(target=self._drain, name="petalkit log", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter ends: the next line tries again
            self._draining = False

    def _takes(self) -> bool:
        return any(event & select.POLLOUT for _, event in self._poll.poll(0))

    def _drain(self) -> None:
        while True:
            with self._changed:
                if not self._kept and not self.dropped:
                    self._draining = False
                    self._changed.notify_all()
                    return
                if not self._kept:
                    self._kept.append((_LOST_TEXT % self.dropped).encode())
                    self._size += len(self._kept[0])
                    self.dropped = 0
                data = self._kept[0]
            self._write_all(data)
            with self._changed:
                self._kept.popleft()
                self._size -= len(data)

    def _write_all(self, rest: bytes) -> None:
        """In the thread. It may be somebody else who has made the descriptor non-blocking."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        with contextlib.suppress(OSError):  # nobody reads any more
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    poll.poll()

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> None:
        """Wait until all is written, for `timeout` seconds at most."""
        end = time.monotonic() + timeout
        with self._changed:
            while self._draining and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)


def line_writer(stream: TextIO) -> LineWriter | None:
    """One for the descriptor of a stream; None when it has none, as one in memory."""
    try:
        descriptor = stream.fileno()
    except (OSError, io.UnsupportedOperation, AttributeError):
        return None
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    return LineWriter(descriptor)
