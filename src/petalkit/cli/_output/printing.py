"""What commands print: lines for people, or JSON for programs.

The rule: no escape sequence leaves here but for a terminal, or where FORCE_COLOR wants it, and with
NO_COLOR none that styles. Markup in what somebody else has said is text. The trap: FORCE_COLOR
makes rich take a pipe for a terminal, on which it then draws; what moves asks `is_terminal`.
Another: rich makes an exit with code 1 of a pipe that nobody reads any more; here that stays the
error that it is, which ends a command quietly.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO

from rich.console import Console

WIDE = 100_000  # columns: a pipe has no width, and nothing is to be cut off


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def make_console(*, stderr: bool = False) -> Console:
    """A console on which text is printed as it is, and in colours where they are wanted."""
    plain: dict[str, Any] = {"color_system": None} if os.environ.get("NO_COLOR") else {}
    # Not wrapped: a pipe has no width, and a terminal wraps by itself.
    return _Console(
        stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False, **plain
    )


def make_table_console() -> Console:
    """The same for tables, which are not squeezed into a pipe."""
    console = make_console()
    if not is_terminal(sys.stdout):
        console.width = WIDE
    return console


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sees it as it is written, and lines can be drawn over."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False  # closed


def print_json(document: Any) -> None:
    """One JSON document in one line of ASCII, written at once."""
    print(json.dumps(document), flush=True)  # noqa: T201
