"""A disk that fails: nothing is lost, nothing is done that could not be recorded."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import trio

from petalkit._authoring.registry import CommandSpec
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import JournalError
from petalkit.testing import open_harness

from ..on_disk import Again, Disk, settings
from ..recorder import Recorder, settle, unacknowledged

pytestmark = pytest.mark.trio


async def test_commands_are_refused_while_it_fails_and_accepted_after(
    autojump_clock: object, path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Again()
    async with open_harness(petal, settings=settings(path)) as harness:
        disk.error = "the disk is full"
        with harness.responses() as responses:
            harness.send("rec/note", {"n": 1})
            await settle()
            assert harness.statistics().journal_failing
            refused = await harness.call("rec/note", {"n": 2})
            assert (refused.error_code, refused.retryable) == ("UNAVAILABLE", True)
            assert petal.started == []
            assert (await harness.call("rec/renew", {"n": 3})).success
            assert (await harness.call("rec/stop")).success
            assert unacknowledged(harness) == 0
            codes = [response.get("error_code") for response in responses]
            assert codes == ["UNAVAILABLE", "UNAVAILABLE", None, None]
            disk.error = None
            await trio.sleep(60)
        assert petal.started == [3, "stop"]
        assert not harness.statistics().journal_failing
        assert harness.statistics().journal_failures >= 1
        assert (await harness.call("rec/note", {"n": 4})).success
        assert harness.runtime._outbox.places.taken == 0
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "the disk is full" in errors[0].message


class Unsure:
    """Serves by names that it cannot tell."""

    name = "unsure"
    broken = False

    def resolve(self, name: str) -> CommandSpec | None:
        return None

    def names(self) -> list[str]:
        if self.broken:
            raise ValueError("the petal's own")
        return []

    def prefixes(self) -> list[str]:
        return []


async def test_a_petals_code_that_raises_does_not_keep_the_others_from_their_answers(
    autojump_clock: object, path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """Each that cannot be recorded is refused; else what is behind it is never acknowledged."""
    unsure = Unsure()
    narrow = settings(path, answer_unknown="own", petal_concurrency=1, channel_capacity=1)
    async with open_harness(petal := Again(), settings=narrow) as harness:
        for n in range(2):
            harness.send("rec/hold", {"n": n})
        await settle()  # the others wait on the disk only
        harness.runtime._dispatcher._table.resolvers.append(unsure)
        unsure.broken = True
        disk.error = "the disk is full"
        with harness.responses() as responses:
            for n in range(5):
                harness.send("rec/note", {"n": n})
            await settle()
            assert [one["error_code"] for one in responses] == ["UNAVAILABLE"] * 5
        assert unacknowledged(harness) == 0
        unsure.broken = False
        petal.open()
    assert "nobody can say who serves 'rec/note'" in caplog.text


async def test_what_was_to_wait_on_disk_only_and_is_refused_was_never_accepted(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    narrow = settings(path, petal_concurrency=1, channel_capacity=1)
    async with open_harness(petal := Again(), settings=narrow) as harness:
        for n in range(2):
            harness.send("rec/hold", {"n": n})
        await settle()
        disk.error = "the disk is full"
        for n in range(5):
            harness.send("rec/note", {"n": n})
        await settle()
        statistics = harness.statistics()
        assert (statistics.accepted, statistics.refused) == (2, {"UNAVAILABLE": 5})
        disk.error = None
        await trio.sleep(60)
        harness.send("rec/note", {"n": 5})
        await settle()
        assert harness.statistics().accepted == 3
        petal.open()


def away(path: Path, *, replaced: bool) -> None:
    path.rename(path.with_name("elsewhere"))
    if replaced:
        path.write_bytes(b"")


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
async def test_a_file_that_is_gone_is_noticed_before_a_command_is_accepted(
    autojump_clock: object, path: Path, caplog: pytest.LogCaptureFixture, replaced: bool
) -> None:
    """What is written to a file without a name is on no disk that a next start finds."""
    petal = Again()
    async with open_harness(petal, settings=settings(path)) as harness:
        assert (await harness.call("rec/note", {"n": 1})).success
        away(path, replaced=replaced)
        refused = await harness.call("rec/note", {"n": 2})
        assert refused.error_code == "UNAVAILABLE"
        assert (await harness.call("rec/stop")).success
        os.replace(path.with_name("elsewhere"), path)
        await trio.sleep(60)
        assert (await harness.call("rec/note", {"n": 3})).success
    assert "was deleted or replaced while it was in use" in caplog.text


async def test_what_waits_for_no_disk_goes_on_without_a_record(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Again()
    async with open_harness(petal, settings=settings(path)) as harness:
        disk.error = "the disk is full"
        with harness.responses() as responses:
            harness.send("rec/again", {"n": 1}, message_id="m1")  # is running when it fails
            harness.send("rec/again", {"n": 2, "key": "brief"}, message_id="m2")
            petal.open("brief")  # has ended when it fails
            await settle()
            assert unacknowledged(harness) == 0
            assert [response["messageId"] for response in responses] == ["m2"]
            petal.open()
            await settle()
            assert [response["messageId"] for response in responses] == ["m2", "m1"]
            disk.error = None
            await trio.sleep(60)
            assert (await harness.call("rec/again", {"n": 1}, message_id="m1")).success
        assert petal.started == [1, 2]
        assert harness.runtime._outbox.places.taken == 0


async def test_what_is_on_disk_and_not_started_waits(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path, petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            for n in range(3):
                harness.send("rec/hold", {"n": n})
            await settle()
            disk.error = "the disk is full"
            petal.open()
            await settle()
            assert (petal.started, len(responses)) == ([0], 0)
            disk.error = None
            await trio.sleep(60)
            assert len(responses) == 3
    assert petal.started == [0, 1, 2]


async def test_what_waits_on_disk_only_and_is_not_there_yet_is_given_back(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    narrow = settings(path, petal_concurrency=1, channel_capacity=2)
    async with open_harness(petal, settings=narrow) as harness:
        with harness.responses() as responses:
            disk.error = "the disk is full"
            for n in range(10):
                harness.send("rec/hold", {"n": n})
            await settle()
            assert [response["error_code"] for response in responses] == ["UNAVAILABLE"] * 10
            assert unacknowledged(harness) == 0
            disk.error = None
            petal.open()
            await trio.sleep(60)
            assert harness.statistics().waiting_on_disk == 0
            assert (await harness.call("rec/note")).success
        assert harness.runtime._outbox.places.taken == 0


async def test_events_while_it_fails_are_not_gathered_without_end(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        disk.error = "the disk is full"
        harness.send("rec/note")
        await settle()
        with harness.events() as events:
            for n in range(100):
                await petal.publish_message({"n": n}, durable=True)
            await events.wait(100)
        journal = harness.runtime._ledger._journal
        assert journal is not None
        assert len(journal._commits) == 0
        disk.error = None
        await trio.sleep(60)


async def test_a_file_that_is_no_journal_is_refused_and_left_alone(
    autojump_clock: object, path: Path
) -> None:
    content = b"something else" * 100
    await trio.Path(path).write_bytes(content)
    with pytest.raises(JournalError, match=r"device\.journal"):
        async with open_harness(Recorder(), settings=settings(path)):
            pass
    assert await trio.Path(path).read_bytes() == content


async def test_two_runtimes_do_not_share_one(autojump_clock: object, path: Path) -> None:
    async with open_harness(Recorder(), settings=settings(path)) as harness:
        with pytest.raises(JournalError, match="uses"):
            async with open_harness(Recorder(), settings=settings(path)):
                pass
        assert (await harness.call("rec/note")).success


async def test_a_full_journal_takes_no_more_until_there_is_room(
    autojump_clock: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = 1.0
    full = property(lambda _: fill, lambda _store, _value: None)
    monkeypatch.setattr(JournalStore, "fill", full, raising=False)
    petal = Recorder()
    async with open_harness(petal, settings=settings(path, overflow="reject")) as harness:
        assert (await harness.call("rec/note", {"n": 1})).error_code == "BUSY"
        fill = 0.1
        assert (await harness.call("rec/note", {"n": 2})).success
    assert petal.started == [2]


async def test_a_copy_is_refused_when_its_record_cannot_be_read(
    autojump_clock: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        await harness.call("rec/note", message_id="m")

        def fail(store: JournalStore, number: int) -> None:
            raise JournalError("the test's", "cannot be read")

        monkeypatch.setattr(JournalStore, "read", fail)
        assert (await harness.call("rec/note", message_id="m")).error_code == "UNAVAILABLE"
        assert unacknowledged(harness) == 0
    assert petal.started == [0]


async def test_a_copy_that_waits_for_the_disk_holds_nobody_up_when_that_fails(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="m", waitResponse=False)
            await settle()
            disk.error = "the disk is full"
            harness.send("rec/hold", message_id="m")  # wants an answer, which is put down
            await settle()
            assert unacknowledged(harness) == 0
            petal.open()
            await settle()
            disk.error = None
            await trio.sleep(60)
            assert len(responses) == 1


async def test_a_stop_without_the_file_counts_what_it_has_not_written(
    autojump_clock: object, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Again(), settings=settings(path)) as harness:
        assert (await harness.call("rec/note", {"n": 1})).success
        away(path, replaced=False)
        refused = await harness.call("rec/note", {"n": 2})
        assert refused.error_code == "UNAVAILABLE"
    (told,) = [one.getMessage() for one in caplog.records if one.getMessage().startswith("stopped")]
    # Of the second command: that it is not to be run, and its being forgotten.
    assert told == "stopped before 2 records could be written to the journal"
