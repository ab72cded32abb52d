"""What can go wrong around a journal, each by itself: disks that fail or hang, and what is left."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from petalkit import Petal, command, open_runtime
from petalkit._authoring.registry import CommandTable
from petalkit._serving.ledger.journal import write_ahead as journal_module
from petalkit._serving.ledger.journal.operations import Noted
from petalkit._serving.ledger.journal.place.watch import PlaceWatch
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.journal.write_ahead import Journal
from petalkit._serving.ledger.journal.writing import upkeep
from petalkit._serving.ledger.journal.writing.writer import DiskWork, Job
from petalkit._serving.ledger.records import JournalError
from petalkit._values.codec import Timestamps
from petalkit._values.messages import Properties
from petalkit._values.statistics import Counters
from petalkit.testing import open_harness
from petalkit.testing._harness import EPOCH
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from ..on_disk import Again, Disk, after_crash, folded, settings
from ..recorder import Recorder, settle, unacknowledged, until

pytestmark = pytest.mark.trio


def narrow(path: Path, **others: Any) -> Any:
    return settings(path, **{"channel_capacity": 2, "petal_concurrency": 1, **others})


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Callable[[], trio.Event]:
    """A disk that does not answer until the event is set: it neither works nor fails."""
    start = DiskWork.start
    state: dict[str, trio.Event | None] = {"gate": None}

    def slow(self: DiskWork, function: Any, then: Any = None) -> Job:
        gate = state["gate"]
        if gate is None:
            return start(self, function, then)
        job = Job(function, then)

        async def later() -> None:
            await gate.wait()
            job.run()
            job.finish()

        trio.lowlevel.spawn_system_task(later)
        return job

    monkeypatch.setattr(DiskWork, "start", slow)

    def begin() -> trio.Event:
        state["gate"] = gate = trio.Event()
        return gate

    return begin


# -- 1. pruning fails after the batch was committed


async def test_a_failed_pruning_refuses_what_is_on_disk_and_it_starts_after_a_restart(
    autojump_clock: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    petal = Recorder()
    prune = JournalStore.prune
    fails = False

    def prune_or_fail(store: JournalStore, **others: Any) -> Any:
        if fails:
            raise JournalError("the test's", "has no room: the disk is full (SQLITE_FULL)")
        return prune(store, **others)

    monkeypatch.setattr(JournalStore, "prune", prune_or_fail)
    monkeypatch.setattr(upkeep, "PRUNE_EVERY", 0)
    async with open_harness(petal, settings=settings(path, petal_concurrency=1)) as harness:
        harness.send("rec/hold", {"n": 0}, message_id="m0")
        await settle()
        fails = True
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1}, message_id="m1")
            await settle()
            refused = [response["error_code"] for response in responses]
        fails = False
        await trio.sleep(60)
        crashed = after_crash(path)
        petal.open()
    second = Recorder()
    second.open()
    async with open_harness(second, settings=settings(crashed)):
        await settle()
    # Either it was accepted and runs, or it was refused and does not.
    assert (refused, second.started) in (([], [1]), (["UNAVAILABLE"], []))


# -- 2. what is not recorded waits for a disk that fails


async def test_what_is_not_recorded_goes_on_when_what_was_before_it_is_taken_back(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal, other = Again(), Recorder("other")
    async with open_harness(petal, other, settings=settings(path)) as harness:
        harness.send("other/hold")
        await settle()
        disk.error = "the disk is full"
        other.open()  # its end is in the batch that fails, and stays there
        harness.send("rec/note", {"n": 1})
        harness.send("rec/renew", {"n": 2})
        await settle()
        harness.send("rec/renew", {"n": 3})
        await trio.sleep(3600)  # the disk fails for hours
        started = list(petal.started)
        disk.error = None
        await trio.sleep(60)
    assert started == [2, 3]


async def test_what_is_not_recorded_passes_a_start_that_cannot_be_written(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    """And so it does not fill the channel, behind which an urgent command would not be read."""
    petal = Again()
    bounds = settings(path, petal_concurrency=3, channel_capacity=4, channel_reserve=2)
    async with open_harness(petal, settings=bounds) as harness:
        for n in range(4):
            harness.send("rec/hold", {"n": n, "key": str(n)})
        await settle()
        disk.error = "the disk is full"
        petal.open("0")  # its slot goes to the last, whose start cannot be written
        petal.open("1")
        await settle()
        for n in range(20):
            harness.send("rec/renew", {"n": 100 + n})
            await settle()
        harness.send("rec/stop")
        await trio.sleep(3600)
        stopped = "stop" in petal.started
        petal.open("2")
        petal.open("3")
        disk.error = None
        await trio.sleep(60)
    assert stopped
    assert petal.started[3:24] == [*range(100, 120), "stop"]


# -- 4. what is held while the disk fails


async def test_what_is_held_when_the_disk_fails_holds_up_no_acknowledgement(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    bounds = narrow(path, journal_backlog=0)
    async with open_harness(petal, settings=bounds) as harness:
        for n in range(8):
            harness.send("rec/hold", {"n": n})
        await settle()
        assert harness.statistics().held == 5
        disk.error = "the disk is full"
        petal.open()  # the end of the first cannot be written
        await settle()
        assert harness.statistics().journal_failing
        refused = await harness.call("rec/note", {"n": 9})
        assert refused.error_code == "UNAVAILABLE"
        await trio.sleep(3600)
        owed = unacknowledged(harness)
        disk.error = None
        await trio.sleep(60)
    assert owed == 0


# -- 5. expiry while the start waits for the disk


async def test_one_that_expires_while_its_start_is_being_written_is_not_run(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    import datetime as dt

    petal = Recorder()
    async with open_harness(petal, settings=settings(path, petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            moment = (harness.now() + dt.timedelta(seconds=10)).isoformat()
            harness.send("rec/hold", {"n": 0}, message_id="m0")
            harness.send("rec/hold", {"n": 1}, message_id="m1", expiresAt=moment)
            await settle()
            disk.error = "the disk is full"
            petal.open()
            await trio.sleep(3600)
            disk.error = None
            await trio.sleep(60)
            codes = {response["messageId"]: response.get("error_code") for response in responses}
    assert (petal.started, codes["m1"]) == ([0], "EXPIRED")


# -- 6. the bound of the file


class Big(Petal):
    name = "big"

    @command("echo")
    async def echo(self, data: dict[str, Any]) -> dict[str, Any]:
        return {"size": len(data.get("text", ""))}


async def test_a_journal_that_is_larger_than_its_bound_takes_commands_again(
    autojump_clock: object, path: Path
) -> None:
    """`journal_size` was made smaller."""
    async with open_harness(Big(), settings=settings(path, journal_size=32 << 20)) as harness:
        for _ in range(30):
            for _ in range(100):
                harness.send("big/echo", {"text": "x" * 3000}, waitResponse=False)
            await settle()
    smaller = settings(path, journal_size=1 << 20, overflow="reject")
    async with open_harness(Big(), settings=smaller) as harness:
        codes = []
        for _ in range(100):
            response = await harness.call("big/echo", {})
            codes.append(response.error_code)
            await trio.sleep(60)
    assert codes[-1] is None


async def test_a_journal_that_reached_its_bound_takes_commands_again(
    autojump_clock: object, path: Path
) -> None:
    """All in one run: many small commands, then one burst of large ones."""
    bounds = settings(path, journal_size=1 << 20, overflow="reject")
    async with open_harness(Big(), settings=bounds) as harness:
        for _ in range(10):
            for _ in range(100):
                harness.send("big/echo", {}, waitResponse=False)
            await settle()
        for _ in range(11):
            harness.send("big/echo", {"text": "x" * 120_000}, waitResponse=False)
        await settle()
        codes = []
        for _ in range(50):
            codes.append((await harness.call("big/echo", {})).error_code)
            await trio.sleep(60)
    assert codes[-1] is None


async def test_a_journal_that_was_full_of_events_recovers_when_they_have_left(
    autojump_clock: object, path: Path
) -> None:
    petal = Recorder()
    bounds = settings(path, journal_size=1 << 20)
    broker = MemoryBroker()
    async with open_harness(petal, settings=bounds, broker=broker, organization_id=None) as harness:
        for _ in range(40):
            await petal.publish_message({"text": "x" * 100_000}, durable=True)
            await settle()
        await harness.set_organization("acme")
        await trio.sleep(3600)
        statistics = harness.statistics()
        assert statistics.outbox == 0
        assert not statistics.journal_failing
        assert (await harness.call("rec/note")).success


# -- 9. a disk that hangs


async def test_events_while_the_disk_hangs_are_not_gathered_without_end(
    autojump_clock: object,
    path: Path,
    hang: Callable[[], trio.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "OPERATIONS_MAX", 100)
    petal = Recorder()
    bounds = settings(path, event_capacity=10)
    async with open_harness(petal, settings=bounds) as harness:
        gate = hang()
        for n in range(2000):
            await petal.publish_message({"n": n}, durable=True)
            if n % 10 == 0:
                await settle()
        journal = harness.runtime._ledger._journal
        assert journal is not None
        gathered = len(journal._commits)
        gate.set()
        await trio.sleep(60)
    assert gathered <= 100 + 2 * 10


async def test_an_urgent_command_gets_through_while_the_disk_hangs(
    autojump_clock: object, path: Path, hang: Callable[[], trio.Event]
) -> None:
    """With MQTT's window: what is not acknowledged keeps the next from being sent."""
    petal = Recorder()
    broker = MemoryBroker()
    bounds = settings(path, receive_maximum=20, protocol="5")
    async with open_harness(petal, settings=bounds, broker=broker) as harness:
        gate = hang()
        for n in range(30):
            harness.send("rec/note", {"n": n})
        await settle()
        harness.send("rec/stop")
        await trio.sleep(3600)
        stopped = "stop" in petal.started
        gate.set()
        await trio.sleep(60)
    assert stopped


# -- 11. what an earlier run has left, and nobody serves


async def test_the_outbox_stays_within_its_bound_when_nobody_serves_what_is_left(
    autojump_clock: object, path: Path
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=narrow(path)) as harness:
        for n in range(1000):
            harness.send("rec/hold", {"n": n})
            if n % 100 == 0:
                await settle()
        await settle()
        crashed = after_crash(path)
        harness.runtime.hurry()
    bounds = settings(crashed, response_capacity=10)
    most = 0
    async with open_harness(Recorder("new"), settings=bounds, organization_id=None) as harness:
        outbox = harness.runtime._outbox
        put = outbox._put

        def watch(*arguments: Any) -> None:
            nonlocal most
            put(*arguments)
            most = max(most, len(outbox))

        outbox._put = watch  # type: ignore[method-assign]
        await harness.set_organization("acme")
        await trio.sleep(60)
    assert most <= 10 + 256


async def test_taking_up_what_is_left_does_not_hold_up_the_event_loop(
    autojump_clock: object, path: Path
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=narrow(path)) as harness:
        for n in range(5000):
            harness.send("rec/hold", {"n": n}, waitResponse=False)
            if n % 500 == 0:
                await settle()
        await settle()
        crashed = after_crash(path)
        harness.runtime.hurry()
    broker = MemoryBroker()
    most = 0
    async with open_harness(
        Recorder("new"), settings=settings(crashed), broker=broker, organization_id=None
    ) as harness:
        disk = harness.runtime.parts.backlog
        assert disk is not None
        refill = disk.refill

        def counted() -> None:
            nonlocal most
            before = disk.count
            refill()
            most = max(most, before - disk.count)

        disk.refill = counted  # type: ignore[method-assign]
        await harness.set_organization("acme")
        await trio.sleep(60)
        assert harness.statistics().waiting_on_disk == 0
    assert 0 < most <= 500, f"{most} of 5000 without a checkpoint; 50 000 are allowed"


# -- 13. reading fails once


async def test_what_is_left_is_taken_up_although_it_could_not_be_read_once(
    autojump_clock: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=narrow(path)) as harness:
        for n in range(3):
            harness.send("rec/hold", {"n": n})
        await settle()
        petal.open("nothing")
        harness.runtime.hurry()
    read = JournalStore.not_started
    times = 0

    def once(store: JournalStore, after: int, limit: int) -> Any:
        nonlocal times
        times += 1
        if times == 1:
            raise JournalError("the test's", "another process kept it busy for 5 s (SQLITE_BUSY)")
        return read(store, after, limit)

    monkeypatch.setattr(JournalStore, "not_started", once)
    second = Recorder()
    second.open()
    async with open_harness(second, settings=settings(path)):
        await trio.sleep(3600)
        started = list(second.started)
    assert started == [1, 2]


# -- 14. commands that are added at run time


class Added(Recorder):
    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.add_command("special/move", self.move, timeout=600.0)
        yield

    async def move(self, n: int = 0) -> dict[str, Any]:
        return await self._hold("", n)


async def test_what_was_running_is_interrupted_also_where_others_answer_what_is_unknown(
    autojump_clock: object, path: Path
) -> None:
    petal = Added()
    beside = settings(path, answer_unknown="own")
    async with open_harness(petal, settings=beside) as harness:
        harness.send("special/move", {"n": 1}, message_id="m")
        await settle()
        assert petal.started == [1]
        crashed = after_crash(path)
        petal.open()
    second = Added()
    second.open()
    async with open_harness(second, settings=settings(crashed, answer_unknown="own")) as harness:
        copy = await harness.call("special/move", {"n": 1}, message_id="m")
        assert (second.started, copy.error_code) == ([], "INTERRUPTED")


# -- 15. acknowledged when handled


async def test_a_stop_gives_a_command_to_the_journal_or_to_the_broker_and_not_to_both(
    autojump_clock: object, path: Path
) -> None:
    broker = MemoryBroker()
    first = Recorder()
    handled = narrow(path, acknowledge="handled")
    async with open_harness(first, settings=handled, broker=broker) as harness:
        for n in range(2):
            payload = b'{"command": "rec/hold", "data": {"n": %d}}' % n
            harness.send_raw(payload)
        await settle()
        harness.runtime.stop()
        await settle()
        first.open()
        await harness.runtime.wait_stopped()
    second = Recorder()
    second.open()
    async with open_harness(second, settings=handled, broker=broker):
        await trio.sleep(60)
    assert first.started + second.started == [0, 1]


# -- 16. drop-oldest


async def test_one_command_drops_one_although_the_journal_has_no_room(
    autojump_clock: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = 0.1
    full = property(lambda _: fill, lambda _store, _value: None)
    monkeypatch.setattr(JournalStore, "fill", full, raising=False)
    petal = Recorder()
    bounds = narrow(path, overflow="drop-oldest")
    async with open_harness(petal, settings=bounds) as harness:
        for n in range(50):
            harness.send("rec/hold", {"n": n})
        await settle()
        fill = 1.0
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 99})
            await settle()
            codes = [response["error_code"] for response in responses]
        fill = 0.1
        petal.open()
        await trio.sleep(60)
    assert len(codes) <= 1, f"{len(codes)}: {set(codes)}"


# -- 17. one petal's waiting stops another


async def test_urgent_commands_get_through_behind_a_slow_petal_and_anothers_renewals(
    autojump_clock: object, path: Path
) -> None:
    slow, quick = Recorder("slow"), Again()
    bounds = settings(path, channel_capacity=4, petal_concurrency=1, channel_reserve=2)
    async with open_harness(slow, quick, settings=bounds) as harness:
        for n in range(8):
            harness.send("slow/hold", {"n": n})
        await settle()
        assert harness.statistics().waiting_on_disk > 0
        for n in range(10):
            harness.send("rec/renew", {"n": n})
            await settle()
        harness.send("rec/stop")
        await trio.sleep(3600)
        started = list(quick.started)
        slow.open()
        await trio.sleep(60)
    assert "stop" in started, started


# -- 18. Message Expiry on disk, and a clock that is set meanwhile


async def test_a_message_expiry_counts_from_when_it_was_read_also_on_disk(
    autojump_clock: object, path: Path
) -> None:
    offset = 0.0  # the board boots in 1970
    petal = Recorder()
    bounds = narrow(path, protocol="5")

    def now() -> float:
        return offset + trio.current_time()

    async with open_harness(petal, settings=bounds, now=now) as harness:
        with harness.responses() as responses:
            for n in range(6):
                harness.send("rec/hold", {"n": n}, properties=Properties(message_expiry=600))
            await settle()
            assert harness.statistics().waiting_on_disk == 3
            offset = EPOCH.timestamp()  # a time server has answered
            await trio.sleep(1)
            petal.open()
            await trio.sleep(60)
            codes = [response.get("error_code") for response in responses]
    assert codes == [None] * 6


async def test_a_message_expiry_is_kept_on_disk_although_the_clock_is_not_set(
    autojump_clock: object, path: Path
) -> None:
    petal = Recorder()
    bounds = narrow(path, protocol="5")
    async with open_harness(petal, settings=bounds, now=trio.current_time) as harness:
        for n in range(6):
            harness.send("rec/hold", {"n": n}, properties=Properties(message_expiry=600))
        await trio.sleep(3600)
        petal.open()
        await trio.sleep(60)
    assert petal.started == [0]


# -- 20. the stop


async def test_a_disk_that_works_again_is_tried_at_the_stop(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        harness.send("rec/hold", {"n": 1}, message_id="m")
        await settle()
        disk.error = "the disk is full"
        petal.open()
        await trio.sleep(123)  # the next attempt is 30 s after the one before
        disk.error = None
    async with open_harness(Recorder(), settings=settings(path)) as harness:
        copy = await harness.call("rec/hold", {"n": 1}, message_id="m")
    assert copy.error_code is None  # it has run to its end


async def test_what_is_accepted_and_unwritten_at_a_stop_is_answered_if_it_comes_no_more(
    autojump_clock: object, path: Path, disk: Disk, hang: Callable[[], trio.Event]
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=narrow(path)) as harness:
        harness.send("rec/hold", {"n": 0})
        await settle()
        with harness.responses() as responses:
            gate = hang()
            harness.send("rec/hold", {"n": 1}, message_id="m", qos=0)
            await settle()
            harness.runtime.stop()
            await settle()
            disk.error = "the disk is full"
            gate.set()
            await trio.sleep(1)
            petal.open()
            await harness.runtime.wait_stopped()
            codes = [r.get("error_code") for r in responses if r["messageId"] == "m"]
    second = Recorder()
    second.open()
    disk.error = None
    async with open_harness(second, settings=settings(path)):
        await trio.sleep(10)
    assert codes or second.started == [1]


async def test_a_file_system_that_does_not_say_what_is_there_holds_up_nobody_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the file is there still, is a question to the disk as every other."""
    release = threading.Event()
    journal = Journal(settings(path, journal_timeout=0.05), "device", Counters(), Timestamps())
    async with journal.open():
        monkeypatch.setattr(PlaceWatch, "check", lambda _: release.wait(2))
        try:
            journal.add(Noted(journal.next_number(), b"note"))
            with trio.fail_after(1.5):
                while not journal.failing:
                    await trio.sleep(0.01)
        finally:
            release.set()
        await journal.wait_written()


async def test_opening_can_be_cancelled_while_the_disk_hangs(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        release.wait(6)
        raise JournalError("the test's", "hangs")

    monkeypatch.setattr(JournalStore, "open", hang)
    journal = Journal(settings(path, journal_timeout=0.5), "device", Counters(), Timestamps())
    begin = trio.current_time()
    with contextlib.suppress(JournalError), trio.move_on_after(0.5):
        async with journal.open():
            pass
    took = trio.current_time() - begin
    release.set()
    assert took < 3.0


# -- 23. code of others on the journal's task


async def test_what_a_lookup_raises_ends_no_runtime(
    autojump_clock: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver asks a petal's own code."""
    petal = Recorder()
    lookup = CommandTable.lookup
    fails = False

    def raising(table: CommandTable, name: str) -> Any:
        if fails and name == "rec/hold":
            raise RuntimeError("a petal's own code")
        return lookup(table, name)

    monkeypatch.setattr(CommandTable, "lookup", raising)
    async with open_harness(petal, settings=narrow(path)) as harness:
        for n in range(6):
            harness.send("rec/hold", {"n": n})
        await settle()
        fails = True
        petal.open()
        await trio.sleep(10)
        fails = False
        assert (await harness.call("rec/note", {"n": 9})).success


# -- 24. small things


async def test_what_is_taken_back_is_not_counted_as_open(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    async with open_harness(Recorder(), settings=settings(path)) as harness:
        disk.error = "the disk is full"
        for n in range(10):
            harness.send("rec/note", {"n": n})
        await settle()
        disk.error = None
        await trio.sleep(60)
        journal = harness.runtime._ledger._journal
        assert journal is not None
        assert journal._known.under_way == 0


async def test_a_copy_of_what_is_given_back_is_answered_too(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=narrow(path)) as harness:
        for n in range(3):
            harness.send("rec/hold", {"n": n})
        await settle()
        disk.error = "the disk is full"
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 9}, message_id="m", waitResponse=False)
            harness.send("rec/hold", {"n": 9}, message_id="m")
            await settle()
            codes = [response["error_code"] for response in responses]
            wanted = dict(harness.runtime.parts.backlog._wanted)  # type: ignore[union-attr]
        disk.error = None
        petal.open()
        await trio.sleep(60)
    assert (codes, wanted) == (["UNAVAILABLE"], {})


async def test_one_journal_under_two_names_is_used_by_one_runtime(
    autojump_clock: object, path: Path
) -> None:
    other = path.with_name("link.journal")
    async with open_harness(Recorder(), settings=settings(path)):
        other.symlink_to(path)
        with pytest.raises(JournalError):
            async with open_harness(Recorder(), settings=settings(other)):
                pass


async def test_answers_that_are_in_no_journal_are_not_said_to_be(
    autojump_clock: object, path: Path, disk: Disk, hang: Callable[[], trio.Event]
) -> None:
    """An idempotent command that ended before its acceptance could be written."""
    petal = Again()
    petal.open()
    async with open_harness(petal, settings=settings(path)) as harness:
        disk.error = "the disk is full"
        harness.runtime._outbox.hold()
        gate = hang()
        harness.send("rec/again", {"n": 1})
        await settle()
        gate.set()
        await settle()
        assert harness.statistics().outbox == 1
        harness.runtime.hurry()
        await harness.runtime.wait_stopped()
        assert harness.statistics().publish_unsent == 1


async def test_the_disk_does_not_count_as_mended_before_something_was_written(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    """What is left of a batch that was taken back is nothing, and writing nothing succeeds."""
    async with open_harness(Recorder(), settings=settings(path)) as harness:
        disk.error = "the disk is full"
        harness.send("rec/note")
        await trio.sleep(3600)
        failing = harness.statistics().journal_failing
    assert failing


async def test_urgent_commands_while_the_disk_hangs_are_not_gathered_without_end(
    autojump_clock: object, path: Path, hang: Callable[[], trio.Event]
) -> None:
    async with open_harness(Recorder(), settings=narrow(path, urgent_concurrency=4)) as harness:
        gate = hang()
        for n in range(6000):
            harness.send("rec/stop", {"n": n}, qos=0, waitResponse=False)
            if n % 4 == 3:
                await settle()
        journal = harness.runtime._ledger._journal
        assert journal is not None
        gathered = len(journal._commits)
        gate.set()
        await trio.sleep(60)
    assert gathered <= journal_module.OPERATIONS_MAX + 3 * 4


@pytest.mark.parametrize("table", ["commands", "outbox"])
async def test_a_byte_that_was_changed_on_the_disk_is_one_commands_trouble(
    table: str, autojump_clock: object, path: Path
) -> None:
    """Or of an earlier version: `extras` is no contract."""
    import sqlite3

    petal = Recorder()
    broker = MemoryBroker()
    bounds = narrow(path, protocol="5")
    async with open_harness(petal, settings=bounds, broker=broker) as harness:
        for n in range(3):
            harness.send("rec/hold", {"n": n}, properties=Properties(response_topic="a/b"))
        await settle()
        broker.drop_links()
        petal.open()
        await settle()
        crashed = after_crash(path)
        harness.runtime.hurry()
    with contextlib.closing(sqlite3.connect(folded(crashed))) as connection, connection:
        changed = connection.execute(f"UPDATE {table} SET extras = x'ff'").rowcount
        if table == "commands":
            connection.execute("DELETE FROM results")
            connection.execute("UPDATE commands SET state = 0")
    assert changed
    second = Recorder()
    second.open()
    async with open_harness(second, settings=attrs.evolve(bounds, journal=crashed)) as harness:
        await trio.sleep(10)
        assert (await harness.call("rec/note", {"n": 9}, message_id="new")).success


async def test_unavailable_before_the_call_is_not_remembered(
    autojump_clock: object, path: Path, hang: Callable[[], trio.Event]
) -> None:
    """It is retryable: a copy is judged anew."""
    from petalkit import ErrorCode

    async with open_harness(Recorder(), Recorder("other"), settings=settings(path)) as harness:
        gate = hang()
        harness.send("rec/note", {"n": 1}, message_id="m")
        await settle()
        harness.runtime._dispatcher.cancel_petal("rec", ErrorCode.UNAVAILABLE, "failed")
        gate.set()
        await settle()
    second = Recorder()
    async with open_harness(second, settings=settings(path)) as harness:
        copy = await harness.call("rec/note", {"n": 1}, message_id="m")
    assert copy.error_code is None


async def test_a_copys_wish_for_an_answer_is_on_disk_before_it_is_acknowledged(
    autojump_clock: object, path: Path, disk: Disk, hang: Callable[[], trio.Event]
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        gate = hang()
        harness.send("rec/hold", {"n": 1}, message_id="m", waitResponse=False)
        await settle()  # its acceptance is on its way to the disk
        harness.send("rec/hold", {"n": 1}, message_id="m")
        await settle()
        second_gate = hang()
        gate.set()
        await settle()
        # The first is on disk; what its copy wants is not yet.
        assert unacknowledged(harness) == 1
        second_gate.set()
        petal.open()
        await settle()
        assert unacknowledged(harness) == 0


async def test_what_kills_the_process_at_once_each_time_is_interrupted_in_the_end(
    autojump_clock: object, path: Path
) -> None:
    """Its start is not waited for, so it is not counted either."""
    calls = 0

    class Killer(Again):
        @command("again", timeout=600.0, idempotent=True)
        async def again(self, key: str = "", n: int = 0) -> dict[str, Any]:
            nonlocal path, calls
            calls += 1
            path = after_crash(path)  # here the process dies
            return {}

    first = Again()
    async with open_harness(first, settings=settings(path)) as harness:
        harness.send("rec/again", {"n": 1}, message_id="m")
        await settle()
        path = after_crash(path)
        first.open()
    for _ in range(8):
        before = calls
        async with open_harness(Killer(), settings=settings(path)):
            await settle()
        if calls == before:
            break
    assert calls <= 2


async def test_a_stop_ends_within_its_limits_while_the_disk_hangs(
    autojump_clock: object, path: Path, hang: Callable[[], trio.Event]
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        harness.send("rec/hold", {"n": 0})
        await settle()
        gate = hang()
        for n in range(20):
            harness.send("rec/note", {"n": n})
        await settle()
        begin = trio.current_time()
    assert trio.current_time() - begin <= 49
    gate.set()  # and then the file is closed all the same
    await settle()


async def test_a_command_that_was_removed_is_not_forgotten_without_an_answer(
    autojump_clock: object, path: Path
) -> None:
    """It was accepted, and acknowledged, as ours."""

    class Changing(Recorder):
        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            self.add_command("special/move", self.move, timeout=600.0)
            yield

        async def move(self, n: int = 0) -> dict[str, Any]:
            return {"n": n}

    petal = Changing()
    async with open_harness(petal, settings=narrow(path, answer_unknown="own")) as harness:
        with harness.responses() as responses:
            for n in range(4):
                harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
            harness.send("special/move", {"n": 4}, message_id="m4")
            await settle()
            petal.remove_command("special/move")
            petal.open()
            await trio.sleep(60)
            answered = sorted(response["messageId"] for response in responses)
    assert answered == ["m0", "m1", "m2", "m3", "m4"]


async def test_what_is_left_is_answered_only_where_the_settings_allow_it_now(
    autojump_clock: object, path: Path
) -> None:
    petal = Recorder()
    bounds = narrow(path, protocol="5")
    async with open_harness(petal, settings=bounds) as harness:
        for n in range(2):
            harness.send("rec/hold", {"n": n}, properties=Properties(response_topic="a/b"))
        await settle()
        crashed = after_crash(path)
        petal.open()
    second = Recorder()
    second.open()
    broker = MemoryBroker()
    narrower = attrs.evolve(bounds, journal=crashed, reply_topics=("x/#",))
    with broker.observe("a/b") as seen:
        async with open_harness(second, settings=narrower, broker=broker):
            await trio.sleep(10)
    assert len(seen) == 0


async def test_what_is_left_is_answered_below_the_own_response_and_in_no_other_tree(
    autojump_clock: object, path: Path
) -> None:
    """Its Response Topics are judged under the identity that it came under."""
    petal = Recorder()
    base = "org/acme/device/Instance-1"
    topics = (f"{base}/response", f"{base}/response/7")
    bounds = narrow(path, protocol="5")
    async with open_harness(petal, settings=bounds) as harness:
        for n, topic in enumerate(topics):
            properties = Properties(response_topic=topic)
            harness.send("rec/hold", {"n": n}, waitResponse=False, properties=properties)
        await settle()
        crashed = after_crash(path)
        petal.open()
    broker = MemoryBroker()
    with broker.observe(f"{base}/#") as seen:
        async with open_harness(
            Recorder(), settings=attrs.evolve(bounds, journal=crashed), broker=broker
        ):
            await trio.sleep(10)
    answered = [one.topic for one in seen if "/response" in one.topic]
    assert sorted(answered) == sorted(topics)


async def test_what_waits_on_disk_has_the_grace_of_an_old_identity_too(
    autojump_clock: object, path: Path
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=narrow(path, grace=100.0)) as harness:
        for n in range(6):
            harness.send("rec/hold", {"n": n})
        await settle()
        await harness.set_organization("other")
        await trio.sleep(5)
        petal.open()
        await trio.sleep(50)
    assert petal.started == list(range(6))


async def test_what_cannot_wait_on_disk_is_refused_and_holds_up_nobody(
    autojump_clock: object, path: Path
) -> None:
    petal = Again()
    bounds = settings(path, petal_concurrency=1, channel_capacity=2, channel_reserve=2)
    async with open_harness(petal, settings=bounds) as harness:
        harness.send("rec/hold", {"n": 0})
        await settle()
        with harness.responses() as responses:
            for n in range(10):
                harness.send("rec/renew", {"n": 100 + n})
            await settle()
            assert [response["error_code"] for response in responses] == ["BUSY"] * 6
        assert (await harness.call("rec/stop")).success
        petal.open()
        await until(lambda: len(petal.started) == 6)


async def test_records_whose_topic_was_changed_on_the_disk_end_and_hold_up_nobody(
    autojump_clock: object, path: Path
) -> None:
    """More of them than are taken up in one step."""
    import sqlite3

    async with open_harness(Recorder(), settings=narrow(path)) as harness:
        for n in range(300):
            harness.send("rec/hold", {"n": n})
        await settle()
        crashed = after_crash(path)
        harness.runtime.hurry()
    with contextlib.closing(sqlite3.connect(folded(crashed))) as connection, connection:
        connection.execute("UPDATE commands SET base_topic = 'a/#'")
    petal = Recorder()
    async with open_harness(petal, settings=settings(crashed)) as harness:
        await trio.sleep(60)
        assert harness.statistics().waiting_on_disk == 0
        assert harness.runtime._outbox.places.taken == 0
        assert (await harness.call("rec/note", message_id="new")).success
    assert petal.started == [0]


async def test_a_start_can_be_cancelled_while_the_disk_hangs(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        release.wait(6)
        raise JournalError("the test's", "hangs")

    monkeypatch.setattr(JournalStore, "open", hang)
    served = settings(path, organization_id="acme", device_id="d", watchdog=0.0)
    transport = MemoryTransport(MemoryBroker())
    begin = trio.current_time()
    with trio.move_on_after(0.5) as scope:
        async with open_runtime([Recorder()], served, transport=transport):
            pass
    took = trio.current_time() - begin
    release.set()
    assert scope.cancelled_caught
    assert took < 3.0
