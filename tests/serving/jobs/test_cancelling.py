"""`petalkit/cancel` and `petalkit/jobs`: served while everything else is full."""

from __future__ import annotations

import pytest
import trio

from petalkit import Petal, Settings, job
from petalkit.testing import open_harness

from ..recorder import Recorder, settle

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
