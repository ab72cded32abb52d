"""What a test is told of the broker and its sessions: frozen values."""

from __future__ import annotations

import attrs

from ..._values.topics import TopicFilter


@attrs.frozen(kw_only=True)
class BrokerStatistics:
    """What a `MemoryBroker` has done so far.

    Attributes:
        published: messages accepted, wills and the test's own among them.
        delivered: PUBLISH packets sent to clients, repeated ones among them.
        redelivered: packets sent again because a link was lost before their PUBACK.
        dropped_queue_full: QoS 1 messages for a client whose queue held `max_queued`.
        dropped_qos0: QoS 0 messages for a client that was absent or did not read.
        dropped_expired: messages whose Message Expiry Interval ran out before they were sent.
    """

    published: int
    delivered: int
    redelivered: int
    dropped_queue_full: int
    dropped_qos0: int
    dropped_expired: int


@attrs.frozen(kw_only=True)
class SessionView:
    """One session as it is now.

    Attributes:
        connected: whether a link holds it.
        subscriptions: the filters, in the order of subscribing.
        queued: QoS 1 messages not sent yet.
        unacknowledged: QoS 1 messages sent, their PUBACK owed.
    """

    connected: bool
    subscriptions: tuple[TopicFilter, ...]
    queued: int
    unacknowledged: int
