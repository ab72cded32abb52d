"""What became of attempts and links: counted, told, and turned into the wait before the next.

The rule: full jitter, anything from nothing to a bound that doubles with each failure, so that a
fleet does not come back at once. A link that lived for a while forgets the failures before it. The
trap: a bad line ends links soon after they are up too, and again and again. So another client is
suspected only where the broker says that it took the session, or closes the connection right after
it has accepted it, which is all that brokers of MQTT 3.1.1 say.
"""

from __future__ import annotations

import logging
import math
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

TAKEOVERS_UNTIL_SUSPICION = 2  # short links in a row of which the broker said so
AT_ONCE = 0.5  # seconds from CONNACK to a close that is taken for the broker's will
AT_ONCE_UNTIL_SUSPICION = 6  # such links in a row
SHORT_LIVES_UNTIL_ADVICE = 5  # links in a row that were lost before `stable_after`


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
        self._connected_at = -math.inf  # when the present link had its CONNACK
        self._up_at = -1.0  # when it was ready; negative before
        # Links in a row
        self._short_lives = 0  # that were lost soon after they were up
        self._takeovers = 0  # that another client took, as the broker said
        self._closed_at_once = 0  # that the broker closed right after CONNACK
        self.will_qos = 1
        self.failures = 0

    def begin(self) -> None:
        """There is another attempt."""
        self._connected_at = -math.inf
        self._up_at = -1.0

    def connected(self) -> None:
        """The broker has accepted it."""
        self._connected_at = trio.current_time()

    def up(self) -> None:
        """It came to a link."""
        self._up_at = trio.current_time()
        self._refused = 0
        self._counters.links += 1

    def forget(self) -> None:
        """What failed before says nothing of what comes."""
        self.failures = self._short_lives = self._takeovers = self._closed_at_once = 0

    def report(self, error: TransportError, client_id: str | None) -> None:
        """It came to no link, or the link is lost.

        Args:
            error: why.
            client_id: whose session the broker may keep; None when there is none.
        """
        now = trio.current_time()
        if (
            isinstance(error, ConnectionLost)
            and error.closed
            and now - self._connected_at < AT_ONCE
        ):
            self._closed_at_once += 1
        else:
            self._closed_at_once = 0
        if self._up_at < 0:
            self._report_refusal(error)
        else:
            self._report_loss(error, now - self._up_at)
        if self._is_suspicious:
            if self._takeovers:
                why = f"said of {self._takeovers} links in a row that another client took them over"
            else:
                why = f"closed {self._closed_at_once} links in a row right after it accepted them"
            logger.error(
                "the broker %s: another client may use the client ID %r; waiting longer and "
                "longer, up to %g s",
                why,
                client_id,
                self._settings.takeover_delay_max,
            )

    def _report_refusal(self, error: TransportError) -> None:
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

    def _report_loss(self, error: TransportError, lived: float) -> None:
        self._counters.links_lost += 1
        if lived >= self._settings.stable_after:
            self.forget()
        else:
            self.failures += 1
            self._short_lives += 1
        logger.warning("link lost after %.1f s: %s", lived, error)
        taken_over = isinstance(error, ConnectionLost) and error.taken_over
        self._takeovers = self._takeovers + 1 if taken_over else 0
        if self._short_lives == SHORT_LIVES_UNTIL_ADVICE and not self._is_suspicious:
            logger.warning(
                "%d links in a row were lost within %g s: the line may be bad; %s",
                self._short_lives,
                self._settings.stable_after,
                self._advice,
            )

    @property
    def _is_suspicious(self) -> bool:
        """Whether another client may use the client ID."""
        return (
            self._short_lives >= self._takeovers >= TAKEOVERS_UNTIL_SUSPICION
            or self._closed_at_once >= AT_ONCE_UNTIL_SUSPICION
        )

    def delay(self) -> float:
        """Seconds to wait before the next attempt."""
        settings = self._settings
        most = settings.takeover_delay_max if self._is_suspicious else settings.reconnect_delay_max
        bound = min(most, settings.reconnect_delay_min * 2.0 ** min(max(self.failures - 1, 0), 32))
        return bound * self._jitter()
