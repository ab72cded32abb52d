"""Events that were too old to send: told together, not one by one.

The rule: what expires while there is no link is told once, when there is one again. In the
meantime, and with a link, there is at most one line in `SAID_EVERY`. A loop of 20 Hz would fill the
log else.
"""

from __future__ import annotations

import logging
import math
from collections import Counter

from ...._values.basics.words import counted

logger = logging.getLogger("petalkit.outbox")

SAID_EVERY = 60.0  # seconds between two lines
TOPICS_MAX = 20  # that are counted by themselves; there are more only where identities change


class StaleEvents:
    """See the module.

    Attributes:
        due: when there is something to say; infinity when there is not.
    """

    def __init__(self) -> None:
        self._unsaid: Counter[str] = Counter()
        self._next_line = -math.inf  # when it may be written
        self.due = math.inf

    def add(self, topic: str, now: float, *, away: bool) -> None:
        """One more has expired.

        Args:
            topic: that it was for.
            now: Trio's clock.
            away: whether there is no link.
        """
        if away and not self._unsaid:
            self._next_line = max(self._next_line, now + SAID_EVERY)
        known = topic in self._unsaid or len(self._unsaid) < TOPICS_MAX
        self._unsaid[topic if known else "other topics"] += 1
        self.due = self._next_line

    def say(self, now: float) -> None:
        """Tell of them now, if there are any."""
        if not self._unsaid:
            return
        logger.warning(
            "%s too old to send, and dropped: %s",
            counted(self._unsaid.total(), "event"),
            ", ".join(f"{count} for {topic!r}" for topic, count in self._unsaid.items()),
        )
        self._unsaid.clear()
        self._next_line = now + SAID_EVERY
        self.due = math.inf
