"""What log lines look like: for people, or one JSON object per line.

The rule: one record is one line, whatever came in from the wire. A record's text and its
structured fields may hold a caller's characters, so control characters leave here escaped; a
forged line, or a terminal's escape sequence, cannot be made. Payloads are not logged at all.

The structured fields are attributes of the record, as `logging`'s own `extra` sets them.
"""

from __future__ import annotations

import json
import json.encoder
import logging
import re
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

from ..._values.codec import Timestamps
from ..loggers import CommandLine

# attribute of the record -> its name in the line
FIELDS = {
    "petal": "petal",
    "command": "command",
    "message_id": "messageId",
    "elapsed": "elapsed",  # seconds
    "error_code": "error_code",
    "error_id": "error_id",
}
KEPT_IDS = 256  # fields of IDs, that a formatter keeps
KEPT_ID = 100  # characters of one of them; a caller chooses its messageId
KEPT_WORDS = 256  # of messages about a command, that a formatter keeps
VALUE_MAX = 300  # characters of one field; a caller chooses its messageId
# C0, DEL and C1; the line and paragraph separators; direction overrides; lone surrogates
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_quoted = json.encoder.encode_basestring_ascii  # as `json.dumps` does it, for a string alone


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
    if type(value) is float:
        return f"{value:.4f}"
    text = escape(str(value))
    if len(text) > VALUE_MAX:
        text = text[: VALUE_MAX - 3] + "..."
    # Quoted where it could be taken for the next field.
    return json.dumps(text, ensure_ascii=False) if " " in text or "=" in text else text


def _field_of_seconds(value: float) -> str:
    return f"{round(value, 6):.4f}"


def _json_field_of_seconds(value: float) -> str:
    return _json_field(round(value, 6))


def _json_field(value: Any) -> str:
    if isinstance(value, int | float):
        return repr(value) if type(value) is float and isfinite(value) else json.dumps(value)
    return _quoted(str(value)[:VALUE_MAX])


class LineFormatter(logging.Formatter):
    """What both forms have in common. What very many lines share is worded once.

    A formatter is its handler's own, whose lock guards what is kept here.
    """

    begin, end = "", ""
    text: Callable[[str], str]  # of the message
    value: Callable[[Any], str]  # of a field
    seconds: Callable[[float], str]  # of one that is seconds, with six digits at most

    def __init__(self) -> None:
        super().__init__()
        self._utc = Timestamps().text
        self._labels = [(attribute, self.label(name)) for attribute, name in FIELDS.items()]
        self._commands: dict[tuple[str, ...], str] = {}
        self._ids: dict[str | None, str] = {}
        self._id = self.label(FIELDS["message_id"])
        self._elapsed, self._code = self.label(FIELDS["elapsed"]), self.label(FIELDS["error_code"])

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and its traceback."""
        found = record.__dict__
        head = self.head(record.levelname, record.name)
        message = record.getMessage() if record.args else str(record.msg)
        line = self.begin + self._utc(record.created) + head + self.text(message)
        for attribute, label in self._labels:
            if attribute in found and (value := found[attribute]) is not None:
                line += label + self.value(value)
        if record.exc_info or record.exc_text or record.stack_info:
            line += self.blocks(_tracebacks(self, record))
        return line + self.end

    def of_commands(self, lines: Iterable[CommandLine]) -> list[str]:
        """The same lines as of the records that these would be, each with its end."""
        made: list[str] = []
        begin, elapsed_label, end = self.begin, self._elapsed, self.end + "\n"
        seconds, known, ids = self.seconds, self._commands, self._ids
        millisecond, head = -1, ""
        for line in lines:
            moment, _, _, _, _, _, message_id, elapsed, code = line
            key = line[1:6]
            words = known.get(key) or self._keep(key)
            if int(moment * 1000) != millisecond:  # many fall into one
                millisecond, head = int(moment * 1000), begin + self._utc(moment)
            words = f"{head}{words}{ids.get(message_id) or self._id_of(message_id)}"
            if code is None:
                made.append(f"{words}{elapsed_label}{seconds(elapsed)}{end}")
            else:
                tail = self._code + self.value(code) + end
                made.append(f"{words}{elapsed_label}{seconds(elapsed)}{tail}")
        return made

    def _id_of(self, message_id: str | None) -> str:
        """The field of an ID, which the next line about the command has too; nothing for none."""
        if message_id is None:
            return ""
        field = self._id + self.value(message_id)
        if len(field) <= KEPT_ID:
            if len(self._ids) >= KEPT_IDS:
                self._ids.clear()
            self._ids[message_id] = field
        return field

    def _keep(self, key: tuple[str, str, str, str, str]) -> str:
        level, name, message, *names = key
        words = self.head(level, name) + self.text(message)
        for (_, label), value in zip(self._labels, names, strict=False):
            words += label + self.value(value)
        if len(self._commands) >= KEPT_WORDS:
            self._commands.clear()
        self._commands[key] = words
        return words

    def head(self, level: str, name: str) -> str:
        """What stands between time and message."""
        raise NotImplementedError

    def label(self, name: str) -> str:
        """What stands before the value of a field."""
        raise NotImplementedError

    def blocks(self, blocks: list[str]) -> str:
        """Tracebacks."""
        raise NotImplementedError


class TextFormatter(LineFormatter):
    """`2026-11-23T23:45:00.123Z INFO petalkit.runtime answered petal=x command=x/y ...`

    A traceback follows on lines of its own, each set in with four spaces, so that it cannot be
    taken for records.
    """

    text, value = staticmethod(escape), staticmethod(_field)
    seconds = staticmethod(_field_of_seconds)

    def head(self, level: str, name: str) -> str:
        """The level, in a column, and the logger."""
        return f" {level:<7} {name} "

    def label(self, name: str) -> str:
        """As in a shell."""
        return f" {name}="

    def blocks(self, blocks: list[str]) -> str:
        """Set in."""
        lines = [line for block in blocks for line in block.splitlines()]
        return "".join(f"\n    {escape(line)}" for line in lines)


class JsonFormatter(LineFormatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, the fields, `exception`.

    ASCII only: also a separator that JSON allows but a log shipper splits at is escaped.
    """

    begin, end = '{"time": "', "}"
    text, value = staticmethod(_quoted), staticmethod(_json_field)
    seconds = staticmethod(_json_field_of_seconds)

    def head(self, level: str, name: str) -> str:
        """Up to the value of the message."""
        return f'", "level": {_quoted(level)}, "logger": {_quoted(name)}, "message": '

    def label(self, name: str) -> str:
        """A key."""
        return f', "{name}": '

    def blocks(self, blocks: list[str]) -> str:
        """One more field."""
        return f', "exception": {_quoted(chr(10).join(blocks))}' if blocks else ""


def _tracebacks(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    blocks: list[str] = []
    if record.exc_info and record.exc_info[0] is not None:
        blocks.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        blocks.append(record.exc_text)
    if record.stack_info:
        blocks.append(formatter.formatStack(record.stack_info))
    return blocks
