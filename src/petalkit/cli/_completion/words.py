"""What the command line is made of: commands, their options and values, as a shell needs them.

The rule: it is read from the parser, so a new option is completed at once. What a word stands for
is known by its name: a TARGET is a file, and COMMAND a name that only the device knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
from cyclopts import App

from .._options import HELP_ALL

# What may stand somewhere: nothing that is known, a file, or names that a broker or device knows.
Kind: TypeAlias = Literal[
    "", "files", "devices", "starts", "commands", "watchable", "served", "jobs"
]

_OPTIONS: Mapping[str, Kind] = {"--device-id": "devices", "--device": "starts"}
_CHOICES: Mapping[str, tuple[str, ...]] = {"--transport": ("asyncio-mqtt", "native", "sidecar")}
_POSITIONALS: Mapping[str, Kind] = {"TARGET": "files", "COMMAND": "commands"}
_OF_COMMANDS: Mapping[tuple[str, str], Kind] = {
    ("watch", "NAME"): "watchable",
    ("info", "NAME"): "served",
    ("cancel", "ID"): "jobs",
    ("call", "DATA-JSON"): "",
}
_HELP_MAX = 70  # characters of what an option means


@attrs.frozen
class Option:
    """An option.

    Attributes:
        names: as they are typed.
        takes_value: whether a value follows.
        choices: its values, where they are known.
        kind: what else its value may be.
        help: what it means, in few words.
    """

    names: tuple[str, ...]
    takes_value: bool = False
    choices: tuple[str, ...] = ()
    kind: Kind = ""
    help: str = ""


@attrs.frozen
class Words:
    """One command.

    Attributes:
        name: with its group, as `journal list`.
        help: what it does, in few words.
        options: its options.
        positionals: what each of the words that are no options may be; the last one of many.
        choices: values of the first, where they are known.
    """

    name: str
    help: str = ""
    options: tuple[Option, ...] = ()
    positionals: tuple[Kind, ...] = ()
    choices: tuple[str, ...] = ()


_HELP = (
    Option(("--help", "-h"), help="Show the options that most need."),
    Option((HELP_ALL,), help="Show all options."),
)


def read_words(app: App) -> list[Words]:
    """All commands of a command line, in their order, those of a group behind it."""
    found = list(_commands(app, ""))
    names = tuple(one.name for one in found if " " not in one.name)
    return [*found, Words("help", "Show the options of a command.", (), ("",), names)]


def _commands(app: App, group: str) -> Iterator[Words]:
    for name in app:
        if name.startswith("-") or not app[name].show:
            continue
        inner = app[name]
        full = f"{group} {name}".strip()
        subs = list(_commands(inner, full))
        about = _short(inner.help or "")
        if subs:
            choices = tuple(one.name.rpartition(" ")[2] for one in subs)
            yield Words(full, about, _HELP, ("",), choices)
            yield from subs
        else:
            yield _read(inner, full, about)


def _read(app: App, name: str, about: str) -> Words:
    options: list[Option] = []
    positionals: list[Kind] = []
    choices: tuple[str, ...] = ()
    for one in app.assemble_argument_collection(parse_docstring=True):
        names = tuple(name for name in one.names if name.startswith("-"))
        if names:
            options.append(_option(one, names))
        elif one.names and one.names[0] != "*":
            label = one.names[0]
            positionals.append(_OF_COMMANDS.get((name, label), _POSITIONALS.get(label, "")))
            if len(positionals) == 1:
                choices = tuple(one.get_choices() or ())
    return Words(name, about, (*options, *_HELP), tuple(positionals), choices)


def _option(argument: Any, names: tuple[str, ...]) -> Option:
    count, several = argument.token_count()
    known = tuple(argument.get_choices() or _CHOICES.get(names[0], ()))
    kind: Kind = _OPTIONS.get(names[0], "")
    if not kind and not known and _is_path(argument.hint):
        kind = "files"
    takes = bool(count or several)
    negative = () if takes else tuple(argument.negatives)
    return Option((*names, *negative), takes, known, kind, _short(argument.parameter.help or ""))


def _is_path(hint: Any) -> bool:
    return hint is Path or Path in getattr(hint, "__args__", ())


def _short(text: str) -> str:
    """The first sentence, in one line of plain characters."""
    line = " ".join(text.split())
    first = line.partition(". ")[0].rstrip(".:")
    return first if len(first) <= _HELP_MAX else f"{first[: _HELP_MAX - 3].rstrip()}..."


def all_options(words: Iterable[Words]) -> list[Option]:
    """Each option once, by its names."""
    return list({one.names: one for command in words for one in command.options}.values())
