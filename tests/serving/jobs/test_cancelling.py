"""`petalkit/cancel` and `petalkit/jobs`: served while everything else is full."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from petalkit import Petal, Settings, job
from petalkit.testing import open_harness

from ..on_disk import Disk, after_crash, settings
from ..recorder import Recorder, settle, until

pytestmark = pytest.mark.trio


class Worker(Petal):
    name = "worker"

    @job("work", concurrency=3)
    async def work(self, n: int) -> None:
        await trio.sleep_forever()


async def test_a_command_that_runs_is_cancelled_while_all_slots_are_busy(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1}, message_id="runs")
            harness.send("rec/hold", {"n": 2}, message_id="waits")
            await settle()
            answer = await harness.call("petalkit/cancel", {"messageId": "waits"})
            assert (answer["cancelled"], answer["state"]) == (True, "cancelled")
            answer = await harness.call("petalkit/cancel", {"messageId": "runs"})
            assert answer["state"] == "cancelling"
            await settle()
            ends = {one["messageId"]: one.get("error_code") for one in responses}
            assert (ends["runs"], ends["waits"]) == ("CANCELLED", "CANCELLED")
            assert petal.started == [1]
            answer = await harness.call("petalkit/cancel", {"messageId": "runs"})
            assert (answer["cancelled"], answer["state"]) == (False, "finished")


async def test_a_job_is_cancelled_by_its_id_and_listed_until_then(autojump_clock: object) -> None:
    async with open_harness(Worker()) as harness:
        started = [await harness.call("worker/work", {"n": n}) for n in range(2)]
        listed = (await harness.call("petalkit/jobs"))["jobs"]
        assert [one["job_id"] for one in listed] == [one["job_id"] for one in started]
        ambiguous = await harness.call("worker/cancel_work")
        assert (ambiguous["error_code"], len(ambiguous["running"])) == ("INVALID_DATA", 2)
        await harness.call("petalkit/cancel", {"job_id": started[0]["job_id"]})
        await settle()
        listed = (await harness.call("petalkit/jobs"))["jobs"]
        assert [one["job_id"] for one in listed] == [started[1]["job_id"]]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"messageId": "nobody"}, "UNKNOWN_MESSAGE_ID"),
        ({"job_id": "nobody"}, "UNKNOWN_JOB"),
        ({}, "INVALID_DATA"),
        ({"messageId": "a", "job_id": "b"}, "INVALID_DATA"),
    ],
)
async def test_what_is_not_known_is_said(
    autojump_clock: object, data: dict[str, str], code: str
) -> None:
    async with open_harness(Worker()) as harness:
        assert (await harness.call("petalkit/cancel", data))["error_code"] == code


async def test_a_command_that_is_read_and_not_accepted_is_cancelled(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    narrow = Settings(petal_concurrency=1, channel_capacity=2)
    async with open_harness(petal, settings=narrow) as harness:
        with harness.responses() as responses:
            for n in range(8):
                harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
            await settle()
            assert harness.statistics().held > 0
            answer = await harness.call("petalkit/cancel", {"messageId": "m6"})
            assert (answer["cancelled"], answer["state"]) == (True, "cancelled")
            assert responses[0]["messageId"] == "m6"
            assert responses[0]["error_code"] == "CANCELLED"
            petal.open()
            await until(lambda: len(petal.ended) == 7)
    assert petal.started == [0, 1, 2, 3, 4, 5, 7]


@pytest.mark.parametrize("which", [3, 4, 40, 199])
async def test_a_command_that_waits_on_disk_is_cancelled(
    autojump_clock: object, path: Path, which: int
) -> None:
    petal = Recorder()
    narrow = settings(path, petal_concurrency=1, channel_capacity=2)
    async with open_harness(petal, settings=narrow) as harness:
        with harness.responses() as responses:
            for n in range(200):
                harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
            await settle()
            before = harness.statistics().waiting_on_disk
            answer = await harness.call("petalkit/cancel", {"messageId": f"m{which}"})
            assert (answer["cancelled"], answer["state"]) == (True, "cancelled")
            assert harness.statistics().waiting_on_disk == before - 1
            await settle()
            told = {one["messageId"]: one.get("error_code") for one in responses}
            assert told[f"m{which}"] == "CANCELLED"
            petal.open()
            await until(lambda: len(petal.ended) == 199)
            await settle()
            assert harness.statistics().waiting_on_disk == 0
    assert petal.started == [n for n in range(200) if n != which]


async def test_a_command_of_an_earlier_run_that_waits_on_disk_is_cancelled(
    autojump_clock: object, path: Path
) -> None:
    narrow = {"petal_concurrency": 1, "channel_capacity": 2}
    async with open_harness(Recorder(), settings=settings(path, **narrow)) as harness:
        for n in range(300):
            harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
        await settle()
        crashed = after_crash(path)
        harness.runtime.hurry()
    petal = Recorder()
    async with open_harness(petal, settings=settings(crashed, **narrow)) as harness:
        for which in (10, 290):
            answer = await harness.call("petalkit/cancel", {"messageId": f"m{which}"})
            assert (answer["cancelled"], answer["state"]) == (True, "cancelled")
        petal.open()
        await until(lambda: len(petal.ended) == 297)
        await settle()
        assert harness.statistics().waiting_on_disk == 0
    assert petal.started == [n for n in range(1, 300) if n not in (10, 290)]


async def test_a_command_that_is_not_on_disk_yet_is_cancelled_as_soon_as_it_is(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    petal = Recorder()
    narrow = settings(path, petal_concurrency=1, channel_capacity=2)
    async with open_harness(petal, settings=narrow) as harness:
        with harness.responses() as responses:
            for n in range(10):
                harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
            harness.send("petalkit/cancel", {"messageId": "m9"}, message_id="cancel")
            await settle()
            told = {one["messageId"]: one for one in responses}
            assert told["cancel"]["cancelled"] is True
            assert told["m9"]["error_code"] == "CANCELLED"
            petal.open()
            await until(lambda: len(petal.ended) == 9)
    assert petal.started == list(range(9))
