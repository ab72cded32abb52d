"""What was sent on this link and waits for its acknowledgement, and the window that bounds it.

The rule: a PUBACK that a later one has overtaken will not come (MQTT 3.1.1 and 5.0, section 4.6).
Its message keeps its place in flight until the next link, because the broker counts it, and is sent
again there; see `lost_pubacks` for when one is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from .outgoing import Entry


class InFlight:
    """See the module. Times are on Trio's clock.

    Attributes:
        free: how many more may be sent before a PUBACK comes.
    """

    def __init__(self) -> None:
        self._entries: dict[Entry, None] = {}  # in the order in which they were sent
        self._turns = 0  # messages sent, ever
        self._confirmed = 0  # the turn of the last one that has its PUBACK
        self._window = self._window_max = 1  # less where PUBACKs do not come
        self.free = 1

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, entry: object) -> bool:
        return entry in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def open(self, maximum: int) -> None:
        """There is a link that takes so many at once."""
        # One place is left free: at a stop `offline` has to pass whatever waits for its PUBACK.
        self._window = self._window_max = max(1, maximum - 1)
        self.free = self._window - len(self._entries)

    def sent(self, entry: Entry, now: float) -> None:
        """It has left."""
        self._turns = entry.turn = self._turns + 1
        entry.sent_at = now
        self._entries[entry] = None
        self.free -= 1

    def take(self, entry: Entry, confirmed: bool) -> bool:
        """Take one out that has its answer; False when it is not here.

        Args:
            entry: it.
            confirmed: by a PUBACK: what left before it can have none any more.
        """
        if entry not in self._entries:
            return False
        del self._entries[entry]
        self.free += 1
        if confirmed and entry.turn > self._confirmed:
            self._confirmed = entry.turn
        return True

    def is_overtaken(self, entry: Entry) -> bool:
        """Whether its PUBACK will not come: a later one has."""
        return entry.turn < self._confirmed

    def oldest(self, *, overtaken: bool = False) -> Entry | None:
        """See `Outbox.oldest_sent`."""
        for entry in self._entries:
            if self.is_overtaken(entry) is overtaken:
                return entry
            if overtaken:  # what was sent after it is no older
                return None
        return None

    def clogged_since(self) -> float:
        """See `Outbox.clogged_since`."""
        overtaken = [entry for entry in self._entries if self.is_overtaken(entry)]
        given_up = self._window_max - self._window
        if 2 * (len(overtaken) + given_up) < self._window_max:
            return math.inf
        return min((entry.sent_at for entry in overtaken), default=-math.inf)

    def take_overtaken(self, now: float) -> list[Entry]:
        """Take out what is too old and was overtaken. Its place in the window stays taken."""
        found = [
            entry for entry in self._entries if entry.expires_at <= now and self.is_overtaken(entry)
        ]
        for entry in found:
            del self._entries[entry]
            self._window -= 1  # so as many as before are free
        return found

    def clear(self) -> None:
        """The link is gone."""
        self.free += len(self._entries)
        self._entries.clear()
