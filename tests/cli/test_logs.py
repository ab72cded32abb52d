"""What a log line looks like, and what it can never look like."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from petalkit._authoring.context import log_scope
from petalkit._serving.process.log_lines import JsonFormatter, TextFormatter, escape
from petalkit._serving.process.logs import configure_logging

HOSTILE = "a\nb\r\x1b[2J\u2028\u202eevil\x9b\ud800"


def record(message: str = "answered", **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("petalkit.dispatch", logging.INFO, "f.py", 1, message, (), None)
    made.created, made.msecs = 0.25, 250.0
    made.__dict__.update(fields)
    return made


def test_a_line_for_people() -> None:
    line = TextFormatter().format(
        record(petal="example-petal", command="example-petal/hello", message_id="t-1", elapsed=0.5)
    )
    assert line == (
        "1970-01-01T00:00:00.250Z INFO    petalkit.dispatch answered petal=example-petal "
        "command=example-petal/hello messageId=t-1 elapsed=0.5000"
    )


def test_absent_fields_are_absent() -> None:
    line = TextFormatter().format(record(petal="p", message_id=None))
    assert line.endswith("answered petal=p")


def test_a_line_of_json() -> None:
    line = JsonFormatter().format(record(petal="p", command="p/x", message_id="t", elapsed=0.5))
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "INFO",
        "logger": "petalkit.dispatch",
        "message": "answered",
        "petal": "p",
        "command": "p/x",
        "messageId": "t",
        "elapsed": 0.5,
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_values_from_the_wire_cannot_forge_a_line(formatter: logging.Formatter) -> None:
    line = formatter.format(record(HOSTILE, message_id=HOSTILE, command=HOSTILE))
    assert len(line.splitlines()) == 1
    assert not any(character in line for character in "\n\r\x1b\u2028\u202e\x9b\ud800")
    line.encode()


def test_a_value_cannot_pass_for_the_next_field() -> None:
    line = TextFormatter().format(record(message_id="x elapsed=9"))
    assert line.endswith('messageId="x elapsed=9"')


def test_a_long_value_is_cut() -> None:
    assert len(TextFormatter().format(record(message_id="x" * 5000))) < 500
    assert len(JsonFormatter().format(record(message_id="x" * 5000))) < 500


def test_a_traceback_is_set_in_or_a_field() -> None:
    try:
        raise ValueError("first\nINFO forged")
    except ValueError as error:
        made = record(exc_info=(ValueError, error, error.__traceback__))
    first, *rest = TextFormatter().format(made).splitlines()
    assert first.endswith("answered")
    assert len(rest) > 2
    assert all(line.startswith("    ") for line in rest)
    assert "ValueError" in json.loads(JsonFormatter().format(made))["exception"]


def test_ordinary_text_of_the_world_is_left_alone() -> None:
    assert escape("Grüße, 世界 🚁") == "Grüße, 世界 🚁"


class Scope:
    def log_fields(self) -> dict[str, Any]:
        return {"petal": "p", "command": "p/x", "message_id": "t-1", "elapsed": 0.5}


def test_a_petals_own_logger_says_for_which_command_it_speaks() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    token = log_scope.set(Scope())
    try:
        logging.getLogger("my_petal").info("half way")
    finally:
        log_scope.reset(token)
    logging.getLogger("my_petal").info("on its own")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert (inside["petal"], inside["command"], inside["messageId"]) == ("p", "p/x", "t-1")
    assert inside["elapsed"] == 0.5
    assert "petal" not in outside


def test_configuring_again_replaces_the_handler() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging("info", "text", first)
    configure_logging("warning", "text", second)
    logging.getLogger("petalkit.x").warning("once")
    logging.getLogger("petalkit.x").info("never")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1
