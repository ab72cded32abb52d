"""What a broker has counted since it was made."""

from __future__ import annotations

import attrs


@attrs.define
class Counters:
    """See the module.

    Attributes:
        published: messages accepted, wills among them.
        delivered: PUBLISH packets sent to clients, repeated ones among them.
        redelivered: packets sent again because a connection was lost before their PUBACK.
        dropped_queue_full: QoS 1 and 2 messages for a client whose queue was full.
        dropped_qos0: QoS 0 messages for a client that was absent or did not read.
        dropped_expired: messages whose Message Expiry Interval ran out before they were sent.
        dropped_too_large: messages longer than the Maximum Packet Size of the client.
        refused: messages and subscriptions that were refused because of a bound.
    """

    published: int = 0
    delivered: int = 0
    redelivered: int = 0
    dropped_queue_full: int = 0
    dropped_qos0: int = 0
    dropped_expired: int = 0
    dropped_too_large: int = 0
    refused: int = 0
