"""What is too old for the journal, by a clock that can be wrong.

The rule: records are let go by their age only where the wall clock went on from the last of them as
time did. The trap: a device whose clock says 2031 for a minute after its start, until it is set,
would forget every duplicate in that minute. One that was really away for so long keeps them an hour
longer; their number is bounded all the same.
"""

from __future__ import annotations

TRUSTED_AFTER = 3600.0  # seconds that a clock which has leapt is not trusted


class Age:
    """See the module. All times are seconds.

    Args:
        age: how long records are kept.
        newest: when the last record was made, on the wall clock; None where there is none.
        now: on a monotonic clock.
    """

    def __init__(self, age: float, newest: float | None, now: float) -> None:
        self._age = age
        self._wall = newest
        self._now = now
        self._trusted_at = now

    def oldest(self, wall: float, now: float) -> float | None:
        """Before when a record is too old; None while that cannot be said.

        Args:
            wall: the wall clock.
            now: the monotonic one.
        """
        if self._wall is not None and wall - (self._wall + now - self._now) > self._age:
            self._trusted_at = now + TRUSTED_AFTER
        self._wall, self._now = wall, now
        return wall - self._age if now >= self._trusted_at else None
