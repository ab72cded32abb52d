"""Lines to a file descriptor, from a program that must not wait for whoever reads them.

The rule: writing a line never blocks the caller. What the descriptor does not take at once is kept,
up to a bound, and written by a thread, which alone may wait; what is beyond the bound is dropped,
counted, and told when there is room again. What every command logs is gathered (`gather`) and
written once in each pass of the event loop, before it waits; all else is written at once, after
what is gathered. The trap: a pipe that nobody empties, a terminal that
was stopped (Ctrl-S) and a disk that hangs block in `write`, which would hold up the event loop, and
with it the emergency stop. Others: a finalizer or a handler of a signal may write a line while this
thread is in `write`; and at the end of Python a thread may die with our lock.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import TextIO

from ...transports._forks import in_child
from ..loggers import CommandLine, dropped_lines
from . import passes
from .outlets import open_outlet

KEPT_MAX = 1024 * 1024  # bytes of lines that wait for the reader of the log
FLUSH_TIMEOUT = 1.0  # seconds that the end of the process waits for that reader
GATHERED = (
    0.01  # seconds in which what is for a file is gathered: a write costs a switch of threads
)
_WRITTEN_AT_ONCE = 65_536  # bytes, about: many lines are one write
PASS_LINES = 64  # that one pass gathers at most; then they are written


def dropped_text(count: int) -> str:
    """What is said of lines that were dropped."""
    return f"{count} record{'s' * (count != 1)} dropped: whoever reads the log was too slow"


def _dropped_line(count: int) -> str:
    return f"petalkit: {dropped_text(count)}\n"


class LineWriter:
    """See the module. Any thread may use it.

    Args:
        descriptor: where to; not closed here.
        kept_max: bytes that wait, at most.

    Attributes:
        dropped: lines, since they were last told of.
        in_child: whether this is a forked child.
        dropped_line: makes the line that tells of so many. Called with a lock held: it must not
            log.
        word: makes the lines of what was gathered, each with its end. The same.
    """

    def __init__(self, descriptor: int, *, kept_max: int = KEPT_MAX) -> None:
        self._descriptor = descriptor
        self._kept_max = kept_max
        self.dropped_line: Callable[[int], str] = _dropped_line
        self.word: Callable[[list[CommandLine]], list[str]] = lambda lines: [
            f"{line[3]}\n" for line in lines
        ]
        self._outlet = open_outlet(descriptor)
        self._ends = False  # nothing but what can be written at once is written
        self.in_child = self._asks_again = False
        self._begin()

    def _begin(self) -> None:
        self.dropped = 0
        self._kept: deque[bytes] = deque()
        self._gathered: deque[CommandLine] = deque()  # in this pass of the event loop
        self._size = 0  # of what is kept, and of what the thread writes just now
        self._writing = False
        self._draining = False  # there is a thread, or will be at once
        self._closed = False
        # Reentrant, for finalizers.
        lock = threading.RLock()
        self._work, self._idle = threading.Condition(lock), threading.Condition(lock)
        self._hurry = threading.Condition(lock)
        self._lock = lock
        self._forget = in_child(self._begin_in_child)  # in the child of a child, too

    def _begin_in_child(self) -> None:
        """In a forked child there is no thread, and the lines are the parent's.

        It keeps nothing open but what it is given: its reader waits until all have closed it.
        """
        self._close_outlet()
        self.in_child = self._asks_again = True
        self._begin()

    def write(self, text: str) -> None:
        """Write a line now, or soon, or drop it. Several lines in one call are one write."""
        self.write_bytes(text.encode(errors="backslashreplace"))

    def write_bytes(self, data: bytes) -> None:
        """The same of bytes."""
        if self._ends:
            self._take_gathered()
            self._write_at_once(data)
            return
        with self._lock:
            self._take_gathered()
            if data:
                self._put(data)

    def gather(self, line: CommandLine) -> None:
        """Write a line at the end of this pass of the event loop; now, in another thread."""
        gathered = self._gathered
        if get_ident() != passes.current.thread or self.in_child or self._ends:
            # Were it gathered, the event loop might not ask for the end of its own pass.
            with contextlib.nullcontext() if self._ends else self._lock:
                self.write(self.word([line])[0])
            return
        if not gathered:
            passes.at_end(self.write_gathered)
        gathered.append(line)
        if len(gathered) >= PASS_LINES:
            self.write_gathered()

    def write_gathered(self) -> None:
        """Write now what was gathered."""
        if self._gathered:
            self.write_bytes(b"")

    def _take_gathered(self) -> None:
        """In one write, if there is room for all; else line by line, as each would have been."""
        if not self._gathered:
            return
        # The event loop may gather one meanwhile.
        taken = [self._gathered.popleft() for _ in range(len(self._gathered))]
        lines = self.word(taken)
        data = "".join(lines).encode(errors="backslashreplace")
        if len(lines) == 1 or (not self.dropped and self._size + len(data) <= self._kept_max):
            self._put(data)
            return
        for line in lines:
            self._put(line.encode(errors="backslashreplace"))

    def _put(self, data: bytes) -> None:
        """With the lock, if there may be a thread."""
        if self._ends:
            self._write_at_once(data)
            return
        if self._asks_again:
            self._outlet, self._asks_again = open_outlet(self._descriptor), False
        if not self._kept and not self._writing and not self.dropped:
            taken = self._write_at_once(data)
            if taken == len(data):
                return
            if taken:  # a line that was begun is ended
                self._keep(data[taken:])
                return
        if self.dropped and 2 * self._size <= self._kept_max:
            # Room again, for many: else each line that finds some would be told of one.
            self._keep_dropped()
        if self.dropped or self._size + len(data) > self._kept_max:
            self.dropped += 1
            dropped_lines.total += 1
            self._wake()
            return
        self._keep(data)

    def _write_at_once(self, data: bytes) -> int:
        """How much of it needs no more care: written, or for nobody."""
        try:
            if self._outlet is not None:
                return self._outlet.write(data)
            if self._ends or self.in_child:  # it may wait: there is no event loop
                return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError:  # nobody reads any more
            return len(data)
        return 0

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._size += len(data)
        self._wake()

    def _keep_dropped(self) -> None:
        line = self.dropped_line(self.dropped).encode(errors="backslashreplace")
        self.dropped = 0
        self._keep(line)

    def _wake(self) -> None:
        if self._draining:
            self._work.notify()
            return
        self._draining = True
        try:
            # It waits for the reader without a limit, and nobody waits for a daemon thread.
            threading.Thread(target=self._drain, name="petalkit log", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter ends: the next line tries again
            self._draining = False

    # -- in the thread

    def _drain(self) -> None:
        while (data := self._next()) is not None:
            self._write_all(data)
            with self._lock:
                self._size -= len(data)
                self._writing = False

    def _next(self) -> bytes | None:
        """What is to be written next, when there is something; None at the end."""
        with self._lock:
            while not self._kept:
                if self.dropped:
                    self._keep_dropped()
                    break
                self._idle.notify_all()
                if self._closed:
                    self._draining = False
                    self._close_outlet()
                    return None
                self._work.wait()  # no limit: nobody waits for a daemon thread
                if self._outlet is None and not self._closed:
                    self._hurry.wait(GATHERED)
            self._writing = True
            parts, size = [], 0
            while self._kept and size < _WRITTEN_AT_ONCE:
                parts.append(self._kept.popleft())
                size += len(parts[-1])
            return b"".join(parts)

    def _write_all(self, rest: bytes) -> None:
        outlet = self._outlet
        with contextlib.suppress(OSError):  # nobody reads any more
            while rest:
                if outlet is not None:
                    taken = outlet.write(rest)
                    rest = rest[taken:]
                    if rest:
                        outlet.wait_room()
                    if not taken:  # a terminal with room for one byte takes no end of a line
                        time.sleep(GATHERED)
                    continue
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # somebody else has made the descriptor non-blocking
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                    poll.poll()

    # -- the end

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> None:
        """Wait until all is written, for `timeout` seconds at most."""
        end = time.monotonic() + timeout
        if self._ends or not self._lock.acquire(timeout=timeout):
            return
        try:
            self._take_gathered()
            self._hurry.notify_all()
            while self._draining and (self._kept or self._writing or self.dropped):
                if (left := end - time.monotonic()) <= 0:
                    return
                self._idle.wait(left)
        finally:
            self._lock.release()

    def end(self) -> None:
        """The process ends: wait for the reader a last time; after that, for nothing."""
        self.flush()
        self._ends = True

    def close(self) -> None:
        """No more is written, but for what waits."""
        self._forget()
        with self._lock:
            self._take_gathered()
            self._closed = True
            if self._draining:
                self._work.notify()
            else:
                self._close_outlet()

    def _close_outlet(self) -> None:
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.close()


def descriptor_of(stream: TextIO) -> int | None:
    """The descriptor of a stream; None when it has none, as one in memory."""
    try:
        return stream.fileno()
    except (OSError, io.UnsupportedOperation, AttributeError, ValueError):
        return None
