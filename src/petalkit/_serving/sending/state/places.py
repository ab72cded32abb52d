"""Places in the outbox: how many there are, who has one, and how many bytes they hold.

The rule: the place of a response is reserved when its command is accepted, so that answering never
waits. Events have places of their own, and only bytes are shared.
"""

from __future__ import annotations

from collections.abc import Hashable

from ...._values.settings.settings import Settings
from .outgoing import Entry

ALLOWANCE = 256  # answers to refused and urgent commands beyond the capacity for responses


class Places:
    """See the module.

    Args:
        settings: the bounds.

    Attributes:
        reserved: for responses to come.
        responses: that are here.
        events: that are here.
        size: payload bytes of all messages.
        owed_to: `answers` of responses -> how many of them are here.
    """

    def __init__(self, settings: Settings) -> None:
        self._responses_max = settings.response_capacity
        self._events_max = settings.event_capacity
        self._bytes_max = settings.outbox_bytes
        self.reserved = 0
        self.responses = 0
        self.events = 0
        self.size = 0
        self.owed_to: dict[Hashable, int] = {}

    @property
    def has_place(self) -> bool:
        """Whether a place for a response can be reserved."""
        return self.reserved + self.responses < self._responses_max and self.size < self._bytes_max

    @property
    def has_allowance(self) -> bool:
        """Whether there is a place for what is answered although everything is full."""
        return (
            self.reserved + self.responses < self._responses_max + ALLOWANCE
            and self.size < 2 * self._bytes_max
        )

    def reserve(self, places: int, *, force: bool) -> bool:
        """See `Outbox.reserve`."""
        if not self.has_place and not (force and self.has_allowance):
            return False
        self.reserved += places
        return True

    def has_room(self, size: int) -> bool:
        """Whether an event of so many bytes may come in."""
        return self.events < self._events_max and (
            self.events == 0 or self.size + size <= self._bytes_max
        )

    def may_grow(self, more: int) -> bool:
        """Whether one of the events may become larger by so many bytes."""
        return more <= 0 or self.events == 1 or self.size + more <= self._bytes_max

    def take(self, entry: Entry) -> None:
        """A message is here."""
        if entry.event:
            self.events += 1
        else:
            self.responses += 1
            if entry.answers is not None:
                self.owed_to[entry.answers] = self.owed_to.get(entry.answers, 0) + 1
        self.size += entry.size

    def free(self, entry: Entry) -> None:
        """It is here no more."""
        if entry.event:
            self.events -= 1
        else:
            self.responses -= 1
            if entry.answers is not None:
                left = self.owed_to.pop(entry.answers) - 1
                if left:
                    self.owed_to[entry.answers] = left
        self.size -= entry.size
