"""PUBACKs that are lost: a broker that answers later PINGREQs has no more to say to a PUBLISH.

The rule: the oldest message that waits for its PUBACK is looked at when it has waited `PING_AFTER`.
Then a PINGREQ is sent behind it, and, when that was answered, another. The PUBACK is lost when both
were answered, and `puback_margin` has passed since the first answer: so within 5 s, and one or two
round trips. The link is made anew then, and the message is sent again.

The trap: a broker may rightly answer a PINGREQ before it acknowledges an earlier PUBLISH. MQTT
orders PUBACKs among themselves (5.0, section 4.6), and nothing else. RabbitMQ waits for the confirm
of a queue, others for a disk or a cluster, and their PINGRESP does not. Hence the margin, and two
things that are learned:

* A PUBACK that comes late behind a PINGRESP shows how late they come here: the margin is twice that
  from then on.
* A message whose PUBACK a new link did not bring either gets twice the time on each further link.

Neither passes `publish_timeout`, which ends the link anyway.

A PUBACK that a later one has overtaken is lost as soon as a PINGREQ that was sent behind it is
answered, and the margin has passed. That one message may have been handled, and the link works; so
for such a link is made anew once in `OVERTAKEN_INTERVAL` at most, and more and more rarely with a
broker that forgets some all the time (RabbitMQ 4).
"""

from __future__ import annotations

import math

import trio

from ..._values.errors import ConnectionLost
from ..._values.settings.settings import Settings
from ...transports import Link
from .outbox import Outbox
from .state.outgoing import Entry

PING_AFTER = 1.0  # seconds without a PUBACK; also the shortest time between two such PINGREQs
LOOK_IDLE = 1.25  # seconds between two looks while no message waits
LOOK = 0.25  # the same while one has waited for so long
OVERTAKEN_INTERVAL = 60.0  # seconds between two links that end for what was overtaken, at first
OVERTAKEN_INTERVAL_MAX = 3600.0  # the same after some of them, one after the other


class LostPubacks:
    """See the module. One for all links, since it learns what the broker does.

    Args:
        settings: with `puback_margin`.
        outbox: what waits.
    """

    def __init__(self, settings: Settings, outbox: Outbox) -> None:
        self._margin = settings.puback_margin
        self._longest = settings.publish_timeout
        self._outbox = outbox
        self._late = 0.0  # the longest that a PUBACK has come behind a PINGRESP
        self._entry: Entry | None = None  # the one that is looked at
        self._proved_at = math.inf  # when a PINGRESP came that it should have come before
        self._pinged_at = -math.inf
        self._overtaken: Entry | None = None  # the oldest of those
        self._overtaken_at = math.inf  # when a PINGRESP came that its PUBACK should have preceded
        self._not_before = -math.inf  # the next link that ends for one
        self._interval = OVERTAKEN_INTERVAL

    async def watch(self, link: Link) -> None:
        """Look at a link until it is lost or this is cancelled.

        Raises:
            ConnectionLost: a PUBACK was lost.
        """
        self._entry = self._overtaken = None
        self._pinged_at = -math.inf
        while self._margin > 0:
            oldest = self._outbox.oldest_sent()
            waits = oldest is not None and trio.current_time() >= oldest.sent_at + PING_AFTER
            if (waits or self._entry is not None) and self._look(link, oldest):
                assert oldest is not None
                raise self._lost(oldest, "has answered two PINGREQs")
            overtaken = self._outbox.oldest_sent(overtaken=True)
            if overtaken is not None and self._is_left_out(link, overtaken):
                self._wait_longer(trio.current_time())
                raise self._lost(overtaken, "has acknowledged messages")
            if waits or overtaken is not None:
                await trio.sleep(LOOK)
            elif oldest is None:
                await trio.sleep(LOOK_IDLE)
            else:
                await trio.sleep_until(oldest.sent_at + PING_AFTER)

    def _lost(self, entry: Entry, what: str) -> ConnectionLost:
        entry.unacknowledged += 1
        self._outbox.puback_lost()
        waited = trio.current_time() - entry.sent_at
        return ConnectionLost(
            f"no PUBACK within {waited:.1f} s, though the broker {what} that were sent later: "
            "it is lost, and the message is sent again"
        )

    def _wait_longer(self, now: float) -> None:
        again = now < self._not_before + self._interval
        longer = min(2 * self._interval, OVERTAKEN_INTERVAL_MAX)
        self._interval = longer if again else OVERTAKEN_INTERVAL
        self._not_before = now + self._interval

    def _is_left_out(self, link: Link, overtaken: Entry) -> bool:
        """Whether that is surely so of one whose PUBACK a later one has overtaken."""
        now = trio.current_time()
        if now < self._not_before or not self._outbox.is_sending:
            return False
        if overtaken is not self._overtaken:
            self._overtaken, self._overtaken_at = overtaken, math.inf
        if self._overtaken_at < math.inf:
            margin = self._margin * 2.0 ** min(overtaken.unacknowledged, 16)
            return now >= self._overtaken_at + min(margin, self._longest)
        if link.echo()[0] > overtaken.sent_at:
            self._overtaken_at = now
        elif now >= max(overtaken.sent_at, self._pinged_at) + PING_AFTER:
            self._pinged_at = now
            link.echo(ask=True)
        return False

    def _look(self, link: Link, oldest: Entry | None) -> bool:
        """Whether the PUBACK of the oldest is lost."""
        now = trio.current_time()
        if oldest is not self._entry:
            if self._entry is not None and not self._outbox.is_in_flight(self._entry):
                self._late = max(self._late, now - self._proved_at)  # it came after all
            self._entry, self._proved_at = oldest, math.inf
        if oldest is None or not self._outbox.is_sending:
            return False
        asked, answered = link.echo()
        if self._proved_at == math.inf and asked > oldest.sent_at:
            self._proved_at = answered
        margin = max(self._margin, 2 * self._late) * 2.0 ** min(oldest.unacknowledged, 16)
        margin = min(margin, self._longest)
        # The second half of the time begins with another PINGREQ, and that has to be answered too.
        again = self._proved_at + margin / 2
        if now >= self._proved_at + margin and asked >= again:
            return True
        wanted = self._proved_at == math.inf or (now >= again and asked < again)
        if wanted and now >= max(oldest.sent_at, self._pinged_at) + PING_AFTER:
            self._pinged_at = now
            link.echo(ask=True)
        return False
