"""The journal: its file, and the promise that it is there for.

On a mock clock it is written in the event loop; with a thread of its own, on the real one.
"""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import msgspec
import trio

from petalkit import Settings, open_runtime
from petalkit._serving.ledger.journal.operations import Finished
from petalkit._serving.ledger.journal.write_ahead import Journal
from petalkit._serving.ledger.records import Accepted
from petalkit._values.codec import Timestamps
from petalkit._values.statistics import Counters
from petalkit.testing import MemoryBroker, MemoryTransport, Observer

from .cases_lives import IDENTITY, SERVED
from .grounds import LATE, SweptPetal
from .table import case

# What is synced there costs nothing.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@attrs.define
class Notebook:
    """A journal's file, and the commands that are safe in it."""

    settings: Settings
    numbers: set[int] = attrs.field(factory=set)

    def journal(self) -> Journal:
        return Journal(self.settings, "device", Counters(), Timestamps())


def accepted(number: int) -> Accepted:
    return Accepted(
        number=number,
        message_id=f"id-{number}",
        command="swept/hello",
        payload=b"{}",
        topic=IDENTITY.topic("command"),
        organization_id="acme",
        device_id="device",
        base_topic=IDENTITY.base_topic,
        wait_response=True,
        expires_at=None,
        extras=None,
        at=1.8e9,
    )


@asynccontextmanager
async def notebook(*, thread: bool) -> AsyncGenerator[Notebook]:
    with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
        yield Notebook(Settings(journal=Path(folder, "journal"), journal_thread=thread))


async def journal_life(ground: Notebook) -> None:
    journal = ground.journal()
    async with journal.open():
        number = journal.next_number()
        journal.add(accepted(number))
        await journal.wait_written()
        ground.numbers.add(number)
        journal.add(Finished(number, None, b"{}", True, 1.8e9))
        await journal.wait_written()
        journal.add(accepted(journal.next_number()))  # and leaving waits for this


async def journal_is_whole(ground: Notebook) -> None:
    journal = ground.journal()
    async with journal.open():
        for number in ground.numbers:
            record = journal.find(f"id-{number}")
            assert record is not None
            assert record.number == number


for _thread in (False, True):
    case(
        Journal.open,
        Journal.wait_written,
        ground=functools.partial(notebook, thread=_thread),
        name=f"journal_life{'_in_a_thread' if _thread else ''}",
        again=journal_is_whole,
        real_clock=_thread,
        limit=20.0 if _thread else 600.0,
    )(journal_life)


# -- the promise: every accepted command starts once at most, and is answered


@attrs.define
class Recorded:
    """A device with a journal, and everything that it was asked and has answered."""

    broker: MemoryBroker
    settings: Settings
    responses: Observer
    petals: list[SweptPetal] = attrs.field(factory=list)
    sent: list[str] = attrs.field(factory=list)
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count)

    @asynccontextmanager
    async def runtime(self) -> AsyncGenerator[None]:
        self.petals.append(SweptPetal())
        transport = MemoryTransport(self.broker)
        async with open_runtime(self.petals[-1:], self.settings, transport=transport) as runtime:
            await runtime.wait_connected()
            yield

    def send(self, command: str) -> None:
        message_id = f"id-{next(self._numbers)}"
        self.sent.append(message_id)
        command_ = {"command": command, "messageId": message_id, "waitResponse": True}
        self.broker.publish_nowait(IDENTITY.topic("command"), msgspec.json.encode(command_))

    def answered(self) -> set[str]:
        return {msgspec.json.decode(one.payload)["messageId"] for one in self.responses}


@asynccontextmanager
async def recorded() -> AsyncGenerator[Recorded]:
    broker = MemoryBroker()
    broker.delay = LATE
    with (
        tempfile.TemporaryDirectory(dir=_MEMORY) as folder,
        broker.observe(IDENTITY.topic("response")) as responses,
    ):
        settings = attrs.evolve(
            SERVED,
            journal=Path(folder, "journal"),
            journal_thread=False,
            session_expiry=3600,
            grace=LATE,
        )
        yield Recorded(broker, settings, responses)


async def all_are_answered(ground: Recorded) -> None:
    async with ground.runtime():
        while ground.answered() != set(ground.sent):
            await trio.sleep(LATE)
    started = Counter(message_id for petal in ground.petals for message_id in petal.seen)
    assert all(times == 1 for times in started.values()), started


@case(Journal.open, ground=recorded, again=all_are_answered, others=4)
async def recorded_commands(ground: Recorded) -> None:
    async with ground.runtime():
        for command in ("swept/hello", "swept/slow", "swept/hello"):
            ground.send(command)
            await trio.sleep(0.7 * LATE)
        await trio.sleep(LATE)
