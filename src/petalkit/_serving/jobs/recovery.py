"""Jobs of an earlier run, taken up by this one.

What had ended is known still, with its result. What waited starts, in its order. What ran is
`interrupted`, and its petal is told before anything else of it is served; or it runs again, where
it says that it can go on from what it kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import attrs
import trio

from ..._authoring.context import CommandContext
from ..._authoring.jobs.handle import InterruptedJob
from ..._authoring.petal import Petal
from ..._values.basics.clocks import wall_clock_is_set
from ..._values.errors import ErrorCode, PayloadError
from ..._values.job_states import JobState
from ..dispatch.after_answer.second_phase import SecondNote, SecondPhases
from ..failures import showable, split_foreign
from .kind import JobKind
from .notes import JobNote, ReaderNote, command_of
from .reading.subscriptions import TooManySubscriptions
from .record import JobRecord
from .running import Jobs

logger = logging.getLogger("petalkit.jobs")


@attrs.frozen
class _Interrupted:
    """A job that ran when an earlier run ended, and what its petal is told."""

    record: JobRecord
    job: InterruptedJob


class JobRecovery:
    """See the module.

    Args:
        jobs: of this run.
        phases: says of commands that were answered before they ended that they are interrupted.
        petals: that are served.
        limit: seconds that a petal may take to put right what was interrupted.
    """

    def __init__(
        self, jobs: Jobs, phases: SecondPhases, petals: Sequence[Petal], limit: float
    ) -> None:
        self._jobs = jobs
        self._phases = phases
        self._petals = {petal.name: petal for petal in petals}
        self._limit = limit
        self._now = 0.0
        self._interrupted: dict[str, list[_Interrupted]] = {}
        self._unstartable: list[JobRecord] = []

    async def take_up(self, found: Mapping[int, bytes]) -> None:
        """Take up what an earlier run has noted, once the lifespans are entered.

        Cancellation: travels; what is not taken up stays for the next run.
        """
        jobs = self._jobs
        read = list(jobs.notes.read(found))
        self._now = _last_moment(note for _, note in read if isinstance(note, JobNote))
        ended: list[tuple[JobKind, JobRecord]] = []
        # Readers first: one that subscribed late is told the end of what had begun before it.
        for number, note in sorted(read, key=lambda one: isinstance(one[1], JobNote)):
            if isinstance(note, SecondNote):
                self._phases.interrupted(number, note)
                continue
            kind = jobs.kinds.get(note.name)
            if kind is None:
                logger.warning("nobody serves the job %r of an earlier run any more", note.name)
                jobs.notes.drop(number)
                continue
            if isinstance(note, ReaderNote):
                self._restore_reader(number, note)
                continue
            jobs.notes.count(number, len(found[number]))
            if note.state.final:
                ended.append((kind, self._restore_ended(kind, number, note)))
            else:
                self._restore(kind, number, note)
        for kind, record in sorted(ended, key=lambda one: one[1].ended_at or 0.0):
            kind.keep(record)
            if not record.told:
                jobs.ends.tell(record)
        async with trio.open_nursery() as nursery:
            for name in list(self._interrupted):
                # One that is not in service is told as soon as it is.
                if not jobs.is_out_of_service(name):
                    nursery.start_soon(self.tell_petal, name)
        jobs.ends.make_room()
        for record in self._unstartable:
            jobs.conclude(record)
        jobs.start_waiting()

    async def tell_petal(self, name: str) -> None:
        """Tell a petal which of its jobs were interrupted, before it serves anything.

        Args:
            name: its name.

        Cancellation: travels; those of which it was not told stay for the next run.
        """
        interrupted = self._interrupted.pop(name, [])
        await self._tell(self._petals[name], [one.job for one in interrupted])
        for one in interrupted:
            text = f"{one.job.name} was running when the device's program ended"
            one.record.end(JobState.INTERRUPTED, ErrorCode.INTERRUPTED, text)
            self._jobs.conclude(one.record)

    def _make(self, kind: JobKind, number: int, note: JobNote) -> JobRecord:
        record = self._jobs.make(kind, command_of(note), note.who.identity(), {}, note.id)
        record.note, record.kept = number, note.kept
        record.accepted_at = self._moment(note.accepted_at)
        return record

    def _moment(self, wall: float) -> float:
        """When that was, on Trio's clock. Nobody knows how long the power was off."""
        set_then = wall_clock_is_set(wall)
        return trio.current_time() - (max(0.0, self._now - wall) if set_then else 0.0)

    def _restore_ended(self, kind: JobKind, number: int, note: JobNote) -> JobRecord:
        record = self._make(kind, number, note)
        record.state, record.told, record.is_safe = note.state, note.told, True
        record.code, record.error, record.fields = note.code, note.error, note.fields
        record.ended_at = self._moment(note.ended_at or self._now)
        return record

    def _restore(self, kind: JobKind, number: int, note: JobNote) -> None:
        """One that has not ended: it starts, or goes on; or it is interrupted."""
        self._jobs.counters.jobs_restored += 1
        record = self._make(kind, number, note)
        ran = note.state is not JobState.ACCEPTED
        goes_on = note.state is JobState.RUNNING and kind.options.resume
        if ran and not goes_on:
            self._interrupt(kind, record, note)
            return
        if kind.options.lease is not None:  # whoever would renew it may be gone
            text = f"{note.name} waited when the device's program ended, and nobody renewed it"
            record.end(JobState.INTERRUPTED, ErrorCode.INTERRUPTED, text)
            self._unstartable.append(record)
            return
        try:
            record.arguments = self._bind(kind, record)
        except Exception as error:  # it takes other arguments now, or a hook of its own fails
            code, text = ErrorCode.INVALID_DATA, "its arguments cannot be read any more"
            if isinstance(error, PayloadError):
                code, text = error.code, error.message
            if ran:
                self._interrupt(kind, record, note)
            else:
                record.end(JobState.FAILED, code, text)
                self._unstartable.append(record)
            return
        if ran:
            logger.info("job %s of %s is resumed", record.id, kind.spec.name)
        kind.wait(record)

    def _interrupt(self, kind: JobKind, record: JobRecord, note: JobNote) -> None:
        job = InterruptedJob(note.name, note.id, note.data, note.who.identity(), note.kept)
        self._interrupted.setdefault(kind.spec.method.petal, []).append(_Interrupted(record, job))

    def _restore_reader(self, number: int, note: ReaderNote) -> None:
        notes = self._jobs.notes
        subscription = notes.restore_reader(number, note)
        try:
            self._jobs.subscriptions.add(subscription)
        except TooManySubscriptions:  # fewer are allowed now
            notes.reads_no_more(subscription)

    def _bind(self, kind: JobKind, record: JobRecord) -> dict[str, object]:
        method, execution = kind.spec.method, record.execution

        def context() -> CommandContext:
            return execution.context()

        return method.bind(execution.command, context, execution)

    async def _tell(self, petal: Petal, jobs: Sequence[InterruptedJob]) -> None:
        with trio.move_on_after(self._limit) as scope:
            for job in jobs:
                try:
                    await petal.on_interrupted(job)
                except BaseException as error:  # SystemExit and asyncio's CancelledError too
                    travels, error_of_its_own = split_foreign(error)
                    if travels is not None:
                        raise travels from None
                    assert error_of_its_own is not None
                    logger.error(
                        "petal %r: on_interrupted() failed for %s",
                        petal.name,
                        job.name,
                        exc_info=showable(error_of_its_own),
                    )
        if scope.cancelled_caught:
            logger.error(
                "petal %r: on_interrupted() took longer than %g s", petal.name, self._limit
            )


def _last_moment(notes: Iterable[JobNote]) -> float:
    """When the last run has noted something, by its clock. Ages go on from there."""
    moments = (
        moment for note in notes for moment in (note.accepted_at, note.started_at, note.ended_at)
    )
    return max((moment for moment in moments if moment is not None), default=0.0)
