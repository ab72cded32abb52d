"""Events that were too old to send: told together, not one by one.

The rule: what expires while there is no link is told once, when there is one again. In the
meantime, and with a link, there is at most one line in `SAID_EVERY`. A loop of 20 Hz would fill the
log else.
"""

from __future__ import annotations

import logging
import math
from collections import Counter

logger = logging.getLogger("petalkit.outbox")

SAID_EVERY = 60.0  # seconds between two lines
TOPICS_MAX = 20  # that are counted by themselves; there are more only where identities change


class StaleEvents:
    """See the module."""

    def __init__(self) -> None:
        self._unsaid: Counter[str] = Counter()
        self._due = -math.inf  # when the next line may be written

    def add(self, topic: str, now: float, *, away: bool) -> None:
        """One more has expired.

        Args:
            topic: that it was for.
            now: Trio's clock.
            away: whether there is no link.
        """
        if away and not self._unsaid:
            self._due = max(self._due, now + SAID_EVERY)
        known = topic in self._unsaid or len(self._unsaid) < TOPICS_MAX
        self._unsaid[topic if known else "other topics"] += 1

    @property
    def due(self) -> float:
        """When there is something to say; infinity when there is not."""
        return self._due if self._unsaid else math.inf

    def say_due(self, now: float) -> None:
        """Tell of them, if it is time."""
        if self.due <= now:
            self.say(now)

    def say(self, now: float) -> None:
        """Tell of them now, if there are any."""
        if not self._unsaid:
            return
        logger.warning(
            "%d events were too old to send, and were dropped: %s",
            self._unsaid.total(),
            ", ".join(f"{count} for {topic!r}" for topic, count in self._unsaid.items()),
        )
        self._unsaid.clear()
        self._due = now + SAID_EVERY
