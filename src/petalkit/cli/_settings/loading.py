"""Settings from the command line, the environment and a file, in this order of precedence.

The one list of settings is the fields of `Settings`: what can be loaded, under which name and of
which type, is read from there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..._values.errors import ConfigError
from ..._values.settings.proxies import Proxy
from ..._values.settings.settings import RENEWABLE, Settings, is_default_place
from .layers import merge, outranks, typed
from .names import loadable_fields as loadable_fields
from .names import near_match as near_match
from .names import setting_types as setting_types
from .names import setting_variables as setting_variables
from .proxy_environment import with_environment_proxy
from .toml_file import Tables, read_config
from .variables import CONFIG, config_file, warn_of_unknown


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


def load(
    given: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
) -> Loaded:
    """Load the settings from all layers.

    Args:
        given: what the command line gave, by setting; it takes precedence over all else.
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
    tables = Tables()
    if config is not None:
        try:
            tables = read_config(config)
        except ConfigError as error:
            if not by_variable:
                raise
            raise ConfigError(error.setting, f"{error.reason} (from {CONFIG})") from None
    warn_of_unknown(setting_variables())
    merged = merge(given, tables.settings, config)
    hints = setting_types()
    values = {
        name: typed(field, hints[name], value)
        for name, field in loadable_fields().items()
        if (value := getattr(merged, name)) is not None
        and not (name == "journal" and is_default_place(value.raw))
    }
    if outranks(merged.organization_file, merged.organization_id):
        # A fixed ID takes precedence over the file, but not over one of a higher layer.
        del values["organization_id"]
    for name in RENEWABLE:
        # Of one layer they contradict each other, which is refused; of two the higher one counts.
        fixed, file = getattr(merged, name), getattr(merged, f"{name}_file")
        if outranks(file, fixed):
            del values[name]
        elif outranks(fixed, file):
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
    return Loaded(settings, tables.petals, tables.proxies, file, frozenset(values), proxy)
