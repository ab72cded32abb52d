"""Answers that are never sent because there is no room for them: counted, and told now and then.

The rule: nobody is left without an answer in silence, and nothing that a sender repeats fills a
log.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio

from ...._values.statistics import Counters

logger = logging.getLogger("petalkit.outbox")

SAID_EVERY = 10.0  # seconds between two lines
SAID_SOON = 1.0  # the same between the first of a time of trouble and the second, with the rest


class Unanswered:
    """See the module.

    Args:
        counters: where it counts.

    Attributes:
        on_untold: called when there is something to tell later.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._next_line = -math.inf
        self._unsaid = 0
        self.on_untold: Callable[[], object] = lambda: None

    def add(self, count: int = 1) -> None:
        """So many more."""
        self._counters.unanswered += count
        self._unsaid += count
        self.say_due(trio.current_time())
        if self._unsaid == count:
            self.on_untold()

    @property
    def due(self) -> float:
        """When those that are untold are to be told, though no more come; infinity for none."""
        return self._next_line if self._unsaid else math.inf

    def say_due(self, now: float) -> None:
        """Tell of them, if it is time. The first is told at once, and a flood of others soon."""
        if not self._unsaid or now < self._next_line:
            return
        is_first = now >= self._next_line + SAID_EVERY
        self._next_line = now + (SAID_SOON if is_first else SAID_EVERY)
        self.say()

    def say(self) -> None:
        """Tell of those that are untold, if there are any."""
        if not self._unsaid:
            return
        logger.warning(
            "answers that are not sent since the last such line: %d. There is no room for them, "
            "because the broker does not acknowledge as fast as they come (counter unanswered)",
            self._unsaid,
        )
        self._unsaid = 0
