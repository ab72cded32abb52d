"""Help pages: what most people need first, the rest behind `--help-all`, and no option cut in two.

The rule: an option of a command's own is always shown, and so is a setting that most devices set;
of the others it is said how many there are. The name of an option, its value and its negative stand
in one line, however narrow the terminal is.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.text import Text

from .._settings import loading
from .printing import WIDE

# The settings that most devices and callers need. With those of `run` itself they are twenty.
COMMON = (
    *("broker", "organization_id", "organization_file", "device_id", "transport", "protocol"),
    *("username", "password_file", "ca_file", "cert_file", "key_file", "proxy"),
    *("journal", "grace", "dialect"),
)
_OF_THE_HOST = ("host_proxy", "host_code", "host_env")
_NAME_MAX = 26  # columns of an option; what is longer has a line of its own
_TEXT_MIN = 30  # columns of what it means, at least


class HelpPages:
    """How cyclopts shows help. One for each command line that is parsed.

    Args:
        shows_all: whether all options are shown.

    Attributes:
        hidden: how many options were left out.
    """

    def __init__(self, *, shows_all: bool) -> None:
        self.hidden = 0
        self._hides = frozenset[str]()
        if not shows_all:
            rest = [name for name in loading.loadable_fields() if name not in COMMON]
            self._hides = frozenset(
                f"--{name.replace('_', '-')}" for name in (*rest, *_OF_THE_HOST)
            )

    def __call__(self, console: Console, options: ConsoleOptions, panel: Any) -> None:
        """Show one group of options, or the commands."""
        shown: list[tuple[str, str]] = []
        for entry in panel.entries:
            if self._hides.isdisjoint(entry.names):
                shown.append((_label(entry, panel.format), _meaning(entry)))
            else:
                self.hidden += 1
        if not shown:
            return
        console.print(Text(f"{_plain(panel.title)}:", "bold"))
        column = min(_NAME_MAX, max(len(label) for label, _ in shown)) + 4
        width = max(_TEXT_MIN, min(options.max_width, console.width) - column - 1)
        for label, meaning in shown:
            lines = _wrapped(meaning, width)
            if len(label) > column - 4 or not lines:
                console.print(Text.assemble("  ", (label, "cyan")))
            else:
                padding = " " * (column - 2 - len(label))
                console.print(Text.assemble("  ", (label, "cyan"), padding, lines.pop(0)))
            for line in lines:
                console.print(Text(" " * column + line))
        console.print()

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Show how the command is written."""
        text = _plain(usage)
        if text:
            console.print(Text(text if text.startswith("Usage:") else f"Usage: {text}", "bold"))

    def render_description(
        self, console: Console, options: ConsoleOptions, description: Any
    ) -> None:
        """Show what the command does, paragraph by paragraph."""
        width = min(options.max_width, console.width)
        for paragraph in _plain(description).split("\n\n"):
            lines = _wrapped(" ".join(paragraph.split()), width)
            if lines:
                console.print(Text("\n".join(lines)))
                console.print()


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _label(entry: Any, kind: str) -> str:
    """An option with its value, or a command, as it is typed."""
    names: tuple[str, ...] = getattr(entry, "positive_names", entry.names)
    shorts: tuple[str, ...] = getattr(entry, "positive_shorts", entry.shorts)
    if kind == "command":
        return ", ".join((*names, *shorts))
    label: str = getattr(entry, "positional_label", None) or ""
    negatives: Iterable[str] = getattr(entry, "negative_names", ())
    if names and f"--no-{names[0][2:]}" in negatives:
        return f"--[no-]{names[0][2:]}"
    value: str = ("" if label else getattr(entry, "metavar", None)) or ""
    choices: tuple[str, ...] | None = entry.choices
    if choices and len("|".join(choices)) <= _NAME_MAX:
        value = "|".join(choices)
    return " ".join(one for one in (label, ", ".join((*names, *shorts)), value) if one)


def _meaning(entry: Any) -> str:
    text = " ".join(_plain(entry.description).split())
    if entry.choices and len("|".join(entry.choices)) > _NAME_MAX:
        text += f" [one of {', '.join(entry.choices)}]"
    default = entry.default
    if default not in (None, "", "False", "()"):
        text += f" [default {default}]"
    return text


def _plain(shown: Any) -> str:
    """What rich would print, without styles, and not wrapped."""
    if shown is None or isinstance(shown, str):
        return shown or ""
    if isinstance(shown, Text):
        return shown.plain.strip()
    console = Console(file=io.StringIO(), width=WIDE, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(shown, end="")
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip()
