"""What every ledger keeps, whichever it is: in memory, on disk, and one of a third kind."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio

from petalkit import Command, Identity, Message, Petal, Settings, command
from petalkit._authoring.registry import CommandSpec, build_table
from petalkit._serving.ledger.contract import Ending, Ledger
from petalkit._serving.ledger.disk import DiskLedger
from petalkit._serving.ledger.duplicate_window import NOTHING, DuplicateWindow, Finished
from petalkit._serving.ledger.journal.write_ahead import Journal
from petalkit._serving.ledger.memory import MemoryLedger
from petalkit._serving.ledger.owed_messages import RecordedMessages
from petalkit._values.codec import Timestamps
from petalkit._values.request import Reply, Wishes
from petalkit._values.statistics import Counters
from petalkit.transports import AckWindow, Delivery

from .far_ledger import FarLedger

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


Open = Callable[[], contextlib.AbstractAsyncContextManager[Ledger[Entry]]]


@pytest.fixture(params=["memory", "disk", "far"])
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    def make() -> Ledger[Entry]:
        window: DuplicateWindow[Entry] = DuplicateWindow(100, 3600.0, 100_000)
        if request.param == "memory":
            return MemoryLedger(window)
        if request.param == "far":
            return FarLedger(window)
        settings = Settings(journal=tmp_path / "journal", journal_thread=False)
        journal = Journal(settings, "d", Counters(), Timestamps())
        return DiskLedger(window, journal, RecordedMessages(journal, 60.0))

    @contextlib.asynccontextmanager
    async def opened() -> AsyncGenerator[Ledger[Entry]]:
        ledger = make()
        async with ledger.open(trio.sleep_forever):
            yield ledger

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


async def test_each_step_is_told_once_and_in_order(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as ledger:
        story, entry = Story(ledger), Entry()
        story.accept(entry)
        story.start(entry)
        story.finish(entry, _ending())
        await ledger.wait_written()
        assert story.told == ["accepted", "started", "finished"]


async def test_commands_are_numbered_in_their_order(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as ledger:
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
    async with open_ledger() as ledger:
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
    async with open_ledger() as ledger:
        story, entry = Story(ledger), Entry()
        story.accept(entry)
        response = NOTHING if ending == "not ours" else b"{}"
        story.finish(entry, _ending(response, "BUSY", remembered=False))
        await ledger.wait_written()
        assert "m" not in ledger
        assert story.find() is None


async def test_what_is_withdrawn_leaves_no_trace(autojump_clock: object, open_ledger: Open) -> None:
    async with open_ledger() as ledger:
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
    async with open_ledger() as ledger:
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
    async with open_ledger() as ledger:
        story, entry = Story(ledger), Entry(message_id=None)
        story.accept(entry)
        story.finish(entry, _ending())
        await ledger.wait_written()
        assert story.told == ["accepted", "finished"]
        assert ledger.remembered == 0


async def test_a_delivery_is_acknowledged_when_all_is_safe(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as ledger:
        story, entry = Story(ledger), Entry()
        window = AckWindow(lambda: story.told.append("acknowledged"))
        delivery = Delivery("t", b"", qos=1, window=window, packet_id=1)
        story.accept(entry)
        ledger.acknowledge(delivery)
        await ledger.wait_written()
        assert story.told == ["accepted", "acknowledged"]


async def test_a_copy_that_wants_more_changes_nothing_of_the_order(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as ledger:
        story, entry = Story(ledger), Entry()
        story.accept(entry)
        ledger.want(entry, ())
        story.finish(entry, _ending())
        await ledger.wait_written()
        assert story.told == ["accepted", "finished"]


async def test_it_has_room_takes_commands_and_does_not_fail(
    autojump_clock: object, open_ledger: Open
) -> None:
    async with open_ledger() as ledger:
        assert ledger.has_room
        assert not ledger.failing
        assert ledger.takes(SPEC)  # type: ignore[arg-type]
