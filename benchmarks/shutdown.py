"""Stop latency: from the wish to stop to the end, with work in flight.

Two ways in: `runtime.stop()` over the memory transport, to the end of its block; and SIGTERM to a
process on mosquitto, to its exit. Work of 100 ms has to finish and be answered; work that never
ends has to be cancelled after the grace (1 s here) and answered too. See README.md.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Callable
from functools import partial

import attrs
import msgspec
import trio

from _common import identity, print_environment, print_table, progress, settled, spread
from _load import BenchmarkError, Client
from _petal import BenchPetal
from _programs import mosquitto, mosquitto_version, petalkit_command, program
from petalkit import Settings, open_runtime
from petalkit.testing import MemoryBroker, MemoryTransport

GRACE = 1.0  # seconds
WORK = 0.1  # seconds that a command takes which ends by itself
LIMIT = 20.0  # seconds for one stop; then something is wrong
CASES = (("work", 0), ("work", 16), ("work", 64), ("endless", 16))


@attrs.frozen
class Stopped:
    """One stop: milliseconds, and how many of the commands in flight were answered."""

    latency: float
    answered: int


def command(name: str, number: int) -> bytes:
    """A command that is in flight when the stop begins."""
    return msgspec.json.encode(
        {
            "command": f"bench/{name}",
            "messageId": f"{time.time_ns():x}-{number}",
            "waitResponse": True,
            "data": {"seconds": WORK} if name == "work" else {},
        }
    )


async def by_call(name: str, count: int) -> Stopped:
    """`runtime.stop()` to the end of the block, without a network."""
    broker = MemoryBroker(window=1000)
    settings = Settings(
        organization_id="bench", device_id="d", petal_concurrency=64, grace=GRACE, watchdog=0
    )
    base = identity("d")
    transport = MemoryTransport(broker)
    with (
        trio.fail_after(LIMIT),
        broker.observe(base.topic("response")) as responses,
        broker.observe(base.topic("command/web")) as begun,
    ):
        async with open_runtime([BenchPetal()], settings, transport=transport) as runtime:
            await runtime.wait_connected()
            for number in range(count):
                broker.publish_nowait(base.topic("command"), command(name, number))
            await begun.wait(count)
            start = time.perf_counter()
        latency = time.perf_counter() - start
    return Stopped(latency * 1000, len(responses))


def by_signal(name: str, count: int) -> Stopped:
    """SIGTERM to the exit of a process on mosquitto."""
    device = f"stop-{time.time_ns():x}"
    base = identity(device)
    with (
        mosquitto() as broker,
        Client(broker.port, f"load-{device}") as client,
        program(
            broker, device, [*petalkit_command("asyncio-mqtt"), "--grace", str(GRACE)]
        ) as process,
    ):
        client.subscribe(base.topic("response"), base.topic("command/web"))
        for number in range(count):
            client.publish(base.topic("command"), command(name, number))
        seen: list[str] = []
        wait(client, seen, lambda: seen.count(base.topic("command/web")) == count)
        start = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        code = process.wait(LIMIT)
        latency = time.perf_counter() - start
        if code != 0:
            raise BenchmarkError(f"the program under test ended with {code}")
        wait(client, seen, lambda: seen.count(base.topic("response")) == count)
    return Stopped(latency * 1000, seen.count(base.topic("response")))


def wait(client: Client, seen: list[str], until: Callable[[], bool]) -> None:
    """Read messages until something is so."""
    limit = time.monotonic() + LIMIT
    while not until():
        if time.monotonic() > limit:
            raise BenchmarkError(f"waited {LIMIT} s in vain; {len(seen)} messages came")
        seen += [topic for topic, _ in client.poll(0.05)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print_environment(mosquitto=mosquitto_version())
    ways: dict[str, Callable[[str, int], Stopped]] = {
        "stop(), memory": lambda name, count: trio.run(partial(by_call, name, count)),
        "SIGTERM, mosquitto": by_signal,
    }
    rows: list[list[str]] = []
    for way, measure in ways.items():
        for name, count in CASES:
            found: list[Stopped] = []
            for number in range(-1, arguments.rounds):  # the first is the warm-up
                with settled():
                    one = measure(name, count)
                if number >= 0:
                    found.append(one)
            progress(f"{way}: {count} x {name}: {arguments.rounds} rounds")
            what = f"{WORK * 1000:.0f} ms each" if name == "work" else "never ending"
            rows.append(
                [
                    way,
                    "nothing" if not count else f"{count} commands, {what}",
                    spread((one.latency for one in found), 0),
                    f"{min(one.answered for one in found)} of {count}",
                ]
            )
    print(f"{arguments.rounds} rounds; grace {GRACE:g} s; median (lowest..highest)")
    print_table(["", "in flight", "ms to the end", "answered, at least"], rows)
    print("By SIGTERM it counts to the process's exit, the interpreter's own end included.")


if __name__ == "__main__":
    main()
