"""When to send a PINGREQ, and when silence means that the link is dead. No I/O, no clock.

The rule: a PINGREQ goes out after one keep alive without sending (MQTT demands it) or without
hearing anything; the link is dead half a keep alive after an unanswered one. The traps: a link
that has stopped reading, because nobody receives, hears nothing, and is not dead; so silence is
judged only while reading, and from the start of it. And a PINGREQ may stand behind a megabyte on a
slow line, most of it in the kernel; so it is judged from when that megabyte last moved.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .send_queue import Outflow

_PATIENCE_MIN = 1.0  # seconds: less is a slow radio link, not a dead one
_LOOKS = 4  # in that time, at what has left, while a PINGREQ stands behind something


class KeepAlive:
    """The state of one link's watchdog. All times are seconds on one monotonic clock.

    Args:
        interval: the keep alive of CONNECT; the attribute may be set to the server's later.
        now: the time of CONNECT.

    Attributes:
        heard_at: when bytes came, last; or reading went on.
        resumed: when reading went on after a pause, last.
        echo_of: when a PINGREQ was sent, the last whose PINGRESP is known to be its own.
        echo_at: when that came.
    """

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self._sent = now
        self.heard_at = now
        self._asked: float | None = None  # since when the unanswered PINGREQ is judged
        self._reading = True
        self.resumed = -math.inf
        self._departed = now  # when something left, as far as is known
        self._left: int | None = None  # bytes, at the last look
        self._waits = False  # something was left behind then
        self._looked = now
        self._ahead: int | None = None  # `_left` when the PINGREQ is out; None if it is, or unknown
        self._pings = 0
        self._pongs = 0
        self._marked: tuple[int, float] | None = None  # which PINGREQ, and when it was sent
        self.echo_of = self.echo_at = -math.inf

    @property
    def moved(self) -> float:
        """When the line last moved: bytes came, or bytes left."""
        return max(self.heard_at, self._departed)

    @property
    def awaits_echo(self) -> bool:
        """Whether a PINGREQ is out whose own PINGRESP is still to come."""
        return self._marked is not None

    @property
    def wants_look(self) -> bool:
        """Whether the unanswered PINGREQ has not left yet, as far as is known."""
        return self._ahead is not None

    def sent(self, now: float, *, more: bool = False) -> None:
        """Bytes left.

        Args:
            now: the time.
            more: others wait behind them, the PINGREQ maybe. On a slow line that takes longer than
                its answer may, and that they move is a sign of life, too.
        """
        self._sent = now
        if more:
            self._departed = now
            if self._asked is not None:
                self._asked = now

    def heard(self, now: float) -> None:
        """Bytes came, of whatever packet: the peer lives."""
        self.heard_at = now
        self._asked = self._ahead = None

    def pinged(self, now: float, flow: Outflow | None = None, *, unsent: int = 0) -> None:
        """A PINGREQ was written, whether or not the socket had room for it.

        Args:
            now: the time.
            flow: as for `look`.
            unsent: bytes that were written before it and that the kernel has not taken.
        """
        self._sent = now
        self._pings += 1
        if self._marked is None:
            self._marked = self._pings, now
        if self._asked is None:
            self._asked = now
            self.look(flow, now)
            if flow is not None and flow.queued + unsent:
                self._ahead = flow.written + unsent

    def echoed(self, now: float) -> None:
        """A PINGRESP came."""
        self._pongs += 1
        if self._marked is not None and self._pongs >= self._marked[0]:
            self.echo_of, self.echo_at = self._marked[1], now
            self._marked = None

    def look(self, flow: Outflow | None, now: float) -> None:
        """Somebody has looked how many bytes have left so far; None if that cannot be known.

        That they do is a sign of life where they had to wait, and as long as the PINGREQ stands
        behind them. Once it is out, only its answer is.
        """
        looked, self._looked = self._looked, now
        if flow is None:
            self._left = self._ahead = None
            self._waits = False
            return
        left = flow.left
        before, self._left = self._left, left
        waited, self._waits = self._waits, flow.queued > 0
        if before is not None and left > before:
            if self._waits:
                self._departed = now
            elif waited:  # they may have left right after the last look
                self._departed = max(self._departed, looked)
            if self._ahead is not None and self._asked is not None:
                self._asked = now
        if self._ahead is not None and left >= self._ahead:
            self._ahead = None

    def pause(self) -> None:
        """Reading stops: silence is not judged from now on."""
        self._reading = False

    def resume(self, now: float) -> None:
        """Reading goes on: silence is judged from now on."""
        self._reading = True
        self.heard_at = self.resumed = now
        if self._asked is not None:
            self._asked = now

    def due(self, now: float) -> Literal["ping", "dead"] | None:
        """What has to happen now; where `wants_look` says so, after a look."""
        if now >= self._death():
            return "dead"
        return "ping" if now >= self._next_ping() else None

    def deadline(self) -> float:
        """When to ask `due` again; earlier events only move it further away, but two.

        `resume` and a PINGREQ that was sent for another reason may bring it nearer, by less than
        one keep alive: nothing is lost by that.
        """
        next_look = math.inf
        if self._ahead is not None and self._reading:
            next_look = self._looked + self._patience / _LOOKS
        return min(self._death(), self._next_ping(), next_look)

    @property
    def _patience(self) -> float:
        return max(self.interval / 2, _PATIENCE_MIN)

    def _death(self) -> float:
        if self._asked is None or not self._reading:
            return math.inf
        return self._asked + self._patience

    def _next_ping(self) -> float:
        since = self._sent
        if self._reading and self._asked is None:
            since = min(since, self.heard_at)
        return since + self.interval
