"""What a sender wishes beside its command: until when, and where else the answer is to go.

Most commands come with none, for which `None` stands, so that the common path pays for one check.
Where an answer may go is decided in `response_topics`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

import attrs

from .basics.clocks import wall_clock_is_set
from .errors import ErrorCode
from .messages import MAX_EXPIRY, Command, Message, Properties

REPLIES_MAX = 16  # Response Topics of one command's copies that are answered with it


def whole_seconds(seconds: float) -> int | None:
    """A lifetime as a Message Expiry Interval says it; None for one that is longer than any."""
    return None if seconds > MAX_EXPIRY else math.ceil(seconds)


@attrs.frozen
class Reply:
    """One place beside the usual one where a command is to be answered.

    Attributes:
        topic: the Response Topic.
        properties: of the answer: what the caller wants to find in it.
        is_usual: whether it is the usual topic, on which one answer is enough.
    """

    topic: str
    properties: Properties
    is_usual: bool = False

    def message(self, payload: bytes) -> Message:
        """The answer to be published."""
        return Message(self.topic, payload, 1, False, self.properties)

    def key(self, message_id: str | None) -> Hashable:
        """What the outbox knows this answer by; None without a messageId."""
        return None if message_id is None else (message_id, self)


class Objection(NamedTuple):
    """Why a command is not run, as its sender is told."""

    code: ErrorCode
    text: str
    errors: tuple[dict[str, str], ...] = ()


CLOCK_NOT_SET = Objection(
    ErrorCode.UNAVAILABLE,
    "the device's clock is not set, so nobody can say whether this command is too old",
)


@attrs.frozen(kw_only=True)
class Wishes:
    """See the module.

    Attributes:
        expires_at: wall clock, from `expiresAt`: the caller's own moment; or the one at which it
            is too old by its `timestamp`, if that is earlier.
        deadline: Trio's clock, from the Message Expiry Interval: a time from when it was read.
        reply: where else to answer.
        needs_clock: whether it is not to be run while the wall clock is not set.
    """

    expires_at: float = math.inf
    deadline: float = math.inf
    reply: Reply | None = None
    needs_clock: bool = False

    def objection(self, wall: float, now: float, late: str) -> Objection | None:
        """Why the command is not to be run at this moment; None when it is.

        A clock that is not set decides nothing. It is asked again at the start, and may be right
        by then, so what was accepted unjudged is judged after all.

        Args:
            wall: the wall clock.
            now: Trio's.
            late: what to say when nobody wants it any more.
        """
        if now >= self.deadline:
            return Objection(ErrorCode.EXPIRED, late)
        if self.expires_at == math.inf:
            return None
        if not wall_clock_is_set(wall):
            return CLOCK_NOT_SET if self.needs_clock else None
        if wall > self.expires_at:
            ago = wall - self.expires_at
            return Objection(ErrorCode.EXPIRED, f"{late}: {ago:.1f} s ago, by the device's clock")
        return None


def wants_usual(command: Command, wishes: Wishes | None) -> bool:
    """Whether an answer on the usual topic is wanted, and is not what the Reply is already."""
    if wishes is None or wishes.reply is None:
        return command.wait_response
    return command.wait_response and not wishes.reply.is_usual
