"""Who may do what. This one lets everybody do everything; the broker for tests has another."""

from __future__ import annotations

from ...._values.topics import TopicFilter


class Policy:
    """Asked once for each subscription, and once for each topic until `Routes.changed`."""

    def publish_code(self, topic: str) -> int:
        """The reason code for what is published there; 0 takes it."""
        del topic
        return 0

    def grant(self, topic_filter: TopicFilter, qos: int) -> int:
        """The QoS that is granted, or a reason code from 0x80 on."""
        del topic_filter
        return qos

    def copies(self) -> int:
        """How often the next message is delivered."""
        return 1
