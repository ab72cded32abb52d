"""Our broker beside mosquitto and amqtt: commands a second, CPU for each, its start, its memory.

A device and a caller of a few lines (MQTT 3.1.1 over one socket each, QoS 1 both ways, in a process
each) exchange commands through each broker in turn, on the same cores: what is compared is the
broker, and how many commands a second all three make together. Idle clients have connected and
subscribed one topic. Needs mosquitto; amqtt comes into an environment of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import attrs

from _common import (
    cpu_of,
    identity,
    make_commands,
    memory,
    print_environment,
    print_table,
    progress,
    settled,
    spread,
)
from _load import BenchmarkError, Client, closed_loop
from _peers import make_environment
from _programs import Broker, mosquitto, mosquitto_version

START_LIMIT = 30.0  # seconds
DEVICE = "device"

AMQTT = """
import asyncio, logging, sys
from amqtt.broker import Broker
logging.disable(logging.ERROR)
async def main():
    broker = Broker({
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}},
        "plugins": {"amqtt.plugins.base.BaseAuthPlugin": {}},
    })
    await broker.start()
    await asyncio.sleep(1e6)
asyncio.run(main())
"""


def answer_commands(port: int) -> None:
    """The device: an answer to each command, as short as one of a handler."""
    base = identity(DEVICE)
    topic = base.topic("response")
    with Client(port, "device") as client:
        client.subscribe(base.topic("command"))
        print("ready", flush=True)
        marker = b'"messageId":"'
        while True:
            for _, payload in client.poll(3600.0):
                at = payload.index(marker) + len(marker)
                message_id = payload[at : payload.index(b'"', at)]
                client.publish(
                    topic,
                    b'{"messageId":"%s","timestamp":"2026-01-01T00:00:00.000Z","success":true,'
                    b'"message":"Hello, Developer! (3)"}' % message_id,
                )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@contextlib.contextmanager
def started(command: list[str], port: int) -> Generator[tuple[Broker, float]]:
    """A broker as a process, and the seconds until it took a connection."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, str(port)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            if process.poll() is not None or time.perf_counter() - began > START_LIMIT:
                raise BenchmarkError(f"{command} does not start")
            time.sleep(0.001)
        yield Broker(port, process.pid), time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def ours() -> Generator[tuple[Broker, float]]:
    command = [sys.executable, "-m", "petalkit", "broker", "--log-level", "warning", "--port"]
    with started(command, free_port()) as found:
        yield found


@contextlib.contextmanager
def amqtt() -> Generator[tuple[Broker, float]]:
    with started([make_environment("benchmark-amqtt"), "-c", AMQTT], free_port()) as found:
        yield found


@contextlib.contextmanager
def other() -> Generator[tuple[Broker, float]]:
    began = time.perf_counter()
    with mosquitto() as broker:
        yield broker, time.perf_counter() - began


BROKERS: dict[str, Callable[[], Any]] = {"ours": ours, "mosquitto": other, "amqtt": amqtt}


@attrs.frozen
class Round:
    rate: float  # commands a second
    cpu: float  # us of the broker for each
    p50: float  # ms
    p99: float


def exchange(broker: Broker, client: Client, count: int, window: int) -> Round:
    commands = make_commands(count)
    with settled():
        before = cpu_of(broker.pid)
        loop = closed_loop(client, identity(DEVICE).base_topic, commands, window)
        used = cpu_of(broker.pid) - before
    trips = sorted(loop.round_trips)
    return Round(
        count / loop.wall,
        used / count * 1e6,
        trips[len(trips) // 2] * 1000,
        trips[int(len(trips) * 0.99)] * 1000,
    )


@contextlib.contextmanager
def device(port: int) -> Generator[None]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--as-device", str(port)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.terminate()
        process.wait(10)


def measure_exchange(names: list[str], rounds: int, count: int, window: int) -> None:
    found: dict[str, list[Round]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        brokers = {name: stack.enter_context(BROKERS[name]())[0] for name in names}
        clients = {}
        for name, broker in brokers.items():
            stack.enter_context(device(broker.port))
            client = stack.enter_context(Client(broker.port, "caller"))
            client.subscribe(identity(DEVICE).topic("response"))
            clients[name] = client
            exchange(broker, client, count // 4, window)
        for number in range(rounds):
            for name, broker in brokers.items():
                progress(f"window {window}, round {number + 1} of {rounds}: {name}")
                few = count // 5 if name == "amqtt" else count
                found[name].append(exchange(broker, clients[name], few, window))
    rows = [
        [
            name,
            spread([one.rate for one in each]),
            spread([one.cpu for one in each]),
            spread([one.p50 for one in each], 2),
            spread([one.p99 for one in each], 2),
        ]
        for name, each in found.items()
    ]
    print(f"\n{window} commands under way:\n")
    print_table(["broker", "commands/s", "CPU us/command", "p50 ms", "p99 ms"], rows)


def measure_idle(names: list[str], clients: int, rounds: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, clients + 100), hard), hard))
    rows = []
    for name in names:
        progress(f"{clients} idle clients: {name}")
        starts = []
        for _ in range(rounds):
            with BROKERS[name]() as (_, seconds):
                starts.append(seconds)
        with BROKERS[name]() as (broker, _), contextlib.ExitStack() as stack:
            before = memory(broker.pid)
            for number in range(clients):
                client = stack.enter_context(Client(broker.port, f"idle{number}"))
                client.subscribe(f"org/acme/device/{number}/command")
            time.sleep(2.0)
            after, cpu = memory(broker.pid), cpu_of(broker.pid)
            time.sleep(5.0)
            idle = (cpu_of(broker.pid) - cpu) / 5 * 100
        rows.append([name, spread(starts, 3), f"{before:.1f}", f"{after:.1f}", f"{idle:.1f}"])
    print(f"\nIts start, and {clients} clients that have subscribed and do nothing:\n")
    columns = ["broker", "start s", "MiB without", "MiB with them", "CPU % while idle"]
    print_table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", nargs="+", choices=list(BROKERS), default=list(BROKERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--commands", type=int, default=20_000, help="in a round")
    parser.add_argument("--windows", type=int, nargs="+", default=[256, 1])
    parser.add_argument("--clients", type=int, default=1000, help="that are idle")
    parser.add_argument("--as-device", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_device:
        answer_commands(options.as_device)
        return
    print_environment()
    print(f"mosquitto {mosquitto_version()}")
    print(f"Python of this run: {Path(sys.executable)}")
    for window in options.windows:
        count = options.commands if window > 1 else options.commands // 10
        measure_exchange(options.brokers, options.rounds, count, window)
    if options.clients:
        measure_idle(options.brokers, options.clients, options.rounds)


if __name__ == "__main__":
    main()
