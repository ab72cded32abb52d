"""What every ledger keeps, whichever it is: in memory, on disk, and one of a third kind."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from petalkit import Command, Identity, Message, Petal, Settings, command
from petalkit._authoring.registry import CommandSpec, build_table
from petalkit._serving.ledger.contract import Ledger
from petalkit._serving.ledger.disk import DiskLedger
from petalkit._serving.ledger.entry import Ending, Left
from petalkit._serving.ledger.journal.write_ahead import Journal
from petalkit._serving.ledger.memory import MemoryLedger
from petalkit._serving.ledger.owed_messages import RecordedMessages
from petalkit._serving.ledger.records import NOTHING_LEFT, Found
from petalkit._serving.ledger.remembered.duplicate_window import NOTHING, DuplicateWindow, Finished
from petalkit._values.codec import Timestamps
from petalkit._values.request import Reply, Wishes
from petalkit._values.statistics import Counters
from petalkit.transports import AckWindow, Delivery

from .far_ledger import FarLedger, FarStore

pytestmark = pytest.mark.trio


class Echo(Petal):
    name = "echo"

    @command("say")
    async def say(self) -> None: ...


SPEC = build_table([Echo()]).lookup("echo/say")
IDENTITY = Identity("acme", "d")


@attrs.define(eq=False)
class Entry:
    """A command as a ledger sees it."""

    message_id: str | None = "m"
    command: Command = attrs.field(init=False)
    payload: bytes = b'{"messageId":"m","command":"echo/say"}'
    identity: Identity = IDENTITY
    spec: CommandSpec = SPEC  # type: ignore[assignment]
    wait_response: bool = True
    replies: tuple[Reply, ...] = ()
    wishes: Wishes | None = None
    number: int = 0
    recorded: bool = False
    on_disk: bool = False
    owed: dict[Reply | None, int] | None = None

    def __attrs_post_init__(self) -> None:
        self.command = Command(command="echo/say", message_id=self.message_id, topic="t")


Open = Callable[[], contextlib.AbstractAsyncContextManager[tuple[Ledger[Entry], Found]]]


@pytest.fixture(params=["memory", "disk", "far"])
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return _opener(request.param, tmp_path)


@pytest.fixture(params=["disk", "far"])
def open_lasting(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Those that outlive a process: each that is opened is the next process's."""
    return _opener(request.param, tmp_path)


def _opener(kind: str, tmp_path: Path) -> Open:
    store = FarStore()

    def make() -> Ledger[Entry]:
        window: DuplicateWindow[Entry] = DuplicateWindow(100, 3600.0, 100_000)
        if kind == "memory":
            return MemoryLedger(window)
        if kind == "far":
            return FarLedger(window, store)
        settings = Settings(journal=tmp_path / "journal", journal_thread=False)
        journal = Journal(settings, "d", Counters(), Timestamps())
        return DiskLedger(window, journal, RecordedMessages(journal, 60.0))

    @contextlib.asynccontextmanager
    async def opened() -> AsyncGenerator[tuple[Ledger[Entry], Found]]:
        ledger = make()
        async with ledger.open(trio.sleep_forever) as found:
            yield ledger, found

    return opened


def _answers(entry: Entry, response: bytes) -> Iterator[tuple[Message, Reply | None]]:
    yield Message("t", response, 1), None


def _ending(response: bytes = b"{}", code: str | None = None, *, remembered: bool = True) -> Ending:
    return Ending(response, code, remembered, trio.current_time())


class Story:
    """One command through a ledger; notes what is called back, in order."""

    def __init__(self, ledger: Ledger[Entry]) -> None:
        self.ledger = ledger
        self.told: list[str] = []

    def accept(self, entry: Entry) -> None:
        self.ledger.accept(entry, lambda _: self.told.append("accepted"))

    def start(self, entry: Entry) -> None:
        self.ledger.start(entry, lambda _: self.told.append("started"))

    def finish(self, entry: Entry, ending: Ending) -> None:
        self.ledger.finish(entry, ending, _answers, lambda *_: self.told.append("finished"))

    def find(self, message_id: str = "m") -> object:
        return self.ledger.find(message_id, trio.current_time())


def started(story: Story) -> Entry:
    """A command that is accepted and started, which need not be safe yet."""
    entry = Entry()
    story.accept(entry)
    story.start(entry)
    return entry


async def test_each_step_is_told_once_and_in_order(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as (ledger, _):
        story = Story(ledger)
        entry = started(story)
        story.finish(entry, _ending())
        await ledger.wait_written()
        assert story.told == ["accepted", "started", "finished"]


async def test_a_start_is_told_at_once_where_nothing_is_put_down(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as (ledger, _):
        story, entry = Story(ledger), Entry()
        entry.spec = attrs.evolve(SPEC, journal=False)  # type: ignore[type-var]
        story.accept(entry)
        await ledger.wait_written()
        entry.recorded = False  # whatever this ledger keeps
        story.start(entry)
        assert story.told == ["accepted", "started"]


async def test_commands_are_numbered_in_their_order(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as (ledger, _):
        story = Story(ledger)
        entries = [Entry(f"m{n}") for n in range(3)]
        for entry in entries:
            story.accept(entry)
        if ledger.may_wait:  # in memory they have theirs from their birth
            assert [entry.number for entry in entries] == [1, 2, 3]
        await ledger.wait_written()
        assert story.told == ["accepted"] * 3


async def test_a_command_is_found_live_until_its_end_is_safe(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as (ledger, _):
        story, entry = Story(ledger), Entry()
        assert "m" not in ledger
        assert story.find() is None
        story.accept(entry)
        assert "m" in ledger
        assert story.find() is entry
        await ledger.wait_written()
        ledger.finish(entry, _ending(b"answer"), _answers, lambda *_: story.told.append("finished"))
        while "finished" not in story.told:
            assert story.find() is entry
            await trio.lowlevel.checkpoint()
        found = story.find()
        assert isinstance(found, Finished)
        assert (found.command, found.response) == ("echo/say", b"answer")


@pytest.mark.parametrize("ending", ["refused", "not ours"])
async def test_what_was_refused_before_its_start_leaves_no_trace(
    autojump_clock: object, open_ledger: Open, ending: str
) -> None:
    async with open_ledger() as (ledger, _):
        story, entry = Story(ledger), Entry()
        story.accept(entry)
        response = NOTHING if ending == "not ours" else b"{}"
        story.finish(entry, _ending(response, "BUSY", remembered=False))
        await ledger.wait_written()
        assert "m" not in ledger
        assert story.find() is None


async def test_what_is_withdrawn_leaves_no_trace(autojump_clock: object, open_ledger: Open) -> None:
    async with open_ledger() as (ledger, _):
        story, entry = Story(ledger), Entry()
        story.accept(entry)
        ledger.withdraw(entry)
        await ledger.wait_written()
        assert "m" not in ledger
        story.accept(again := Entry())
        assert story.find() is again


async def test_an_id_that_was_finished_can_be_remembered_anew(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as (ledger, _):
        story = Story(ledger)
        for response in (b"1", b"2"):
            entry = Entry()
            story.accept(entry)
            story.finish(entry, _ending(response))
            await ledger.wait_written()
        found = story.find()
        assert isinstance(found, Finished)
        assert found.response == b"2"
        assert ledger.remembered == 1


async def test_without_an_id_nothing_is_found(autojump_clock: object, open_ledger: Open) -> None:
    async with open_ledger() as (ledger, _):
        story, entry = Story(ledger), Entry(message_id=None)
        story.accept(entry)
        story.finish(entry, _ending())
        await ledger.wait_written()
        assert story.told == ["accepted", "finished"]
        assert ledger.remembered == 0


async def test_a_delivery_is_acknowledged_when_all_is_safe(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as (ledger, _):
        story, entry = Story(ledger), Entry()
        window = AckWindow(lambda: story.told.append("acknowledged"))
        delivery = Delivery("t", b"", qos=1, window=window, packet_id=1)
        story.accept(entry)
        ledger.when_safe_or_failing(delivery.ack)
        await ledger.wait_written()
        assert story.told == ["accepted", "acknowledged"]


async def test_a_copy_that_wants_more_changes_nothing_of_the_order(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as (ledger, _):
        story, entry = Story(ledger), Entry()
        story.accept(entry)
        ledger.want(entry, ())
        story.finish(entry, _ending())
        await ledger.wait_written()
        assert story.told == ["accepted", "finished"]


async def test_it_has_room_takes_commands_and_does_not_fail(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as (ledger, _):
        assert ledger.has_room
        assert not ledger.failing
        assert ledger.takes(SPEC)  # type: ignore[arg-type]


# -- what waits in the ledger only


async def test_what_waits_in_it_only_is_left_there_until_it_is_taken_up(
    autojump_clock: object, open_lasting: Open
) -> None:
    async with open_lasting() as (ledger, _):
        assert ledger.keeps_waiting
        story, entry = Story(ledger), Entry()
        ledger.keep(entry, lambda: story.told.append("kept"))
        assert entry.recorded
        left = story.find()
        assert isinstance(left, Left)
        assert left.number == entry.number
        await ledger.wait_written()
        assert story.told == ["kept"]
        (record,) = ledger.waiting([entry.number, entry.number + 1])
        assert (record.number, record.message_id, record.starts) == (entry.number, "m", 0)
        assert list(ledger.not_started(0, 10)) == [record]
        assert story.find() == Left(entry.number, record)
        ledger.take_up(entry)
        assert story.find() is entry
        story.start(entry)
        await ledger.wait_written()
        assert list(ledger.waiting([entry.number])) == []


async def test_what_waits_in_it_only_has_its_number_among_the_others(
    autojump_clock: object, open_lasting: Open
) -> None:
    async with open_lasting() as (ledger, _):
        story, entries = Story(ledger), [Entry(f"m{n}") for n in range(4)]
        for n, entry in enumerate(entries):
            if n % 2:
                ledger.keep(entry, lambda: None)
            else:
                story.accept(entry)
        assert [entry.number for entry in entries] == [1, 2, 3, 4]
        await ledger.wait_written()
    async with open_lasting() as (ledger, found):
        assert (found.not_started, ledger.earlier_to) == (4, 4)
        found_ids = [record.message_id for record in ledger.waiting([4, 2])]
        assert found_ids == ["m1", "m3"]
        ledger.keep(later := Entry("m4"), lambda: None)
        assert later.number > ledger.earlier_to
        await ledger.wait_written()


async def test_a_copy_of_what_waits_in_it_only_can_want_more(
    autojump_clock: object, open_lasting: Open
) -> None:
    async with open_lasting() as (ledger, _):
        ledger.keep(entry := Entry(wait_response=False), lambda: None)
        ledger.want_of_kept(entry.number, True, None)
        await ledger.wait_written()
        (record,) = ledger.waiting([entry.number])
        assert record.wait_response


async def test_it_tells_of_what_can_be_read_and_looks_again_when_asked(
    autojump_clock: object, open_lasting: Open
) -> None:
    async with open_lasting() as (ledger, _):
        told: list[int] = []
        ledger.keep(entry := Entry(), lambda: None)
        ledger.on_room = lambda: told.append(len(ledger.waiting([entry.number])))
        await ledger.wait_written()
        await trio.testing.wait_all_tasks_blocked()
        assert told[-1] == 1
        told.clear()
        ledger.look_again(at_once=True)
        await trio.testing.wait_all_tasks_blocked()
        assert told == [1]


async def test_what_is_safe_is_told_at_once(autojump_clock: object, open_ledger: Open) -> None:
    async with open_ledger() as (ledger, _):
        story = Story(ledger)
        ledger.when_safe(lambda: story.told.append("nothing to wait for"))
        assert story.told == ["nothing to wait for"]
        story.accept(Entry())
        ledger.when_safe(lambda: story.told.append("safe"))
        await ledger.wait_written()
        assert story.told[1:] == ["accepted", "safe"]


# -- what an earlier process has left


async def test_there_is_nothing_left_at_first(autojump_clock: object, open_ledger: Open) -> None:
    async with open_ledger() as (ledger, found):
        assert found == NOTHING_LEFT
        assert ledger.place
        assert list(ledger.not_started(0, 10)) == []


async def test_what_has_not_started_is_left_and_counted(
    autojump_clock: object, open_lasting: Open
) -> None:
    async with open_lasting() as (ledger, _):
        for n in range(3):
            Story(ledger).accept(Entry(f"m{n}"))
        await ledger.wait_written()
    async with open_lasting() as (ledger, found):
        assert (found.not_started, found.running, found.messages) == (3, (), ())
        assert [record.message_id for record in ledger.not_started(0, 2)] == ["m0", "m1"]
        (last,) = ledger.not_started(ledger.not_started(0, 2)[-1].number, 10)
        assert (last.message_id, last.command) == ("m2", "echo/say")
        left = ledger.find("m0", trio.current_time())
        assert isinstance(left, Left)
        assert left.record is not None


async def test_what_was_running_is_left_and_can_be_ended(
    autojump_clock: object, open_lasting: Open
) -> None:
    async with open_lasting() as (ledger, _):
        entry = started(Story(ledger))
        await ledger.wait_written()
    async with open_lasting() as (ledger, found):
        (record,) = found.running
        assert (record.message_id, record.starts, found.not_started) == ("m", 1, 0)
        told: list[tuple[bytes, bool]] = []
        ledger.end(
            record,
            _ending(b"it was interrupted", "INTERRUPTED"),
            _answers(entry, b"it was interrupted"),
            lambda message, _, number: told.append((message.payload, number > record.number)),
        )
        await ledger.wait_written()
        assert told == [(b"it was interrupted", True)]
        answer = ledger.find("m", trio.current_time())
        assert isinstance(answer, Finished)
        assert answer.response == b"it was interrupted"
    async with open_lasting() as (ledger, found):
        assert found.running == ()
        (message,) = found.messages  # nobody has settled it
        assert (message.payload, message.message_id) == (b"it was interrupted", "m")


@pytest.mark.parametrize("response", [b"{}", NOTHING])
async def test_what_is_ended_without_being_remembered_can_come_again(
    autojump_clock: object, open_lasting: Open, response: bytes
) -> None:
    async with open_lasting() as (ledger, _):
        Story(ledger).accept(Entry())
        await ledger.wait_written()
    async with open_lasting() as (ledger, _):
        (record,) = ledger.not_started(0, 10)
        ending = _ending(response, "BUSY", remembered=False)
        ledger.end(record, ending, (), lambda *_: None)
        await ledger.wait_written()
        assert "m" not in ledger
        assert ledger.find("m", trio.current_time()) is None
        assert list(ledger.not_started(0, 10)) == []


async def test_what_is_put_back_has_not_started_and_its_starts_are_counted(
    autojump_clock: object, open_lasting: Open
) -> None:
    async with open_lasting() as (ledger, _):
        started(Story(ledger))
        await ledger.wait_written()
    async with open_lasting() as (ledger, found):
        ledger.requeue(found.running[0])
        await ledger.wait_written()
        (record,) = ledger.not_started(0, 10)
        assert record.starts == 1
    async with open_lasting() as (_, found):
        assert (found.not_started, found.running) == (1, ())


async def test_an_answer_is_left_until_it_is_settled(
    autojump_clock: object, open_lasting: Open
) -> None:
    async with open_lasting() as (ledger, _):
        story = Story(ledger)
        entry = started(story)
        story.finish(entry, _ending(b"answer"))
        await ledger.wait_written()
    async with open_lasting() as (ledger, found):
        (message,) = found.messages
        assert (message.payload, message.topic) == (b"answer", "t")
        copy = ledger.find("m", trio.current_time())
        assert isinstance(copy, Finished)
        assert copy.response == b"answer"
        ledger.owed.settle(message.number)
        await ledger.wait_written()
    async with open_lasting() as (_, found):
        assert found.messages == ()
        assert "m" in found.remembered


async def test_numbers_go_on_after_those_of_an_earlier_process(
    autojump_clock: object, open_lasting: Open
) -> None:
    async with open_lasting() as (ledger, _):
        Story(ledger).accept(Entry("first"))
        await ledger.wait_written()
    async with open_lasting() as (ledger, found):
        Story(ledger).accept(second := Entry("second"))
        assert second.number > found.last


# -- what others keep


async def test_what_is_noted_is_found_by_the_next_process(open_lasting: Open) -> None:
    told: list[str] = []
    async with open_lasting() as (ledger, found):
        assert dict(found.notes) == {}
        first = ledger.note(b"first", lambda: told.append("noted"))
        second = ledger.note(b"second")
        ledger.note_again(first, b"first again", lambda: told.append("again"))
        assert told == []
        await ledger.wait_written()
        assert told == ["noted", "again"]
    async with open_lasting() as (ledger, found):
        assert dict(found.notes) == {first: b"first again", second: b"second"}
        assert found.last >= max(found.notes)
        ledger.unnote(first)
        third = ledger.note(b"third")
        await ledger.wait_written()
    async with open_lasting() as (ledger, found):
        assert dict(found.notes) == {second: b"second", third: b"third"}


async def test_somebody_waits_until_it_is_safe_that_nothing_is_noted_any_more(
    open_lasting: Open,
) -> None:
    told: list[str] = []
    async with open_lasting() as (ledger, _):
        number = ledger.note(b"first")
        await ledger.wait_written()
        ledger.unnote(number, lambda: told.append("gone"))
        assert told == []
        await ledger.wait_written()
        assert told == ["gone"]
        ledger.note(b"must", must=True)
        assert ledger.takes_notes
        await ledger.wait_written()
    async with open_lasting() as (_, found):
        assert list(found.notes.values()) == [b"must"]


async def test_in_memory_what_is_noted_is_as_safe_as_it_gets_at_once() -> None:
    window: DuplicateWindow[Entry] = DuplicateWindow(100, 3600.0, 100_000)
    ledger = MemoryLedger(window)
    told: list[str] = []
    assert ledger.note(b"x", lambda: told.append("noted")) is None
    ledger.note_again(None, b"y", lambda: told.append("again"))
    ledger.unnote(None, lambda: told.append("gone"))
    assert told == ["noted", "again", "gone"]
