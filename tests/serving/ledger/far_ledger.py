"""A ledger of a third kind: what is put down goes to a store far away, and is safe after a while.

It stands for one that several processes share, over a network. That it can be written here, and a
runtime serves with it, shows that nobody above asks which ledger it is.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import attrs
import trio

from petalkit._authoring.registry import CommandSpec
from petalkit._serving.ledger.contract import Ledger
from petalkit._serving.ledger.entry import AnswerMessages, E, Ending, Entry, Left
from petalkit._serving.ledger.forms import command_extras, message_extras
from petalkit._serving.ledger.owed_messages import OwedMessages
from petalkit._serving.ledger.records import (
    FINISHED,
    NOT_STARTED,
    RUNNING,
    CommandRecord,
    Found,
    MessageRecord,
)
from petalkit._serving.ledger.remembered.duplicate_window import NOTHING, DuplicateWindow, Finished
from petalkit._values.messages import Message
from petalkit._values.request import Reply

NOON = 1_800_000_000.0
NEVER = 4_000_000_000.0


class FarStore:
    """What is safe, for whoever comes next."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.commands: dict[int, CommandRecord] = {}
        self.messages: dict[int, MessageRecord] = {}
        self.notes: dict[int, bytes] = {}

    def change(self, number: int, **changes: object) -> None:
        if number in self.commands:
            self.commands[number] = attrs.evolve(self.commands[number], **changes)  # type: ignore[arg-type]

    def found(self) -> Found:
        """What the last one has left."""
        records = sorted(self.commands.values(), key=lambda one: one.number)
        return Found(
            last=max([0, *self.commands, *self.messages, *self.notes]),
            remembered={
                one.message_id: one.number
                for one in records
                if one.message_id is not None and one.remembered
            },
            running=tuple(one for one in records if one.state == RUNNING),
            not_started=sum(one.state == NOT_STARTED for one in records),
            messages=tuple(self.messages[number] for number in sorted(self.messages)),
            notes=dict(sorted(self.notes.items())),
        )


class FarMessages(OwedMessages):
    """Messages that answer commands."""

    def __init__(self, store: FarStore) -> None:
        self._store = store

    def settle(self, number: int, outcome: str | None = None) -> None:
        self._store.messages.pop(number, None)


class FarLedger(Ledger[E]):
    """See the module.

    Args:
        window: what is known of commands of this process.
        store: what is safe; also what an earlier process has left.

    Attributes:
        log: what the store was told, in order: a word, and the number of the command.
        away: whether the store is not reached now: nothing becomes safe.
    """

    may_wait = keeps_waiting = True

    def __init__(self, window: DuplicateWindow[E], store: FarStore | None = None) -> None:
        self._store = store or FarStore()
        super().__init__(window, FarMessages(self._store))
        self._left = {} if store is None else dict(store.found().remembered)
        self.log: list[tuple[str, int]] = []
        self.away = False
        self._earlier_to = 0
        self._line: deque[Callable[[], object]] = deque()
        self._idle = trio.Event()
        self._idle.set()

    @property
    def has_room(self) -> bool:
        return True

    @property
    def failing(self) -> bool:
        return False

    def takes(self, spec: CommandSpec) -> bool:
        return True

    def find(self, message_id: str, now: float) -> E | Finished | Left | None:
        here = self.window.live(message_id) or self.window.finished(message_id, now)
        if here is not None or message_id not in self._left:
            return here
        number = self._left[message_id]
        record = self._store.commands.get(number)
        if record is None or record.state != FINISHED:
            return Left(number, record)
        response = record.response or NOTHING
        return Finished(record.command, record.payload, response, now, 0, record.number)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._left or super().__contains__(message_id)

    @property
    def remembered(self) -> int:
        return len(self.window) + len(self._left)

    # -- the store

    def _put(self, word: str, entry: E, then: Callable[[], object]) -> None:
        self.log.append((word, entry.number))
        self._later(then)

    def _later(self, then: Callable[[], object]) -> None:
        self._line.append(then)
        if self._idle.is_set():
            self._idle = trio.Event()
        if not self.away:
            trio.lowlevel.current_trio_token().run_sync_soon(self._answer)

    def _answer(self) -> None:
        """One answer of the store comes; what it makes somebody put down comes after the others."""
        if self._line and not self.away:
            self._line.popleft()()
            self.on_room()
        if not self._line:
            self._idle.set()

    def come_back(self) -> None:
        """The store is reached again."""
        self.away = False
        for _ in range(len(self._line)):
            trio.lowlevel.current_trio_token().run_sync_soon(self._answer)

    # -- a command's life

    def accept(self, entry: E, then: Callable[[E], object]) -> None:
        entry.number = next(self._store.numbers)
        entry.recorded = True
        if entry.command.message_id is not None:
            self.window.begin(entry.command.message_id, entry)
        self._put("accepted", entry, functools.partial(self._accepted, entry, then))

    def _accepted(self, entry: E, then: Callable[[E], object]) -> None:
        entry.on_disk = True
        self._store.commands[entry.number] = _record(entry)
        then(entry)

    def start(self, entry: E, then: Callable[[E], object] | None) -> None:
        if not entry.recorded:
            if then is not None:
                then(entry)
            return

        def started() -> None:
            self._store.change(entry.number, state=RUNNING, starts=1)
            if then is not None:
                then(entry)

        self._put("started", entry, started)

    def want(self, entry: E, replies: tuple[Reply, ...]) -> None:
        self._put("wanted", entry, lambda: None)

    def finish(
        self,
        entry: E,
        ending: Ending,
        answers: Callable[[E, bytes], AnswerMessages],
        then: Callable[[E, Ending, float], object],
    ) -> None:
        messages = [(next(self._store.numbers), *one) for one in answers(entry, ending.response)]
        entry.owed = {reply: number for number, _, reply in messages}

        def finished() -> None:
            self._write_end(entry.number, entry.command.message_id, ending)
            self._write_messages(entry.number, entry.command.message_id, messages)
            self._finished(entry, ending, then)

        self._put("finished", entry, finished)

    def _write_end(self, number: int, message_id: str | None, ending: Ending) -> None:
        if not ending.remembered:
            self._left.pop(message_id or "", None)
        if ending.response == NOTHING:
            self._store.commands.pop(number, None)
            return
        self._store.change(
            number,
            state=FINISHED,
            response=ending.response,
            code=ending.code,
            remembered=ending.remembered,
            finished_at=NOON,
        )

    def _write_messages(
        self,
        command: int,
        message_id: str | None,
        messages: list[tuple[int, Message, Reply | None]],
    ) -> None:
        for number, message, reply in messages:
            self._store.messages[number] = MessageRecord(
                number=number,
                answers=command,
                message_id=message_id,
                topic=message.topic,
                name=None,
                payload=message.payload,
                qos=message.qos,
                extras=message_extras(message, reply),
                expires_at=NEVER,
            )

    def _finished(
        self, entry: E, ending: Ending, then: Callable[[E, Ending, float], object]
    ) -> None:
        now = trio.current_time()
        self._remember(entry, ending, now)
        then(entry, ending, now)

    def withdraw(self, entry: E) -> None:
        self.give_back(entry)
        self._put("withdrawn", entry, lambda: self._store.commands.pop(entry.number, None))

    def post_of(self, entry: E, message: Message, reply: Reply | None) -> int | None:
        return None if entry.owed is None else entry.owed.get(reply)

    def when_safe(self, then: Callable[[], object]) -> None:
        if self._line:
            self._later(then)
        else:
            then()

    def when_safe_or_failing(self, then: Callable[[], object]) -> None:
        self._later(then)

    # -- commands that wait here only

    def keep(self, entry: Entry, then: Callable[[], object]) -> None:
        entry.number = next(self._store.numbers)
        entry.recorded = True
        if entry.command.message_id is not None:
            self._left[entry.command.message_id] = entry.number

        def kept() -> None:
            self._store.commands[entry.number] = _record(entry)
            then()

        self.log.append(("kept", entry.number))
        self._later(kept)

    def want_of_kept(self, number: int, wait_response: bool, extras: bytes | None) -> None:
        self._later(lambda: self._store.change(number, wait_response=wait_response, extras=extras))

    def waiting(self, numbers: Sequence[int]) -> list[CommandRecord]:
        found = [
            self._store.commands[one] for one in sorted(numbers) if one in self._store.commands
        ]
        return [record for record in found if record.state == NOT_STARTED]

    def look_again(self, *, at_once: bool = False) -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(lambda: self.on_room())

    # -- what others keep

    def note(
        self, value: bytes, then: Callable[[], object] | None = None, *, must: bool = False
    ) -> int | None:
        number = next(self._store.numbers)
        self.note_again(number, value, then)
        return number

    def note_again(
        self, number: int | None, value: bytes, then: Callable[[], object] | None = None
    ) -> None:
        assert number is not None

        def noted() -> None:
            self._store.notes[number] = value
            if then is not None:
                then()

        self._later(noted)

    def unnote(self, number: int | None, then: Callable[[], object] | None = None) -> None:
        assert number is not None

        def unnoted() -> None:
            self._store.notes.pop(number, None)
            if then is not None:
                then()

        self._later(unnoted)

    # -- what an earlier process has left

    @property
    def place(self) -> str:
        return "far away"

    @property
    def earlier_to(self) -> int:
        return self._earlier_to

    def not_started(self, after: int, limit: int) -> list[CommandRecord]:
        found = sorted(
            number
            for number, record in self._store.commands.items()
            if number > after and record.state == NOT_STARTED
        )
        return [self._store.commands[number] for number in found[:limit]]

    def requeue(self, record: CommandRecord) -> None:
        self._later(lambda: self._store.change(record.number, state=NOT_STARTED))

    def end(
        self,
        record: CommandRecord,
        ending: Ending,
        answers: AnswerMessages,
        then: Callable[[Message, Reply | None, int], object],
    ) -> None:
        messages = [(next(self._store.numbers), *one) for one in answers]

        def ended() -> None:
            self._write_end(record.number, record.message_id, ending)
            self._write_messages(record.number, record.message_id, messages)
            for number, message, reply in messages:
                then(message, reply, number)

        self._later(ended)

    # -- life

    @contextlib.asynccontextmanager
    async def open(self, give_up: Callable[[], Awaitable[object]]) -> AsyncGenerator[Found]:
        found = self._store.found()
        self._earlier_to = found.last
        yield found

    async def wait_written(self) -> None:
        while self._line:
            await self._idle.wait()
        await trio.lowlevel.checkpoint()


def _record(entry: Entry) -> CommandRecord:
    command, identity = entry.command, entry.identity
    return CommandRecord(
        number=entry.number,
        message_id=command.message_id,
        command=command.command,
        payload=entry.payload,
        topic=command.topic,
        organization_id=identity.organization_id,
        device_id=identity.device_id,
        base_topic=identity.base_topic,
        wait_response=entry.wait_response,
        expires_at=None,
        extras=command_extras(command.properties, entry.replies, guessed=entry.spec.guessed),
        state=NOT_STARTED,
        starts=0,
        accepted_at=NOON,
        started_at=None,
        finished_at=None,
        code=None,
        response=None,
        remembered=True,
        owed=0,
        outcome=None,
    )
