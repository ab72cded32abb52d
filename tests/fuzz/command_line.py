"""What a device says of itself, as the command line shows it, and lines that are half typed."""

from __future__ import annotations

import contextlib
from typing import Any

from petalkit._values.codec import Limits, decode_json
from petalkit._values.errors import PayloadError
from petalkit._values.messages import Response
from petalkit.cli._caller.finding import matching, short_ids
from petalkit.cli._caller.info import told_lines
from petalkit.cli._caller.responses import next_steps, readable_json
from petalkit.cli._completion.kept import safe_names
from petalkit.cli._completion.names import read_line, served_names
from petalkit.cli._completion.words import Kind
from petalkit.cli._listing.schema_words import field_lines
from petalkit.cli._watching.lines import Kind as LineKind
from petalkit.cli._watching.lines import Line
from petalkit.client import DeviceInfo

_LIMITS = Limits(100_000, 64, 256)
_WATCHED: tuple[LineKind, ...] = ("event", "job", "stream", "live")
_COMPLETED: tuple[Kind, ...] = ("commands", "watchable", "served")
LINES_MAX = 100_000


def shown(data: bytes) -> None:
    """JSON of a device: as a schema, an answer, what it serves, and a line of `watch`."""
    try:
        said: Any = decode_json(data, _LIMITS)
    except PayloadError:
        return
    lines = [line.plain for line in field_lines(said, "")]
    assert len(lines) <= LINES_MAX
    for kind in _WATCHED:
        line = Line(kind, "name", said, 1e9)
        text = line.as_text().plain
        assert "\n" not in text
        lines.append(text)
        line.as_json("device")
    if isinstance(said, dict):
        response = Response(said)
        steps = next_steps(response, "a/b", lambda *words: " ".join(words))
        assert all(isinstance(one, str) for one in steps)
        petals = [said, *(one for one in said.values() if isinstance(one, dict))]
        lines += [line.plain for line in told_lines(DeviceInfo(petals=petals), "device", _line)]
        for kind in _COMPLETED:
            for name in safe_names(served_names(kind, said)):
                assert name.isascii()
                assert not set(name) & set(" \t\n;&|<>$`'\"\\(){}*?[]!#~")
        ids = [one for one in said if isinstance(one, str) and one]
        for one in ids[:20]:
            assert matching(short_ids(ids)[one], ids) == [one]
    lines += readable_json(said).split("\n")
    for line_text in lines:
        assert "\x1b" not in line_text
        assert "\r" not in line_text
        assert "\x9b" not in line_text


def _line(command: str, name: str) -> str:
    return f"petalkit {command} {name}"


def typed(data: bytes) -> None:
    """A line that somebody types, behind which Tab was pressed: settings, or a refusal of ours."""
    with contextlib.suppress(ValueError):  # which a ConfigError is
        read_line(data.decode("utf-8", "surrogateescape"))
