"""The duplicate window: which `messageId` is queued or running, and what the last ones became.

Live commands are never forgotten, whatever the bounds; the bounds (number, age, bytes) are for
finished ones, oldest out first. Of those that go early it is still known that they ran: see
`replay_window`. What a journal records it remembers itself, within its own bounds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

import msgspec

from ...._values.messages import Command
from .replay_window import ReplayWindow

NOTHING = b""  # recorded for a command whose copies are to be neither run nor answered


class Live(Protocol):
    """What the window needs of a queued or running command."""

    command: Command
    payload: bytes


L = TypeVar("L", bound=Live)


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A command that has its answer. Thousands live long, and refer to nothing that refers back."""

    command: str
    """Its name."""
    payload: bytes
    """The bytes it came as."""
    response: bytes
    """The bytes it was, or would have been, answered with."""
    at: float
    """When it finished, on the clock given to `finish`."""
    size: int
    """Bytes of both."""
    number: int | None = None
    """Of its record in the journal; None when it has none."""
    urgent: bool = False
    """Whether it was: then it is let go more easily."""


class Spent(msgspec.Struct, frozen=True):
    """A command of that ID has run a short while ago. What it was, and its answer, are let go."""


SPENT = Spent()


class DuplicateWindow(Generic[L]):
    """Commands by `messageId`.

    Args:
        number: finished commands remembered, at most.
        age: seconds they are remembered.
        size: bytes of their payloads and responses, at most.
        replay: which IDs it knows beyond those.
    """

    def __init__(
        self, number: int, age: float, size: int, replay: ReplayWindow | None = None
    ) -> None:
        self._replay = ReplayWindow(0.0, 0) if replay is None else replay
        self._number = number
        self._age = age
        self._bound = size
        self._size = 0
        self._live: dict[str, L] = {}
        self._finished: OrderedDict[str, Finished] = OrderedDict()
        self._look_at = age  # when the oldest gets too old, or earlier

    def __len__(self) -> int:
        return len(self._finished)

    def __contains__(self, message_id: str) -> bool:
        """Whether anything is known of that ID, were it too old."""
        return (
            message_id in self._live or message_id in self._finished or message_id in self._replay
        )

    def live(self, message_id: str) -> L | None:
        """The queued or running command of that ID."""
        return self._live.get(message_id)

    def finished(self, message_id: str, now: float) -> Finished | Spent | None:
        """The finished command of that ID, if it is still remembered."""
        found = self._finished.get(message_id)
        if found is None:
            return SPENT if self._replay.holds(message_id, now) else None
        if found.at + self._age >= now:
            return found
        return SPENT if found.at + self._replay.seconds >= now else None

    def is_full(self, now: float) -> bool:
        """Whether no more may be accepted that are not urgent: see `ReplayWindow.is_full`."""
        return self.may_be_full() and self._replay.is_full(now, len(self._live))

    def may_be_full(self, coming: int = 0) -> bool:
        """Whether that is worth a look, though no more than so many are accepted before it."""
        return self._replay.size + len(self._live) + coming >= self._replay.full_at

    def begin(self, message_id: str, live: L) -> None:
        """A command is accepted."""
        self._live[message_id] = live

    def forget(self, message_id: str) -> None:
        """A live command was refused before its start: a later copy is judged anew."""
        self._live.pop(message_id, None)

    def finish(self, message_id: str, response: bytes, now: float, *, urgent: bool = False) -> None:
        """A live command has its answer."""
        live = self._live.pop(message_id, None)
        if live is None:
            return
        finished = self._finished
        if message_id in finished:  # an ID used again after its age is the newest again
            self._size -= finished.pop(message_id).size
        size = len(live.payload) + len(response)
        name = live.command.command
        finished[message_id] = Finished(name, live.payload, response, now, size, None, urgent)
        self._size += size
        if len(finished) > self._number:  # by one
            self._drop_oldest(now)
        if self._size > self._bound or now > self._look_at:
            self._shrink(now)

    def _shrink(self, now: float) -> None:
        """Drop from the oldest end what is too much or too old."""
        while self._finished:
            too_old = next(iter(self._finished.values())).at + self._age
            if self._size <= self._bound and too_old >= now:
                self._look_at = too_old
                return
            self._drop_oldest(now)

    def _drop_oldest(self, now: float) -> None:
        message_id, dropped = self._finished.popitem(last=False)
        self._size -= dropped.size
        replay = self._replay
        if dropped.at + replay.seconds > now:
            replay.add(message_id, dropped.at, dropped.urgent)


def is_same_request(name: str, payload: bytes, other: Command, other_payload: bytes) -> bool:
    """Whether two envelopes ask for the same: command and data, not time stamp or spacing.

    Args:
        name: of the first.
        payload: of the first, valid since it was accepted.
        other: the second, decoded.
        other_payload: of the second.
    """
    if payload == other_payload:
        return True
    if name != other.command:
        return False
    envelope = msgspec.json.decode(payload)
    data = envelope.get("data")
    if data is None:
        data = envelope.get("payload")
    return _equal({} if data is None else data, other.data)


def _equal(one: object, two: object) -> bool:
    """Equality of JSON values: to Python `True == 1 == 1.0`."""
    if type(one) is not type(two):
        return False
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_equal(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_equal, one, two))
    return one == two
