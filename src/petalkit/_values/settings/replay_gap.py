"""Settings that let a command run twice although its age is judged; said once at the start."""

from __future__ import annotations

from .settings import Settings


def replay_gap(settings: Settings) -> str | None:
    """How a command could run twice although its age is judged; None when it could not.

    Its timestamp may be ahead by the allowance when it comes first, and a copy may be late by it.
    """
    if settings.command_age_max == 0:
        return None
    fresh = settings.command_age_max + 2 * settings.clock_skew_max
    remembers = settings.duplicate_window > 0 and settings.duplicate_bytes > 0
    remembered, name = settings.duplicate_age if remembers else 0.0, "duplicate_age"
    if settings.journal is not None:
        recorded = settings.journal_age if settings.journal_count > 0 else 0.0
        if recorded < fresh:
            remembered, name = recorded, "journal_age"
        elif remembered < fresh:
            name = "duplicate_age, if it is not recorded"
    if fresh <= remembered:
        return None
    return (
        f"a copy of a command can be fresh for {fresh:g} s (command_age_max, and twice "
        f"clock_skew_max), and its messageId is remembered for {remembered:g} s ({name}): "
        "a copy that comes in between is run again"
    )
