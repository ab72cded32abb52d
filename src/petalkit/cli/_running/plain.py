"""A command line of `run` that needs no parser: targets, and options that are plain beyond doubt.

The rule: what is read here means the same to the parser, and whatever else there is, help and all
errors too, is left to it. So nothing is refused here. Plain is `--name value` with a name in full,
once, and a value that stands for itself: a text, a path, a word of a choice, digits; and a switch.
The reason: the parser takes a fifth of the time from exec to subscribed, and a tenth of the memory.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from .._errors import explain, flush_output
from .._given import FIRST, General, Host, SettingsOptions
from .._settings import loading
from .._settings.variables import LogFormat, LogLevel
from .serving import serve

_WHOLE = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_SWITCHES = ("strict", "host_compat")
_GENERAL: Mapping[str, Any] = {
    "config": Path | None, "log_level": LogLevel | None, "log_format": LogFormat | None,
}  # fmt: skip


@attrs.frozen
class PlainSettings(SettingsOptions):
    """Settings that stood on the command line, by name."""

    values: Mapping[str, Any]

    def given(self) -> dict[str, Any]:
        """See `SettingsOptions.given`: in the same order."""
        names = dict.fromkeys((*FIRST, *loading.loadable_fields()))
        return {name: self.values[name] for name in names if name in self.values}


@attrs.frozen
class Plain:
    """What was read; see `serving.serve`."""

    targets: tuple[str, ...]
    general: General
    host: Host
    settings: PlainSettings
    strict: bool


def run_plain(tokens: Sequence[str]) -> int | None:
    """Serve, if all that stands behind `run` is plain; its exit code.

    Returns:
        None where it is not, and nothing was done.
    """
    plain = read_plain(tokens)
    if plain is None:
        return None
    try:
        code = serve(plain.targets, plain.general, plain.host, plain.settings, strict=plain.strict)
        flush_output()
    except BaseException as error:
        return explain(error)
    return code


def read_plain(tokens: Sequence[str]) -> Plain | None:
    """What stands behind `run`, if all of it is plain.

    Args:
        tokens: without the name of the command.
    """
    kinds = _kinds()
    targets: list[str] = []
    found: dict[str, Any] = {}
    rest = iter(tokens)
    for token in rest:
        if not token.startswith("-"):
            if not token:
                return None
            targets.append(token)
            continue
        name, value = token[2:].replace("-", "_"), None
        if not token.startswith("--") or "_" in token:
            return None
        if name in _SWITCHES or kinds.get(name) is bool:
            value = True
        elif name.startswith("no_") and kinds.get(name[3:]) is bool:
            name, value = name[3:], False
        elif name in kinds:
            value = _read(kinds[name], next(rest, ""))
        if value is None or name in found:
            return None
        found[name] = value
    strict, compat = found.pop("strict", False), found.pop("host_compat", False)
    general = General(**{name: found.pop(name) for name in _GENERAL if name in found})
    host = Host(host_compat=compat)
    return Plain(tuple(targets), general, host, PlainSettings(found), strict)


def _kinds() -> dict[str, Any]:
    """The type of each option that may be plain."""
    hints = loading.setting_types()
    kinds = dict(_GENERAL)
    for name, field in loading.loadable_fields().items():
        if not field.metadata["secret"] and name != "proxy":  # which has had two meanings
            # As it was typed where a word means something; so the parser does it, too.
            kinds[name] = str if field.metadata.get("off") else hints[name]
    return kinds


def _read(kind: Any, text: str) -> Any:
    """A value; None if it is not plain."""
    if not text or text.startswith("-"):
        return None
    plain = [one for one in typing.get_args(kind) if one is not type(None)]
    if typing.get_origin(kind) is typing.Literal:
        return text if text in plain else None
    if len(plain) == 1 and type(None) in typing.get_args(kind):
        return _read(plain[0], text)
    if kind is str:
        return text
    if kind is Path:
        return Path(text)
    if kind is int:
        return int(text) if _WHOLE.fullmatch(text) else None
    if kind is float:
        return float(text) if _DECIMAL.fullmatch(text) else None
    return None
