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

A response has its place from when its command is accepted until the broker has it: one sum, of the
places that are free, changes at both ends and not in between.
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
        free: places for responses that none has or is to have; less than 0 where there were none
            for what is not asked.
        events: that are here.
        refusals: that are here.
        size: payload bytes of all messages but refusals.
        refusal_size: payload bytes of refusals.
        size_max: that are as many as there may be.
        owed_to: `answers` of responses that are here -> how many such.
    """

    def __init__(self, settings: Settings) -> None:
        self._responses_max = settings.response_capacity
        self._events_max = settings.event_capacity
        self._refusals_max = settings.refusal_capacity
        self.size_max = settings.outbox_bytes
        self._refusal_bytes_max = settings.refusal_bytes
        self.free = settings.response_capacity
        self.events = 0
        self.refusals = 0
        self.size = 0
        self.refusal_size = 0
        self._urgent = 0  # of the responses
        self._urgent_size = 0
        self.owed_to: dict[Hashable, int] = {}

    # -- responses

    @property
    def taken(self) -> int:
        """How many places responses have, those to come among them."""
        return self._responses_max - self.free

    @property
    def has_place(self) -> bool:
        """Whether a place for a response can be reserved."""
        return self.free > 0 and self.size < self.size_max

    @property
    def is_heavy(self) -> bool:
        """Whether there are as many bytes as there may be."""
        return self.size >= self.size_max

    def reserve(self, places: int = 1, *, urgent: bool = False) -> bool:
        """Take the places of responses to come; False when there is none.

        One free place is enough for all the responses of a command: else one that is answered in
        two places would never be accepted where there is one place in all.

        Args:
            places: how many.
            urgent: for an urgent command, which is never without one. Its answers are put with
                `urgent` too.
        """
        if not urgent and (self.free <= 0 or self.size >= self.size_max):
            return False
        self.free -= places
        return True

    @property
    def has_urgent_place(self) -> bool:
        """Whether the answer to an urgent command has a place where nobody has to make room."""
        return self.refusals - self.free < ALLOWANCE + self._refusals_max

    def has_urgent_bytes(self, size: int) -> bool:
        """The same of its bytes."""
        return self._urgent == 0 or self._urgent_size + size <= self.size_max

    def may_refuse(self, size: int, count: int = 1) -> bool:
        """Whether so many refusals of so many bytes may come in; any number where none is."""
        return self.refusals + count <= max(self._refusals_max, count) and (
            self.refusals == 0 or self.refusal_size + size <= self._refusal_bytes_max
        )

    # -- events

    def has_room(self, size: int) -> bool:
        """Whether an event of so many bytes may come in."""
        return self.events < self._events_max and (
            self.events == 0 or self.size + size <= self.size_max
        )

    def may_grow(self, more: int) -> bool:
        """Whether one of the events may become larger by so many bytes."""
        return more <= 0 or self.events == 1 or self.size + more <= self.size_max

    # -- in and out

    def take(self, entry: Entry) -> None:
        """A message is here; the place of a response was taken before."""
        if entry.answers is not None:
            self.owed_to[entry.answers] = self.owed_to.get(entry.answers, 0) + 1
        size = len(entry.message.payload)
        if entry.refusal:
            self.refusals += 1
            self.refusal_size += size
            return
        self.size += size
        if entry.event:
            self.events += 1
        elif entry.urgent:
            self._urgent += 1
            self._urgent_size += size

    def leave(self, entry: Entry) -> None:
        """It is here no more, and its place is free."""
        if entry.answers is not None:
            others = self.owed_to.pop(entry.answers) - 1
            if others:
                self.owed_to[entry.answers] = others
        size = len(entry.message.payload)
        if entry.refusal:
            self.refusals -= 1
            self.refusal_size -= size
            return
        self.size -= size
        if entry.event:
            self.events -= 1
            return
        self.free += 1
        if entry.urgent:
            self._urgent -= 1
            self._urgent_size -= size
