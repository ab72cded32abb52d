"""`petalkit call`: a job is followed to its end, and Ctrl-C cancels it."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
import trio

from petalkit import Job, job
from petalkit.cli._caller.call import Said, work
from petalkit.cli._caller.interrupts import Interrupts
from petalkit.client import ClientJob

from ...client.long_work import LongPetal
from .kit import DEVICE, HOSTILE, a_caller

pytestmark = pytest.mark.trio
Capsys = pytest.CaptureFixture[str]


def call(command: str, data: dict[str, Any] | None = None, **how: Any) -> Any:
    return functools.partial(work, Said(command, data or {}, **how))


async def test_a_job_is_followed_to_its_result(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller:
        assert await caller.run(call("long/copy", {"count": 5})) == 0
        said = json.loads(caller.out)
        assert (said["state"], said["result"]) == ("succeeded", {"copied": 5})
        assert not {"messageId", "timestamp", "success"} & said.keys()
        assert caller.err == ""  # no terminal: no bar
        assert caller.petal.runs == 1


async def test_a_program_gets_one_object_of_a_job(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller:
        assert await caller.run(call("long/copy", {"count": 2}), as_json=True) == 0
        assert caller.document["success"] is True
        assert caller.document["result"] == {"copied": 2}
        failing = call("long/copy", {"count": 1, "fail": True})
        assert await caller.run(failing, as_json=True) == 1
        said = caller.document
        assert (said["success"], said["error_code"]) == (False, "CARD_FULL")
        assert said["error"] == "there is no room on the card"
        assert said["state"] == "failed"
        assert caller.err == ""


async def test_a_job_that_fails_is_an_error(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller:
        assert await caller.run(call("long/copy", {"count": 1, "fail": True})) == 1
        assert caller.err.splitlines() == [
            "petalkit: error: the job 'long/copy' ended as failed: CARD_FULL: there is no room on "
            "the card"
        ]
        assert json.loads(caller.out)["error_code"] == "CARD_FULL"


async def test_a_job_may_be_left_to_itself(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller:
        assert await caller.run(call("long/copy", {"count": 5}, follow=0.0), as_json=True) == 0
        assert caller.document["state"] == "running"
        assert trio.current_time() < 5


async def test_a_job_is_followed_for_so_long(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller:
        assert await caller.run(call("long/copy", {"count": 50}, follow=5.0)) == 2
        first, *rest = caller.err.splitlines()
        assert "has not ended within 5 s: it is running, and goes on by itself" in first
        assert "petalkit watch long/copy" in rest[0]
        assert "petalkit cancel made-1" in rest[1]


async def test_ctrl_c_cancels_the_job(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller, trio.open_nursery() as nursery:
        nursery.start_soon(press_later, caller.interrupts, 3.5)
        assert await caller.run(call("long/copy", {"count": 100})) == 130
        assert "cancelling job made-1; Ctrl-C again leaves it as it is" in caller.err
        assert "ended as cancelled" in caller.err
        assert json.loads(caller.out)["state"] == "cancelled"
        assert trio.current_time() < 10


async def test_ctrl_c_before_the_job_is_followed_cancels_it_too(
    capsys: Capsys, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_caller(capsys) as caller:
        enter = ClientJob.__aenter__

        async def press_and_enter(job: ClientJob) -> ClientJob:
            caller.interrupts.interrupt()
            return await enter(job)

        monkeypatch.setattr(ClientJob, "__aenter__", press_and_enter)
        with trio.CancelScope() as scope, caller.interrupts.handled_by(scope.cancel):
            assert await caller.run(call("long/copy", {"count": 100})) == 130
        assert not scope.cancelled_caught
        assert json.loads(caller.out)["state"] == "cancelled"
        assert trio.current_time() < 5


async def press_later(interrupts: Interrupts, seconds: float) -> None:
    await trio.sleep(seconds)
    interrupts.interrupt()


async def test_a_job_that_cannot_be_followed_is_named(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller:
        caller.harness.broker.reject_subscribe(f"{DEVICE}/command/web")
        assert await caller.run(call("long/copy", {"count": 5}), as_json=True) == 2
        said = caller.document
        assert said["job_id"] == "made-1"
        assert "the job 'long/copy' was started, and cannot be followed" in said["error"]
        assert "petalkit cancel made-1" in said["hint"]


class SlowPetal(LongPetal):
    """Whose job does not stop when it is told to."""

    @job("stubborn")
    async def stubborn(self, job: Job) -> None:
        try:
            await trio.sleep(1000)
        finally:
            with job.cleanup(60):
                await trio.sleep(50)


async def test_a_job_that_does_not_stop_is_left_alone(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys, SlowPetal()) as caller, trio.open_nursery() as nursery:
        nursery.start_soon(press_later, caller.interrupts, 1)
        began = trio.current_time()
        assert await caller.run(call("long/stubborn")) == 130
        assert trio.current_time() - began == pytest.approx(31, abs=0.5)
        assert "was told to stop, and has not yet: it is cancelling" in caller.err


async def test_ctrl_c_before_the_answer_waits_for_it_a_moment(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller, trio.open_nursery() as nursery:
        caller.harness.broker.publish_nowait("x", b"")
        said = Said("long/away", {}, message_id="m-1")
        nursery.start_soon(press_later, caller.interrupts, 1)
        silent = functools.partial(work, said)
        began = trio.current_time()
        code = await caller.run(silent, settings=other_device())
        assert code == 130
        assert trio.current_time() - began == pytest.approx(3, abs=0.5)
        assert "petalkit: error: interrupted; the device may have 'long/away'" in caller.err
        assert "petalkit cancel m-1" in caller.err


def other_device() -> Any:
    import attrs

    from ...client.long_work import CALLER

    return attrs.evolve(CALLER, device_id="nobody")


async def test_no_answer_is_one_object_for_a_program(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller:
        code = await caller.run(
            call("long/x", message_id="m-2"), settings=other_device(), timeout=3.0, as_json=True
        )
        assert code == 2
        said = caller.document
        assert (said["success"], said["error_code"], said["exit_code"]) == (False, "NO_ANSWER", 2)
        assert said["message_id"] == "m-2"
        assert said["sent"] is True
        assert "petalkit doctor" in said["hint"]
        assert caller.err == ""


async def test_a_command_that_no_petal_serves_says_what_to_do(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller:
        assert await caller.run(call("long/helo"), options=("--device-id", "Instance-1")) == 1
        assert caller.err.splitlines() == [
            "petalkit: error: the device answered UNKNOWN_COMMAND: Unknown command: long/helo",
            "petalkit: next: did you mean long/hello?",
            "petalkit: next: `petalkit info --device-id Instance-1` shows what the device serves",
        ]
        assert json.loads(caller.out)["error_code"] == "UNKNOWN_COMMAND"
        assert await caller.run(call("long/hello", {"name": 3})) == 1
        assert "`petalkit info long/hello` shows what the command takes" in caller.err


async def test_an_answer_that_only_looks_like_a_job_is_shown_as_it_is(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller:

        async def start() -> dict[str, str]:
            return {"job_id": "mine", "state": "running"}

        caller.petal.add_command("own", start)
        assert await caller.run(call("long/own")) == 0
        assert json.loads(caller.out) == {"job_id": "mine", "state": "running"}


async def test_a_device_that_has_another_schema_meanwhile_is_no_success(
    capsys: Capsys, autojump_clock: object
) -> None:
    """It has told how the job stands, and then serves nothing of that name any more."""
    async with a_caller(capsys) as caller:

        async def start() -> dict[str, str]:
            return {"job_id": "mine", "state": "running"}

        caller.petal.add_command("own", start)
        caller.petal.add_command("result_own", start)
        assert await caller.run(call("long/own"), as_json=True) == 1
        said = caller.document
        assert (said["success"], said["error_code"]) == (False, "UNKNOWN_COMMAND")
        assert (said["job_id"], said["exit_code"]) == ("mine", 1)
        assert "the job 'long/own' was started, and cannot be followed" in said["error"]


async def test_what_a_device_says_cannot_steer_the_terminal(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys, HostilePetal()) as caller:
        for command in ("long/hostile", "long/hostile_job"):
            await caller.run(call(command))
            assert "\x1b" not in caller.out + caller.err
            assert "\r" not in caller.out + caller.err
            assert "[bold]x[/bold]" in caller.out + caller.err
            assert not any(line.startswith("forged") for line in caller.err.splitlines())


class HostilePetal(LongPetal):
    def __init__(self) -> None:
        super().__init__()
        self.add_command("hostile", self._hostile)

    async def _hostile(self) -> dict[str, str]:
        return {HOSTILE: HOSTILE}

    @job("hostile_job")
    async def hostile_job(self, job: Job) -> None:
        await job.progress(0.5, HOSTILE)
        await trio.sleep(1)
        raise RuntimeError(HOSTILE)
