"""Duplicates: finished commands that are remembered."""

from __future__ import annotations

import attrs

from ..checks import at_least, seconds
from ..fields import MIB, setting


@attrs.frozen(kw_only=True, slots=False)
class DuplicateSettings:
    """Duplicates: finished commands that are remembered."""

    duplicate_window: int = setting(
        1000, "Finished commands that are remembered.", check=at_least(0)
    )
    duplicate_age: float = setting(
        3600.0, "How long finished commands are remembered.", unit="s", check=seconds
    )
    duplicate_bytes: int = setting(
        16 * MIB,
        "Bytes of commands and responses remembered, at most.",
        unit="bytes",
        check=at_least(0),
    )
    replay_window: float = setting(
        120.0,
        "How long no copy of a finished command runs again, however many others come; 0 for none.",
        unit="s",
        check=seconds,
    )
    replay_count: int = setting(
        150_000,
        "Commands that may finish within replay_window; more are answered BUSY, unless urgent, or "
        "one of a few of another caller, for whom a sixteenth more is left.",
        check=at_least(1),
    )
