"""Answers that are never sent because there is no room for them: counted, and told now and then.

The rule: nobody is left without an answer in silence, and nothing that a sender repeats fills a
log.
"""

from __future__ import annotations

import logging

import trio

from ...._values.statistics import Counters

logger = logging.getLogger("petalkit.outbox")

SAID_EVERY = 10.0  # seconds between two lines


class Unanswered:
    """See the module.

    Args:
        counters: where it counts.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._said_at: float | None = None
        self._unsaid = 0

    def add(self, count: int = 1) -> None:
        """So many more."""
        self._counters.unanswered += count
        self._unsaid += count
        now = trio.current_time()
        if self._said_at is None or now >= self._said_at + SAID_EVERY:
            self._said_at = now
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
