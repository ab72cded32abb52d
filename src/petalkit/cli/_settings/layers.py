"""The layers that settings come from, merged: every value keeps its origin.

So an error can say where to fix it, and two values can be asked which outranks the other. The value
itself is never repeated in an error of a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs

from ..._values.errors import ConfigError
from ..._values.settings.settings import environment_name, is_off
from .conversion import convert
from .names import loadable_fields


@attrs.frozen
class Value:
    """A value of a layer, with where it came from."""

    raw: Any = attrs.field(repr=False)
    rank: int  # of its layer; the higher goes first
    origin: str
    folder: Path | None = None  # what a relative path is relative to; None: the current directory


def merge(given: Mapping[str, Any], table: Mapping[str, Any], config: Path | None) -> Any:
    """What command line, environment and file say, by their precedence.

    Args:
        given: what the command line gave, by setting.
        table: what the file has under `[petalkit]`.
        config: the file.

    Returns:
        An object with a `Value` for each loadable setting; None where no layer had it.
    """
    folder = config.parent if config is not None else None
    merged = SimpleNamespace()
    for name in loadable_fields():
        value: Value | None = None
        variable = environment_name(name)
        if name in given:
            value = Value(given[name], 2, "--" + name.replace("_", "-"))
        elif os.environ.get(variable):  # an empty one is how a shell or a unit file clears it
            value = Value(os.environ[variable], 1, variable)
        elif name in table:
            value = Value(table[name], 0, str(config), folder)
        setattr(merged, name, value)
    return merged


def outranks(value: Value | None, other: Value | None) -> bool:
    """Whether a value comes from a higher layer than another; one that is not there does not."""
    return value is not None and other is not None and value.rank > other.rank


def typed(field: attrs.Attribute[Any], hint: Any, value: Value) -> Any:
    """A value of a layer as the field's type.

    Raises:
        ConfigError: it cannot be that; where it came from is named.
    """
    if field.metadata.get("off") and is_off(value.raw):
        return value.raw  # a word that the field itself knows, and not relative to a folder
    try:
        return convert(value.raw, hint, value.folder)
    except ValueError as error:
        shown = "" if field.metadata.get("secret") else f", not {_short(value.raw)}"
        raise ConfigError(field.name, f"must be {error}{shown} (from {value.origin})") from None


def _short(raw: Any) -> str:
    text = repr(raw)
    return text if len(text) <= 80 else text[:77] + "..."
