"""Clocks: moments as senders write them, whether a clock can be right at all, and suspend.

The trap is a board without a battery-backed clock. It boots in 1970, or at the day on which its
image was built, and until it has asked a time server every comparison with a sender's moment is
noise. Such a clock is recognized by what it says: no petalkit is older than this.
"""

from __future__ import annotations

import datetime as dt
import sys
import time

CLOCK_SET_SINCE = dt.datetime(2025, 1, 1, tzinfo=dt.UTC).timestamp()
"""A wall clock that is behind this is surely not set."""

MILLISECONDS_FROM = 100_000_000_000
"""From here on a number is milliseconds since 1970, below it seconds: 1973, or the year 5138."""


def wall_clock_is_set(now: float) -> bool:
    """Whether the wall clock can be right.

    Args:
        now: what it says, in seconds since 1970.
    """
    return now >= CLOCK_SET_SINCE


def moment_of_text(text: object) -> float | None:
    """An RFC 3339 time as seconds since 1970; None when it is none, or has no offset.

    Without its offset it may be any time within a day, so it is not guessed at.
    """
    if not isinstance(text, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None


def moment_of(stamp: object) -> float | None:
    """The `timestamp` of a command as seconds since 1970; None when it cannot be read.

    Web clients write RFC 3339, or a number: milliseconds, as JavaScript counts them, or seconds.
    """
    if type(stamp) is int or type(stamp) is float:
        if not 0 <= stamp < 1000 * MILLISECONDS_FROM:
            return None  # microseconds, perhaps; in any case nothing to calculate with
        return stamp / 1000 if stamp >= MILLISECONDS_FROM else float(stamp)
    return moment_of_text(stamp)


_TRIES = 3  # readings of two clocks, of which that counts between which least time has passed


def seconds_suspended() -> float:
    """For how long this machine has been suspended since it was started; 0 where nobody knows.

    On Linux it is the difference of two clocks, of which one goes on meanwhile; so on macOS.
    """
    if _ASLEEP_TOO is None or _AWAKE_ONLY is None:
        return 0.0
    found: list[tuple[float, float]] = []
    for _ in range(_TRIES):
        before = time.clock_gettime(_AWAKE_ONLY)
        always = time.clock_gettime(_ASLEEP_TOO)
        after = time.clock_gettime(_AWAKE_ONLY)
        found.append((after - before, always - after))
    return max(0.0, min(found)[1])


if sys.platform == "linux":  # clock_gettime(2)
    _AWAKE_ONLY: int | None = time.CLOCK_MONOTONIC
    _ASLEEP_TOO: int | None = time.CLOCK_BOOTTIME
elif sys.platform == "darwin":
    _AWAKE_ONLY, _ASLEEP_TOO = time.CLOCK_UPTIME_RAW, time.CLOCK_MONOTONIC
else:
    _AWAKE_ONLY = _ASLEEP_TOO = None
