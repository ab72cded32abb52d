"""Stopping: from `stop()`, or SIGTERM, to the end, with work in flight.

Through the in-process broker, where the end is that of the `open_runtime` block; and as a process
through mosquitto, where it is that of the process, with what the broker saw before. See README.md.
"""

from __future__ import annotations

import argparse
import signal
import time

import attrs
import msgspec
import trio

from _common import (
    identity,
    print_environment,
    print_table,
    progress,
    settled,
    spread,
)
from _load import BenchmarkError, Client
from _petal import BenchPetal
from _programs import Broker, mosquitto, mosquitto_version, petalkit_command, program
from petalkit import Settings, open_runtime
from petalkit.transports.memory import MemoryBroker, MemoryTransport

WORK = 0.1  # seconds that a command takes which ends by itself
GRACE = 1.0  # seconds
LIMIT = 30.0  # seconds for one stop; a stop that takes so long does not work


@attrs.frozen
class Case:
    """What is in flight when the stop begins."""

    name: str
    count: int
    endless: bool = False

    def commands(self) -> list[bytes]:
        name, data = ("bench/endless", {}) if self.endless else ("bench/work", {"seconds": WORK})
        return [
            msgspec.json.encode(
                {
                    "command": name,
                    "messageId": f"{time.time_ns():x}-{number}",
                    "waitResponse": True,
                    "data": data,
                }
            )
            for number in range(self.count)
        ]


CASES = (
    Case("nothing", 0),
    Case(f"16 that take {WORK:g} s", 16),
    Case(f"64 that take {WORK:g} s", 64),
    Case("16 that never end", 16, endless=True),
    Case("64 that never end", 64, endless=True),
)


@attrs.define
class Stop:
    """Seconds from the beginning of a stop; what did not happen stays at 0."""

    first_response: float = 0.0
    last_response: float = 0.0
    offline: float = 0.0
    end: float = 0.0
    responses: int = 0

    def answered(self, at: float) -> None:
        self.responses += 1
        self.first_response = self.first_response or at
        self.last_response = at


async def stop_in_memory(case: Case) -> Stop:
    device = identity("shutdown")
    settings = Settings(
        organization_id=device.organization_id,
        device_id=device.device_id,
        petal_concurrency=64,
        grace=GRACE,
    )
    broker = MemoryBroker(window=100)
    stop = Stop()
    with (
        trio.fail_after(LIMIT),
        settled(),
        broker.observe(device.topic("command/web")) as begun,
        broker.observe(device.topic("response")) as responses,
    ):
        async with open_runtime(
            [BenchPetal()], settings, transport=MemoryTransport(broker)
        ) as runtime:
            await runtime.wait_connected()
            for payload in case.commands():
                broker.publish_nowait(device.topic("command"), payload)
            await begun.wait(case.count)
            began = time.perf_counter()
            runtime.stop()
        stop.end = time.perf_counter() - began
        stop.responses = len(responses)
    return stop


def stop_process(broker: Broker, transport: str, case: Case) -> Stop:
    base = identity("shutdown").base_topic
    stop = Stop()
    command = petalkit_command(transport, "--grace", str(GRACE))
    with (
        program(broker, "shutdown", command) as process,
        Client(broker.port, "load") as client,
        settled(),
    ):
        client.subscribe(f"{base}/command/web", f"{base}/response", f"{base}/status")
        for payload in case.commands():
            client.publish(f"{base}/command", payload)
        limit = time.monotonic() + LIMIT
        begun = 0
        online = False  # the retained birth comes first
        while begun < case.count or not online:
            for topic, _ in client.poll(0.1):
                begun += topic.endswith("/web")
                online = online or topic.endswith("/status")
            if time.monotonic() > limit:
                raise BenchmarkError(f"{begun} of {case.count} commands have begun")
        began = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        while not stop.end or not stop.offline:
            # Looks every millisecond whether the process has ended: that is the resolution.
            for topic, _ in client.poll(0.001):
                at = time.perf_counter() - began
                if topic.endswith("/response"):
                    stop.answered(at)
                elif topic.endswith("/status"):
                    stop.offline = at
            if not stop.end and process.poll() is not None:
                stop.end = time.perf_counter() - began
            if time.perf_counter() - began > LIMIT:
                raise BenchmarkError(f"not stopped within {LIMIT:g} s")
        if process.returncode != 0:
            raise BenchmarkError(f"the exit code is {process.returncode}")
    return stop


def check(case: Case, stop: Stop) -> Stop:
    if stop.responses != case.count:
        raise BenchmarkError(f"{stop.responses} responses to {case.count} commands")
    return stop


def ms(stops: list[Stop], field: str) -> str:
    return spread((1000 * getattr(stop, field) for stop in stops), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--transport", default="asyncio-mqtt", help="of the process")
    parser.add_argument("--memory-only", action="store_true", help="without mosquitto")
    arguments = parser.parse_args()
    rounds = range(arguments.rounds)
    print_environment(mosquitto="-" if arguments.memory_only else mosquitto_version())
    print(f"{arguments.rounds} stops each, grace {GRACE:g} s, ms from the beginning of the stop")
    print()

    trio.run(stop_in_memory, CASES[0])  # warm-up
    rows: list[list[str]] = []
    for case in CASES:
        stops = [check(case, trio.run(stop_in_memory, case)) for _ in rounds]
        rows.append([case.name, ms(stops, "end")])
        progress(f"memory, {case.name}: done")
    print("in-process broker: stop() to the end of the block")
    print_table(["in flight", "end"], rows)
    if arguments.memory_only:
        return

    rows = []
    with mosquitto() as broker:
        for case in CASES:
            stops = [check(case, stop_process(broker, arguments.transport, case)) for _ in rounds]
            fields = ("first_response", "last_response", "offline", "end")
            rows.append([case.name, *(ms(stops, field) for field in fields)])
            progress(f"{arguments.transport}, {case.name}: done")
    print(
        f"{arguments.transport} through mosquitto: SIGTERM to the end of the process, exit code 0"
    )
    head = ["in flight", "first response", "last response", "offline on status", "process ended"]
    print_table(head, rows)


if __name__ == "__main__":
    main()
