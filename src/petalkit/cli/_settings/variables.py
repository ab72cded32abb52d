"""The variables that are options of a command, and no settings: `PETALKIT_LOG_LEVEL` and others.

The rule: every command has them, the command line takes precedence, and an empty one says nothing.
What is under our prefix and means nothing is named, since a slip there would be silent for ever.
"""

from __future__ import annotations

import difflib
import logging
import os
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..._values.errors import ConfigError

logger = logging.getLogger("petalkit.settings")

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["text", "json"]

LOG_LEVEL = "PETALKIT_LOG_LEVEL"
LOG_FORMAT = "PETALKIT_LOG_FORMAT"
CONFIG = "PETALKIT_CONFIG"
_OPTIONS = (LOG_LEVEL, LOG_FORMAT, CONFIG)

# Those of petalkit's own scripts and tests: somebody who works on it has them set.
_TOOLS = frozenset(
    f"PETALKIT_{name}"
    for name in ("PYTHON", "VENV_DIR", "SWEEP", "FUZZ_DIR", "MODEL_EXAMPLES", "PKCS11_PROVIDER")
)
_TESTS = "PETALKIT_TEST_"


def log_level(given: LogLevel | None, default: LogLevel) -> LogLevel:
    """What to log.

    Raises:
        ConfigError: the variable says something else.
    """
    return given or _choice("log_level", LOG_LEVEL, LogLevel) or default


def log_format(given: LogFormat | None) -> LogFormat:
    """How to write it.

    Raises:
        ConfigError: the variable says something else.
    """
    return given or _choice("log_format", LOG_FORMAT, LogFormat) or "text"


def config_file(given: Path | None) -> Path | None:
    """The configuration file; None when nobody names one."""
    named = os.environ.get(CONFIG)
    return Path(named).expanduser() if given is None and named else given


def _choice(setting: str, variable: str, literal: Any) -> Any:
    value = os.environ.get(variable)
    choices = typing.get_args(literal)
    if not value or value.lower() in choices:
        return value.lower() if value else None
    text = f"must be one of {', '.join(choices)}, not {value[:80]!r} (from {variable})"
    raise ConfigError(setting, text)


def warn_of_unknown(settings: Iterable[str]) -> None:
    """Name each variable under our prefix that nothing reads.

    Args:
        settings: the variables of settings.
    """
    known = {*settings, *_OPTIONS}
    for variable in sorted(os.environ):
        ours = variable in known or variable in _TOOLS or variable.startswith(_TESTS)
        if variable.startswith("PETALKIT_") and not ours:
            close = difflib.get_close_matches(variable, sorted(known), n=1, cutoff=0.85)
            hint = f"; did you mean {close[0]}?" if close else ""
            logger.warning("%s is no setting, and ignored%s", variable, hint)
