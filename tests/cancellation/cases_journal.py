"""The journal: its file is closed and its lock let go, whenever its opening or writing is cut."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from petalkit import Settings, open_runtime
from petalkit._codec import Timestamps
from petalkit._journal import Journal
from petalkit._journal_records import Accepted, Started
from petalkit._statistics import Counters

from .cases_lives import CUT_SHORT, SERVED, Place, place
from .table import case


@attrs.frozen
class File:
    """A journal's file."""

    path: Path

    def journal(self, *, thread: bool) -> Journal:
        settings = Settings(journal=self.path, journal_thread=thread)
        return Journal(settings, "device", Counters(), Timestamps())


@asynccontextmanager
async def file() -> AsyncGenerator[File]:
    with tempfile.TemporaryDirectory(prefix="petalkit-sweep-") as folder:
        yield File(Path(folder, "journal"))


async def write(journal: Journal) -> None:
    async with journal.open():
        number = journal.next_number()
        accepted = Accepted(number, "m", "a/b", b"{}", "t", "o", "d", "b", True, None, None, 0.0)
        written: list[bool] = []
        journal.add(accepted)
        journal.add(Started(number, 0.0), lambda: written.append(True))
        await journal.wait_written()
        assert written == [True]


async def can_be_opened(ground: File) -> None:
    """By another: nobody holds it, and what is in it is whole."""
    async with ground.journal(thread=False).open() as found:
        assert len(found.running) == len(found.remembered)


@case(Journal.open, Journal.wait_written, ground=file, again=can_be_opened)
async def journal_in_the_event_loop(ground: File) -> None:
    await write(ground.journal(thread=False))


@case(Journal.open, Journal.wait_written, ground=file, again=can_be_opened, real_clock=True)
async def journal_in_its_thread(ground: File) -> None:
    await write(ground.journal(thread=True))


@attrs.frozen
class Recorded:
    """A place to serve at, and a journal for it."""

    place: Place
    settings: Settings


@asynccontextmanager
async def recorded() -> AsyncGenerator[Recorded]:
    async with file() as found, place() as there:
        settings = attrs.evolve(
            SERVED, journal=found.path, journal_thread=False, journal_commit_delay=0.0
        )
        yield Recorded(there, settings)


async def is_answered(ground: Recorded) -> None:
    """What is served there again knows what was answered before, and runs nothing twice."""
    petal = ground.place.petal()
    async with open_runtime([petal], ground.settings, transport=ground.place.transport) as runtime:
        await runtime.wait_connected()
        await ground.place.call("swept/hello", message_id="m")


@case(open_runtime, ground=recorded, again=is_answered, others=8, errors=(CUT_SHORT,))
async def runtime_life_with_a_journal(ground: Recorded) -> None:
    there = ground.place
    petal = there.petal()
    async with open_runtime([petal], ground.settings, transport=there.transport) as runtime:
        await runtime.wait_connected()
        await there.call("swept/hello", message_id="m")
        await petal.publish_message({"n": 1})
    assert runtime.statistics().succeeded == 1
    assert runtime.statistics().publish_unsent == 0
