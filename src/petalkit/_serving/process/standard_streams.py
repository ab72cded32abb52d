"""Standard output and standard error, of a process that must not wait for whoever reads them.

The rule: in a process that is ours, what Python writes there goes the way of the log
(`log_stream`), in one order with it: `print` of a petal, warnings, handlers of its own logging, the
traceback of what ends the process. It is flushed at the end, for a bounded time. The trap: a petal
prints when it is imported, or gives `sys.stderr` to a handler then; so this comes before petals are
loaded. Another: a stopped reader would hold up Python's own flush at its end for ever. Not ours is
what C code and children write.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
from typing import TextIO

from .log_stream import LineWriter, descriptor_of

_WORDS_TIMEOUT = 0.25  # seconds that the last words of a process wait for their reader
_LONGEST_WORDS = 4096  # bytes

_writers: dict[int, LineWriter] = {}  # by descriptor; those that hold for this process
_identities: dict[int, tuple[int, int]] = {}


def release_standard_streams() -> None:
    """Let nothing that Python writes to the standard streams wait for its reader, to the end.

    For a process that is ours. What is no stream of the process's own, as where a test has put
    another, is left alone. Does nothing when called again.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        own = getattr(sys, f"__{name}__")
        if stream is None or stream is not own or descriptor_of(stream) != descriptor:
            continue
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        writer = _make_writer(descriptor)
        if writer is not None:
            setattr(sys, name, _stream_like(stream, writer))


def standard_writer(descriptor: int) -> LineWriter | None:
    """That of a standard stream of this process, if it was released."""
    writer = _writers.get(descriptor)
    if writer is None or _identity(descriptor) != _identities[descriptor]:
        return None
    return writer


def last_words(text: str) -> None:
    """Write to standard error, if its reader takes it soon. No logging: its locks may be held."""
    if sys.__stderr__ is None:
        return  # it was closed at the start, and another file may have its number
    words = f"petalkit: {text}\n".encode(errors="replace")[:_LONGEST_WORDS]
    writer = standard_writer(2) or _make_writer(2)
    if writer is None:
        return
    writer.write_bytes(words)
    writer.flush(_WORDS_TIMEOUT)


def _make_writer(descriptor: int) -> LineWriter | None:
    """One for both where both go to the same reader, so that the order is kept."""
    identity = _identity(descriptor)
    if identity is None:
        return None
    if not _writers:
        atexit.register(_end)
    same = [one for one in _writers if _identities[one] == identity]
    writer = _writers[same[0]] if same else LineWriter(descriptor)
    _writers[descriptor], _identities[descriptor] = writer, identity
    return writer


def _end() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    for writer in set(_writers.values()):
        writer.end()


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Raw(io.RawIOBase):
    """The lower half of such a stream."""

    def __init__(self, descriptor: int, writer: LineWriter, name: str) -> None:
        self._descriptor = descriptor
        self._writer = writer
        self.name = name

    def write(self, data: object) -> int:
        """Take all of it."""
        whole = bytes(data)  # type: ignore[call-overload]
        self._writer.write_bytes(whole)
        return len(whole)

    def flush(self) -> None:
        """In a child, which has no event loop and may end at once, wait for the reader a while."""
        if self._writer.in_child:
            self._writer.flush()

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor, also for children."""
        return self._descriptor

    def isatty(self) -> bool:
        """As the descriptor is."""
        return os.isatty(self._descriptor)


def _stream_like(stream: TextIO, writer: LineWriter) -> TextIO:
    descriptor = stream.fileno()
    return io.TextIOWrapper(
        _Raw(descriptor, writer, getattr(stream, "name", "")),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
    )
