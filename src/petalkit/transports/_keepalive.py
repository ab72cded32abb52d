"""When to send a PINGREQ, and when silence means that the link is dead. No I/O, no clock.

The rule: a PINGREQ goes out after one keep alive without sending (MQTT demands it) or without
hearing anything; the link is dead half a keep alive after an unanswered one. The traps: a link
that has stopped reading, because nobody receives, hears nothing, and is not dead; so silence is
judged only while reading, and from the start of it. And a PINGREQ may stand behind a megabyte on a
slow line; so it is judged from when that megabyte last moved.
"""

from __future__ import annotations

import math
from typing import Literal

_PATIENCE_MIN = 1.0  # seconds: less is a slow radio link, not a dead one


class KeepAlive:
    """The state of one link's watchdog. All times are seconds on one monotonic clock.

    Args:
        interval: the keep alive of CONNECT; the attribute may be set to the server's later.
        now: the time of CONNECT.
    """

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self._sent = now
        self._heard = now
        self._asked: float | None = None  # when the unanswered PINGREQ went out
        self._reading = True

    def sent(self, now: float, *, more: bool = False) -> None:
        """Bytes left.

        Args:
            now: the time.
            more: others wait behind them, the PINGREQ maybe. On a slow line that takes longer than
                its answer may, and that they move is a sign of life, too.
        """
        self._sent = now
        if more and self._asked is not None:
            self._asked = now

    def heard(self, now: float) -> None:
        """Bytes came, of whatever packet: the peer lives."""
        self._heard = now
        self._asked = None

    def pinged(self, now: float) -> None:
        """A PINGREQ was written, whether or not the socket had room for it."""
        self._sent = now
        if self._asked is None:
            self._asked = now

    def pause(self) -> None:
        """Reading stops: silence is not judged from now on."""
        self._reading = False

    def resume(self, now: float) -> None:
        """Reading goes on: silence is judged from now on."""
        self._reading = True
        self._heard = now
        if self._asked is not None:
            self._asked = now

    def due(self, now: float) -> Literal["ping", "dead"] | None:
        """What has to happen now."""
        if now >= self._death():
            return "dead"
        return "ping" if now >= self._next_ping() else None

    def deadline(self) -> float:
        """When to ask `due` again; earlier events only move it further away, but `resume`.

        `resume` may bring it nearer, by less than one keep alive: nothing is lost by that.
        """
        return min(self._death(), self._next_ping())

    def _death(self) -> float:
        if self._asked is None or not self._reading:
            return math.inf
        return self._asked + max(self.interval / 2, _PATIENCE_MIN)

    def _next_ping(self) -> float:
        since = self._sent
        if self._reading and self._asked is None:
            since = min(since, self._heard)
        return since + self.interval
