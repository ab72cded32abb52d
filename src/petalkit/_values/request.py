"""What a sender wishes beside its command: until when, and where else the answer is to go.

Most commands come with none, for which `None` stands, so that the common path pays for one check.

The trap is the Response Topic (MQTT 5.0, section 4.10). Whoever may send a command names it, and
the device publishes there with rights of its own: a confused deputy. So it is answered only where
the settings allow it, and never where the answer would come back as a command.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Hashable
from typing import NamedTuple

import attrs

from .clocks import wall_clock_is_set
from .errors import ErrorCode
from .messages import MAX_EXPIRY, Command, Message, Properties
from .settings.settings import Settings
from .statistics import Counters
from .topics import TopicError, TopicFilter, check_topic

logger = logging.getLogger("petalkit.intake")

CONTENT_TYPE = "application/json"
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


class ResponseTopics:
    """Decides which Response Topics are answered.

    Args:
        settings: which are allowed, and how long an answer is worth sending.
        counters: for those that are not answered.
    """

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._allowed = tuple(map(TopicFilter, settings.reply_topics))
        self._command_topics = _everybodys_command_topics(settings)
        self._longest = settings.properties_max
        self._expiry = whole_seconds(settings.response_expiry)
        self._counters = counters

    def reply(
        self, properties: Properties, *, usual: str, commands: Container[str]
    ) -> tuple[Reply | None, str | None]:
        """Where these properties ask for an answer, or why none is given there.

        Args:
            properties: of the command.
            usual: the topic of all responses.
            commands: the topics on which this device takes commands.
        """
        topic = properties.response_topic
        if topic is None:
            return None, None
        reason = self._objection(topic, properties, commands)
        if reason is not None:
            self._counters.response_topics_refused += 1
            return None, reason
        answer = Properties(
            correlation_data=properties.correlation_data,
            message_expiry=self._expiry,
            content_type=CONTENT_TYPE,
        )
        return Reply(topic, answer, topic == usual), None

    def allows(self, topic: str) -> bool:
        """Whether a topic that was allowed, perhaps by other settings, is so by these."""
        return not any(one.matches(topic) for one in self._command_topics) and any(
            allowed.matches(topic) for allowed in self._allowed
        )

    def _objection(
        self, topic: str, properties: Properties, commands: Container[str]
    ) -> str | None:
        if properties.size > self._longest:
            return f"properties of {properties.size} bytes are more than {self._longest}"
        try:
            check_topic(topic)
        except TopicError as error:
            return str(error)
        if topic.startswith("$"):
            return f"{topic!r} belongs to the broker"
        if topic in commands:
            return f"{topic!r} is where this device takes commands"
        if any(one.matches(topic) for one in self._command_topics):
            # An answer holds what a handler returned, which may look like a command to another.
            return f"{topic!r} is where another device takes commands"
        if not any(allowed.matches(topic) for allowed in self._allowed):
            return f"{topic!r} is not among reply_topics"
        return None


def _everybodys_command_topics(settings: Settings) -> list[TopicFilter]:
    """Where every device of this scheme takes commands."""
    base = settings.base_topic.format(organization_id="+", device_id="+")
    # A filter cannot say a part of a level, so an ID that is one stands for all of it.
    levels = "/".join("+" if "+" in level else level for level in base.split("/"))
    return [TopicFilter(f"{levels}/{name}") for name in settings.command_topics]
