"""What is told of jobs, and when that is safe: a crash, a disk that fails, a stop, a clock."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio

from petalkit import InterruptedJob, Job, Petal, job
from petalkit._serving.jobs.notes import JobNote, decode_note
from petalkit._serving.ledger.disk import DiskLedger
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from ..ledger.journal.test_open import VERSION_1
from ..on_disk import Disk, after_crash, settings
from ..recorder import settle

pytestmark = pytest.mark.trio

WEB = "org/acme/device/Instance-1/command/web"


class Works(Petal):
    name = "works"

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.may_end = trio.Event()
        self.cleans_up = 0.0

    @job("copy", queue=5)
    async def copy(self, n: int = 0) -> int:
        self.log.append(n)
        await self.may_end.wait()
        return n

    @job("pair", concurrency=2)
    async def pair(self, seconds: float) -> float:
        await trio.sleep(seconds)
        return seconds

    @job("sync", resume=True)
    async def sync(self, job: Job) -> str:
        self.log.append("sync")
        try:
            await self.may_end.wait()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.cleans_up)
        return "done"

    async def on_interrupted(self, job: InterruptedJob) -> None:
        self.log.append(job.name)


def notes_of(path: Path) -> list[JobNote]:
    """The jobs that the next process finds there."""
    store = JournalStore.open(after_crash(path), device_id="Instance-1", size_max=10_000_000)
    try:
        found = map(decode_note, store.load().notes.values())
        return [note for note in found if isinstance(note, JobNote)]
    finally:
        store.close()


async def test_no_end_is_told_before_it_is_safe(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    works = Works()
    async with open_harness(works, settings=settings(path)) as harness:
        with harness.events() as events:
            await harness.call("works/subscribe_copy", {"subscribed_stream_id": "s"})
            job_id = (await harness.call("works/copy", {"n": 1}))["job_id"]
            await trio.sleep(1)
            told = len(events)
            disk.error = "it fails"
            works.may_end.set()
            await trio.sleep(1)
            result = await harness.call("works/result_copy", {"job_id": job_id})
            assert result["state"] == "running"
            assert "result" not in result
            status = await harness.call("works/status_copy")
            assert [one["state"] for one in status["jobs"]] == ["running"]
            assert len(events) == told
            crashed = after_crash(path)
            disk.error = None
            await trio.sleep(60)
            result = await harness.call("works/result_copy", {"job_id": job_id})
            assert (result["state"], result["result"]) == ("succeeded", {"result": 1})
            assert len(events) == told + 1
    async with open_harness(Works(), settings=settings(crashed)) as harness:
        result = await harness.call("works/result_copy", {"job_id": job_id}, message_id="r")
        assert result["state"] == "interrupted"


async def test_at_every_moment_a_crash_leaves_one_end_and_it_is_told(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    works, broker = Works(), MemoryBroker()
    copies: list[tuple[Path, int]] = []
    with broker.observe(WEB) as seen:
        disk.after_write = lambda: copies.append((after_crash(path), len(seen)))
        async with open_harness(works, settings=settings(path), broker=broker) as harness:
            job_id = (await harness.call("works/copy"))["job_id"]
            # It reads later than the job has begun.
            await harness.call("works/subscribe_copy", {"subscribed_stream_id": "s"})
            await trio.sleep(1)
            first = len(copies)
            works.may_end.set()
            await trio.sleep(1)
            ended = seen[-1].payload
            del copies[: first - 1]
            disk.after_write = lambda: None
    assert b"succeeded" in ended
    states = []
    for crashed, _ in copies:
        broker = MemoryBroker()
        with broker.observe(WEB) as again:
            async with open_harness(Works(), settings=settings(crashed), broker=broker) as harness:
                result = await harness.call("works/result_copy", {"job_id": job_id})
                states.append((result["state"], len(again) > 0))
    assert states[0] == ("interrupted", True)
    assert {one for one, _ in states[1:]} == {"succeeded"}
    assert states[1] == ("succeeded", True)  # noted, and not told yet
    assert states[-1] == ("succeeded", False)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("works/subscribe_sync", {"subscribed_stream_id": "s"}),
        ("works/cancel_sync", {}),  # it runs
        ("works/cancel_copy", {"job_id": "the one that waits"}),
        ("petalkit/cancel", {"job_id": "the one that waits"}),
    ],
)
async def test_what_a_command_beside_a_job_has_changed_is_safe_before_it_is_answered(
    autojump_clock: object, path: Path, disk: Disk, name: str, data: dict[str, Any]
) -> None:
    broker = MemoryBroker()
    answered: list[int] = []
    with broker.observe("org/acme/device/Instance-1/response") as seen:
        async with open_harness(Works(), settings=settings(path), broker=broker) as harness:
            await harness.call("works/sync")
            await harness.call("works/copy")
            waits = (await harness.call("works/copy"))["job_id"]
            await trio.sleep(1)
            assert (before := len(seen)) == 3
            disk.before_write = lambda: answered.append(len(seen))
            if "job_id" in data:
                data = {"job_id": waits}
            assert (await harness.call(name, data)).success
            assert answered
            assert answered[0] == before
            disk.before_write = lambda: None
            # Nobody waits for a disk that fails: what is to end has to.
            disk.error = "it fails"
            assert (await harness.call("works/copy")).fields["error_code"] == "UNAVAILABLE"
            assert (
                await harness.call("works/subscribe_copy", {"subscribed_stream_id": "s"})
            ).success
            disk.error = None


async def test_what_ended_by_itself_while_the_device_stopped_is_not_run_again(
    autojump_clock: object, path: Path
) -> None:
    works = Works()
    async with open_harness(works, settings=settings(path, grace=10.0)) as harness:
        job_id = (await harness.call("works/sync"))["job_id"]
        harness.runtime.stop()
        await trio.sleep(5)
        works.may_end.set()
    works = Works()
    async with open_harness(works, settings=settings(path)) as harness:
        await settle()
        assert works.log == []
        result = await harness.call("works/result_sync", {"job_id": job_id})
        assert result["state"] == "succeeded"


async def test_what_was_cancelled_before_the_stop_is_not_left_to_the_next_start(
    autojump_clock: object, path: Path
) -> None:
    works = Works()
    works.cleans_up = 5.0
    async with open_harness(works, settings=settings(path, grace=10.0)) as harness:
        job_id = (await harness.call("works/sync"))["job_id"]
        await harness.call("works/cancel_sync")
    works = Works()
    async with open_harness(works, settings=settings(path)) as harness:
        result = await harness.call("works/result_sync", {"job_id": job_id})
        assert (result["state"], works.log) == ("cancelled", [])


async def test_what_was_cancelled_and_killed_as_it_cleaned_up_is_not_resumed(
    autojump_clock: object, path: Path
) -> None:
    works = Works()
    works.cleans_up = 50.0
    async with open_harness(works, settings=settings(path)) as harness:
        job_id = (await harness.call("works/sync"))["job_id"]
        assert (await harness.call("works/cancel_sync"))["state"] == "cancelling"
        await trio.sleep(1)
        crashed = after_crash(path)
        harness.runtime.hurry()
    works = Works()
    async with open_harness(works, settings=settings(crashed)) as harness:
        await settle()
        assert works.log == ["works/sync"]  # its petal was told, and it did not run
        result = await harness.call("works/result_sync", {"job_id": job_id})
        assert result["state"] == "interrupted"


async def test_a_waiting_job_whose_arguments_are_others_now_fails_and_holds_up_nothing(
    autojump_clock: object, path: Path
) -> None:
    class Changed(Petal):
        name = "works"
        told: ClassVar[list[str]] = []

        @job("copy", queue=5)
        async def copy(self, other: str) -> None: ...

        async def on_interrupted(self, job: InterruptedJob) -> None:
            self.told.append(job.id)

    async with open_harness(Works(), settings=settings(path)) as harness:
        ids = [(await harness.call("works/copy", {"n": n}))["job_id"] for n in range(2)]
        crashed = after_crash(path)
        harness.runtime.hurry()
    async with open_harness(Changed(), settings=settings(crashed)) as harness:
        results = [await harness.call("works/result_copy", {"job_id": one}) for one in ids]
        assert [one["state"] for one in results] == ["interrupted", "failed"]
        assert results[1]["job_error_code"] == "INVALID_DATA"
        # What ran is put right all the same: it needs no arguments for that.
        assert Changed.told == [ids[0]]


async def test_the_last_result_is_that_of_the_job_that_ended_last(
    autojump_clock: object, path: Path
) -> None:
    async with open_harness(Works(), settings=settings(path)) as harness:
        await harness.call("works/pair", {"seconds": 20})
        await harness.call("works/pair", {"seconds": 10})
        await trio.sleep(30)
    async with open_harness(Works(), settings=settings(path)) as harness:
        assert (await harness.call("works/result_pair"))["result"] == {"result": 20.0}


@pytest.mark.parametrize("code", ["UNAVAILABLE", "BUSY"])
async def test_a_job_that_could_not_be_noted_is_refused(
    autojump_clock: object, path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = Works()
    async with open_harness(works, settings=settings(path)) as harness:
        with monkeypatch.context() as patch:
            patch.setattr(DiskLedger, "takes_notes", property(lambda _: False))
            patch.setattr("petalkit._serving.ledger.disk.DiskLedger.failing", code == "UNAVAILABLE")
            answer = await harness.call("works/copy")
        assert (answer["error_code"], works.log) == (code, [])
        assert (await harness.call("works/copy")).success


async def test_a_reader_that_could_not_be_noted_is_as_it_renews(
    autojump_clock: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_harness(Works(), settings=settings(path)) as harness:
        await harness.call("works/copy")
        with monkeypatch.context() as patch:
            patch.setattr(DiskLedger, "takes_notes", property(lambda _: False))
            await harness.call("works/subscribe_copy", {"subscribed_stream_id": "s"})
        await harness.call("works/subscribe_copy", {"subscribed_stream_id": "s"})
        await trio.sleep(1)
        crashed = after_crash(path)
        harness.runtime.hurry()
    broker = MemoryBroker()
    with broker.observe(WEB) as seen:
        async with open_harness(Works(), settings=settings(crashed), broker=broker):
            (message,) = await seen.wait(1)
            assert b'"state":"interrupted"' in message.payload


async def test_checkpoints_of_a_job_that_does_not_wait_for_the_disk_are_not_gathered(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    class Hasty(Petal):
        name = "hasty"

        @job("go", resume=True, timeout=10_000)
        async def go(self, job: Job) -> None:
            await trio.sleep(1)
            for n in range(500):
                with trio.move_on_after(1):
                    await job.checkpoint({"n": n})

    async with open_harness(Hasty(), settings=settings(path)) as harness:
        await harness.call("hasty/go")
        await settle()
        disk.error = "it fails"
        await trio.sleep(400)
        commits = harness.runtime._ledger._journal._commits  # type: ignore[attr-defined]
        assert commits.unwritten < 5
        disk.error = None


async def test_what_is_forgotten_is_not_noted_again(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    works = Works()
    async with open_harness(works, settings=settings(path, job_results=1)) as harness:
        await harness.call("works/subscribe_pair", {"subscribed_stream_id": "s"})
        for _ in range(2):
            await harness.call("works/pair", {"seconds": 10})
        await trio.sleep(1)
        disk.error = "it fails"
        await trio.sleep(20)
        disk.error = None
        await trio.sleep(60)
        assert len(notes_of(path)) == 1


async def test_results_make_room_for_commands(autojump_clock: object, path: Path) -> None:
    class Large(Petal):
        name = "large"

        @job("one")
        async def one(self) -> str:
            return "x" * 100_000

    bounds = settings(path, journal_size=2 * 1024 * 1024)
    async with open_harness(Large(), settings=bounds) as harness:
        for _ in range(30):
            assert (await harness.call("large/one")).success
            await trio.sleep(1)
        assert len((await harness.call("large/result_one"))["result"]["result"]) == 100_000
        assert len(notes_of(path)) == 5  # a quarter of the journal


async def test_a_result_of_a_time_when_the_clock_was_not_set_is_kept(
    autojump_clock: object, path: Path
) -> None:
    async with open_harness(Works(), settings=settings(path), now=lambda: 1000.0) as harness:
        job_id = (await harness.call("works/pair", {"seconds": 1}))["job_id"]
        await trio.sleep(2)
    for wall in (1.9e9, 2.5e9):  # and one that leaps by years between two starts
        async with open_harness(
            Works(),
            settings=settings(path),
            now=lambda: wall,  # noqa: B023
        ) as harness:
            result = await harness.call(
                "works/result_pair", {"job_id": job_id}, message_id=f"r{wall}"
            )
            assert result["state"] == "succeeded"
            await harness.call("works/pair", {"seconds": 1}, message_id=f"p{wall}")
            await trio.sleep(2)


async def test_a_petal_that_is_not_in_service_is_told_before_it_is(
    autojump_clock: object, path: Path
) -> None:
    class Late(Works):
        lives = 0

        @asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            self.lives += 1
            if self.lives == 1:
                raise RuntimeError("on purpose")
            self.log.append("entered")
            yield

    async with open_harness(Works(), settings=settings(path)) as harness:
        ids = [(await harness.call("works/copy", {"n": n}))["job_id"] for n in range(2)]
        crashed = after_crash(path)
        harness.runtime.hurry()

    class Other(Petal):
        name = "other"

    late = Late()
    async with open_harness(late, Other(), settings=settings(crashed), restarts=True) as harness:
        await settle()
        assert late.log == []
        await trio.sleep(60)
        assert late.log == ["entered", "works/copy", 1]
        result = await harness.call("works/result_copy", {"job_id": ids[0]})
        assert result["state"] == "interrupted"


async def test_jobs_are_counted(autojump_clock: object, path: Path) -> None:
    works = Works()
    async with open_harness(works, settings=settings(path)) as harness:
        await harness.call("works/subscribe_copy", {"subscribed_stream_id": "s"})
        for n in range(3):
            await harness.call("works/copy", {"n": n})
        found = harness.statistics()
        assert (found.jobs_started, found.jobs_running, found.jobs_waiting) == (3, 1, 2)
        assert found.subscriptions == 1
        await harness.call(
            "petalkit/cancel",
            {"job_id": (await harness.call("petalkit/jobs"))["jobs"][2]["job_id"]},
        )
        works.may_end.set()
        await settle()
        found = harness.statistics()
        assert dict(found.jobs_ended) == {"cancelled": 1, "succeeded": 2}
        assert (found.jobs_running, found.jobs_waiting) == (0, 0)
        works.may_end = trio.Event()
        await harness.call("works/copy")
        crashed = after_crash(path)
        harness.runtime.hurry()
    async with open_harness(Works(), settings=settings(crashed)) as harness:
        found = harness.statistics()
        assert (found.jobs_started, found.jobs_restored) == (0, 1)
        assert dict(found.jobs_ended) == {"interrupted": 1}


async def test_a_journal_of_version_1_is_taken_over_and_keeps_jobs(
    autojump_clock: object, path: Path
) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.close()
    bounds = settings(path, device_id="d")
    async with open_harness(Works(), settings=bounds) as harness:
        job_id = (await harness.call("works/copy"))["job_id"]
        crashed = after_crash(path)
        harness.runtime.hurry()
    async with open_harness(Works(), settings=settings(crashed, device_id="d")) as harness:
        result = await harness.call("works/result_copy", {"job_id": job_id})
        assert result["state"] == "interrupted"


def fails_before_the_job_is_noted(disk: Disk) -> None:
    """The disk fails as soon as the start command has started."""

    def after_write() -> None:
        if "Started" in disk.kinds()[-1]:
            disk.error = "it fails"

    disk.after_write = after_write


async def test_a_job_that_waits_for_the_disk_is_cancelled_and_never_runs(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    works = Works()
    async with open_harness(works, settings=settings(path)) as harness:
        fails_before_the_job_is_noted(disk)
        harness.send("works/copy", message_id="m")
        await trio.sleep(1)
        (found,) = (await harness.call("petalkit/jobs"))["jobs"]
        assert (found["state"], works.log) == ("running", [])
        answer = await harness.call("petalkit/cancel", {"job_id": found["job_id"]})
        assert answer["state"] == "cancelling"
        disk.after_write = lambda: None
        disk.error = None
        await trio.sleep(60)
        result = await harness.call("works/result_copy", {"job_id": found["job_id"]})
        assert (result["state"], works.log) == ("cancelled", [])
        assert (await harness.call("works/copy", message_id="m"))["job_id"] == found["job_id"]


async def test_a_stop_while_a_job_waits_for_the_disk_is_bounded(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    works = Works()
    begun = trio.current_time()
    async with open_harness(works, settings=settings(path, grace=5.0)) as harness:
        fails_before_the_job_is_noted(disk)
        harness.send("works/copy", message_id="m")
        await trio.sleep(1)
        disk.after_write = lambda: None
    assert works.log == []
    assert trio.current_time() - begun < 60
    disk.error = None
    # Nobody was answered, and so nothing has to be known; the copy says what is.
    async with open_harness(Works(), settings=settings(path)) as harness:
        answer = await harness.call("works/copy", message_id="m")
        assert answer["error_code"] == "INTERRUPTED"
        assert (await harness.call("petalkit/jobs"))["jobs"] == []


async def test_the_lease_of_a_job_that_waits_for_the_disk_runs_out(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    class Motor(Petal):
        name = "motor"
        turns = 0

        @job("turn", lease=3.0)
        async def turn(self) -> None:
            self.turns += 1
            await trio.sleep_forever()

    motor = Motor()
    async with open_harness(motor, settings=settings(path)) as harness:
        fails_before_the_job_is_noted(disk)
        harness.send("motor/turn")
        await trio.sleep(10)
        disk.after_write = lambda: None
        disk.error = None
        await trio.sleep(60)
        result = await harness.call("motor/result_turn")
        assert (result["state"], motor.turns) == ("timed_out", 0)


async def test_what_has_succeeded_is_complete_after_a_restart_too(
    autojump_clock: object, path: Path
) -> None:
    async with open_harness(Works(), settings=settings(path)) as harness:
        job_id = (await harness.call("works/pair", {"seconds": 1}))["job_id"]
        await trio.sleep(2)
        before = await harness.call("works/result_pair", {"job_id": job_id})
    async with open_harness(Works(), settings=settings(path)) as harness:
        after = await harness.call("works/result_pair", {"job_id": job_id}, message_id="after")
    assert (before["progress"], after["progress"]) == (1.0, 1.0)
