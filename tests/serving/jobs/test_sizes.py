"""What is said of jobs fits a message, whatever they have reported, said and come to."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import CommandError, Job, Petal, Settings, job, stream
from petalkit.testing import Harness, open_harness

pytestmark = pytest.mark.trio

MOST = 4096
SMALL = Settings(payload_max=MOST)
WIDE = "\N{GRINNING FACE}"  # four bytes each


class Says(Petal):
    name = "says"

    @job("much", concurrency=256)
    async def much(self, job: Job, fields: int = 0, text: int = 0, result: int = 0) -> Any:
        job.report(0.5, WIDE * text or None, **({"x": "y" * fields} if fields else {}))
        await trio.sleep(2)
        return {"r": "z" * result}

    @job("one")
    async def one(self, job: Job) -> None:
        job.report(0.5, WIDE * 900, x="y" * 3000)
        await trio.sleep(2)

    @stream("fails")
    async def fails(self) -> AsyncGenerator[Any]:
        yield {"x": 1}
        raise CommandError("GONE", "e" * 3000, details={"why": "w" * 3000})


async def told_of(harness: Harness, **data: Any) -> list[dict[str, Any]]:
    reader = {"subscribed_stream_id": "r", "data_rate_hz": 10}
    await harness.call("says/subscribe_much", reader)
    with harness.events() as events:
        await harness.call("says/much", data)
        await trio.sleep(5)
        assert all(len(json.dumps(one, ensure_ascii=False).encode()) <= MOST for one in events)
        return [one["data"]["stream_payload"] for one in events]


async def test_a_report_and_a_text_that_are_one_message_too_many_do_no_harm(
    autojump_clock: object,
) -> None:
    async with open_harness(Says(), settings=SMALL) as harness:
        *_, running, ended = await told_of(harness, fields=3000, text=900)
        assert (running["state"], running["left_out"]) == ("running", ["fields"])
        assert (ended["state"], ended["result"]) == ("succeeded", {"r": ""})
        assert (await harness.call("petalkit/ping")).success


async def test_what_matters_more_is_kept(autojump_clock: object) -> None:
    async with open_harness(Says(), settings=SMALL) as harness:
        *_, ended = await told_of(harness, fields=2500, text=10, result=2500)
        assert ended["result"] == {"r": "z" * 2500}
        assert (ended["message"], ended["left_out"]) == (WIDE * 10, ["fields"])
        result = await harness.call("says/result_much")
        assert (result["result"], result["left_out"]) == ({"r": "z" * 2500}, ["fields"])


async def test_how_a_hundred_jobs_stand_fits_an_answer(autojump_clock: object) -> None:
    async with open_harness(Says(), settings=SMALL) as harness:
        for _ in range(100):
            await harness.call("says/much", {"fields": 100, "text": 20})
        for name in ("says/status_much", "petalkit/jobs"):
            answer = await harness.call(name)
            assert answer.success
            assert 10 < len(answer["jobs"]) < 100
            assert answer["jobs_left_out"] == 100 - len(answer["jobs"])
            assert answer["jobs"][0]["left_out"] == ["fields", "message"]
        answer = await harness.call("says/cancel_much")
        assert len(answer["running"]) == 5
        await trio.sleep(5)
        answer = await harness.call("says/status_much")
        assert answer["jobs"] == []
        assert answer["last"]["state"] == "succeeded"


async def test_a_busy_answer_says_what_runs_however_much_that_has_said(
    autojump_clock: object,
) -> None:
    async with open_harness(Says(), settings=SMALL) as harness:
        started = await harness.call("says/one")
        await trio.sleep(1)
        busy = await harness.call("says/one")
        assert busy.error_code == "BUSY"
        assert [one["job_id"] for one in busy["running"]] == [started["job_id"]]
        assert busy["running"][0]["left_out"] == ["fields", "message"]


async def test_a_reader_of_a_stream_is_told_its_end_without_what_is_too_large(
    autojump_clock: object,
) -> None:
    async with open_harness(Says(), settings=SMALL) as harness:
        with harness.events() as events:
            await harness.call("says/subscribe_fails", {"subscribed_stream_id": "r"})
            await trio.sleep(1)
        last = events[-1]["data"]["stream_payload"]
        assert (last["ended"], last["error_code"], last["error"]) == (True, "GONE", "e" * 3000)
        assert "why" not in last
