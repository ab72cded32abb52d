"""Tells of a device that reads without a pause and cannot keep up: the broker drops then.

The rule: one word in a minute is enough, with how long it was and how many messages were read
meanwhile. How many were dropped is known to the broker alone. Pauses are told elsewhere (`pauses`):
here it is the processor that is too slow, and no channel that is full.
"""

from __future__ import annotations

import logging
import math

import trio

from ..._values.statistics import Counters
from ...transports import Link
from ..intake.intake import Intake

logger = logging.getLogger("petalkit.link")

BEHIND = 64 * 1024  # bytes unread: four times what is read at once
LOOK_IDLE = 0.25  # seconds between two looks while there is less
LOOK_REST = 5.0  # the same while nothing comes: each look wakes an idle device
LOOK = 0.1  # the same while there is that much; once may be a large message
TOLD_AFTER = 5.0  # seconds after which it is told although it goes on
INTERVAL = 60.0  # seconds between two words


class UnreadWatch:
    """See the module. One for all links.

    Args:
        wanted: whether it is to be told.
        intake: knows whether reading pauses.
        counters: with what was received.
    """

    def __init__(self, intake: Intake, counters: Counters, *, wanted: bool) -> None:
        self._wanted = wanted
        self._intake = intake
        self._counters = counters
        self._next_word = -math.inf

    async def watch(self, link: Link) -> None:
        """Look at a link until this is cancelled."""
        since, received, looks = 0.0, 0, 0
        seen = -1
        while self._wanted:
            now = trio.current_time()
            behind = not self._intake.paused and link.unread() >= BEHIND
            if behind and not looks:
                since, received = now, self._counters.received
            is_time = now - since >= TOLD_AFTER if behind else looks > 1
            if is_time and now >= self._next_word:
                self._next_word = now + INTERVAL
                self._tell(now - since, self._counters.received - received)
            looks = looks + 1 if behind else 0
            rests, seen = seen == self._counters.received, self._counters.received
            await trio.sleep(LOOK if behind else LOOK_REST if rests else LOOK_IDLE)

    def _tell(self, seconds: float, count: int) -> None:
        logger.warning(
            "more came than could be read for %.1f s, in which %d messages were read; the broker "
            "drops what it has no room for meanwhile, and tells nobody (mosquitto: "
            "max_queued_messages, 1000): send fewer at once, or let it queue more",
            seconds,
            count,
        )
