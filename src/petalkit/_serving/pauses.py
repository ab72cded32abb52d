"""How long reading was paused: counted, and told, because a broker drops for a slow reader.

The rule: pauses are counted together, since a flood makes hundreds that are short; and one word in
a minute is enough. The trap: nothing that petalkit does is wrong then, and nothing is missing in
its counters. What is dropped is known to the broker alone.
"""

from __future__ import annotations

import logging
import math

logger = logging.getLogger("petalkit.intake")

WARNING_INTERVAL = 60.0  # seconds over which pauses are counted together; one word in each


class Pauses:
    """See the module. Times are on Trio's clock.

    Args:
        bound: seconds in an interval that are told; 0 for never.

    Attributes:
        next_word: when a pause that goes on is to be told.
    """

    def __init__(self, bound: float) -> None:
        self._bound = bound or math.inf
        self._total = 0.0  # of those that are over
        self._since: float | None = None
        self._interval_ends = -math.inf
        self._untold = 0.0  # seconds in this interval
        self._told = False  # in this interval
        self.next_word = math.inf

    def total(self, now: float) -> float:
        """Seconds of all of them."""
        return self._total + (0.0 if self._since is None else now - self._since)

    def begin(self, now: float) -> None:
        """Reading pauses."""
        self._since = now
        if now >= self._interval_ends:
            self._interval_ends = now + WARNING_INTERVAL
            self._untold = 0.0
            self._told = False
        self.next_word = math.inf if self._told else now + self._bound - self._untold

    def tell(self, now: float) -> None:
        """Say it, if it has been long enough by now."""
        if now < self.next_word:
            return
        self._told = True
        self.next_word = math.inf
        logger.warning(
            "reading has been paused for %.1f s, because the channel is full; the broker keeps "
            "what comes meanwhile, and drops what it has no room for (mosquitto: "
            "max_queued_messages, 1000): that is counted nowhere here",
            self._untold + now - (now if self._since is None else self._since),
        )

    def end(self, now: float) -> None:
        """Reading goes on."""
        assert self._since is not None
        self._total += now - self._since
        self._untold += now - self._since
        self._since = None
