"""What the reason codes of MQTT 5 say of a message of ours: the two tables, and no more.

The rule: what a broker may take later is not given up, and a lost link speaks against a message
only where the broker may mean that message. The trap: "refused" and "lost" are said in the same way
by a broker that has no room for a second, or that is restarted, and by one that will never take it.
So a code that nobody knows means "not now", and an end without a word is judged by its time.
"""

from __future__ import annotations

import enum

from .._values.errors import ConnectionLost

FAILURE = 0x80  # this reason code and those above it say no: MQTT 5.0, section 2.4

# PUBACK and PUBREC: MQTT 5.0, tables 3-4 and 3-5 (sections 3.4.2.1 and 3.5.2.1). The last four are
# no codes of these packets: a link says them of a message that it does not even send.
_NEVER = frozenset(
    {
        0x87,  # Not authorized
        0x90,  # Topic Name invalid
        0x95,  # Packet too large (said by links, and by brokers that stretch the table)
        0x99,  # Payload format invalid
        0x81,  # Malformed Packet
        0x82,  # Protocol Error
        0x9A,  # Retain not supported
        0x9B,  # QoS not supported
    }
)
# Not now, of this message alone: 0x80 Unspecified error, 0x83 Implementation specific error, 0x91
# Packet Identifier in use, and whatever nobody knows.
_QUOTA_EXCEEDED = 0x97  # not now, and that goes for what is sent next as well

# DISCONNECT of the server: MQTT 5.0, table 3-13 (section 3.14.2.1).
_ABOUT_A_PACKET = frozenset(
    {
        0x81,  # Malformed Packet
        0x82,  # Protocol Error
        0x87,  # Not authorized: what some answer to a topic that is not allowed
        0x90,  # Topic Name invalid
        0x94,  # Topic Alias invalid
        0x95,  # Packet too large
        0x99,  # Payload format invalid
        0x9A,  # Retain not supported
        0x9B,  # QoS not supported
    }
)
# May mean anything, as a connection that is closed without a word may.
_ABOUT_ANYTHING = frozenset(
    {
        0x80,  # Unspecified error
        0x83,  # Implementation specific error
    }
)
# All others are about the client, its session, its rate or the server: 0x00 Normal disconnection,
# 0x89 Server busy, 0x8B Server shutting down, 0x8D Keep Alive timeout, 0x8E Session taken over,
# 0x8F Topic Filter invalid, 0x93 Receive Maximum exceeded, 0x96 Message rate too high, 0x97 Quota
# exceeded, 0x98 Administrative action, 0x9C Use another server, 0x9D Server moved, 0x9E Shared
# Subscriptions not supported, 0x9F Connection rate exceeded, 0xA0 Maximum connect time, 0xA1
# Subscription Identifiers not supported, 0xA2 Wildcard Subscriptions not supported.


class Refusal(enum.Enum):
    """What a broker that refuses a message means."""

    FINAL = "it will never take it"
    LATER = "it may take it later"
    ALL_LATER = "it may take it and others later"


def refusal_of(reason_code: int) -> Refusal:
    """What a PUBACK or PUBREC with an error means, or a link that does not send a message."""
    if reason_code in _NEVER:
        return Refusal.FINAL
    return Refusal.ALL_LATER if reason_code == _QUOTA_EXCEEDED else Refusal.LATER


class Blame(enum.Enum):
    """Whether a lost link may be the fault of a message that was in flight."""

    NONE = "it was something else"
    PERHAPS = "nothing was said: only if it came soon after the message had left"
    LIKELY = "the broker spoke of a packet"


def blame_of(loss: ConnectionLost) -> Blame:
    """What the end of a link says of the messages that were in flight."""
    if loss.reason_code is None:
        return Blame.PERHAPS if loss.closed else Blame.NONE
    if loss.reason_code in _ABOUT_A_PACKET:
        return Blame.LIKELY
    return Blame.PERHAPS if loss.reason_code in _ABOUT_ANYTHING else Blame.NONE
