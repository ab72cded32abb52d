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
        is_heavy: whether `size` is as much as there may be; kept, because every command asks.
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
        self.is_heavy = False
        self._urgent = 0  # of the responses
        self._urgent_size = 0
        self.owed_to: dict[Hashable, int] = {}

    # -- responses

    @property
    def has_place(self) -> bool:
        """Whether a place for a response can be reserved."""
        return self.reserved + self.responses < self._responses_max and not self.is_heavy

    def reserve(self, places: int = 1, *, urgent: bool = False) -> bool:
        """Take the places of responses to come; False when there is none.

        One free place is enough for all the responses of a command: else one that is answered in
        two places would never be accepted where there is one place in all.

        Args:
            places: how many.
            urgent: for an urgent command, which is never without one. Its answers are put with
                `urgent` too.
        """
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

    def count(self, entry: Entry, one: int) -> None:
        """A message is here (1), or here no more (-1)."""
        answers = entry.answers
        if answers is not None:
            owed = self.owed_to.get(answers, 0) + one
            if owed:
                self.owed_to[answers] = owed
            else:
                del self.owed_to[answers]
        size = len(entry.message.payload) * one
        if entry.refusal:
            self.refusals += one
            self.refusal_size += size
            return
        self.size += size
        self.is_heavy = self.size >= self._bytes_max
        if entry.event:
            self.events += one
            return
        self.responses += one
        if entry.urgent:
            self._urgent += one
            self._urgent_size += size

    def replace(self, older: Entry, newer: Entry) -> None:
        """An event stands where another stood."""
        self.size += newer.size - older.size
        self.is_heavy = self.size >= self._bytes_max
