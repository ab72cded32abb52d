"""The configuration file: TOML, with three tables.

The rule: nothing in it is ignored. A key that nobody knows is refused, with the name that may have
been meant.
"""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..._values.basics.files import open_regular
from ..._values.errors import ConfigError
from .names import NOT_LOADABLE, loadable_fields, near_match

CONFIG_FILE_MAX = 1024 * 1024  # bytes; a larger file is no configuration

_TABLES = ("petalkit", "petals", "proxies")


@attrs.frozen
class Tables:
    """What a file holds.

    Attributes:
        settings: `[petalkit]`, by setting.
        petals: `[petals.NAME]`, as they are.
        proxies: `[proxies]`: a TARGET by name.
    """

    settings: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    petals: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict[str, Any])
    proxies: Mapping[str, str] = attrs.field(factory=dict[str, str])


def read_config(path: Path) -> Tables:
    """Read a configuration file.

    Raises:
        ConfigError: it cannot be read, or has something in it that nobody knows.
    """
    try:
        document = tomllib.loads(_read_text(path, "config", CONFIG_FILE_MAX))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("config", f"{str(path)!r} is not TOML: {error}") from None
    except RecursionError:
        raise ConfigError("config", f"{str(path)!r} is nested too deeply") from None
    for name in document:
        if name not in _TABLES:
            hint = near_match(name, _TABLES)
            if name in loadable_fields():
                hint = "; settings stand under [petalkit]"
            raise ConfigError("config", f"{str(path)!r} has an unknown key {name!r}{hint}")
    raw_table = _table(document.get("petalkit", {}), "[petalkit]", path)
    table: dict[str, Any] = {}
    for key, value in raw_table.items():
        name = key.replace("-", "_")
        if name not in loadable_fields():
            hint = near_match(name, loadable_fields())
            if name in NOT_LOADABLE:
                hint = "; it can be set in Python only"
            raise ConfigError(
                "config", f"{str(path)!r} has an unknown key {key!r} in [petalkit]{hint}"
            )
        if name in table:
            raise ConfigError("config", f"{str(path)!r} sets {name!r} twice")
        table[name] = value
    petals = _table(document.get("petals", {}), "[petals]", path)
    petals = {name: _table(value, f"[petals.{name}]", path) for name, value in petals.items()}
    proxies = _table(document.get("proxies", {}), "[proxies]", path)
    for name, target in proxies.items():
        if not isinstance(target, str):
            text = f"{name!r} under [proxies] in {str(path)!r} must be a text: module:name, or none"
            raise ConfigError("config", text)
    return Tables(table, petals, proxies)


def _table(value: Any, what: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError("config", f"{what} in {str(path)!r} is not a table")
    return typing.cast("dict[str, Any]", value)


def _read_text(path: Path, setting: str, limit: int) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(setting, f"cannot read {str(path)!r}: {reason}") from None
    if len(data) > limit:
        raise ConfigError(setting, f"{str(path)!r} is larger than {limit} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(setting, f"{str(path)!r} is not UTF-8") from None
