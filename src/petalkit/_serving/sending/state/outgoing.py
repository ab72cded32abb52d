"""One response or event on its way out, wherever in the outbox it stands."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TypeAlias

import attrs
import msgspec

from ...._values.messages import Message

# Topic, the topic's name where no identity was known, and the key of the publisher's own.
LatestKey: TypeAlias = tuple[str, str | None, str]


class Entry(msgspec.Struct, eq=False):
    """One message on its way. Times are on Trio's clock."""

    message: Message
    expires_at: float
    answers: Hashable = None  # of a response: the command's messageId, or more than it
    name: str | None = None  # where no identity was known: the topic under the base topic to come
    event: bool = False
    place: int = 0  # among all, in the order in which they came
    turn: int = 0  # among those sent, in the order in which they left
    sent_at: float = 0.0
    losses: int = 0  # links that may have died of it
    unacknowledged: int = 0  # links that were ended because its PUBACK did not come
    refusals: int = 0  # times that the broker wanted it later
    due: float = 0.0  # when it is sent again after such a refusal
    stale_at: float = math.inf  # when its Message Expiry Interval says too much
    number: int | None = None  # in the journal
    latest: LatestKey | None = None  # of an event of which only the newest is wanted
    refusal: bool = False  # no place was reserved for it: it has one of those of refusals
    urgent: bool = False  # it answers an urgent command, which asks for no place

    @property
    def size(self) -> int:
        """Bytes of its payload."""
        return len(self.message.payload)

    def start_countdown(self) -> None:
        """Note when its Message Expiry Interval says too much, if it has one."""
        properties = self.message.properties
        expiry = None if properties is None else properties.message_expiry
        self.stale_at = math.inf if expiry is None else self.expires_at - expiry + 1

    def become(self, newer: Entry) -> None:
        """Hold what another does, in this one's place."""
        self.message, self.name = newer.message, newer.name
        self.expires_at, self.number = newer.expires_at, newer.number
        self.latest = newer.latest
        self.start_countdown()

    def count_down(self, now: float) -> None:
        """Say what is left of its expiry, when a second of it or more has passed here."""
        assert self.message.properties is not None
        left = math.ceil(self.expires_at - now)
        self.stale_at = self.expires_at - left + 1
        properties = attrs.evolve(self.message.properties, message_expiry=left)
        self.message = msgspec.structs.replace(self.message, properties=properties)


def in_order(entries: list[Entry]) -> list[Entry]:
    """In the order in which they came."""
    return sorted(entries, key=lambda entry: entry.place)
