"""A text or a TOML value becomes what a setting holds.

The rule: strictly, so that 1.0 is no whole number and 1 is no bool. The texts of the errors
complete "must be ...".
"""

from __future__ import annotations

import collections.abc
import json
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def convert(raw: Any, hint: Any, folder: Path | None) -> Any:
    """The value as `hint` says.

    Args:
        raw: as it was found.
        hint: the setting's annotation.
        folder: what a relative path is relative to; None: the current folder.

    Raises:
        ValueError: it cannot be that.
    """
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
        return convert(raw, hint, folder)
    if origin is Literal:
        choices: Sequence[Any] = typing.get_args(hint)
        if raw not in choices:
            raise ValueError("one of " + ", ".join(map(str, choices)))
        return raw
    if origin is tuple:
        return _to_strings(raw)
    if origin is collections.abc.Mapping:
        return _to_mapping(raw)
    return _PLAIN[hint](raw, folder)


def _to_strings(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):  # from the environment
        if raw.lstrip().startswith("["):
            return _json_strings(raw)
        return tuple(_unicode(part.strip()) for part in raw.split(",") if part.strip())
    if isinstance(raw, tuple):  # from the command line, one text for each time that it is there
        words = typing.cast("tuple[str, ...]", raw)
        return tuple(
            text
            for word in words
            for text in (_json_strings(word) if word.lstrip().startswith("[") else [_unicode(word)])
        )
    if isinstance(raw, list):
        parts = typing.cast("Sequence[Any]", raw)
        if all(isinstance(part, str) for part in parts):
            return tuple(map(_unicode, parts))
    raise ValueError("a list of texts (with commas between them in the environment)")


def _to_mapping(raw: Any) -> dict[str, str]:
    if isinstance(raw, Mapping):  # from the file
        table: Mapping[Any, Any] = raw
        if all(isinstance(one, str) for pair in table.items() for one in pair):
            return {_unicode(key): _unicode(value) for key, value in table.items()}
        raise ValueError("a table of texts")
    if isinstance(raw, str) and raw.lstrip().startswith("{"):
        try:
            value: Any = json.loads(raw)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ValueError("a JSON object of texts where it begins with {")
        return _to_mapping(value)
    if isinstance(raw, tuple):  # from the command line, where commas say the same
        raw = ",".join(typing.cast("tuple[str, ...]", raw))
    found: dict[str, str] = {}
    for pair in _to_strings(raw):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (key and equals and value):
            raise ValueError("KEY=VALUE (with commas between them)")
        if key in found:
            raise ValueError(f"one value for each key, and {key} has two")
        found[key] = value
    return found


def _json_strings(raw: str) -> tuple[str, ...]:
    """What begins like a JSON list is one: as a text it would be a topic with brackets in it."""
    try:
        value: Any = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise ValueError("a JSON list of texts where it begins with [")
    parts = typing.cast("Sequence[Any]", value)
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("a JSON list of texts where it begins with [")
    return tuple(map(_unicode, parts))


def _to_bool(raw: Any, _: Path | None) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        if raw.strip().lower() in _TRUE:
            return True
        if raw.strip().lower() in _FALSE:
            return False
    raise ValueError("true or false")


def _to_int(raw: Any, _: Path | None) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        try:
            return int(raw)
        except ValueError:
            pass
    raise ValueError("a whole number")


def _to_float(raw: Any, _: Path | None) -> float:
    if isinstance(raw, int | float | str) and not isinstance(raw, bool):
        try:
            return float(raw)
        except (ValueError, OverflowError):  # the second from a whole number that is too large
            pass
    raise ValueError("a number")


def _to_str(raw: Any, _: Path | None) -> str:
    if isinstance(raw, str):
        return _unicode(raw)
    raise ValueError("a text")


def _unicode(text: str) -> str:
    """Bytes that are not UTF-8 come from environment and command line as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("valid Unicode") from None
    return text


def _to_path(raw: Any, folder: Path | None) -> Path:
    if isinstance(raw, Path):
        raw = str(raw)
    if not isinstance(raw, str) or not raw:
        raise ValueError("a path")
    path = Path(os.path.expanduser(raw))
    return path if folder is None else folder / path


_PLAIN: Mapping[Any, Any] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_str,
    Path: _to_path,
}
