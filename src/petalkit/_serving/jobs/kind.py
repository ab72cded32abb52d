"""The jobs of one `@job`: what runs, what waits, and what is kept of the ended ones."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping

import trio

from ..._values.job_states import JobState
from ..._values.messages import Identity
from ..dispatch.queueing.queue import Backlog
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

    def leased(self, identity: Identity) -> list[JobRecord]:
        """Those whose lease a start under that identity renews: they run, or wait."""
        if self.options.lease is None:
            return []
        live = [one for one in self if one.state is not JobState.CANCELLING]
        return [one for one in live if one.execution.identity == identity]

    def find(self, job_id: str) -> JobRecord | None:
        """The one of that ID, as long as it is known."""
        self._forget_old()
        return (
            self.running.get(job_id)
            or self._ended.get(job_id)
            or next((one for one in self.waiting if one.id == job_id), None)
        )

    @property
    def is_active(self) -> bool:
        """Whether one has not ended, or not safely: its readers are still to be told."""
        if self.running or self.waiting:
            return True
        return any(not one.is_safe for one in reversed(self._ended.values()))

    @property
    def newest_ended(self) -> JobRecord | None:
        """The one that ended last and safely, of those that are remembered."""
        self._forget_old()
        return next((one for one in reversed(self._ended.values()) if one.is_safe), None)

    @property
    def not_settled(self) -> list[JobRecord]:
        """Those that have not ended, or not safely."""
        return [*(one for one in self._ended.values() if not one.is_safe), *self]

    def keep(self, record: JobRecord) -> None:
        """One has ended."""
        self.running.pop(record.id, None)
        if record.position is not None:
            self.leave(record)
        self._ended[record.id] = record
        while len(self._ended) > self._kept:
            self.forget_oldest()
        self._forget_old()

    def _forget_old(self) -> None:
        limit = trio.current_time() - self._age
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if oldest.ended_at is None or oldest.ended_at > limit:
                return
            self.forget_oldest()

    @property
    def oldest(self) -> float | None:
        """When the oldest of those that are remembered has ended; None where there is none."""
        return next((one.ended_at for one in self._ended.values()), None)

    def forget_oldest(self) -> None:
        """Remember one less. There must be one."""
        _, record = self._ended.popitem(last=False)
        self.on_forgotten(record)


class JobTurns:
    """Whose turn it is, among jobs of all kinds and the commands that share their groups.

    The rule: whoever came first is next, so nobody waits for ever while others keep coming.

    Args:
        kinds: of jobs.
        most: how many jobs may run, of all kinds.
        backlog: has petals, groups, and the commands that wait.

    Attributes:
        has_link: whether there is one: jobs that end without it do not begin without it.
    """

    def __init__(self, kinds: Mapping[str, JobKind], most: int, backlog: Backlog) -> None:
        self._kinds = kinds
        self._most = most
        self._backlog = backlog
        self.has_link = False

    def lacks_link(self, kind: JobKind) -> bool:
        """Whether one may not run now, because there is no link."""
        return kind.options.end_on_link_loss and not self.has_link

    def may_start(self, kind: JobKind) -> bool:
        """Whether all that one more needs is free."""
        group = kind.options.exclusive
        petal = self._backlog.petals[kind.spec.method.petal]
        return (
            kind.has_slot
            and not self.lacks_link(kind)
            and petal.ready
            and not petal.failed
            and (group is None or group not in self._backlog.groups)
            and sum(len(one.running) for one in self._kinds.values()) < self._most
        )

    def is_behind(self, kind: JobKind, record: JobRecord) -> bool:
        """Whether a job that may wait has come after others that wait for the same."""
        if not kind.options.queue:
            return False
        group = kind.options.exclusive
        return (bool(kind.waiting) and kind.waiting[0] is not record) or (
            group is not None and self._backlog.is_owed(group, record.execution.number)
        )

    def next(self) -> JobKind | None:
        """The kind whose first waiting job is to begin now; None when none can."""
        ready = [
            kind
            for kind in self._kinds.values()
            if kind.waiting and self.may_start(kind) and not self.is_behind(kind, kind.waiting[0])
        ]
        return min(ready, key=lambda one: one.waiting[0].execution.number, default=None)
