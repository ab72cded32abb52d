"""The settings that can be loaded, by name: the fields of `Settings`, and no second list."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable
from typing import Any

import attrs

from ..._values.settings.calling import CallingSettings
from ..._values.settings.settings import Settings, environment_name

# A callable cannot come from text; and a program that calls has no command here that would heed
# what is said of its clients.
NOT_LOADABLE = frozenset(
    (
        *(field.name for field in attrs.fields(Settings) if field.name.endswith("_source")),
        *(field.name for field in attrs.fields(CallingSettings)),
    )
)


def loadable_fields() -> dict[str, attrs.Attribute[Any]]:
    """The settings that a file, the environment or the command line can give, by name."""
    return {field.name: field for field in attrs.fields(Settings) if field.name not in NOT_LOADABLE}


def setting_variables() -> list[str]:
    """The environment variables that are read."""
    return [environment_name(name) for name in loadable_fields()]


def setting_types() -> dict[str, Any]:
    """The annotations of all settings, resolved."""
    return typing.get_type_hints(Settings)


def near_match(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
