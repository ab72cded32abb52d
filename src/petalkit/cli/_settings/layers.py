"""The layers that settings come from, merged by typed-settings: every value keeps its origin.

So an error can say where to fix it, and two values can be asked which outranks the other. The value
itself is never repeated in an error of a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import typed_settings
from typed_settings.loaders import DictLoader, EnvLoader

from ..._values.errors import ConfigError
from ..._values.settings.settings import environment_name, is_off
from .conversion import convert
from .names import loadable_fields


@attrs.frozen
class Value:
    """A value on its way through typed-settings, with where it came from."""

    raw: Any = attrs.field(repr=False)
    rank: int  # of its layer; the higher goes first
    origin: str
    folder: Path | None = None  # what a relative path is relative to; None: the current directory


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
            name: Value(raw, self.rank, self.origin(name), self.folder)
            for name, raw in loaded.settings.items()
            # An empty variable says nothing: it is how a shell or a unit file clears one.
            if raw != "" or not isinstance(self.loader, EnvLoader)
        }
        return type(loaded)(marked, loaded.meta)


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
    layers: Sequence[_Layer] = [
        _Layer(0, DictLoader(dict(table)), lambda _: str(config), folder),
        _Layer(1, EnvLoader(prefix="PETALKIT_"), environment_name),
        _Layer(2, DictLoader(dict(given)), lambda name: "--" + name.replace("_", "-")),
    ]
    return typed_settings.load_settings(_LAYERED, layers)


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
