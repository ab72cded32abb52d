"""The ends of jobs: noted, then told, then forgotten.

The rule: nobody is told an end before it is safe, since a crash would make it another. That all
readers have been told is noted when it is so; until then each start tells them again.

The trap: a job may be forgotten before its end is safe or told. Its note stays until then.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from .kind import JobKind
from .notes import Notes
from .reading.subscriptions import Source, Subscriptions
from .record import JobRecord

SHARE = 0.25  # of the journal: what jobs and their results take up before the oldest ones go


class Ends:
    """See the module.

    Args:
        notes: of jobs.
        subscriptions: who reads.
        kinds: whose results are remembered.
        size: bytes of the journal; their results have a share of it.
    """

    def __init__(
        self,
        notes: Notes,
        subscriptions: Subscriptions,
        kinds: Mapping[str, JobKind],
        size: float,
    ) -> None:
        self._kinds = kinds
        self._room = size * SHARE
        self._notes = notes
        self._subscriptions = subscriptions
        subscriptions.on_last = self._told_one

    def note(self, record: JobRecord) -> None:
        """A job has its final state."""
        record.told = not self._subscriptions.is_read(record.spec.name)
        self._notes.change(record, functools.partial(self._safe, record))
        self.make_room()

    def _safe(self, record: JobRecord) -> None:
        record.is_safe = True
        self.tell(record)

    def tell(self, record: JobRecord) -> None:
        """Its end is safe: tell its readers, and note that, in one step."""
        if self._subscriptions.ended(record.spec.name, record, record.id):
            self._all_told(record)

    def _told_one(self, source: Source) -> None:
        """One reader has been told an end for which there was no room before."""
        if isinstance(source, JobRecord) and not self._subscriptions.owes(source.spec.name, source):
            self._all_told(source)

    def _all_told(self, record: JobRecord) -> None:
        known, record.told = record.told, True
        if record.forgotten:
            self._notes.forget(record)
        elif not known:
            self._notes.change(record)

    def make_room(self) -> None:
        """Forget the oldest results while jobs take up too much of the journal."""
        while self._notes.size > self._room:
            kinds = [kind for kind in self._kinds.values() if kind.oldest is not None]
            if not kinds:
                return
            min(kinds, key=lambda kind: kind.oldest or 0.0).forget_oldest()

    def forget(self, record: JobRecord) -> None:
        """It is remembered no more."""
        record.forgotten = True
        self._notes.count(record.note, 0)
        if record.is_safe and record.told:
            self._notes.forget(record)
