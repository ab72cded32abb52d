"""How a process ends: by a signal, by a second one, by force, with a broker and without."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from ..brokers import Mosquitto
from .conftest import Start
from .kit import LIMIT, WHO, WIRES, Wire, observe, until

pytestmark = [pytest.mark.trio, pytest.mark.process]

Runs = Callable[[], list[int]]
AT_ONCE = 5.0  # seconds; generous for a busy machine, and far below every limit that could end it


@WIRES
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_runs_may_finish(
    start: Start, mosquitto: Mosquitto, runs: Runs, number: signal.Signals, wire: Wire
) -> None:
    program = start("run", "work.py", "--broker", mosquitto.url, *WHO, *wire)
    await program.connected()
    async with observe(mosquitto.url) as observer:
        await observer.flood("work/wait", [f"m{n}" for n in range(10)], seconds=0.5)
        await until(lambda: len(runs()) == 10, lambda: program.text, LIMIT)
        program.process.send_signal(number)
        assert await program.ended() == 0, program.text
        await observer.wait(lambda: "offline" in observer.statuses())
        assert all(len(found) == 1 and found[0]["success"] for found in observer.answers().values())
        assert len(observer.answers()) == 10
        assert observer.statuses() == ["online", "offline"]
        # Ours carries a time stamp, the will does not.
        assert "timestamp" in observer.on("status")[-1].json
    async with observe(mosquitto.url, name="later") as later:
        await later.wait(lambda: later.statuses() == ["offline"])
        (kept,) = later.on("status")
        assert kept.retain
        assert "timestamp" in kept.json


async def test_what_takes_longer_than_the_grace_is_cancelled_and_told_so(
    start: Start, mosquitto: Mosquitto, runs: Runs
) -> None:
    """One runs, and is cancelled; one waits for it, and goes back to the broker or is refused."""
    program = start(
        "run", "work.py", "--broker", mosquitto.url, *WHO,
        "--grace", "0.3", "--petal-concurrency", "1", "--journal", "off",
    )  # fmt: skip
    await program.connected()
    async with observe(mosquitto.url) as observer:
        await observer.send("work/wait", "running", seconds=60)
        await until(lambda: len(runs()) == 1, lambda: program.text, LIMIT)
        await observer.send("work/wait", "waiting", seconds=60)
        await program.said("received.*waiting")
        program.process.terminate()
        cancelled = await observer.answer("running")
        refused = await observer.answer("waiting")
        assert await program.ended() == 0, program.text
    assert (cancelled["success"], cancelled["error_code"]) == (False, "CANCELLED")
    assert (refused["success"], refused["error_code"]) == (False, "SHUTTING_DOWN")
    assert refused["retryable"]
    assert len(runs()) == 1


async def test_a_killed_process_leaves_its_will(start: Start, mosquitto: Mosquitto) -> None:
    program = start("run", "work.py", "--broker", mosquitto.url, *WHO)
    async with observe(mosquitto.url) as observer:
        await program.connected()
        os.kill(program.process.pid, signal.SIGKILL)
        await observer.wait(lambda: observer.statuses() == ["online", "offline"])
        assert "timestamp" not in observer.on("status")[-1].json
    async with observe(mosquitto.url, name="later") as later:
        await later.wait(lambda: later.statuses() == ["offline"])
        assert later.on("status")[0].retain


@pytest.mark.parametrize(
    "signals",
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGINT),
    ],
    ids=lambda each: "-".join(number.name for number in each),
)
@pytest.mark.parametrize("command", ["work/wait", "work/block"])
async def test_a_second_signal_ends_it_at_once(
    start: Start,
    mosquitto: Mosquitto,
    runs: Runs,
    signals: tuple[signal.Signals, signal.Signals],
    command: str,
) -> None:
    """Also while a handler blocks the event loop, and nothing but a signal gets through."""
    program = start("run", "work.py", "--broker", mosquitto.url, *WHO, "--grace", "60")
    await program.connected()
    async with observe(mosquitto.url) as observer:
        await observer.send(command, "1", **({"seconds": 60} if command == "work/wait" else {}))
        await until(lambda: runs() or program.count("blocking"), lambda: program.text, LIMIT)
        first, second = signals
        program.process.send_signal(first)
        if command == "work/wait":
            await program.said("stopping")
        else:
            await taken(program.process.pid, first)
        program.process.send_signal(second)
        assert await program.ended(AT_ONCE) == 3, program.text
        assert "Traceback" not in program.text
        await observer.wait(lambda: observer.statuses()[-1:] == ["offline"])  # the will


async def taken(pid: int, number: signal.Signals) -> None:
    """Wait until no signal of this number is pending: two of one number would become one."""

    def pending() -> int:
        with open(f"/proc/{pid}/status") as status:
            masks = [
                int(line.split()[1], 16) for line in status if line.startswith(("ShdPnd", "SigPnd"))
            ]
        return sum(mask >> (number - 1) & 1 for mask in masks)

    await until(lambda: not pending(), lambda: "still pending", LIMIT)


@pytest.mark.parametrize("in_flight", [False, True])
async def test_without_a_broker_a_stop_waits_for_nobody(
    start: Start, mosquitto: Mosquitto, runs: Runs, *, in_flight: bool
) -> None:
    """What runs still gets its grace; its response has nowhere to go, and is not waited for."""
    program = start("run", "work.py", "--broker", mosquitto.url, *WHO, "--grace", "20")
    await program.connected()
    if in_flight:
        async with observe(mosquitto.url) as observer:
            await observer.send("work/wait", "1", seconds=1)
            await until(lambda: len(runs()) == 1, lambda: program.text, LIMIT)
    mosquitto.stop()
    await program.said("link lost")
    await program.said("not connected to")
    program.process.terminate()
    began = time.monotonic()
    assert await program.ended(AT_ONCE) == 0, program.text
    assert time.monotonic() - began < AT_ONCE
    assert "Traceback" not in program.text


async def test_a_stop_before_the_organization_is_known(start: Start, tmp_path: object) -> None:
    program = start("run", "work.py", "--organization-file", f"{tmp_path}/none.json")
    await program.said("waiting for the organization ID")
    program.process.terminate()
    assert await program.ended(AT_ONCE) == 0, program.text


async def test_no_petal_can_be_started(start: Start, mosquitto: Mosquitto, folder: object) -> None:
    source = (
        "from contextlib import asynccontextmanager\n"
        "from petalkit import Petal\n"
        "class Broken(Petal):\n"
        "    name = 'broken'\n"
        "    version = '1'\n"
        "    @asynccontextmanager\n"
        "    async def lifespan(self):\n"
        "        raise RuntimeError('no motors')\n"
        "        yield\n"
    )
    with open(f"{folder}/broken.py", "w") as file:  # noqa: ASYNC230
        file.write(source)
    never = ("--petal-restart", "never")
    program = start("run", "broken.py", "--broker", mosquitto.url, *WHO, *never)
    assert await program.ended() == 1
    assert "no motors" in program.text
    assert "petalkit-" not in mosquitto.log, "nothing was connected"
