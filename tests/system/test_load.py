"""Thousands of commands at once: none lost, memory flat, and the urgent one served."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest
import trio

from petalkit import Petal, Settings, command, open_runtime
from petalkit.transports._receiving.bounded_inbox import BUFFER_MESSAGES

from ..brokers import Mosquitto
from .conftest import Start
from .kit import WHO, WIRES, Observer, Program, Wire, observe

pytestmark = [pytest.mark.trio, pytest.mark.process]

StartMosquitto = Callable[..., Mosquitto]
Runs = Callable[[], list[int]]

COMMANDS = 5000
LOAD_LIMIT = 10.0  # seconds
MEMORY_GROWTH = 16 * 1024 * 1024  # bytes; 5000 commands that were all kept would be more than that
# mosquitto throws away what does not fit into a client's queue, though it has acknowledged it
# (its default is 1000 messages). Both the device, which is slower than the sender, and the
# observer, which gets every message, need more room there.
QUEUE = 4 * COMMANDS


async def peak_memory(
    program: Program, *, task_status: trio.TaskStatus[list[int]] = trio.TASK_STATUS_IGNORED
) -> None:
    peak = [program.memory()]
    task_status.started(peak)
    while True:
        await trio.sleep(0.05)  # a sample now and then; nobody waits for it
        peak[0] = max(peak[0], program.memory())


@WIRES
async def test_a_flood_is_answered_whole_and_memory_stays_flat(
    start: Start,
    start_mosquitto: StartMosquitto,
    runs: Runs,
    nursery: trio.Nursery,
    wire: Wire,
) -> None:
    mosquitto = start_mosquitto(max_queued_messages=QUEUE)
    program = start("run", "work.py", "--broker", mosquitto.url, *WHO, *wire)
    await program.connected()
    async with observe(mosquitto.url) as observer:
        # Everything that is filled once and stays: the duplicate window, logs, allocators.
        warm_up = 1500
        await observer.flood("work/tick", [f"w{n}" for n in range(warm_up)])
        await observer.wait(lambda: len(observer.on("response")) == warm_up, LOAD_LIMIT)
        before = program.memory()
        peak: list[int] = await nursery.start(peak_memory, program)

        await observer.flood("work/tick", [f"m{n}" for n in range(COMMANDS)])
        await observer.wait(lambda: len(observer.on("response")) == warm_up + COMMANDS, LOAD_LIMIT)
        nursery.cancel_scope.cancel()
        after = program.memory()
        answers = observer.answers()
    assert [answers[f"m{n}"][0]["n"] for n in range(COMMANDS)] == [*range(COMMANDS)]
    assert all(found[0]["success"] for found in answers.values())
    assert runs()[warm_up:] == [*range(COMMANDS)], "started in order"
    assert max(peak[0], after) - before < MEMORY_GROWTH, f"{before} to {peak[0]}, then {after}"


class Narrow(Petal):
    """Takes what mosquitto has for it, two at a time, and says which."""

    name = "narrow"

    def __init__(self) -> None:
        self.seen: list[int] = []

    @command("take", concurrency=2)
    async def take(self, n: int) -> dict[str, int]:
        self.seen.append(n)
        await trio.sleep(0.0005)
        return {"n": n}


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_the_broker_holds_what_a_slow_petal_cannot_take_yet(
    start_mosquitto: StartMosquitto, nursery: trio.Nursery, protocol: str
) -> None:
    """A channel of ten: reading pauses, and mosquitto keeps the rest.

    In this process, to see what the device holds: mosquitto's log tells what it has written into
    a socket, which is not what the device has read.
    """
    mosquitto = start_mosquitto(max_queued_messages=QUEUE)
    petal = Narrow()
    settings = Settings(
        broker=mosquitto.url,
        protocol="5" if protocol == "5" else "3.1.1",
        organization_id="acme",
        device_id="Instance-1",
        channel_capacity=10,
    )
    most = [0, 0]
    async with open_runtime([petal], settings) as runtime, observe(mosquitto.url) as observer:
        await runtime.wait_connected()

        async def sample() -> None:
            while True:
                statistics = runtime.statistics()
                most[0] = max(most[0], statistics.waiting)
                most[1] = max(most[1], statistics.held)
                await trio.sleep(0.001)

        nursery.start_soon(sample)
        names = [f"m{n}" for n in range(COMMANDS)]
        await observer.flood("narrow/take", names)
        await observer.wait(lambda: len(observer.on("response")) == COMMANDS, 3 * LOAD_LIMIT)
        nursery.cancel_scope.cancel()
        statistics = runtime.statistics()
        assert statistics.succeeded == statistics.received == COMMANDS
    assert most[0] == 10
    # The reserve, and the last batch that a link gives out.
    assert 32 <= most[1] <= 32 + BUFFER_MESSAGES
    assert sorted(petal.seen) == [*range(COMMANDS)], "none lost and none twice"


async def emergency(observer: Observer, waiting: int) -> None:
    """Everything is full of commands that end only by `work/stop`."""
    await observer.flood("work/wait-for-stop", [f"m{n}" for n in range(waiting)])
    assert (await observer.call("petalkit/ping", "ping"))["success"]
    assert len(observer.answers()) == 1, "all others wait still"
    assert (await observer.call("work/stop", "stop"))["success"]
    await observer.wait(lambda: len(observer.answers()) == waiting + 2)


@pytest.mark.parametrize(("protocol", "waiting"), [("3.1.1", 1026), ("5", 1044)])
async def test_an_emergency_stop_passes_a_thousand_commands(
    start: Start, start_mosquitto: StartMosquitto, protocol: str, waiting: int
) -> None:
    """16 run, 1000 wait, and the rest is held in the reserve of 32, which is not full yet.

    What is held is not acknowledged, so it also has to fit into the broker's window: 20 messages
    with mosquitto and MQTT 3.1.1; with 5 it is ours to say, and 100. Past either bound the stop
    waits with all others: see the next test for what to choose then.
    """
    mosquitto = start_mosquitto(max_queued_messages=QUEUE)
    program = start("run", "work.py", "--broker", mosquitto.url, *WHO, "--protocol", protocol)
    await program.connected()
    async with observe(mosquitto.url) as observer:
        await emergency(observer, waiting)
        assert all(found[0]["success"] for found in observer.answers().values())


async def test_with_reject_a_stop_passes_any_number(
    start: Start, start_mosquitto: StartMosquitto
) -> None:
    mosquitto = start_mosquitto(max_queued_messages=QUEUE)
    options = ("--overflow", "reject", "--journal", "off")  # a journal takes them all
    program = start("run", "work.py", "--broker", mosquitto.url, *WHO, *options)
    await program.connected()
    async with observe(mosquitto.url) as observer:
        await observer.flood("work/wait-for-stop", [f"m{n}" for n in range(1500)])
        assert (await observer.call("work/stop", "stop"))["success"]
        await observer.wait(lambda: len(observer.answers()) == 1501)
        answers = [found for (found,) in observer.answers().values()]
    codes = {answer.get("error_code") for answer in answers}
    assert codes == {None, "BUSY"}
    served = sum(answer["success"] for answer in answers) - 1
    assert served >= 1016, "what was accepted is served"


class Telemetry(Petal):
    """One command that publishes events until it is stopped."""

    name = "telemetry"

    def __init__(self) -> None:
        self.put = 0

    @command("send", timeout=math.inf)
    async def send(self) -> None:
        while True:
            await self.publish_message({"command": "/telemetry/event", "n": self.put})
            self.put += 1
            await trio.sleep(0.002)


async def test_events_leave_while_reading_is_paused(mosquitto: Mosquitto) -> None:
    """Their PUBACKs come in the stream that back-pressure stops: it has to be read on for them."""
    petal = Telemetry()
    settings = Settings(
        broker=mosquitto.url,
        organization_id="acme",
        device_id="Instance-1",
        concurrency=1,
        petal_concurrency=1,
        channel_capacity=2,
        channel_reserve=4,
        grace=0.0,
    )
    async with open_runtime([petal], settings) as runtime, observe(mosquitto.url) as observer:
        await runtime.wait_connected()
        for n in range(300):  # at QoS 0, which no window of the broker's holds back
            command = observer.command("telemetry/send", f"m{n}", {}, "command")
            await observer.link.publish(msgspec.structs.replace(command, qos=0))
        await observer.wait(lambda: len(observer.on("command/web")) > 300, LOAD_LIMIT)
        assert runtime.statistics().outbox < 200, "they leave as they come, not in bursts"
