"""What a session reports: the events, beside `Delivery`, which is the event of a PUBLISH."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from .._contract import OnDone
from .._delivery import Delivery


class Connected(msgspec.Struct):
    """CONNACK: accepted (MQTT 5.0, section 3.2).

    Attributes:
        session_present: whether the broker had kept the session.
        keep_alive: seconds, as the broker wants it or as we asked.
        publish_maximum: how many of our messages may be in flight.
        session_expiry: seconds, as the broker grants it or as we asked.
    """

    session_present: bool
    keep_alive: int
    publish_maximum: int
    session_expiry: int


class Refused(msgspec.Struct):
    """CONNACK: refused. The session is over.

    Attributes:
        reason_code: 0x80 or above.
        text: the broker's reason, or the name of the code.
        server_reference: the other server that it names.
    """

    reason_code: int
    text: str
    server_reference: str | None = None


class Subscribed(msgspec.Struct):
    """SUBACK.

    Attributes:
        packet_id: which `subscribe` returned.
        reason_codes: one for each filter, in order; 0x80 and above are refusals.
    """

    packet_id: int
    reason_codes: Sequence[int]


class Unsubscribed(msgspec.Struct):
    """UNSUBACK; see `Subscribed`."""

    packet_id: int
    reason_codes: Sequence[int]


class Published(msgspec.Struct):
    """One of our messages has its final answer: PUBACK, PUBCOMP, or a PUBREC that refuses.

    Attributes:
        on_done: what was given to `publish`.
        reason_code: 0x80 and above are refusals.
        text: the broker's reason, or the name of the code.
    """

    on_done: OnDone
    reason_code: int
    text: str


class Ended(msgspec.Struct):
    """The connection is over. Nothing is read any more, and nothing written after what is queued.

    Attributes:
        reason_code: of the DISCONNECT, whoever sent it.
        text: what happened, for the log.
        by_server: False when it was us who gave up, over what the broker sent.
        server_reference: the other server that it names.
    """

    reason_code: int
    text: str
    by_server: bool
    server_reference: str | None = None


Event: TypeAlias = Delivery | Connected | Refused | Subscribed | Unsubscribed | Published | Ended
