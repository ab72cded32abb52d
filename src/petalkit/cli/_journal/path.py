"""Where the journal of a device is when nobody says: in the state folder of the service or user.

The library has no journal by default, since writing files is for programs to decide; `petalkit run`
is one, and has it unless it is told otherwise.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

import attrs

from ..._serving.identity.device import resolve_device_id
from ..._values.errors import ConfigError
from ..._values.settings.settings import JOURNAL_OFF, Settings
from .._settings.loading import Loaded

_NAME_MAX = 200  # characters; file systems allow 255 bytes, and the files beside it are longer


def with_journal(loaded: Loaded) -> Settings:
    """The settings with the journal that `petalkit run` has; it is None if somebody said off.

    Raises:
        ConfigError: nobody said anything, and there is no device ID or no place for it.
    """
    if "journal" in loaded.given:
        return loaded.settings
    return attrs.evolve(loaded.settings, journal=default_path(resolve_device_id(loaded.settings)))


def default_path(device_id: str) -> Path:
    """The journal of a device.

    Raises:
        ConfigError: there is no folder for it.
    """
    return _state_folder() / f"{safe_name(device_id)}.journal"


def _state_folder() -> Path:
    # systemd.exec(5), StateDirectory=: one or more, with colons between them.
    service = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if service:
        return Path(service)
    # The XDG Base Directory Specification 0.8; a relative path is to be ignored.
    user = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not user.is_absolute():
        try:
            user = Path.home() / ".local" / "state"
        except RuntimeError:
            text = f"there is no home folder to keep it in: name a file, or {JOURNAL_OFF}"
            raise ConfigError("journal", text) from None
    return user / "petalkit"


def safe_name(device_id: str) -> str:
    """A device ID as a file name; no two have the same."""
    name = quote(device_id, safe="", errors="surrogatepass")
    if len(name) <= _NAME_MAX:
        return name
    # No quoted name has a percent sign before anything but two digits.
    return f"{name[:100]}%-{hashlib.sha256(device_id.encode(errors='surrogatepass')).hexdigest()}"
