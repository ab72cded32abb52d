"""Whether a command has come in time: by its `expiresAt`, by its age, and by which clock.

The rules:

- `expiresAt` is the sender's own moment, and exact.
- With `command_age_max`, the device judges by the sender's `timestamp` how old a command is, and
  allows for clocks that differ by `clock_skew_max`. One that is further ahead than that is refused
  too: it could be kept, and sent when it looks fresh.
- An urgent command is never refused for its age, nor for a clock that is not set: a stop has to
  work. Its `expiresAt` counts, since whoever sends one asks for it.
- A clock that is surely not set judges nothing; `clock_unset` says what becomes of what it should
  have judged.
"""

from __future__ import annotations

import logging
import math

import attrs
import trio

from ..._authoring.registry import CommandSpec
from ..._values.basics.clocks import moment_of, wall_clock_is_set
from ..._values.codec import Timestamps
from ..._values.errors import ErrorCode
from ..._values.request import Objection, Wishes
from ..._values.settings.replay_gap import replay_gap
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from .refusals import Request

logger = logging.getLogger("petalkit.intake")

_NO_WISHES = Wishes()


class Freshness:
    """See the module.

    Args:
        settings: the bounds.
        timestamps: has the wall clock.
        counters: for what could not be judged.

    Attributes:
        judges_all: whether every command is to be judged, and not only one that has wishes.
    """

    def __init__(self, settings: Settings, timestamps: Timestamps, counters: Counters) -> None:
        self._settings = settings
        self._timestamps = timestamps
        self._counters = counters
        self._age_max = settings.command_age_max
        self._skew_max = settings.clock_skew_max
        self._refuses_unset = settings.clock_unset == "refuse"
        self._was_set = True  # as far as the log was told
        self.judges_all = settings.command_age_max > 0

    def announce(self) -> None:
        """At the start: say in the log what is not protected."""
        self._is_set(self._timestamps.now())
        gap = replay_gap(self._settings)
        if gap is not None:
            logger.warning("%s", gap)

    def judge(self, request: Request, spec: CommandSpec | None) -> Objection | None:
        """Why a command that has come is not to be accepted; None when it is.

        Where its age counts, its wishes say from here on when it will be too old.

        Args:
            request: it.
            spec: of its command; None for one that nobody serves.
        """
        wall = self._timestamps.now()
        wishes = request.wishes or _NO_WISHES
        stoppable = spec is not None and not spec.urgent
        if stoppable and self.judges_all:
            sent_at = moment_of(request.command.timestamp)
            if sent_at is None:
                return _no_timestamp(request.command.timestamp)
            if wall_clock_is_set(wall) and (objection := self._judge_age(wall - sent_at)):
                return objection
            too_old_at = sent_at + self._age_max + self._skew_max
            wishes = attrs.evolve(wishes, expires_at=min(wishes.expires_at, too_old_at))
        unjudged = False
        if wishes.expires_at < math.inf:
            unjudged = not self._is_set(wall)
            if stoppable and self._refuses_unset:
                wishes = attrs.evolve(wishes, needs_clock=True)
            request.wishes = wishes
        objection = wishes.objection(wall, trio.current_time(), "it had expired when it came")
        if objection is None and unjudged:
            self._counters.expiry_unjudged += 1
        return objection

    def judge_parked(self, wishes: Wishes | None) -> Objection | None:
        """The same of one that was parked meanwhile, when there is room for it."""
        if wishes is None:
            return None
        late = "it expired before it could be accepted"
        return wishes.objection(self._timestamps.now(), trio.current_time(), late)

    def _judge_age(self, age: float) -> Objection | None:
        if age > self._age_max + self._skew_max:
            text = (
                f"it is {age:.1f} s old, by its timestamp and the device's clock; "
                f"{self._age_max:g} s are allowed, and {self._skew_max:g} s for clocks that differ"
            )
            return Objection(ErrorCode.EXPIRED, text)
        if -age > self._skew_max:
            what = f"is {-age:.1f} s ahead of the device's clock; {self._skew_max:g} s are allowed"
            # Not to be sent again unchanged: when it would be accepted, it would be as old as it
            # is ahead now.
            return _bad_timestamp(f"timestamp {what}", what)
        return None

    def _is_set(self, wall: float) -> bool:
        """Whether the wall clock can be right; the log is told when that changes."""
        is_set = wall_clock_is_set(wall)
        if is_set != self._was_set:
            self._was_set = is_set
            if is_set:
                logger.info("the device's clock is set now, and judges expiresAt and age")
            else:
                logger.warning(
                    "the device's clock is not set, it says %s: commands that it would have to "
                    "judge are %s",
                    self._timestamps.text(wall),
                    "refused" if self._refuses_unset else "accepted unjudged",
                )
        return is_set


def _no_timestamp(stamp: object) -> Objection:
    if stamp is None:
        what = "is required: the age of commands is judged here"
    else:
        what = "expected an RFC 3339 time with its offset, or seconds or milliseconds since 1970"
    return _bad_timestamp(f"not a command: timestamp {what}", what)


def _bad_timestamp(text: str, what: str) -> Objection:
    error = {"path": "timestamp", "message": what}
    return Objection(ErrorCode.INVALID_COMMAND, text, (error,))
