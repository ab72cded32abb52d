"""On what terms a command came: until when it is wanted, and where else it is to be answered.

Most commands come on none, for which `None` stands, so that the common path pays for one check.

The trap is the Response Topic (MQTT 5.0, section 4.10). Whoever may send a command names it, and
the device publishes there with rights of its own: a confused deputy. So it is answered only where
the settings allow it, and never where the answer would come back as a command.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Hashable

import attrs

from ._messages import MAX_EXPIRY, Command, Message, Properties
from ._settings import Settings
from ._statistics import Counters
from ._topics import TopicError, TopicFilter, check_topic

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


@attrs.frozen(kw_only=True)
class Terms:
    """See the module.

    Attributes:
        expires_at: wall clock, from `expiresAt`: the caller's own moment.
        deadline: Trio's clock, from the Message Expiry Interval: a time from when it was read.
        reply: where else to answer.
    """

    expires_at: float = math.inf
    deadline: float = math.inf
    reply: Reply | None = None

    def are_over(self, wall: float, now: float) -> bool:
        """Whether nobody wants the command any more.

        Args:
            wall: the wall clock.
            now: Trio's.
        """
        return wall > self.expires_at or now >= self.deadline


def wants_usual(command: Command, terms: Terms | None) -> bool:
    """Whether an answer on the usual topic is wanted, and is not what the Reply is already."""
    if terms is None or terms.reply is None:
        return command.wait_response
    return command.wait_response and not terms.reply.is_usual


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
