"""What log lines look like: for people, or one JSON object per line.

The rule: one record is one line, whatever came in from the wire. A record's text and its
structured fields may hold a caller's characters, so control characters leave here escaped; a
forged line, or a terminal's escape sequence, cannot be made. Payloads are not logged at all. And a
log that nobody reads holds up nothing (`log_stream`).

The structured fields are attributes of the record, as `logging`'s own `extra` sets them; what code
logs on behalf of a command gets that command's by `CommandLogFilter`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Callable
from typing import Any, Literal, TextIO

from ..._authoring.context import CommandLogFilter
from ..._values.codec import Timestamps
from ..loggers import watch_handler
from .log_stream import LineWriter, descriptor_of, dropped_text
from .standard_streams import standard_writer

# attribute of the record -> its name in the line
FIELDS = {
    "petal": "petal",
    "command": "command",
    "message_id": "messageId",
    "elapsed": "elapsed",  # seconds
    "error_code": "error_code",
    "error_id": "error_id",
}
VALUE_MAX = 300  # characters of one field; a caller chooses its messageId
# C0, DEL and C1; the line and paragraph separators; direction overrides; lone surrogates
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape(text: str) -> str:
    """`text` with everything escaped that could end a line or steer a terminal."""
    if text.isprintable():  # which is all of it, mostly, and nothing unsafe is printable
        return text
    return _UNSAFE.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character) or (
        f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}"
    )


def _field(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else escape(str(value))
    if len(text) > VALUE_MAX:
        text = text[: VALUE_MAX - 3] + "..."
    # Quoted where it could be taken for the next field.
    return json.dumps(text, ensure_ascii=False) if " " in text or "=" in text else text


class TextFormatter(logging.Formatter):
    """`2026-11-23T23:45:00.123Z INFO petalkit.runtime answered petal=x command=x/y ...`

    A traceback follows on lines of its own, each set in with four spaces, so that it cannot be
    taken for records.
    """

    def __init__(self) -> None:
        super().__init__()
        self._utc = Timestamps().text  # its own: the handler's lock guards what it keeps

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        parts = [
            self._utc(record.created),
            f"{record.levelname:<7}",
            record.name,
            escape(record.getMessage()),
        ]
        found = record.__dict__
        for attribute, name in FIELDS.items():
            value = found.get(attribute)
            if value is not None:
                parts.append(f"{name}={_field(value)}")
        line = " ".join(parts)
        for block in _tracebacks(self, record):
            line += "".join(f"\n    {escape(part)}" for part in block.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, the fields, `exception`."""

    def __init__(self) -> None:
        super().__init__()
        self._utc = Timestamps().text

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, Any] = {
            "time": self._utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        found = record.__dict__
        for attribute, name in FIELDS.items():
            value = found.get(attribute)
            if value is not None:
                line[name] = value if isinstance(value, int | float) else str(value)[:VALUE_MAX]
        blocks = _tracebacks(self, record)
        if blocks:
            line["exception"] = "\n".join(blocks)
        # ASCII only: also a separator that JSON allows but a log shipper splits at is escaped.
        return json.dumps(line, ensure_ascii=True, default=str)


def _tracebacks(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    blocks: list[str] = []
    if record.exc_info and record.exc_info[0] is not None:
        blocks.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        blocks.append(record.exc_text)
    if record.stack_info:
        blocks.append(formatter.formatStack(record.stack_info))
    return blocks


class _OurHandler(logging.StreamHandler[TextIO]):
    """Known by its class, so that configuring twice replaces it. Never waits for its reader.

    A record is formatted when it is logged: what it was made of may be changed after that.
    """

    def __init__(self, stream: TextIO, formatter: Callable[[], logging.Formatter]) -> None:
        super().__init__(stream)
        self.setFormatter(formatter())
        self._writer, self._is_shared = _writer_of(stream)
        if self._writer is not None:
            # With a formatter of its own: it is made beside the lock of this handler.
            self._writer.dropped_line = _DroppedLine(formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless whoever reads is too slow for too long."""
        if self._writer is None:
            super().emit(record)
            return
        try:
            self._writer.write(self.format(record) + self.terminator)
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
    handler.addFilter(CommandLogFilter())
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
    for library in ("asyncio", "mqtt", "amqtt", "transitions", "passlib", "httpx", "httpcore"):
        logging.getLogger(library).setLevel(chatty)
