"""How a setting is declared: default, help, unit, check.

The docs' reference and the options of the command line are made from the metadata, so a field
without a `help` is a failing test. A secret never has a `repr`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs

SecretSource = Callable[[], str | Awaitable[str | None] | None]

KIB = 1024
MIB = 1024 * KIB

T = TypeVar("T")


def setting(default: T, text: str, *, unit: str = "", check: Any = None, secret: bool = False) -> T:
    """A field of any kind; its type is that of the annotation."""
    metadata = {"help": text, "unit": unit, "secret": secret}
    field: T = attrs.field(default=default, validator=check, repr=not secret, metadata=metadata)
    return field


def file_setting(default: None, text: str) -> Path | None:
    """A field that names a file, or none."""
    metadata = {"help": text, "unit": "", "secret": False}
    field: Path | None = attrs.field(
        default=default, converter=attrs.converters.optional(absolute), metadata=metadata
    )
    return field


def absolute(value: str | os.PathLike[str]) -> Path:
    """The path as it is meant now: a petal may change the current folder between two uses."""
    return Path(value).absolute()
