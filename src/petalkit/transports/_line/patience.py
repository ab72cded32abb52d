"""How long an answer of the broker is waited for. No I/O, no clock.

The rule: a limit counts silence, not time. A SUBACK may stand behind a replayed session of a
megabyte, and a PUBLISH behind another; on a line of 8 kB/s that is two minutes in which nothing is
wrong. So an answer is overdue when nothing has moved for the limit, either way.

The trap: a broker may talk for ever and never give that answer. So a PINGREQ is sent behind the
question. Its PINGRESP has taken the same way, up and down, so nothing that stood there before is
left; from then on time counts: the limit, and as long again as that round trip took. And should
there be no PINGRESP either, which MQTT demands (5.0, section 3.12.4), an hour is enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .keepalive import KeepAlive

# Answers of ours are given up after as long (`response_expiry`), and sessions at the broker.
LONGEST_WAIT = 3600.0  # seconds
_LOOKS = 4  # per limit: what leaves is known only by looking


class Patience:
    """The plain kind: a time. Times are seconds on one monotonic clock.

    Args:
        limit: the longest wait.
        since: when the question was asked.
    """

    def __init__(self, limit: float, since: float) -> None:
        self.limit = limit
        self.since = since

    def is_over(self, now: float) -> bool:
        """Whether the answer is overdue; to be asked at `next_look`, at the latest."""
        return now >= self.since + self.limit

    def next_look(self, now: float) -> float:
        """When to ask again."""
        return self.since + self.limit


class LinePatience(Patience):
    """The kind for a line of bytes; see the module.

    A pause in reading counts as silence: who waits for an answer has to read.

    Args:
        limit: the longest silence.
        since: when the question was asked.
        watch: knows what moves, and which PINGREQ was answered.
        look: lets it know what has left.
        probe: sends a PINGREQ, if that can be done now.
        longest: the longest wait in all.
    """

    def __init__(
        self,
        limit: float,
        since: float,
        watch: KeepAlive,
        look: Callable[[], object],
        probe: Callable[[], object],
        longest: float = LONGEST_WAIT,
    ) -> None:
        super().__init__(limit, since)
        self._watch = watch
        self._look = look
        self._probe = probe
        self._longest = max(limit, longest)
        self._echoed = math.inf  # when a PINGREQ was answered that was sent after the question

    def is_over(self, now: float) -> bool:
        """See `Patience.is_over`."""
        self._look()
        watch = self._watch
        if self._echoed == math.inf and watch.echo_of > self.since:
            self._echoed = watch.echo_at
        if now >= self._end():
            return True
        if (
            self._echoed == math.inf
            and not watch.awaits_echo
            and now >= self.since + self.limit / _LOOKS
        ):
            self._probe()
        return False

    def next_look(self, now: float) -> float:
        """See `Patience.next_look`."""
        return min(self._end(), now + self.limit / _LOOKS)

    def _end(self) -> float:
        since, limit = self.since, self.limit
        again = self._echoed + (self._echoed - since)
        return min(
            max(since, self._watch.moved) + limit,
            max(since + limit, again, self._watch.resumed + limit),
            since + self._longest,
        )
