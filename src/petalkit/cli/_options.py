"""The options of the command line, made from the fields of `Settings`.

So a new setting is an option at once, with its own help and type. A secret never is: what stands
on a command line is seen by every user of the machine.
"""

from __future__ import annotations

import collections.abc
import os
import re
import shlex
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import Group, Parameter

from .._serving.process.logs import configure_logging
from .._values.settings.settings import environment_name
from ._errors import UsageError
from ._settings import loading
from ._settings.variables import CONFIG, LogFormat, LogLevel, log_format, log_level
from ._targets.host_petals import WITHOUT, HostPetals, ProxyTarget, open_host

_SHOWN_FIRST = (
    "broker",
    "organization_id",
    "organization_file",
    "device_id",
    "client_id",
    "transport",
    "protocol",
)
_SECURITY = (
    *("username", "username_file", "password_file"),
    *("ca_file", "cert_file", "key_file", "key_password_file", "tls_server_name"),
    *("alpn", "allow_insecure"),
)
_WAY = (
    "proxy",
    "no_proxy",
    "proxy_credentials_file",
    "websocket_headers_file",
    "server_references",
)
# What matters to a program that calls; the rest is the device's.
_CALLER = (
    *_SHOWN_FIRST,
    *_SECURITY,
    *_WAY,
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

HOST_PROXY = "--host-proxy"
# What says which journal is meant.
_JOURNAL = ("journal", "device_id")

GENERAL = Group("Options", sort_key=0)
_CONNECTION = Group("Broker and identity", sort_key=1)
_SAFETY = Group("Security", sort_key=2)
_HOST = Group("Petals of the guide's host", sort_key=3)
_REST = Group("Other settings", sort_key=4)


class SettingsOptions:
    """The base of the generated option classes: one attribute per setting, None when not given."""

    def given(self) -> dict[str, Any]:
        """What stood on the command line, by setting."""
        names = [field.name for field in attrs.fields(type(self))]  # type: ignore[arg-type]
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def _group(name: str) -> Group:
    if name in _SHOWN_FIRST:
        return _CONNECTION
    if name in _WAY:
        return _CONNECTION
    return _SAFETY if name in _SECURITY else _REST


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


_FIRST = (*_SHOWN_FIRST, *_SECURITY, *_WAY)

if TYPE_CHECKING:
    RunSettings = SettingsOptions
    CallSettings = SettingsOptions
    JournalSettings = SettingsOptions
else:
    RunSettings = _make_options("RunSettings", (*_FIRST, *loading.loadable_fields()))
    CallSettings = _make_options("CallSettings", (*_FIRST, *_CALLER))
    JournalSettings = _make_options("JournalSettings", _JOURNAL)


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as they are typed, each by its name in Python."""
    typed: list[str] = []
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            typed.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            values: tuple[object, ...] = value if isinstance(value, tuple) else (value,)
            for text in map(str, values):
                # What begins with a dash would be read as the next option.
                whole = text.startswith("-")
                typed += [f"--{option}={text}"] if whole else [f"--{option}", text]
    return typed


def advice(
    general: GeneralOptions,
    settings: SettingsOptions,
    targets: Sequence[str] = (),
    host: HostOptions | None = None,
) -> str:
    """How to ask the doctor about what these options make; for a terminal, in one line.

    No secret is an option. What the environment says is not repeated, since the log is read by
    more people than it.
    """
    arguments = [*targets]
    if host is not None and host.host_compat:
        arguments += ["--host-compat", *as_arguments({"host_proxy": host.host_proxy})]
    arguments += as_arguments({"config": general.config, **settings.given()})
    command = shlex.join(["petalkit", "doctor", *arguments])
    names = [*loading.setting_variables(), CONFIG]
    variables = [name for name in names if os.environ.get(name)]
    where = ", with the same PETALKIT_* variables," if variables else ""
    return f"`{command}`{where} looks for the cause"


_NAMED = re.compile(r"[A-Za-z_]\w*=")  # which no address of a proxy begins with


def with_host_proxy(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a command line with `--host-proxy` where `--proxy` was given NAME=TARGET.

    That was its name once; `--proxy` alone is the HTTP proxy on the way to the broker. The two are
    told apart by their form.

    Returns:
        The words, and what was given NAME=TARGET.
    """
    words, found = list(tokens), list[str]()
    for index, word in enumerate(words):
        if word == "--":
            break
        option, equals, value = word.partition("=")
        if option != "--proxy":
            continue
        if not equals:
            value = words[index + 1] if index + 1 < len(words) else ""
        if _NAMED.match(value):
            words[index] = HOST_PROXY + equals + (value if equals else "")
            found.append(value)
    return words, found


@Parameter(name="*", group=GENERAL)
@attrs.frozen(kw_only=True)
class GeneralOptions:
    """What every command that reads settings has beside them."""

    config: Path | None = None
    """A TOML file: settings in a table [petalkit], and a table [petals.NAME] per petal."""

    log_level: LogLevel | None = None
    """What to log, on stderr."""

    log_format: LogFormat | None = None
    """Log lines for people, or one JSON object per line."""

    def configure_logging(self, default: LogLevel) -> None:
        """Log as these options, or the variables, say.

        Raises:
            ConfigError: a variable has another value.
        """
        configure_logging(log_level(self.log_level, default), log_format(self.log_format))

    def load(self, settings: SettingsOptions) -> loading.Loaded:
        """Load the settings from all layers; see `loading.load`."""
        given = settings.given()
        if "organization_file" in given:
            # Where no ID is set, the runtime looks into the environment before the file; what is
            # said on the command line goes before the environment.
            os.environ.pop(environment_name("organization_id"), None)
        return loading.load(given, config=self.config)


@Parameter(name="*", group=_HOST)
@attrs.frozen(kw_only=True)
class HostOptions:
    """What commands that load petals have for those of the guide's host application."""

    host_compat: Annotated[bool, Parameter(negative=())] = False
    """Serve petals written for the host, petal_app_manager, too. TARGET may then be an entry point
    of the group petal.plugins."""

    host_proxy: Annotated[tuple[str, ...], Parameter(negative_iterable=())] = ()
    """NAME=TARGET: give those petals a further proxy. TARGET is module:name or path/to/file.py:name
    of an object, or of a class or function that is called once for each petal; none: they do
    without. Also as a table [proxies] in --config. May be repeated."""

    def open(self, loaded: loading.Loaded) -> HostPetals | None:
        """Make the host's names importable, and load the proxies; None when not asked for.

        Raises:
            UsageError: a proxy is wrong, or the real host is installed.
        """
        proxies = {
            name: ProxyTarget(target, f"{name!r} under [proxies] in {loaded.origin}", loaded.folder)
            for name, target in loaded.proxies.items()
        }
        given: set[str] = set()
        for text in self.host_proxy:
            name, equals, target = text.partition("=")
            if not (name and equals and target):
                raise UsageError(f"{HOST_PROXY} {text}: write NAME=module:name, or NAME={WITHOUT}")
            if name in given:
                raise UsageError(f"{HOST_PROXY} {name} is given twice")
            given.add(name)
            proxies[name] = ProxyTarget(target, f"{HOST_PROXY} {name}")
        if self.host_compat:
            return open_host(proxies)
        for name in given:  # what the file says of proxies is for runs that have such petals
            raise UsageError(f"{HOST_PROXY} {name} is for petals of the host: add --host-compat")
        return None
