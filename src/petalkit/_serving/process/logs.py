"""The handler of the log: formats what comes, and never waits for whoever reads it.

The rule: a log that nobody reads holds up nothing (`log_stream`), and what code logs on behalf of a
command gets that command's fields by `CommandLogFilter`. The lines of commands come without records
where nobody else would see those (`CommandLines`), and are formatted and written once in each pass
of the event loop (`passes`).
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable
from typing import Any, Literal, TextIO

from ..._authoring.context import CommandLogFilter
from ..loggers import LineHandler, watch_handler
from .log_lines import JsonFormatter, LineFormatter, TextFormatter
from .log_stream import LineWriter, descriptor_of, dropped_text
from .standard_streams import standard_writer

_PLAIN = logging.Formatter()


class _OurHandler(logging.StreamHandler[TextIO], LineHandler):
    """Known by its class, so that configuring twice replaces it. Never waits for its reader.

    A record is formatted when it is logged: what it was made of may be changed after that.
    """

    def __init__(self, stream: TextIO, formatter: Callable[[], LineFormatter]) -> None:
        super().__init__(stream)
        self.setFormatter(formatter())
        self.addFilter(CommandLogFilter())
        self.own_formatter, self.own_filters = self.formatter, list(self.filters)
        self._writer, self._is_shared = _writer_of(stream)
        if self._writer is not None:
            # With formatters of its own: it formats beside the lock of this handler.
            self._writer.dropped_line = _DroppedLine(formatter())
            self._writer.word = formatter().of_commands
            self.take_line = self._writer.gather

    def handle(self, record: logging.LogRecord) -> Any:
        """As all handlers do it, with less around the lock."""
        found: Any = self.filter(record)
        if isinstance(found, logging.LogRecord):  # a filter's own, since Python 3.12
            record = found
        if found and self.lock is not None:
            with self.lock:
                self.emit(record)
        return found

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless whoever reads is too slow for too long."""
        if self._writer is None:
            super().emit(record)
            return
        try:
            self._writer.write((self.formatter or _PLAIN).format(record) + self.terminator)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait for the reader, for a while."""
        if self._writer is None:
            super().flush()
        else:
            self._writer.flush()

    def close(self) -> None:
        """Flush, and forget the stream; it stays open."""
        self.flush()
        if self._writer is not None and not self._is_shared:
            self._writer.close()
        super().close()


class _DroppedLine:
    """Words what was dropped as a line of the log: in its own form, which may be JSON."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._formatter = formatter

    def __call__(self, count: int) -> str:
        level, text = logging.WARNING, dropped_text(count)
        record = logging.LogRecord("petalkit.runtime", level, __file__, 0, text, (), None)
        return self._formatter.format(record) + "\n"


def _writer_of(stream: TextIO) -> tuple[LineWriter | None, bool]:
    """For the descriptor of a stream, if it has one; and whether others write with it, too."""
    descriptor = descriptor_of(stream)
    if descriptor is None:
        return None, False
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    shared = standard_writer(descriptor)
    return shared or LineWriter(descriptor), shared is not None


def configure_logging(
    level: str = "info", form: Literal["text", "json"] = "text", stream: TextIO | None = None
) -> None:
    """Send log records to a stream, stderr by default. Called again, it replaces its handler.

    Args:
        level: `"debug"`, `"info"`, `"warning"` or `"error"`, for petalkit and the petals; other
            libraries are heard from `"warning"` on, unless it is `"debug"`.
        form: for people, or one JSON object per line.
        stream: where to.
    """
    formatter = JsonFormatter if form == "json" else TextFormatter
    handler = _OurHandler(stream if stream is not None else sys.stderr, formatter)
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _OurHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    watch_handler(handler)
    root.setLevel(level.upper())
    # Its own too: a petal that configures the root logger sets the level of all else.
    logging.getLogger("petalkit").setLevel(level.upper())
    chatty = logging.DEBUG if level == "debug" else max(logging.WARNING, root.level)
    for library in ("asyncio", "mqtt", "httpx", "httpcore"):
        logging.getLogger(library).setLevel(chatty)
