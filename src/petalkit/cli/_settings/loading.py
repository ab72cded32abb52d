"""Settings from the command line, the environment and a file, in this order of precedence.

The one list of settings is the fields of `Settings`: what can be loaded, under which name and of
which type, is read from there. typed-settings collects and merges the layers; every value keeps
its origin on the way, so that an error can say where to mend it. The value itself is never
repeated in an error of a secret.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import typed_settings
from typed_settings.loaders import DictLoader, EnvLoader

from ..._values.errors import ConfigError
from ..._values.files import open_regular
from ..._values.settings.proxies import Proxy
from ..._values.settings.settings import (
    RENEWABLE,
    Settings,
    environment_name,
    is_default_place,
    is_off,
)
from .proxy_environment import with_environment_proxy
from .variables import CONFIG, config_file, warn_of_unknown

CONFIG_FILE_MAX = 1024 * 1024  # bytes; a larger file is no configuration

_TABLES = ("petalkit", "petals", "proxies")
# A callable cannot come from text.
_NOT_LOADABLE = frozenset(
    field.name for field in attrs.fields(Settings) if field.name.endswith("_source")
)
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


@attrs.frozen
class Loaded:
    """What was loaded.

    Attributes:
        settings: for the runtime or a client.
        petals: the `[petals.NAME]` tables of the file, as they are.
        proxies: the `[proxies]` table of the file: a TARGET by name.
        origin: the file, for error texts; None when there was none.
        given: the settings that some layer gave; the others are defaults.
        environment_proxy: the proxy, where it comes from HTTPS_PROXY.
    """

    settings: Settings
    petals: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict[str, Any])
    proxies: Mapping[str, str] = attrs.field(factory=dict[str, str])
    origin: str | None = None
    given: frozenset[str] = frozenset()
    environment_proxy: Proxy | None = None

    @property
    def folder(self) -> Path | None:
        """What a relative path in the file is relative to; None when there was none."""
        return None if self.origin is None else Path(self.origin).parent


@attrs.frozen
class _Value:
    """A value on its way through typed-settings, with where it came from."""

    raw: Any = attrs.field(repr=False)
    rank: int  # of its layer; the higher goes first
    origin: str
    folder: Path | None = None  # what a relative path is relative to; None: the current directory


def loadable_fields() -> dict[str, attrs.Attribute[Any]]:
    """The settings that a file, the environment or the command line can give, by name."""
    return {
        field.name: field for field in attrs.fields(Settings) if field.name not in _NOT_LOADABLE
    }


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


def load(
    given: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
) -> Loaded:
    """Load the settings from all layers.

    Args:
        given: what the command line gave, by setting; it goes before all else.
        config: a TOML file: a table `[petalkit]`, a table `[petals.NAME]` per petal, and a
            table `[proxies]` for petals of the host. None: that of `PETALKIT_CONFIG`.

    Raises:
        ConfigError: something cannot be read or used; it names the setting and the origin.
    """
    given = dict(given or {})
    if "organization_id" in given and "organization_file" in given:
        raise ConfigError("organization_id", "cannot be given together with --organization-file")
    by_variable = config is None
    config = config_file(config)
    table: Mapping[str, Any] = {}
    petals: Mapping[str, Mapping[str, Any]] = {}
    proxies: Mapping[str, str] = {}
    if config is not None:
        try:
            table, petals, proxies = _read_config(config)
        except ConfigError as error:
            if not by_variable:
                raise
            raise ConfigError(error.setting, f"{error.reason} (from {CONFIG})") from None
    folder = config.parent if config is not None else None
    layers = [
        _Layer(0, DictLoader(dict(table)), lambda _: str(config), folder),
        _Layer(1, EnvLoader(prefix="PETALKIT_"), environment_name),
        _Layer(2, DictLoader(given), lambda name: "--" + name.replace("_", "-")),
    ]
    warn_of_unknown(setting_variables())
    merged = typed_settings.load_settings(_LAYERED, layers)
    hints = setting_types()
    values = {
        name: _convert(field, hints[name], value)
        for name, field in loadable_fields().items()
        if (value := getattr(merged, name)) is not None
        and not (name == "journal" and is_default_place(value.raw))
    }
    if _outranks(merged.organization_file, merged.organization_id):
        # A fixed ID goes before the file, but not before a file named in a higher layer.
        del values["organization_id"]
    for name in RENEWABLE:
        # Of one layer they contradict each other, which is refused; of two the higher one counts.
        fixed, file = getattr(merged, name), getattr(merged, f"{name}_file")
        if _outranks(file, fixed):
            del values[name]
        elif _outranks(fixed, file):
            del values[f"{name}_file"]
    try:
        settings = Settings(**values)
    except ConfigError as error:
        origin = getattr(merged, error.setting, None)
        if origin is None:
            raise
        raise ConfigError(error.setting, f"{error.reason} (from {origin.origin})") from None
    file = str(config) if config is not None else None
    settings, proxy = with_environment_proxy(settings, os.environ)
    return Loaded(settings, petals, proxies, file, frozenset(values), proxy)


# One attribute per loadable setting. No types: the values are converted here, strictly, where
# their origin is known; None says that no layer had it.
_LAYERED: Any = attrs.make_class(
    "Layered",
    {name: attrs.field(default=None) for name in loadable_fields()},
    frozen=True,
    kw_only=True,
)


@attrs.frozen
class _Layer:
    """A loader of typed-settings that gives its values together with their origin."""

    rank: int
    loader: Any
    origin: Callable[[str], str]
    folder: Path | None = None

    def __call__(self, settings_cls: Any, options: Any) -> Any:
        loaded = self.loader(settings_cls, options)
        marked = {
            name: _Value(raw, self.rank, self.origin(name), self.folder)
            for name, raw in loaded.settings.items()
            # An empty variable says nothing: it is how a shell or a unit file clears one.
            if raw != "" or not isinstance(self.loader, EnvLoader)
        }
        return type(loaded)(marked, loaded.meta)


def _outranks(value: _Value | None, other: _Value | None) -> bool:
    return value is not None and other is not None and value.rank > other.rank


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


def _read_config(
    path: Path,
) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]], Mapping[str, str]]:
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
            if name in _NOT_LOADABLE:
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
    return table, petals, proxies


def _table(value: Any, what: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError("config", f"{what} in {str(path)!r} is not a table")
    return typing.cast("dict[str, Any]", value)


def _convert(field: attrs.Attribute[Any], hint: Any, value: _Value) -> Any:
    """Text or a TOML value to the field's type, strictly: 1.0 is no whole number, 1 is no bool."""
    if field.metadata.get("off") and is_off(value.raw):
        return value.raw  # a word that the field itself knows, and not relative to a folder
    try:
        return _to_type(value.raw, hint, value.folder)
    except ValueError as error:
        shown = "" if field.metadata.get("secret") else f", not {_short(value.raw)}"
        raise ConfigError(field.name, f"must be {error}{shown} (from {value.origin})") from None


def _short(raw: Any) -> str:
    text = repr(raw)
    return text if len(text) <= 80 else text[:77] + "..."


def _to_type(raw: Any, hint: Any, folder: Path | None) -> Any:
    """The value as `hint` says. The text of the ValueError completes "must be ..."."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
        return _to_type(raw, hint, folder)
    if origin is Literal:
        choices: Sequence[Any] = typing.get_args(hint)
        if raw not in choices:
            raise ValueError("one of " + ", ".join(map(str, choices)))
        return raw
    if origin is tuple:
        return _to_strings(raw)
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
