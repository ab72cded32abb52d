"""Places in the outbox: how many there are, who has one, and how many bytes they hold.

| kind | places | bytes |
|---|---|---|
| responses | `response_capacity`, reserved when the command is accepted | `outbox_bytes` |
| events | `event_capacity` | the same |
| refusals | `refusal_capacity` | `refusal_bytes` |
| urgent answers | those of responses, `ALLOWANCE` more, those of refusals | `outbox_bytes` |

The rule: answering never waits, and an urgent command asks nobody for a place. The trap: whoever
sends junk fills what refusals may have; so nothing that a command needs is counted together with
them.
"""

from __future__ import annotations

from collections.abc import Hashable

from ...._values.settings.settings import Settings
from .outgoing import Entry

ALLOWANCE = 256  # answers to urgent commands beyond the capacity for responses


class Places:
    """See the module.

    Args:
        settings: the bounds.

    Attributes:
        reserved: for responses to come.
        responses: that are here.
        events: that are here.
        refusals: that are here.
        size: payload bytes of all messages but refusals.
        refusal_size: payload bytes of refusals.
        owed_to: `answers` of responses -> how many of them are here.
    """

    def __init__(self, settings: Settings) -> None:
        self._responses_max = settings.response_capacity
        self._events_max = settings.event_capacity
        self._refusals_max = settings.refusal_capacity
        self._bytes_max = settings.outbox_bytes
        self._refusal_bytes_max = settings.refusal_bytes
        self.reserved = 0
        self.responses = 0
        self.events = 0
        self.refusals = 0
        self.size = 0
        self.refusal_size = 0
        self._urgent = 0  # of the responses
        self._urgent_size = 0
        self.owed_to: dict[Hashable, int] = {}

    # -- responses

    @property
    def has_place(self) -> bool:
        """Whether a place for a response can be reserved."""
        return self.reserved + self.responses < self._responses_max and not self.is_heavy

    @property
    def is_heavy(self) -> bool:
        """Whether there are as many bytes as there may be."""
        return self.size >= self._bytes_max

    def reserve(self, places: int, *, urgent: bool) -> bool:
        """See `Outbox.reserve`."""
        if not (urgent or self.has_place):
            return False
        self.reserved += places
        return True

    @property
    def has_urgent_place(self) -> bool:
        """Whether the answer to an urgent command has a place where nobody has to make room."""
        most = self._responses_max + ALLOWANCE + self._refusals_max
        return self.reserved + self.responses + self.refusals < most

    def has_urgent_bytes(self, size: int) -> bool:
        """The same of its bytes."""
        return self._urgent == 0 or self._urgent_size + size <= self._bytes_max

    def may_refuse(self, size: int, count: int = 1) -> bool:
        """Whether so many refusals of so many bytes may come in; any number where none is."""
        return self.refusals + count <= max(self._refusals_max, count) and (
            self.refusals == 0 or self.refusal_size + size <= self._refusal_bytes_max
        )

    # -- events

    def has_room(self, size: int) -> bool:
        """Whether an event of so many bytes may come in."""
        return self.events < self._events_max and (
            self.events == 0 or self.size + size <= self._bytes_max
        )

    def may_grow(self, more: int) -> bool:
        """Whether one of the events may become larger by so many bytes."""
        return more <= 0 or self.events == 1 or self.size + more <= self._bytes_max

    # -- in and out

    def take(self, entry: Entry) -> None:
        """A message is here."""
        self._count(entry, 1)
        if entry.answers is not None:
            self.owed_to[entry.answers] = self.owed_to.get(entry.answers, 0) + 1

    def free(self, entry: Entry) -> None:
        """It is here no more."""
        self._count(entry, -1)
        if entry.answers is not None:
            left = self.owed_to.pop(entry.answers) - 1
            if left:
                self.owed_to[entry.answers] = left

    def _count(self, entry: Entry, one: int) -> None:
        size = len(entry.message.payload) * one
        if entry.refusal:
            self.refusals += one
            self.refusal_size += size
            return
        self.size += size
        if entry.event:
            self.events += one
            return
        self.responses += one
        if entry.urgent:
            self._urgent += one
            self._urgent_size += size
