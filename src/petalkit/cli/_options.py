"""The options of the command line, made from the fields of `Settings`.

So a new setting is an option at once, with its own help and type. A secret never is: what stands
on a command line is seen by every user of the machine.
"""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import Group, Parameter

from ._given import FIRST, SECURITY, SHOWN_FIRST, WAY, General, Host, SettingsOptions
from ._given import HOST_PROXY as HOST_PROXY
from ._given import advice as advice
from ._given import as_arguments as as_arguments
from ._given import with_host_proxy as with_host_proxy
from ._settings import loading
from ._settings.variables import LogFormat, LogLevel

# What matters to a program that calls; the rest is the device's.
_CALLER = (
    *SHOWN_FIRST,
    *SECURITY,
    *WAY,
    "base_topic",
    "command_topics",
    "response_topic",
    "dialect",
    "error_codes",
    "keep_alive",
    "connect_timeout",
    "subscribe_timeout",
    "disconnect_timeout",
    "payload_max",
    "depth_max",
)

# What says which journal is meant.
_JOURNAL = ("journal", "device_id")

HELP_ALL = "--help-all"
COMPLETE_NAMES = "complete-names"

GENERAL = Group("Options", sort_key=0)
_CONNECTION = Group("Broker and identity", sort_key=1)
_SAFETY = Group("Security", sort_key=2)
_HOST = Group("Petals of the guide's host", sort_key=3)
_REST = Group("Other settings", sort_key=4)


def _group(name: str) -> Group:
    if name in SHOWN_FIRST:
        return _CONNECTION
    if name in WAY:
        return _CONNECTION
    return _SAFETY if name in SECURITY else _REST


def _help(field: attrs.Attribute[Any]) -> str:
    text: str = field.metadata["help"]
    notes: list[str] = []
    if field.metadata["unit"]:
        notes.append(field.metadata["unit"])
    default: Any = field.metadata.get("default", field.default)
    if default is not None and default != () and not isinstance(default, bool | Mapping):
        notes.append(f"default {_as_typed(default)}")
    return f"{text} [{', '.join(notes)}]" if notes else text


def _as_typed(default: Any) -> str:
    if isinstance(default, tuple):
        return " ".join(typing.cast("tuple[str, ...]", default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _make_options(class_name: str, names: Iterable[str]) -> Any:
    fields = loading.loadable_fields()
    hints = loading.setting_types()
    made: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        if not fields[name].metadata["secret"]:
            parameter = Parameter(
                help=_help(fields[name]), group=_group(name), negative_iterable=()
            )
            # As it was typed where a word means something: as a path, `./off` would be `off`.
            typed = str if fields[name].metadata.get("off") else hints[name]
            if typing.get_origin(typed) is collections.abc.Mapping:
                typed = tuple[str, ...]  # KEY=VALUE, as often as there are some
            hint: Any = Annotated[typed | None, parameter]
            made[name] = attrs.field(default=None, type=hint)
    return attrs.make_class(class_name, made, bases=(SettingsOptions,), frozen=True, kw_only=True)


if TYPE_CHECKING:
    RunSettings = SettingsOptions
    CallSettings = SettingsOptions
    JournalSettings = SettingsOptions
else:

    def __getattr__(name: str) -> Any:
        """Make the class of one command when it is asked for: a hundred fields take 20 ms."""
        names = {
            "RunSettings": (*FIRST, *loading.loadable_fields()),
            "CallSettings": (*FIRST, *_CALLER),
            "JournalSettings": _JOURNAL,
        }
        if name not in names:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = made = _make_options(name, names[name])
        return made


@Parameter(name="*", group=GENERAL)
@attrs.frozen(kw_only=True)
class GeneralOptions(General):
    """What every command that reads settings has beside them."""

    config: Path | None = None
    """A TOML file: settings in a table [petalkit], and a table [petals.NAME] per petal."""

    log_level: LogLevel | None = None
    """What to log, on stderr."""

    log_format: LogFormat | None = None
    """Log lines for people, or one JSON object per line."""


@Parameter(name="*", group=_HOST)
@attrs.frozen(kw_only=True)
class HostOptions(Host):
    """What commands that load petals have for those of the guide's host application."""

    host_compat: Annotated[bool, Parameter(negative=())] = False
    """Serve petals written for the host, petal_app_manager, too. TARGET may then be an entry point
    of the group petal.plugins."""

    host_proxy: Annotated[tuple[str, ...], Parameter(negative_iterable=())] = ()
    """NAME=TARGET: give those petals a further proxy. TARGET is module:name or path/to/file.py:name
    of an object, or of a class or function that is called when the first petal asks, once for all,
    with TARGET,per-petal once for each; host: the host's own, see --host-code; none: they do
    without. Also as a table [proxies] in --config. May be repeated."""

    host_code: Path | None = None
    """A folder with the host's own package (pip install --no-deps --target FOLDER
    petal-app-manager==0.2.7), for its proxies alone."""

    host_env: Path | None = None
    """A .env file of the host: its variables are set from there, where they are not set already."""
