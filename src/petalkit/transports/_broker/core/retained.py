"""The retained messages, how much of them there may be, and when they expire."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...._values.topics import TopicFilter
from .shared import Shared
from .values import Publication


class RetainedMessages:
    """One message for each topic, the last one that was to be retained.

    Args:
        shared: its bounds and clock; what expires here is counted there.

    Attributes:
        by_topic: what there is.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.by_topic: dict[str, Publication] = {}
        self._bytes = 0
        self._next_expiry = math.inf

    def keep(self, publication: Publication) -> bool:
        """Keep it in place of the last one of its topic; an empty one only takes that away.

        Returns:
            False if there is no room; then nothing has changed.
        """
        topic = publication.topic
        bounds = self._shared.bounds
        if not publication.payload:
            self._remove(topic)  # MQTT 5.0, section 3.3.1.3
            return True
        last = self.by_topic.get(topic)
        size = self._bytes + publication.size - (0 if last is None else last.size)
        full = last is None and len(self.by_topic) >= bounds.max_retained
        if full or size > bounds.max_retained_bytes:
            return False
        self._remove(topic)
        self.by_topic[topic] = publication
        self._bytes = size
        self._next_expiry = min(self._next_expiry, publication.expires_at)
        return True

    def _remove(self, topic: str) -> None:
        last = self.by_topic.pop(topic, None)
        if last is not None:
            self._bytes -= last.size

    def matching(self, topic_filter: TopicFilter) -> Iterator[Publication]:
        """Those on matching topics."""
        levels = topic_filter.levels
        if "+" not in levels and levels[-1] != "#":
            found = self.by_topic.get("/".join(levels))
            if found is not None:
                yield found
            return
        self._shared.work += len(self.by_topic)
        for topic, publication in self.by_topic.items():
            if topic_filter.matches(topic):
                yield publication

    def drop_expired(self) -> None:
        """Count and forget what is too old."""
        now = self._shared.clock()
        if now < self._next_expiry:
            return
        for topic in [topic for topic, one in self.by_topic.items() if one.expires_at <= now]:
            self._remove(topic)
            self._shared.counters.dropped_expired += 1
        left = (one.expires_at for one in self.by_topic.values())
        self._next_expiry = min(left, default=math.inf)

    def clear(self) -> None:
        """Forget everything."""
        self.by_topic.clear()
        self._bytes = 0
        self._next_expiry = math.inf
