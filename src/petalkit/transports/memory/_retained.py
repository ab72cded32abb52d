"""The retained messages of the in-process broker, and when they expire."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import trio

from ..._values.messages import Message
from ..._values.topics import TopicFilter
from ._session import Counters


class RetainedMessages:
    """One message for each topic, the last one that was to be retained.

    Args:
        counters: what expires here is counted.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._messages: dict[str, Message] = {}
        self._until: dict[str, float] = {}  # of those that expire

    @property
    def by_topic(self) -> Mapping[str, Message]:
        """A copy of what there is."""
        return dict(self._messages)

    def keep(self, message: Message, expires_at: float) -> None:
        """Keep it in place of the last one of its topic; an empty one only takes that away."""
        self._messages.pop(message.topic, None)
        self._until.pop(message.topic, None)
        if not message.payload:
            return  # MQTT 5.0, section 3.3.1.3
        self._messages[message.topic] = message
        if expires_at < math.inf:
            self._until[message.topic] = expires_at

    def matching(self, topic_filter: TopicFilter) -> Iterator[tuple[Message, float]]:
        """Those on matching topics, and when each expires."""
        for topic, message in self._messages.items():
            if topic_filter.matches(topic):
                yield message, self._until.get(topic, math.inf)

    def drop_expired(self) -> None:
        """Count and forget what is too old."""
        now = trio.current_time()
        for topic in [topic for topic, until in self._until.items() if until <= now]:
            del self._messages[topic], self._until[topic]
            self._counters.dropped_expired += 1

    def clear(self) -> None:
        """Forget everything."""
        self._messages.clear()
        self._until.clear()
