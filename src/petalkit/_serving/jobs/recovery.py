"""Jobs of an earlier run, taken up by this one.

What had ended is known still, with its result. What waited starts, in its order. What ran is
`interrupted`, and its petal is told before anything else of it is served; or it runs again, where
it says that it can go on from what it kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import trio

from ..._authoring.context import CommandContext
from ..._authoring.jobs.handle import InterruptedJob
from ..._authoring.petal import Petal
from ..._values.errors import ErrorCode, PayloadError
from ..._values.job_states import JobState
from ..dispatch.after_answer.second_phase import SecondNote, SecondPhases
from ..failures import showable
from .kind import JobKind
from .notes import JobNote, ReaderNote, command_of
from .record import JobRecord
from .running import Jobs

logger = logging.getLogger("petalkit.jobs")


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

    async def take_up(self, found: Mapping[int, bytes]) -> None:
        """Take up what an earlier run has noted, once the lifespans are entered.

        Cancellation: travels; what is not taken up stays for the next run.
        """
        if not found:
            return
        jobs, notes = self._jobs, self._jobs.notes
        interrupted: list[tuple[JobRecord, JobNote]] = []
        for number, note in notes.read(found):
            if isinstance(note, SecondNote):
                self._phases.interrupted(number, note)
                continue
            kind = jobs.kinds.get(note.name)
            if kind is None:
                logger.warning("nobody serves the job %r of an earlier run any more", note.name)
                notes.drop(number)
            elif isinstance(note, ReaderNote):
                jobs.subscriptions.add(notes.restore_reader(number, note))
            else:
                record = self._restore(kind, number, note)
                if note.state is JobState.RUNNING or note.state is JobState.CANCELLING:
                    if not self._resume(kind, record):
                        interrupted.append((record, note))
                elif note.state is JobState.ACCEPTED:
                    kind.wait(record)
                else:
                    self._remember(kind, record, note)
        if interrupted:
            await self._tell_petals(interrupted)
        for record, _ in interrupted:
            text = f"{record.spec.name} was running when the device's program ended"
            record.end(JobState.INTERRUPTED, ErrorCode.INTERRUPTED, text)
            jobs.conclude(record)
        jobs.start_waiting()

    def _restore(self, kind: JobKind, number: int, note: JobNote) -> JobRecord:
        now, wall = trio.current_time(), self._jobs.notes.wall()
        record = self._jobs.make(kind, command_of(note), note.who.identity(), {}, note.id)
        record.note, record.kept = number, note.kept
        record.accepted_at = now - max(0.0, wall - note.accepted_at)
        if note.state.final:
            return record
        try:
            record.arguments = self._bind(kind, record)
        except PayloadError as error:  # the petal takes other arguments now
            record.end(JobState.FAILED, error.code, error.message)
            self._jobs.conclude(record)
        return record

    def _bind(self, kind: JobKind, record: JobRecord) -> dict[str, object]:
        method, execution = kind.spec.method, record.execution

        def context() -> CommandContext:
            return execution.context()

        return method.bind(execution.command, context, execution)

    def _resume(self, kind: JobKind, record: JobRecord) -> bool:
        """Whether it runs again: before those that had not started."""
        if record.is_over:
            return True
        if not kind.options.resume:
            return False
        logger.info("job %s of %s is resumed", record.id, kind.spec.name)
        kind.wait(record)
        return True

    def _remember(self, kind: JobKind, record: JobRecord, note: JobNote) -> None:
        now, wall = trio.current_time(), self._jobs.notes.wall()
        record.state = note.state
        record.code, record.error, record.fields = note.code, note.error, note.fields
        record.ended_at = now - max(0.0, wall - (note.ended_at or wall))
        kind.keep(record)
        if not note.told:
            self._jobs.tell_end(record)

    async def _tell_petals(self, interrupted: Sequence[tuple[JobRecord, JobNote]]) -> None:
        by_petal: dict[str, list[InterruptedJob]] = {}
        for record, note in interrupted:
            job = InterruptedJob(note.name, note.id, note.data, note.who.identity(), note.kept)
            by_petal.setdefault(record.spec.method.petal, []).append(job)
        async with trio.open_nursery() as nursery:
            for name, jobs in by_petal.items():
                nursery.start_soon(self._tell, self._petals[name], jobs)

    async def _tell(self, petal: Petal, jobs: Sequence[InterruptedJob]) -> None:
        with trio.move_on_after(self._limit) as scope:
            for job in jobs:
                try:
                    await petal.on_interrupted(job)
                except Exception as error:
                    logger.error(
                        "petal %r: on_interrupted() failed for %s",
                        petal.name,
                        job.name,
                        exc_info=showable(error),
                    )
        if scope.cancelled_caught:
            logger.error(
                "petal %r: on_interrupted() took longer than %g s", petal.name, self._limit
            )
