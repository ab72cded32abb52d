"""The jobs of one `@job`: what runs, what waits, and what is kept of the ended ones."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

import trio

from .record import JobRecord, JobSpec


class JobKind:
    """See the module. Sync: what is decided here is decided in one step.

    Args:
        spec: as declared.
        kept: how many ended ones are remembered.
        age: for how many seconds.
    """

    def __init__(self, spec: JobSpec, kept: int, age: float) -> None:
        self.spec = spec
        self.options = spec.options
        self._kept = kept
        self._age = age
        self.running: dict[str, JobRecord] = {}
        self.waiting: deque[JobRecord] = deque()
        self._ended: OrderedDict[str, JobRecord] = OrderedDict()
        # Called with one that is remembered no more.
        self.on_forgotten: Callable[[JobRecord], object] = lambda _: None

    @property
    def has_slot(self) -> bool:
        """Whether one more may run."""
        return len(self.running) < self.options.concurrency

    @property
    def has_place(self) -> bool:
        """Whether one more may wait."""
        return len(self.waiting) < self.options.queue

    def wait(self, record: JobRecord) -> None:
        """One more waits for its turn. There must be a place."""
        self.waiting.append(record)
        record.position = len(self.waiting)

    def leave(self, record: JobRecord) -> None:
        """One waits no longer; those behind it are nearer."""
        record.position = None
        self.waiting.remove(record)
        for position, one in enumerate(self.waiting, 1):
            if one.position != position:
                one.position = position
                one.on_change()

    def __iter__(self) -> Iterator[JobRecord]:
        """Those that have not ended: what runs, then what waits, in its order."""
        yield from list(self.running.values())
        yield from list(self.waiting)

    def find(self, job_id: str) -> JobRecord | None:
        """The one of that ID, as long as it is known."""
        self._forget_old()
        return (
            self.running.get(job_id)
            or self._ended.get(job_id)
            or next((one for one in self.waiting if one.id == job_id), None)
        )

    @property
    def newest_ended(self) -> JobRecord | None:
        """The one that ended last, of those that are remembered."""
        self._forget_old()
        return next(reversed(self._ended.values()), None)

    def keep(self, record: JobRecord) -> None:
        """One has ended."""
        self.running.pop(record.id, None)
        if record.position is not None:
            self.leave(record)
        self._ended[record.id] = record
        while len(self._ended) > self._kept:
            self._forget_oldest()
        self._forget_old()

    def _forget_old(self) -> None:
        limit = trio.current_time() - self._age
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if oldest.ended_at is None or oldest.ended_at > limit:
                return
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, record = self._ended.popitem(last=False)
        self.on_forgotten(record)
