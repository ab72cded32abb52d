"""The jobs of one `@job`: what runs, what waits for its turn, and what is kept of the ended ones."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

import attrs
import trio

from ..._authoring.jobs.options import JobOptions
from ..._authoring.registry import CommandSpec
from .record import JobRecord


@attrs.frozen(kw_only=True, eq=False)
class JobSpec:
    """A job as it was declared, ready to be run.

    Attributes:
        options: what `@job` was told.
        method: its call, as the one of a command: `call_handler` runs it.
    """

    options: JobOptions
    method: CommandSpec

    @property
    def name(self) -> str:
        """In full, as on the wire; readers subscribe to it."""
        return self.method.name


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

    @property
    def has_slot(self) -> bool:
        """Whether one more may run."""
        return len(self.running) < self.options.concurrency

    @property
    def has_place(self) -> bool:
        """Whether one more may wait."""
        return len(self.waiting) < self.options.queue

    def position(self, record: JobRecord) -> int:
        """How many of its kind start before it, and it: 1 for the next."""
        return self.waiting.index(record) + 1

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
        if record in self.waiting:
            self.waiting.remove(record)
        self._ended[record.id] = record
        while len(self._ended) > self._kept:
            self._ended.popitem(last=False)
        self._forget_old()

    def _forget_old(self) -> None:
        limit = trio.current_time() - self._age
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if oldest.ended_at is None or oldest.ended_at > limit:
                return
            self._ended.popitem(last=False)
