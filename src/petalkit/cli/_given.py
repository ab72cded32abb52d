"""What the options of several commands mean, whoever has parsed them.

The trap: the parser of the command line takes a fifth of the time that a start takes, so that
nothing here may need it. How the options are parsed and explained is in `_options`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from .._serving.process.logs import configure_logging
from .._values.settings.settings import environment_name
from ._errors import UsageError
from ._settings import loading
from ._settings.variables import CONFIG, LogFormat, LogLevel, log_format, log_level
from ._targets.host_petals import WITHOUT, HostPetals, ProxyTarget, open_host

SHOWN_FIRST = (
    "broker",
    "organization_id",
    "organization_file",
    "device_id",
    "client_id",
    "transport",
    "protocol",
)
SECURITY = (
    *("username", "username_file", "password_file"),
    *("ca_file", "cert_file", "key_file", "key_password_file", "tls_server_name"),
    *("alpn", "allow_insecure"),
)
WAY = (
    "proxy",
    "no_proxy",
    "proxy_credentials_file",
    "websocket_headers_file",
    "server_references",
)
FIRST = (*SHOWN_FIRST, *SECURITY, *WAY)

HOST_PROXY = "--host-proxy"


class SettingsOptions:
    """The base of the generated option classes: one attribute per setting, None when not given."""

    def given(self) -> dict[str, Any]:
        """What stood on the command line, by setting."""
        names = [field.name for field in attrs.fields(type(self))]  # type: ignore[arg-type]
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@attrs.frozen(kw_only=True)
class General:
    """What every command that reads settings has beside them. See `_options.GeneralOptions`."""

    config: Path | None = None
    log_level: LogLevel | None = None
    log_format: LogFormat | None = None

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
            # said on the command line takes precedence over it.
            os.environ.pop(environment_name("organization_id"), None)
        return loading.load(given, config=self.config)


@attrs.frozen(kw_only=True)
class Host:
    """What commands that load petals have for those of the host. See `_options.HostOptions`."""

    host_compat: bool = False
    host_proxy: tuple[str, ...] = ()
    host_code: Path | None = None
    host_env: Path | None = None

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
            return open_host(proxies, self.host_code, self.host_env)
        for option, value in (("--host-code", self.host_code), ("--host-env", self.host_env)):
            if value is not None:
                raise UsageError(f"{option} is for petals of the host: add --host-compat")
        for name in given:  # what the file says of proxies is for runs that have such petals
            raise UsageError(f"{HOST_PROXY} {name} is for petals of the host: add --host-compat")
        return None


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
    general: General,
    settings: SettingsOptions,
    targets: Sequence[str] = (),
    host: Host | None = None,
    device_id: str | None = None,
) -> str:
    """How to ask the doctor about what these options make; for a terminal, in one line.

    `device_id` is that of a command whose own option for it is another one.

    No secret is an option. What the environment says is not repeated, since the log is read by
    more people than it.
    """
    arguments = [*targets]
    if host is not None and host.host_compat:
        theirs = {name: getattr(host, name) for name in ("host_proxy", "host_code", "host_env")}
        arguments += ["--host-compat", *as_arguments(theirs)]
    given = settings.given() | ({} if device_id is None else {"device_id": device_id})
    arguments += as_arguments({"config": general.config, **given})
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
