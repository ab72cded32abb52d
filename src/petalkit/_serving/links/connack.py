"""What each new link's CONNACK takes away, and what became of the session: said and counted.

The rule: what the broker does not grant is told once, with both values, and not again at each
connect; a session that it has lost is told each time, because something may be lost each time. The
trap: with clean start off, a broker without the session accepts the connection all the same.
"""

from __future__ import annotations

import logging
import math

import trio

from ..._values.errors import RejectedByBroker
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from ...transports import Link

logger = logging.getLogger("petalkit.link")

RETAIN_NOT_SUPPORTED = 0x9A  # both in a CONNACK: MQTT 5.0, table 3-1
QOS_NOT_SUPPORTED = 0x9B


class ConnackReport:
    """See the module."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._settings = settings
        self._counters = counters
        self._said: set[str] = set()
        self._client_id: str | None = None  # whose session the broker should have
        self._until = -math.inf  # when it may forget it; on Trio's clock

    def connected(self, link: Link, client_id: str) -> None:
        """There is a new link."""
        self._tell_limits(link)
        if link.session_present:
            self.subscribed(client_id)  # maybe by an earlier run
            return
        expected = client_id == self._client_id and trio.current_time() < self._until
        self.left()
        if expected and self._settings.keeps_session and not link.retries_by_itself:
            self._counters.sessions_lost += 1
            logger.warning(
                "the broker has lost the session of client %r: what was sent to the device since "
                "the link before is lost",
                client_id,
            )

    def subscribed(self, client_id: str) -> None:
        """The session is worth something from now on."""
        self._client_id = client_id
        self._until = math.inf

    def left(self) -> None:
        """Its session is ended on purpose, or there is none."""
        self._client_id = None

    def ended(self, link: Link) -> None:
        """A link is gone: how long its session is kept. With 3.1.1 that is the broker's secret."""
        if self._settings.speaks_mqtt_5:
            self._until = min(self._until, trio.current_time() + link.session_expiry)

    def _tell_limits(self, link: Link) -> None:
        settings, limits = self._settings, link.broker_limits
        if limits.get("maximum_qos") == 0:
            self._once(
                "the broker takes nothing above QoS 0 (Maximum QoS 0): answers, events and status "
                "are sent with QoS 0, and what gets lost on the way is neither noticed nor sent "
                "again"
            )
        if limits.get("retain_available") == 0:
            self._once(
                "the broker retains nothing (Retain Available 0): the status is sent without "
                "retain, and who comes later does not see it"
            )
        granted = limits.get("session_expiry_interval")
        if granted is not None and settings.keeps_session and granted < settings.session_expiry:
            self._once(
                f"the broker keeps the session for {granted} s after the link, and not for "
                f"{settings.session_expiry} s (session_expiry): what is sent to a device that is "
                "away for longer is lost"
            )

    def _once(self, text: str) -> None:
        if text not in self._said:  # bounded: a number of 32 bits is the broker's to vary
            if len(self._said) >= _SAID_MAX:
                self._said.clear()
            self._said.add(text)
            logger.warning("%s", text)


_SAID_MAX = 20


def hint_of(error: RejectedByBroker, will_qos: int) -> str:
    """What to do about a CONNECT that was refused for its will; empty for nothing to say."""
    if error.reason_code == RETAIN_NOT_SUPPORTED:
        return "; it takes no retained will: set status_retain = false"
    if error.reason_code == QOS_NOT_SUPPORTED and will_qos:
        return "; it takes no will with QoS 1: the next attempt has one with QoS 0"
    return ""
