"""A command line of `broker` that needs no parser: digits, words of a choice, and a host.

The rule is that of `_running.plain`: what is read here means the same to the parser, and whatever
else there is, help and all errors too, is left to it. The parser takes three quarters of a start,
and a quarter of the memory.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Sequence
from typing import Any

import attrs

from ...transports._broker.core.bounds import Bounds
from .._errors import explain
from .._settings.variables import LogFormat, LogLevel
from .listening import Asked, listen

_DIGITS = re.compile(r"[0-9]{1,9}")
_HOST = re.compile(r"[0-9A-Za-z.:]{1,255}")
_CHOICES: dict[str, tuple[str, ...]] = {
    "log_level": typing.get_args(LogLevel),
    "log_format": typing.get_args(LogFormat),
}


def run_plain(tokens: Sequence[str]) -> int | None:
    """Serve, if all that stands behind `broker` is plain; its exit code.

    Returns:
        None where it is not, and nothing was done.
    """
    found = read_plain(tokens)
    if found is None:
        return None
    try:
        return listen(*found)
    except BaseException as error:
        return explain(error)


def read_plain(tokens: Sequence[str]) -> tuple[Asked, Bounds] | None:
    """What stands behind `broker`, if all of it is plain."""
    bounds = {field.name for field in attrs.fields(Bounds)}
    found: dict[str, Any] = {}
    rest = iter(tokens)
    for token in rest:
        name, text = token[2:].replace("-", "_"), next(rest, "")
        if not token.startswith("--") or "_" in token or name in found:
            return None
        if name in bounds or name == "port":
            if not _DIGITS.fullmatch(text):
                return None
            found[name] = int(text)
        elif name in _CHOICES:
            if text not in _CHOICES[name]:
                return None
            found[name] = text
        elif name == "host" and _HOST.fullmatch(text):
            found[name] = text
        else:
            return None
    given = {name: found.pop(name) for name in bounds & found.keys()}
    try:
        return Asked(**found), Bounds(**given)
    except ValueError:
        return None  # the parser's way says it
