"""Messages that may be why links die, and how that is found out without holding up others.

A message that was in flight when a link died may have killed it: brokers of MQTT 3.1.1 close
without a word when they dislike a packet. Rolling restarts, takeovers and outages look the same.
What tells them apart is a trial:

* A message that two links may have died of is a suspect. All others go before it. It is sent when
  the link has lived for a while without it, and then alone.
* When that link dies soon after, by the broker, it counts against the message; after three trials
  it is convicted.
* A link that dies by itself, with nothing in flight that could be blamed, clears all suspects.

So a message is given up for links that live without it, and die soon after they have got it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from .outgoing import Entry, in_order

LOSSES_UNTIL_SUSPECT = 2
LOSSES_UNTIL_CONVICTED = 5  # three of them in trials: one or two can be bad luck on a bad link
SOON = 5.0  # seconds after a message has left in which a broker that dislikes it closes
SLOWEST = 1024.0  # bytes a second that a message leaves with, at least, for counting these
# Seconds that a link has to live before a suspect is sent on it; doubled for each trial that it
# had, so that a broker that closes at a fixed time does not meet each of them.
TRIAL_AFTER = 5.0
OVERDUE = 10.0  # seconds for which a trial gives way to what else is to be sent


def soon(entry: Entry) -> float:
    """Seconds after its sending in which the end of the link may be its fault."""
    return SOON + entry.size / SLOWEST


class Suspects:
    """See the module. Times are on Trio's clock.

    Attributes:
        active: whether there are any, or one is on trial.
    """

    def __init__(self) -> None:
        self.active = False
        self._line: list[Entry] = []
        self._up_at = math.inf
        self._last_at = -math.inf  # the end of the last trial on this link
        self._on_trial: Entry | None = None
        self._trial_ends = -math.inf

    def __len__(self) -> int:
        return len(self._line)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._line)

    def _set_line(self, line: list[Entry]) -> None:
        self._line = line
        self.active = bool(line) or self._on_trial is not None

    def add(self, entries: Iterable[Entry]) -> None:
        """They are suspects, or were on trial."""
        self._set_line(in_order([*self._line, *entries]))

    def clear(self) -> list[Entry]:
        """Links die without them: take them out, and they are like all others again."""
        cleared = self._line
        self._set_line([])
        for entry in cleared:
            entry.losses = 0
        return cleared

    def take_expired(self, now: float) -> list[Entry]:
        """Take out what is too old to be sent."""
        expired = [entry for entry in self._line if entry.expires_at <= now]
        if expired:
            self._set_line([entry for entry in self._line if entry.expires_at > now])
        return expired

    # -- trials

    def link_up(self, now: float) -> None:
        """There is a link, and it has yet to show that it lives."""
        self._up_at = now
        self._last_at = -math.inf
        self._end_trial()

    def hurry(self) -> None:
        """There may be no later time for a trial."""
        self._up_at = -math.inf

    def _trial_at(self) -> float:
        """When the next trial may begin; there must be one."""
        trials = self._line[0].losses - LOSSES_UNTIL_SUSPECT
        return max(self._up_at + TRIAL_AFTER * 2.0**trials, self._last_at)

    def wants_trial(self, now: float, *, idle: bool) -> bool:
        """Whether the next trial is to begin, as soon as nothing else is in flight.

        Args:
            now: the time.
            idle: whether there is nothing else to send.
        """
        return bool(self._line) and now >= self._trial_at() + (0.0 if idle else OVERDUE)

    def pop(self) -> Entry:
        """Take out the next one; there must be one."""
        entry = self._line[0]
        self._set_line(self._line[1:])
        return entry

    def sent(self, entry: Entry, now: float) -> None:
        """The trial of one has begun."""
        self._on_trial = entry
        self._trial_ends = now + soon(entry)
        self.active = True

    def holds_others(self, now: float) -> bool:
        """Whether one is on trial, and nothing else may be sent."""
        return self._on_trial is not None and now < self._trial_ends

    def answered(self, entry: Entry, now: float) -> None:
        """The broker has answered a message."""
        if entry is self._on_trial:
            self._last_at = now
            self._end_trial()

    def _end_trial(self) -> None:
        self._on_trial = None
        self._set_line(self._line)

    def next_change(self, now: float) -> float:
        """When to ask again; infinity for not at all."""
        if self.holds_others(now):
            return self._trial_ends
        if self._line:
            begins = self._trial_at()
            for change in (begins, begins + OVERDUE):
                if now < change:
                    return change
        return math.inf  # what is in flight has to be answered first, which is told
