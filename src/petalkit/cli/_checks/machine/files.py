"""The settings, and the files that they name: there, readable by us, and by nobody else.

The trap: root may read everything, so a check as root says nothing of the service's user. What the
mode bits say is true for everybody.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import attrs

from ...._values.basics.files import open_regular
from ...._values.errors import ConfigError
from ...._values.settings.reach import without_effect
from ...._values.settings.replay_gap import replay_gap
from ...._values.settings.settings import RENEWABLE, Settings, environment_name
from ....transports import create_transport
from ....transports._connecting.credentials import (
    BROKER_SECRETS,
    SIDECAR_SECRETS,
    CredentialsFailed,
    renew_from_files,
)
from ....transports._connecting.tls import tls_context
from ..._given import SettingsOptions
from ..._options import GeneralOptions
from ..._settings.loading import Loaded
from ..._settings.variables import config_file
from ..case import user_name
from ..certificate import DAYS_WARNED, validities
from ..notices import notices
from ..values import Check, Findings, failed

PEM_MAX = 1024 * 1024  # bytes of a certificate file that are read
_OTHERS_WRITE = stat.S_IWOTH
_NOT_OURS_ALONE = stat.S_IRWXG | stat.S_IRWXO
_SECRETS = frozenset(field.name for field in attrs.fields(Settings) if field.metadata["secret"])


# -- settings


def load_settings(general: GeneralOptions, given: SettingsOptions) -> tuple[Loaded | None, Check]:
    """Load the settings from all layers; None when that fails."""
    try:
        with notices() as told:
            loaded = general.load(given)
        _check_transport(loaded.settings)
    except ConfigError as error:
        return None, failed("settings", str(error), _settings_todo(error))
    findings = Findings("settings")
    for notice in told:
        findings.warn(notice, "Correct the name of the variable.")
    config = config_file(general.config)
    if config is None:
        findings.ok("from the command line, the environment and the defaults; no --config file")
    else:
        findings.ok(f"from {config}, beside command line and environment")
        secret = _holds_secret(loaded.settings)
        check_mode(findings, "config", config, secret=secret)
    if loaded.environment_proxy is not None:
        findings.ok(f"the proxy {loaded.environment_proxy} from HTTPS_PROXY; --proxy off for none")
    for text in without_effect(loaded.settings):
        findings.warn(text, "Leave it out, or keep it for when the other setting changes.")
    gap = replay_gap(loaded.settings)
    if gap is not None:
        findings.warn(gap, "Raise that age, or lower command_age_max or clock_skew_max.")
    return loaded, findings.check(nothing="")


def _holds_secret(settings: Settings) -> bool:
    """Whether a secret can have come from nowhere but the configuration file."""
    elsewhere = {name for name in _SECRETS if os.environ.get(environment_name(name))}
    return any(getattr(settings, name) is not None for name in _SECRETS - elsewhere)


def _check_transport(settings: Settings) -> None:
    """Refuse a transport that does not exist, is not installed, or has not this protocol.

    What else it refuses belongs to another check.
    """
    try:
        create_transport(settings)
    except ConfigError as error:
        if error.setting in ("transport", "protocol"):
            raise


def _settings_todo(error: ConfigError) -> str:
    if "cannot read" in error.reason:
        return f"Let {user_name()} read it, or name another file."
    if "pip install" in error.reason:
        return "Install it into the environment that `petalkit run` runs in."
    return f"Correct {error.setting}; the text says what it may be."


# -- who may read and write


def mode_problems(mode: int, *, secret: bool) -> tuple[str, str] | None:
    """What is wrong with a file's mode bits, and the command that fixes it; None for nothing.

    Args:
        mode: of `os.stat`.
        secret: it is for its owner alone.
    """
    if secret and mode & _NOT_OURS_ALONE:
        what = "used" if mode & stat.S_IWOTH or mode & stat.S_IWGRP else "read"
        who = "by everybody" if mode & stat.S_IRWXO else "by its group"
        return f"can be {what} {who} (mode {stat.S_IMODE(mode):04o})", "chmod 600"
    if mode & _OTHERS_WRITE:
        return f"can be written by everybody (mode {stat.S_IMODE(mode):04o})", "chmod o-w"
    return None


def check_mode(findings: Findings, setting: str, path: Path, *, secret: bool = False) -> None:
    """Warn of a file that others may write, or a secret one that others may use."""
    try:
        problem = mode_problems(path.stat().st_mode, secret=secret)
    except OSError:
        return  # whoever reads it says so
    if problem is not None:
        what, fix = problem
        findings.warn(f"{setting}: {path} {what}", f"{fix} {path}, and let the service own it.")


def why_not_readable(path: Path, error: OSError) -> tuple[str, str]:
    """What stands between us and a file, and what to do."""
    who = user_name()
    if isinstance(error, FileNotFoundError):
        missing = _first_missing(path)
        where = "" if missing == path else f" (there is no {missing})"
        return f"{path} does not exist{where}", f"Put the file there, or name another than {path}."
    if isinstance(error, PermissionError):
        closed = _first_closed(path)
        where = "" if closed is None else f" (the folder {closed} is closed to it)"
        return (
            f"{path} cannot be read by {who}: {error.strerror}{where}",
            f"Let the user that `petalkit run` runs as read {path}.",
        )
    return f"{path} cannot be read by {who}: {error.strerror}", f"Name a file that is one: {path}."


def _first_missing(path: Path) -> Path:
    absolute = Path(os.path.abspath(path))
    for part in reversed(absolute.parents):
        if not os.path.lexists(part):
            return part
    return path


def _first_closed(path: Path) -> Path | None:
    for part in reversed(Path(os.path.abspath(path)).parents):
        if part.is_dir() and not os.access(part, os.X_OK, effective_ids=True):
            return part
    return None


# -- certificates and keys


@attrs.frozen
class _File:
    setting: str
    path: Path
    secret: bool


def _named_files(settings: Settings) -> list[_File]:
    named: Mapping[str, tuple[Path | None, bool]] = {
        "ca_file": (settings.ca_file, False),
        "cert_file": (settings.cert_file, False),
        "key_file": (settings.key_file, True),
        **{f"{name}_file": (getattr(settings, f"{name}_file"), True) for name in RENEWABLE},
    }
    return [_File(name, path, secret) for name, (path, secret) in named.items() if path is not None]


def check_certificates(settings: Settings, now: float) -> Check:
    """Certificates, keys and files of secrets: readable, private, matching, not expired.

    Args:
        settings: which files.
        now: wall clock.
    """
    findings = Findings("certificates")
    files = _named_files(settings)
    readable = True
    for file in files:
        try:
            open_regular(file.path).close()
        except OSError as error:
            readable = False
            what, todo = why_not_readable(file.path, error)
            findings.fail(f"{file.setting}: {what}", todo)
        else:
            check_mode(findings, file.setting, file.path, secret=file.secret)
    if readable:
        sidecar = settings.transport == "sidecar"
        try:
            tls_context(renew_from_files(settings, SIDECAR_SECRETS if sidecar else BROKER_SECRETS))
        except CredentialsFailed as error:
            findings.fail(*_context_problem(error))
        else:
            for name in ("cert_file", "ca_file"):
                path: Path | None = getattr(settings, name)
                if path is not None:
                    _check_dates(findings, name, path, now)
            if settings.key_file is not None:
                findings.ok("cert_file and key_file fit each other")
    tls = "; the system's CA certificates are used" if settings.peer_has_tls else ""
    nothing = f"no files are named{tls}"
    if files:
        findings.ok(f"{', '.join(file.setting for file in files)} looked at as {user_name()}")
    return findings.check(nothing=nothing)


def _context_problem(error: CredentialsFailed) -> tuple[str, str]:
    text = str(error)
    if "KEY_VALUES_MISMATCH" in text:
        return (
            "cert_file and key_file do not belong together: the key is another certificate's",
            "Name the key that was made with this certificate, or have both made anew.",
        )
    if error.setting == "key_file":
        return (
            text,
            "Name a file with the key's password in key_password_file, or write the key without "
            "one: openssl pkey -in KEY -out NEW-KEY.",
        )
    if error.setting.removesuffix("_file") in RENEWABLE:
        return text, f"Let {error.setting} hold the secret and nothing else."
    return text, f"Name PEM files in {error.setting}: they begin with -----BEGIN."


def _check_dates(findings: Findings, setting: str, path: Path, now: float) -> None:
    try:
        with open_regular(path) as file:
            found = validities(file.read(PEM_MAX).decode("ascii", "replace"))
    except (OSError, ValueError) as error:
        findings.warn(f"{setting}: the dates in {path} cannot be read: {error}")
        return
    if not found:
        return
    # Of a chain the first to end counts. Of CAs any may be the broker's, so the last one does.
    one = (max if setting == "ca_file" else min)(found, key=lambda each: each.ends)
    days = one.days_left(now)
    if now >= one.ends:
        findings.fail(f"{setting}: ended on {one.ends_on()}", f"Have {path} renewed.")
    elif now < one.begins:
        findings.warn(
            f"{setting}: good only from {one.begins_on()} on",
            "Set this device's clock, or look whether the certificate is the right one.",
        )
    elif days < DAYS_WARNED:
        findings.warn(f"{setting}: ends in {days} days, on {one.ends_on()}", f"Renew {path} soon.")
    else:
        findings.ok(f"{setting}: good for {days} days")
