"""The journal: commands and answers that outlive the process.

Its setting is a file, or a word that says that there is none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs

from ...errors import ConfigError
from ..checks import at_least, positive_seconds, seconds
from ..fields import MIB, absolute, setting

JOURNAL_OFF = "off"
_OFF_WORDS = frozenset({JOURNAL_OFF, "false", "no", "none", "0"})
_ON_WORDS = frozenset({"on", "true", "yes", "1"})


def is_off(value: object) -> bool:
    """Whether a word says that there is no journal; a path is never a word."""
    return not isinstance(value, os.PathLike) and str(value).lower() in _OFF_WORDS


def is_default_place(value: object) -> bool:
    """Whether a word says that there is a journal, and not where; a path is never a word."""
    return not isinstance(value, os.PathLike) and str(value).lower() in _ON_WORDS


def _path(value: Any) -> Path | None:
    if value is None or is_off(value):
        return None
    if is_default_place(value):
        raise ConfigError("journal", f"must be a file; only `petalkit run` takes {value!r}")
    return absolute(value)


@attrs.frozen(kw_only=True, slots=False)
class JournalSettings:
    """The journal: commands and answers that outlive the process."""

    journal: Path | None = attrs.field(
        default=None,
        converter=_path,
        metadata={
            "help": "The file that accepted commands and unsent answers are recorded in, so that "
            "they outlive the process; off for none.",
            "unit": "",
            "secret": False,
            "off": JOURNAL_OFF,
            "default": "off; with petalkit run, a file of the device in the user's state folder",
        },
    )
    journal_thread: bool = setting(
        True, "Write the journal in a thread. Off, in the event loop: for tests on a mock clock."
    )
    journal_count: int = setting(
        10_000, "Finished commands that the journal remembers, at most.", check=at_least(0)
    )
    journal_age: float = setting(
        7 * 86_400.0, "How long the journal remembers finished commands.", unit="s", check=seconds
    )
    journal_size: int = setting(
        128 * MIB,
        "Size of the journal's file near which the oldest is forgotten earlier, and at which no "
        "more commands are accepted.",
        unit="bytes",
        check=at_least(MIB),
    )
    journal_backlog: int = setting(
        50_000,
        "Accepted commands that wait on disk only, because the channel is full, at most.",
        check=at_least(0),
    )
    journal_commit_delay: float = setting(
        0.002,
        "How long a batch waits under load, at most, while each turn of the loop brings more.",
        unit="s",
        check=seconds,
    )
    journal_retry: float = setting(
        1.0,
        "First wait before what the journal could not write is tried again; it doubles, up to "
        "30 s.",
        unit="s",
        check=positive_seconds,
    )
    journal_timeout: float = setting(
        5.0,
        "Longest wait for the journal's disk: then it counts as failing, and a stop goes on "
        "without it.",
        unit="s",
        check=positive_seconds,
    )
