"""What became of attempts and links: counted, told, and turned into the wait before the next.

The rule: full jitter, anything from nothing to a bound that doubles with each failure, so that a
fleet does not come back at once. A link that lived for a while forgets the failures before it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import trio

from ..._values.errors import ConnectionLost, RejectedByBroker, TransportError
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from .connack import QOS_NOT_SUPPORTED, hint_of

logger = logging.getLogger("petalkit.link")

ADVICE = "`petalkit doctor` looks for the cause"  # where nobody knows with which options
ATTEMPTS_UNTIL_ADVICE = 2  # that failed in a row

SHORT_LIVES_UNTIL_SUSPICION = 5  # links in a row that the broker ended soon after they were up
SHORT_LIVES_WHEN_TOLD = 2  # the same when it said that another client took the session


class Attempts:
    """See the module.

    Args:
        settings: the bounds of waits.
        counters: links and failures are counted there.
        jitter: a random number in [0, 1), for the waits.
        advice: how to find out why there is no link; said once while there is none.

    Attributes:
        will_qos: less than 1 for a broker that refuses a CONNECT for it.
        failures: in a row; they double the wait.
    """

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        *,
        jitter: Callable[[], float] = random.random,
        advice: str = ADVICE,
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._jitter = jitter
        self._advice = advice
        self._refused = 0  # attempts in a row that came to no link
        self._up_at = -1.0  # when the present link was ready; negative before
        self._short_lives = 0
        self._taken_over = False
        self.will_qos = 1
        self.failures = 0

    def begin(self) -> None:
        """There is another attempt."""
        self._up_at = -1.0

    def up(self) -> None:
        """It came to a link."""
        self._up_at = trio.current_time()
        self._refused = 0
        self._counters.links += 1

    def forget(self) -> None:
        """What failed before says nothing of what comes."""
        self.failures = self._short_lives = 0
        self._taken_over = False

    def report(self, error: TransportError, client_id: str | None) -> None:
        """It came to no link, or the link is lost.

        Args:
            error: why.
            client_id: whose session the broker may keep; None when there is none.
        """
        if self._up_at < 0:
            self._counters.connects_failed += 1
            self.failures += 1
            level, hint = logging.WARNING, ""
            if isinstance(error, RejectedByBroker):
                level, hint = logging.ERROR, hint_of(error, self.will_qos)
                if error.reason_code == QOS_NOT_SUPPORTED:
                    self.will_qos = 0
            logger.log(level, "not connected to %s: %s%s", self._settings.peer, error, hint)
            self._refused += 1
            if self._refused == ATTEMPTS_UNTIL_ADVICE:
                logger.warning("%d attempts have failed: %s", self._refused, self._advice)
            return
        self._counters.links_lost += 1
        lived = trio.current_time() - self._up_at
        if lived >= self._settings.stable_after:
            self.forget()
        else:
            self.failures += 1
            self._short_lives += 1
        logger.warning("link lost after %.1f s: %s", lived, error)
        if isinstance(error, ConnectionLost) and error.taken_over:
            self._taken_over = True
        if self._is_suspicious:
            logger.error(
                "the broker ended %d links in a row soon after they were up%s: another client "
                "may use the client ID %r; waiting longer and longer, up to %g s",
                self._short_lives,
                " (session taken over)" if self._taken_over else "",
                client_id,
                self._settings.takeover_delay_max,
            )

    @property
    def _is_suspicious(self) -> bool:
        bound = SHORT_LIVES_WHEN_TOLD if self._taken_over else SHORT_LIVES_UNTIL_SUSPICION
        return self._short_lives >= bound

    def delay(self) -> float:
        """Seconds to wait before the next attempt."""
        settings = self._settings
        most = settings.takeover_delay_max if self._is_suspicious else settings.reconnect_delay_max
        bound = min(most, settings.reconnect_delay_min * 2.0 ** min(max(self.failures - 1, 0), 32))
        return bound * self._jitter()
