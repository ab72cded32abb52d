"""Long work of a real process: watched, cancelled, across a broker's restart and `kill -9`."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from ..brokers import Mosquitto
from .conftest import Start
from .kit import LIMIT, WHO, WIRES, Observer, Program, Wire, observe

pytestmark = [pytest.mark.trio, pytest.mark.broker, pytest.mark.process]

LOG = '''
"""A flight log that is fetched, and a motor that must not be left turning."""
import os
from pathlib import Path

import trio
from petalkit import InterruptedJob, Job, Petal, job


def note(text):
    file = os.open("noted", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{text}\\n".encode())
    os.close(file)


class Log(Petal):
    name = "log"

    @job("fetch")
    async def fetch(self, job: Job, flight: str = "f"):
        for step in range(1000):
            await job.progress(step / 1000, f"part {step}")
            if Path("gate").exists():
                return {"flight": flight}
            await trio.sleep(0.02)

    @job("turn", lease=30.0)
    async def turn(self):
        note("turns")
        await trio.sleep_forever()

    async def on_interrupted(self, job: InterruptedJob):
        await trio.sleep(0.2)
        note(f"stopped {job.name}")
'''


@pytest.fixture(autouse=True)
def petal(folder: Path) -> None:
    (folder / "log.py").write_text(LOG)


async def device(start: Start, mosquitto: Mosquitto, *more: str) -> Program:
    haste = ("--reconnect-delay-min", "0.05", "--reconnect-delay-max", "0.2")
    program = start("run", "log.py", "--broker", mosquitto.url, *WHO, *haste, *more)
    await program.connected()
    return program


async def state_of(seen: Observer) -> object:
    """Of the last job that has ended."""
    answer = await seen.call("log/result_fetch", f"asked at {trio.current_time()}")
    return answer.get("state")


def told(seen: Observer, state: str) -> list[dict[str, object]]:
    """What readers were told of jobs in that state."""
    payloads = [each.json["data"]["stream_payload"] for each in seen.on("command/web")]
    return [payload for payload in payloads if payload["state"] == state]


@WIRES
async def test_a_job_is_watched_refused_twice_and_cancelled(
    start: Start, mosquitto: Mosquitto, folder: Path, wire: Wire
) -> None:
    with trio.fail_after(LIMIT):
        await device(start, mosquitto, *wire)
        async with observe(mosquitto.url) as seen:
            await seen.call("log/subscribe_fetch", "s", subscribed_stream_id="r", data_rate_hz=20)
            begun = await seen.call("log/fetch", "m1", flight="a")
            await seen.wait(lambda: len(told(seen, "running")) >= 3)
            busy = await seen.call("log/fetch", "m2")
            assert busy["error_code"] == "BUSY"
            assert busy["running"][0]["job_id"] == begun["job_id"]
            assert (await seen.call("log/cancel_fetch", "m3"))["state"] == "cancelling"
            await seen.wait(lambda: told(seen, "cancelled"))
            (folder / "gate").touch()
            again = await seen.call("log/fetch", "m4", flight="b")
            await seen.wait(lambda: told(seen, "succeeded"))
            result = await seen.call("log/result_fetch", "m5")
            assert (result["job_id"], result["result"]) == (again["job_id"], {"flight": "b"})


@WIRES
async def test_a_job_survives_a_restart_of_the_broker(
    start: Start, mosquitto: Mosquitto, folder: Path, wire: Wire
) -> None:
    with trio.fail_after(LIMIT):
        program = await device(start, mosquitto, *wire)
        async with observe(mosquitto.url) as seen:
            await seen.call("log/subscribe_fetch", "s", subscribed_stream_id="r")
            begun = await seen.call("log/fetch", "m1")
        mosquitto.kill()
        mosquitto.start()
        await program.connected(2)
        async with observe(mosquitto.url) as seen:
            await seen.wait(lambda: told(seen, "running"))  # it is still told
            (folder / "gate").touch()
            await seen.wait(lambda: told(seen, "succeeded"))
            result = await seen.call("log/result_fetch", "m2", job_id=begun["job_id"])
            assert result["state"] == "succeeded"


@WIRES
async def test_a_job_in_the_middle_of_which_the_process_is_killed(
    start: Start, mosquitto: Mosquitto, folder: Path, wire: Wire
) -> None:
    with trio.fail_after(LIMIT):
        program = await device(start, mosquitto, *wire)
        async with observe(mosquitto.url) as seen:
            (folder / "gate").touch()
            first = await seen.call("log/fetch", "m1")
            await seen.call("log/subscribe_fetch", "s", subscribed_stream_id="r")
            (folder / "gate").unlink()
            while await state_of(seen) != "succeeded":
                await trio.sleep(0.02)
            begun = await seen.call("log/fetch", "m2")
            await seen.wait(lambda: told(seen, "running"))
            program.close()
            await device(start, mosquitto, *wire)
            await seen.wait(lambda: told(seen, "interrupted"))
            assert told(seen, "interrupted")[0]["job_id"] == begun["job_id"]
            last = await seen.call("log/result_fetch", "m3")
            assert (last["job_id"], last["state"]) == (begun["job_id"], "interrupted")
            # An earlier one is known still, and there is room for another.
            kept = await seen.call("log/result_fetch", "m4", job_id=first["job_id"])
            assert kept["state"] == "succeeded"
            assert (await seen.call("log/fetch", "m5"))["success"] is True
            assert len(told(seen, "interrupted")) == 1


@WIRES
async def test_a_motor_is_stopped_before_anything_is_served_after_a_kill(
    start: Start, mosquitto: Mosquitto, folder: Path, wire: Wire
) -> None:
    with trio.fail_after(LIMIT):
        program = await device(start, mosquitto, *wire)
        async with observe(mosquitto.url) as seen:
            await seen.call("log/turn", "m1")
            while not (folder / "noted").exists():
                await trio.sleep(0.02)
            program.close()
            # It waits at the broker as the process starts.
            await seen.send("log/turn", "m2")
            await device(start, mosquitto, *wire)
            assert (await seen.answer("m2"))["success"] is True
            while len((folder / "noted").read_text().split("\n")) < 4:
                await trio.sleep(0.02)
        assert (folder / "noted").read_text().split("\n")[:3] == [
            "turns",
            "stopped log/turn",
            "turns",
        ]
