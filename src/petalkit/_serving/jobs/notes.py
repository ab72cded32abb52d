"""What the ledger keeps of jobs and of their readers, in words of their own.

A job has one note from its start until it is forgotten: first that it is accepted, then that it
runs, what it has kept of its state, and how it ended. Progress is never noted. A reader has one as
long as it reads, so that it is told the end of a job that a crash has interrupted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec
import trio

from ..._values.codec import encode_json
from ..._values.errors import CommandError, ErrorCode, PayloadError
from ..._values.job_states import JobState
from ..._values.messages import Command, Identity
from ..dispatch.after_answer.second_phase import SecondNote
from ..dispatch.execution import Execution
from ..ledger.contract import Ledger
from .reading.subscriptions import Subscription
from .record import JobRecord

logger = logging.getLogger("petalkit.jobs")


class Who(msgspec.Struct, frozen=True):
    """An identity."""

    organization_id: str
    device_id: str
    base_topic: str

    @classmethod
    def of(cls, identity: Identity) -> Who:
        """That one."""
        return cls(identity.organization_id, identity.device_id, identity.base_topic)

    def identity(self) -> Identity:
        """The topic is as it was, whatever scheme the settings have now."""
        return Identity(self.organization_id, self.device_id, base_topic=self.base_topic)


class JobNote(msgspec.Struct, tag="job", omit_defaults=True):
    """A job. Times are of the wall clock."""

    id: str
    name: str
    who: Who
    state: JobState
    accepted_at: float
    message_id: str | None = None
    topic: str = ""
    data: Mapping[str, Any] = {}
    started_at: float | None = None
    kept: Mapping[str, Any] | None = None
    ended_at: float | None = None
    code: str | None = None
    error: str | None = None
    fields: Mapping[str, Any] | None = None
    told: bool = False


class ReaderNote(msgspec.Struct, tag="reader", omit_defaults=True):
    """A reader of jobs."""

    name: str
    stream_id: str
    rate: float
    who: Who
    renewed_at: float
    job_id: str | None = None
    plain: bool = False


Note: TypeAlias = JobNote | ReaderNote | SecondNote

# In JSON, which has a place for all that came in JSON: MessagePack has none for long integers.
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(JobNote | ReaderNote | SecondNote)
decode_note: Callable[[bytes], Note] = _decoder.decode


class Notes:
    """See the module.

    Args:
        ledger: keeps them.
        wall: the wall clock.
        most: bytes that a job may keep.

    Attributes:
        size: bytes of the notes of jobs.
    """

    def __init__(self, ledger: Ledger[Execution], wall: Callable[[], float], most: int) -> None:
        self._sizes: dict[int, int] = {}
        self.size = 0
        self._ledger = ledger
        self._most = most
        self.wall = wall
        self._of_readers: dict[Subscription, int | None] = {}

    def check_taken(self) -> None:
        """Refuse what could not be kept: its start would be answered, and a crash would lose it.

        Raises:
            CommandError: UNAVAILABLE, the disk fails; or BUSY, the journal is full.
        """
        if self._ledger.takes_notes:
            return
        if self._ledger.failing:
            code, text = ErrorCode.UNAVAILABLE, "the journal cannot be written now"
        else:
            code, text = ErrorCode.BUSY, "the journal has no room for one more job"
        raise CommandError(code, text, retryable=True)

    def begin(self, record: JobRecord, then: Callable[[], object] | None = None) -> None:
        """A job is accepted, or runs; `then` is called when that is safe."""
        value = self._encode(record)
        record.note = self._ledger.note(value, then)
        self.count(record.note, len(value))

    def change(self, record: JobRecord, then: Callable[[], object] | None = None) -> None:
        """It is another: its state, or what it keeps; `then` is called when that is safe."""
        value = self._encode(record)
        self.count(record.note, len(value))
        self._ledger.note_again(record.note, value, then)

    def count(self, number: int | None, size: int) -> None:
        """The note of a job has so many bytes now."""
        if number is not None:
            self.size += size - self._sizes.pop(number, 0)
            if size:
                self._sizes[number] = size

    async def keep(self, record: JobRecord, state: Mapping[str, Any]) -> None:
        """Keep what a job is to go on from after a restart; returns when that is safe.

        No limit but the job's own: a disk may take long. One of a job is under way at a time: who
        gives up waiting, and tries again, must not gather them.

        Raises:
            PayloadError: JSON cannot say it, or it is too large.
        """
        encoded = encode_json(state)
        if len(encoded) > self._most:
            text = f"the checkpoint has {len(encoded)} bytes; {self._most} are allowed"
            raise PayloadError(ErrorCode.TOO_LARGE, text)
        while record.keeping is not None and not record.keeping.is_set():
            await record.keeping.wait()
        if record.is_over:  # somebody has gone on beside it
            return
        record.kept = msgspec.json.decode(encoded)
        safe = record.keeping = trio.Event()
        self.change(record, safe.set)
        await safe.wait()

    async def wait_safe(self) -> None:
        """Wait until all that was put down so far is safe, or the disk fails.

        The commands beside a job have no record that their answer would wait for. The caller
        bounds it.
        """
        safe = trio.Event()
        self._ledger.when_safe_or_failing(safe.set)
        await safe.wait()

    def forget(self, record: JobRecord) -> None:
        """It is known no more."""
        self.count(record.note, 0)
        self._ledger.unnote(record.note)

    def _encode(self, record: JobRecord) -> bytes:
        command, wall, now = record.execution.command, self.wall(), trio.current_time()

        def moment(at: float | None) -> float | None:
            return None if at is None else wall - (now - at)

        return _encode(
            JobNote(
                record.id,
                record.spec.name,
                Who.of(record.execution.identity),
                record.state,
                wall - (now - record.accepted_at),
                command.message_id,
                command.topic,
                command.data,
                moment(record.started_at),
                record.kept,
                moment(record.ended_at),
                record.code,
                record.error,
                record.fields,
                record.told,
            )
        )

    # -- readers

    def reads(self, subscription: Subscription) -> None:
        """One reads, or renews that."""
        value = _encode(
            ReaderNote(
                subscription.topic,
                subscription.stream_id,
                subscription.rate,
                Who.of(subscription.identity),
                self.wall(),
                subscription.job_id,
                subscription.plain,
            )
        )
        number = self._of_readers.get(subscription)
        if number is not None:
            self._ledger.note_again(number, value)
        else:  # it is new, or there was no room for it before
            self._of_readers[subscription] = self._ledger.note(value)

    def reads_no_more(self, subscription: Subscription) -> None:
        """One is gone."""
        if subscription in self._of_readers:
            self._ledger.unnote(self._of_readers.pop(subscription))

    # -- of an earlier run

    def read(self, found: Mapping[int, bytes]) -> Iterator[tuple[int, Note]]:
        """What an earlier run has noted, in order. What cannot be read is dropped, and said."""
        for number, value in found.items():
            try:
                yield number, decode_note(value)
            except (msgspec.MsgspecError, ValueError):
                logger.error("the record of a job cannot be read, and is dropped")
                self._ledger.unnote(number)

    def restore_reader(self, number: int, note: ReaderNote) -> Subscription:
        """The reader that an earlier run knew, which has renewed itself just now."""
        subscription = Subscription(
            note.name,
            note.stream_id,
            note.rate,
            note.who.identity(),
            trio.current_time(),
            note.job_id,
            note.plain,
        )
        self._of_readers[subscription] = number
        return subscription

    def drop(self, number: int) -> None:
        """Nobody has a use for one of an earlier run."""
        self._ledger.unnote(number)


def command_of(note: JobNote) -> Command:
    """The command that started it, as far as it is kept."""
    return Command(command=note.name, message_id=note.message_id, data=note.data, topic=note.topic)
