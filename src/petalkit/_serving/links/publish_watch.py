"""Loses a link that takes our messages and never acknowledges them.

The trap: while reading is paused no PUBACK can be seen, and a slow line may need long for one; so
time counts only while reading, and as the link's patience says.
"""

from __future__ import annotations

import math

import trio

from ..._values.errors import ConnectionLost
from ...transports import Link
from ...transports._line.patience import Patience
from ..intake.intake import Intake
from ..sending.outbox import Outbox


async def watch_publishes(link: Link, limit: float, intake: Intake, outbox: Outbox) -> None:
    """Watch one link until it is left.

    Args:
        link: watched.
        limit: seconds of silence after which a PUBACK does not come any more.
        intake: knows whether the link is read.
        outbox: knows what is owed.

    Raises:
        ConnectionLost: a PUBACK does not come.
    """
    good_at = -math.inf  # when there was a PUBACK, or none could come
    answered = -1
    patience: Patience | None = None
    while True:
        await trio.sleep(limit / 4)
        now = trio.current_time()
        outbox.expire_overtaken(now)
        if not intake.paused and outbox.clogged_since() + limit <= now:
            raise ConnectionLost(
                "the broker has acknowledged later messages, and not those that take half of "
                "its window: they are sent again"
            )
        if intake.paused or answered != outbox.answered:
            answered = outbox.answered
            good_at = now
        since = max(outbox.sent_since(), good_at)
        if math.isinf(since):
            continue
        if patience is None or patience.since != since:
            patience = link.patience(limit, since)
        if patience.is_over(now):
            raise ConnectionLost(f"no PUBACK within {limit:g} s")
