"""`petalkit watch`: a line for each thing that a device says."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
import trio

from petalkit import Job, job
from petalkit.cli._caller.interrupts import Interrupts
from petalkit.cli._watching.command import Watched, show
from petalkit.cli._watching.lines import Line
from petalkit.cli._watching.sources import Wish
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from ...client.long_work import LongPetal
from ..conftest import RunCli
from .kit import HOSTILE, Caller, a_caller, no_exit

Capsys = pytest.CaptureFixture[str]


def watching(*names: str, kinds: Any = ("event", "job", "status"), **until: Any) -> Any:
    wish = Wish(kinds=frozenset(kinds), names=names, rate=until.pop("rate", 10.0), every=2.0)
    return functools.partial(show, Watched(wish, **until))


def caller_lines(caller: Caller) -> list[Any]:
    return [json.loads(line) for line in caller.out.splitlines()]


@pytest.mark.trio
async def test_events_jobs_and_status_are_lines(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller, trio.open_nursery() as nursery:

        async def act() -> None:
            await trio.sleep(1)
            await caller.harness.call("long/hello", {"name": "Ada"})
            await caller.harness.call("long/copy", {"count": 2})

        nursery.start_soon(act)
        assert await caller.run(watching(duration=6.0), as_json=True) == 0
        lines = caller_lines(caller)
        kinds = [one["kind"] for one in lines]
        assert kinds[0] == "status"
        assert lines[0]["data"]["status"] == "online"
        (event,) = (one for one in lines if one["kind"] == "event")
        assert (event["name"], event["data"]) == ("long/greeted", {"name": "Ada"})
        jobs = [one["data"] for one in lines if one["kind"] == "job"]
        assert {one["job_id"] for one in jobs} == {"made-1"}
        assert (jobs[-1]["state"], jobs[-1]["result"]) == ("succeeded", {"copied": 2})
        assert {one["device_id"] for one in lines} == {"Instance-1"}
        assert all(set(one) >= {"kind", "time", "device_id", "name", "data"} for one in lines)
        assert trio.current_time() == pytest.approx(6, abs=2.5)


@pytest.mark.trio
async def test_streams_are_watched_by_their_names(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller:
        work = watching("long/sh*", kinds=("event", "job", "stream"), count=4)
        assert await caller.run(work, as_json=True) == 0
        lines = caller_lines(caller)
        assert [one["data"] for one in lines] == [{"n": 0}, {"n": 1}, {"n": 2}, None]
        assert lines[-1]["ended"] is True
        assert {one["name"] for one in lines} == {"long/short"}


@pytest.mark.trio
async def test_a_name_that_nobody_has_is_named(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller:
        work = watching("long/copi", kinds=("event", "job", "stream"), duration=2.0)
        assert await caller.run(work) == 0
        assert caller.out == ""
        assert caller.err.splitlines() == [
            "petalkit: warning: no job or stream of the device is called 'long/copi'; events of "
            "that name are watched"
        ]


@pytest.mark.trio
async def test_figures_are_lines_with_what_happened_per_second(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller:
        assert await caller.run(watching(kinds=("live",), count=2), as_json=True) == 0
        first, second = caller_lines(caller)
        assert first["data"]["connected"] is True
        assert second["data"]["per_second"]["started"] == pytest.approx(0.5, abs=0.1)
        assert await caller.run(watching(kinds=("live",), count=2)) == 0
        assert "started/s" in caller.out.splitlines()[1]
        assert "connected True" in caller.out


@pytest.mark.trio
async def test_a_device_that_comes_later_is_watched_then(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller, trio.open_nursery() as nursery:
        caller.harness.drop_link()

        async def act() -> None:
            await caller.harness.wait_connected()
            await trio.sleep(3)
            await caller.harness.call("long/copy", {"count": 1})

        nursery.start_soon(act)
        assert await caller.run(watching(kinds=("job",), count=1), as_json=True) == 0
        assert caller_lines(caller)[0]["kind"] == "job"


class LaterPetal(LongPetal):
    """The petal of a later version, which has another job."""

    @job("verify")
    async def verify(self, job: Job) -> None:
        await job.progress(0.5)
        await trio.sleep(1)


@pytest.mark.trio
async def test_what_a_device_serves_that_was_started_anew_is_watched_too(
    capsys: Capsys, autojump_clock: object
) -> None:
    broker = MemoryBroker()
    async with trio.open_nursery() as nursery:
        async with open_harness(LongPetal(), broker=broker) as harness:
            caller = Caller(harness, LongPetal(), capsys, Interrupts(no_exit))
            seen: list[str] = []

            async def watch() -> None:
                await caller.run(watching(kinds=("job",), duration=60), as_json=True)
                seen.extend(line["name"] for line in caller_lines(caller))

            nursery.start_soon(watch)
            await trio.sleep(3)
            await harness.call("long/copy", {"count": 1})
            await trio.sleep(3)
        async with open_harness(LaterPetal(), broker=broker) as harness:
            await trio.sleep(3)
            await harness.call("long/verify", {})
            await harness.call("long/copy", {"count": 1})
            await trio.sleep(100)
    assert seen[0] == "long/copy"
    assert {"long/copy", "long/verify"} == set(seen[2:])


@pytest.mark.trio
async def test_ctrl_c_ends_it_at_once(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller, trio.open_nursery() as nursery:

        async def press() -> None:
            await trio.sleep(3)
            caller.interrupts.interrupt()

        nursery.start_soon(press)
        assert await caller.run(watching()) == 130
        assert trio.current_time() < 6


@pytest.mark.trio
async def test_what_is_watched_cannot_steer_the_terminal(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller, trio.open_nursery() as nursery:

        async def act() -> None:
            await trio.sleep(1)
            caller.say("command/web", command=f"/{HOSTILE}", data={HOSTILE: HOSTILE})
            caller.say("status", status=HOSTILE, petals=[{"name": HOSTILE, "version": HOSTILE}])
            await trio.sleep(1)

        nursery.start_soon(act)
        assert await caller.run(watching(kinds=("event", "status"), duration=5.0)) == 0
        assert "\x1b" not in caller.out
        assert "\r" not in caller.out
        assert "[bold]x[/bold]" in caller.out
        assert len(caller.out.splitlines()) == 3  # the birth, and one each


def test_a_line_is_cut_off_somewhere() -> None:
    line = Line("event", "x", {"a": "b" * 10_000}, 1.0)
    assert len(line.as_text().plain) < 2100
    assert len(json.dumps(line.as_json("d"))) > 10_000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--rate", "0"), "--rate must be above 0"),
        (("--rate", "101"), "--rate must be above 0 and at most 100 Hz"),
        (("--rate", "nan"), "--rate must be above 0"),
        (("--every", "0.01"), "--every must be 0.1 s or more"),
        (("--every", "inf"), "--every must be"),
        (("--count", "0"), "--count must be 1 or more"),
        (("--for", "-1"), "--for must be seconds above 0"),
        (("--only", "evnts"), "--only"),
    ],
)
def test_what_cannot_be_watched_is_refused(
    arguments: tuple[str, ...], text: str, run_cli: RunCli
) -> None:
    outcome = run_cli("watch", *arguments)
    assert outcome.code == 2
    assert text in outcome.err
