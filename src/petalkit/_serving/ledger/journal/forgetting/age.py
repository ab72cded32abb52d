"""What is too old for the journal, by a clock that can be wrong.

The rule: age is told by a clock that does not leap. It goes on as the monotonic one does, and takes
over what the wall clock says only when that has gone on steadily for an hour; it is never ahead of
the wall clock. At a start it goes on from the last record, since nobody knows how long the power
was off.

The traps: a device whose clock says 2031 for a minute, until it is set, would forget every
duplicate in that minute; one that leaps by days, each time less than records are kept, would forget
them bit by bit. A clock that is wrong for an hour on end is believed.
"""

from __future__ import annotations

import math

STEADY_FOR = 3600.0  # seconds that a clock which has leapt is not believed
LEAP = 60.0  # seconds that the wall clock may gain or lose beside the monotonic one meanwhile


class Age:
    """See the module. All times are seconds.

    Args:
        age: how long records are kept.
        newest: when the last record was made, on the wall clock; None where there is none.
        now: on a monotonic clock.
    """

    def __init__(self, age: float, newest: float | None, now: float) -> None:
        self._age = age
        # Each is how far a clock is ahead of the monotonic one.
        self._believed = math.inf if newest is None else newest - now
        self._steady = math.inf  # the wall clock, when it has last leapt
        self._steady_since = now

    def oldest(self, wall: float, now: float) -> float:
        """Before when a record is too old.

        Args:
            wall: the wall clock.
            now: the monotonic one.
        """
        ahead = wall - now
        if abs(ahead - self._steady) > LEAP:
            self._steady, self._steady_since = ahead, now
            if self._believed == math.inf:  # there was no record: nothing can be lost
                self._believed = ahead
        elif now - self._steady_since >= STEADY_FOR:
            self._believed = ahead
        return now + min(ahead, self._believed) - self._age
