"""What travels through the broker, as values; no I/O and no wire.

The rule: the core reads topic, QoS, retain flag and expiry, and nothing else. What a message says
besides is `Publication.origin`, which only the door that made it can read: the codec's properties,
or the message of a test.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import attrs
import msgspec

from ...._values.topics import TopicFilter

# Reason codes: MQTT 5.0, section 2.4.
SUCCESS = 0x00
NO_MATCHING_SUBSCRIBERS = 0x10
NO_SUBSCRIPTION_EXISTED = 0x11
FAILURE = 0x80  # unspecified, and the first that says no
SERVER_SHUTTING_DOWN = 0x8B
TOPIC_FILTER_INVALID = 0x8F
QUOTA_EXCEEDED = 0x97

NEVER = 0xFFFF_FFFF  # MQTT 5.0, section 3.1.2.11.2: a session that does not expire
OVERHEAD = 200  # bytes that a message counts for beside its topic and payload


class Publication(msgspec.Struct, eq=False):
    """One message that was published.

    Attributes:
        topic: checked.
        payload: as it came.
        qos: of the publisher.
        retain: the same.
        origin: see the module.
        expires_at: on the broker's clock.
        extra: bytes of its properties.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    origin: Any = None
    expires_at: float = math.inf
    extra: int = 0

    @property
    def size(self) -> int:
        """Bytes that it counts for in a queue."""
        return len(self.payload) + len(self.topic) + self.extra + OVERHEAD


@attrs.frozen(eq=False)
class Will:
    """The will of one connection: another of the same words is another.

    Args:
        publication: whose time to expire begins when it is published.
        expiry: seconds.
        delay: seconds (MQTT 5.0, section 3.1.3.2.2).
    """

    publication: Publication
    expiry: float = math.inf
    delay: float = 0.0


@attrs.frozen
class Subscription:
    """What one client asked for with one filter (MQTT 5.0, section 3.8.3.1).

    Args:
        filter: a valid one.
        qos: at most.
        no_local: not what the client itself published.
        retain_as_published: pass the retain flag on.
        retain_handling: 0 sends retained messages each time, 1 to new subscriptions, 2 never.
        identifier: 0 for none.
    """

    filter: TopicFilter
    qos: int = 2
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    identifier: int = 0


@attrs.frozen
class End:
    """Why a connection ended.

    Args:
        text: for a log.
        reason_code: of the DISCONNECT that is to say it; None where it is just closed.
    """

    text: str
    reason_code: int | None = None


class Packet:
    """One PUBLISH towards a client, until its last acknowledgement."""

    __slots__ = ("dup", "identifiers", "packet_id", "publication", "qos", "released", "retain")

    def __init__(
        self,
        publication: Publication,
        qos: int,
        retain: bool,
        identifiers: tuple[int, ...] = (),
        dup: bool = False,
        packet_id: int = 0,
    ) -> None:
        self.publication = publication
        self.qos = qos
        self.retain = retain
        self.identifiers = identifiers
        self.dup = dup
        self.packet_id = packet_id
        self.released = False  # QoS 2: PUBREC came, PUBCOMP is owed


class Wire(Protocol):
    """The broker's end of one connection, as a door has it.

    Attributes:
        window: unacknowledged messages, at most.
        will: None for none, or when it is not to be sent any more.
    """

    window: int
    will: Will | None

    @property
    def lost(self) -> object:
        """None as long as it has not ended."""

    def takes(self, publication: Publication) -> bool:
        """Whether QoS 1 and 2 should be sent now; otherwise they wait in the session."""
        ...

    def takes_qos_0(self, publication: Publication) -> bool:
        """Whether there is room for one more that nobody keeps."""
        ...

    def send(self, packet: Packet) -> bool:
        """Send a PUBLISH; False if this client cannot have it, whatever happens."""
        ...

    def release(self, packet_id: int) -> None:
        """Send a PUBREL."""

    def close(self, end: End) -> None:
        """Say so where the protocol can, and end."""


class Refused(Exception):
    """A CONNECT is refused.

    Attributes:
        reason_code: of MQTT 5.
        text: for people.
    """

    def __init__(self, reason_code: int, text: str) -> None:
        super().__init__(text)
        self.reason_code = reason_code
        self.text = text


@attrs.frozen(kw_only=True)
class Hello:
    """What a CONNECT asks of the core.

    Args:
        client_id: not empty.
        clean_start: forget the session that there is.
        lifetime: seconds for which the session is kept without a connection.
        will: None for none.
    """

    client_id: str
    clean_start: bool
    lifetime: float
    will: Will | None = None
