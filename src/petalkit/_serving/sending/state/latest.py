"""Events of which only the newest is wanted: one for each topic and key of a publisher's.

The rule: of the events of one key one is in the outbox that is not in flight: the newest. It takes
the older one's place; an older one that comes back from flight is forgotten. The trap: one that has
waited for room may be older than one that was put meanwhile, which may have left already.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Container, Generator

import attrs

from ...._values.messages import Identity
from .outgoing import Entry, LatestKey


@attrs.define
class Asking:
    """The tasks that wait with an event of one key.

    Attributes:
        tasks: how many.
        newest: `asked` of the newest that was put meanwhile; 0 for none.
    """

    tasks: int = 0
    newest: int = 0


def key_of(identity: Identity | None, name: str, latest: str | None) -> LatestKey | None:
    """The key of an event, from what `Events.put` is given; None for one that has none."""
    if latest is None:
        return None
    return ("", name, latest) if identity is None else (identity.topic(name), name, latest)


def _spellings(key: LatestKey) -> tuple[LatestKey, LatestKey]:
    """The key, and the same as it was when the identity was not known yet."""
    return key, ("", *key[1:])


class LatestEvents:
    """See the module.

    Args:
        in_flight: those that have left, which nothing replaces.
    """

    def __init__(self, in_flight: Container[Entry]) -> None:
        self._in_flight = in_flight
        self.newest: dict[LatestKey, Entry] = {}  # one per event, at most
        self._asked = itertools.count(1)
        self.asking: dict[LatestKey, Asking] = {}  # of those who wait for room

    def ask(self) -> int:
        """The number of a call, among all."""
        return next(self._asked)

    def find_unsent(self, key: LatestKey | None) -> Entry | None:
        """The event that one of this key replaces; also of when the identity was not known yet."""
        if key is None:
            return None
        for one in _spellings(key):
            found = self.newest.get(one)
            if found is not None and found not in self._in_flight:
                return found
        return None

    @contextlib.contextmanager
    def waiting(self, key: LatestKey | None) -> Generator[None]:
        """Note what is put under a key inside this block."""
        if key is None:
            yield
            return
        asking = self.asking.setdefault(key, Asking())
        asking.tasks += 1
        try:
            yield
        finally:
            asking.tasks -= 1
            if not asking.tasks:
                del self.asking[key]

    def put(self, key: LatestKey, asked: int | None) -> None:
        """An event of that key is put; `asked` is when, among the calls, or None for now."""
        if not self.asking:
            return
        asked = self.ask() if asked is None else asked
        for one in _spellings(key):
            if one in self.asking:
                self.asking[one].newest = max(self.asking[one].newest, asked)

    def is_late(self, key: LatestKey | None, asked: int) -> bool:
        """Whether it has waited for room so long that a newer one of its key was put."""
        return key is not None and self.asking[key].newest > asked

    def replace(self, older: Entry, newer: Entry) -> None:
        """Let the newer be where the older is."""
        assert older.latest is not None
        assert newer.latest is not None
        del self.newest[older.latest]
        older.become(newer)
        self.newest[newer.latest] = older

    def is_newest(self, entry: Entry) -> bool:
        """Whether it is worth sending again; what has no key always is."""
        return entry.latest is None or self.newest.get(entry.latest) is entry

    def forget(self, entry: Entry) -> None:
        """It is in the outbox no more."""
        if entry.latest is not None and self.newest.get(entry.latest) is entry:
            del self.newest[entry.latest]
