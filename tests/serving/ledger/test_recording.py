"""What has to be on disk before something else happens, and what need not be."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from petalkit._serving.ledger.journal.operations import Forgotten
from petalkit._serving.ledger.journal.write_ahead import Journal
from petalkit._values.codec import Timestamps
from petalkit._values.statistics import Counters
from petalkit.testing import open_harness

from ..on_disk import Again, Disk, settings
from ..recorder import Recorder, settle, unacknowledged

pytestmark = pytest.mark.trio


async def test_a_command_is_acknowledged_and_called_when_it_is_on_disk(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        seen: list[tuple[int, list[int]]] = []
        disk.before_write = lambda: seen.append((unacknowledged(harness), list(petal.started)))
        harness.send("rec/note", {"n": 1})
        await settle()
        assert seen[0] == (1, [])
        assert petal.started == [1]
        assert unacknowledged(harness) == 0


async def test_accepting_and_starting_is_one_wait_for_the_disk(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    async with open_harness(Recorder(), settings=settings(path)) as harness:
        await harness.call("rec/note")
    assert disk.kinds()[:2] == [["Accepted", "Started"], ["Finished", "Posted"]]
    assert [len(batch) for batch in disk.batches[:2]] == [1, 1]  # one operation says both


async def test_an_answer_leaves_when_it_is_on_disk(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold")
            await settle()
            disk.error = "full"
            petal.open()
            await settle()
            assert petal.ended == [0]
            assert len(responses) == 0
            disk.error = None
            await trio.sleep(60)
            assert len(responses) == 1


async def test_a_copy_that_comes_before_the_answer_is_on_disk_shares_it(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="m", waitResponse=False)
            await settle()
            disk.error = "full"
            petal.open()
            await settle()
            harness.send("rec/hold", message_id="m")
            await settle()
            disk.error = None
            await trio.sleep(60)
            assert len(responses) == 1
        assert petal.started == [0]
        assert harness.runtime._outbox.places.taken == 0


async def test_a_burst_is_one_batch(autojump_clock: object, path: Path, disk: Disk) -> None:
    async with open_harness(Recorder(), settings=settings(path)) as harness:
        for n in range(10):
            harness.send("rec/note", {"n": n})
        await settle()
        kinds = disk.kinds()
        assert kinds[0].count("Accepted") == 10
        assert kinds[0].count("Started") == 10
        assert len(kinds) == 2  # accepted and started; finished and posted
        await trio.sleep(1)
        assert disk.kinds()[2:] == [["Settled"] * 10]


async def test_commands_of_a_petal_start_in_order(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Again()
    petal.open()
    async with open_harness(petal, settings=settings(path)) as harness:
        for n in range(0, 60, 3):
            harness.send("rec/note", {"n": n})
            harness.send("rec/again", {"n": n + 1})
            harness.send("rec/renew", {"n": n + 2})
        await settle()
    assert petal.started == list(range(60))


async def test_what_may_be_run_again_starts_without_a_wait_for_the_disk(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Again()
    async with open_harness(petal, settings=settings(path)) as harness:
        disk.error = "full"
        harness.send("rec/again", {"n": 1})
        await settle()
        assert petal.started == [1]
        disk.error = None
        petal.open()
        await trio.sleep(60)


async def test_an_urgent_command_waits_for_no_disk(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        harness.send("rec/hold")
        await settle()
        disk.error = "full"
        petal.open()
        await settle()
        assert (await harness.call("rec/stop")).success
        assert petal.started == [0, "stop"]
        disk.error = None


async def test_what_is_not_to_be_recorded_is_not(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Again()
    async with open_harness(petal, settings=settings(path)) as harness:
        first = await harness.call("rec/renew", {"n": 1}, message_id="m")
        assert (await harness.call("petalkit/ping")).success
        again = await harness.call("rec/renew", {"n": 1}, message_id="m")
        assert dict(first) == dict(again)
    assert petal.started == [1]
    assert disk.batches == []


async def test_acknowledged_when_handled_waits_for_the_answer_on_disk(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    handled = settings(path, acknowledge="handled")
    async with open_harness(petal, settings=handled) as harness:
        harness.send("rec/hold")
        await settle()
        disk.error = "full"
        petal.open()
        await settle()
        assert unacknowledged(harness) == 1
        disk.error = None
        await trio.sleep(60)
        assert unacknowledged(harness) == 0


async def test_a_command_cancelled_before_its_start_is_on_disk_is_not_called(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    brief = settings(path, petal_concurrency=1, grace=1.0, journal_timeout=30.0)
    async with open_harness(petal, settings=brief) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1}, message_id="m1")
            harness.send("rec/hold", {"n": 2}, message_id="m2")
            await settle()
            disk.error = "full"
            petal.open()
            await settle()
            harness.runtime.stop()
            await trio.sleep(2)
            disk.error = None
            await harness.runtime.wait_stopped()
            answers = {response["messageId"]: response for response in responses}
    assert answers["m1"]["success"]
    assert answers["m2"]["error_code"] == "CANCELLED"
    assert petal.started == [1]


# -- the journal by itself, with its thread


LIMIT = 4.0  # seconds of the real clock; less than `journal_timeout`


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def journal(path: Path, counters: Counters) -> Journal:
    return Journal(settings(path), "device", counters, Timestamps())


async def under_way(journal: Journal) -> None:
    """Put something down, and wait until it is on its way to the disk."""
    journal.add(Forgotten(1))
    while journal._commits._under_way is None:
        await trio.lowlevel.checkpoint()


async def test_whoever_waits_for_a_batch_that_is_under_way_causes_no_other(
    journal: Journal, counters: Counters
) -> None:
    with trio.fail_after(LIMIT):
        async with journal.open():
            await under_way(journal)
            await journal.wait_written()
    assert counters.journal_operations == counters.journal_batches == 1


async def test_what_was_put_down_is_written_although_the_block_is_cancelled(
    journal: Journal, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(LIMIT), trio.CancelScope() as scope:
        async with journal.open():
            await under_way(journal)
            journal.add(Forgotten(2))
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert counters.journal_operations == 2
    assert caplog.text == ""
