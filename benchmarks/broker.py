"""Through mosquitto: CPU per command of the program under test, and round-trip latency.

petalkit beside a bare asyncio-mqtt program that does the same work; QoS 1 both ways; a closed loop
with 64 commands under way, and one at a time. mosquitto, the programs and the load generator (this
process) are processes of their own. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics

import attrs

from _common import (
    cpu_of,
    identity,
    make_commands,
    output_of,
    peak_memory,
    percentile,
    print_aim,
    print_environment,
    print_table,
    progress,
    settled,
    spread,
)
from _load import Client, closed_loop, flood
from _programs import (
    Broker,
    bare_command,
    make_peer_environment,
    mosquitto,
    mosquitto_version,
    petalkit_command,
    program,
)

AIM_RATIO = 0.9  # CPU of petalkit to CPU of the bare program
AIM_LATENCY = 1.0  # ms, one at a time, p50
FLOOD = 10_000


@attrs.frozen
class Round:
    """One program, one round; per command, in microseconds."""

    cpu: float
    broker_cpu: float
    load_cpu: float
    rate: float
    p50: float
    p99: float


@attrs.define
class Contender:
    """A program under test, connected."""

    name: str
    base: str
    pid: int
    rounds: dict[int, list[Round]] = attrs.field(factory=lambda: {64: [], 1: []})

    def column(self, window: int, field: str) -> list[float]:
        return [getattr(one, field) for one in self.rounds[window]]


def run_round(broker: Broker, contender: Contender, window: int, count: int) -> Round:
    commands = make_commands(count)
    with Client(broker.port, "load") as client, settled():
        client.subscribe(f"{contender.base}/response")
        cpu, broker_cpu = cpu_of(contender.pid), cpu_of(broker.pid)
        loop = closed_loop(client, contender.base, commands, window)
        cpu, broker_cpu = cpu_of(contender.pid) - cpu, cpu_of(broker.pid) - broker_cpu
    return Round(
        cpu=1e6 * cpu / count,
        broker_cpu=1e6 * broker_cpu / count,
        load_cpu=1e6 * loop.cpu / count,
        rate=count / loop.wall,
        p50=1e6 * percentile(loop.round_trips, 0.50),
        p99=1e6 * percentile(loop.round_trips, 0.99),
    )


def measure(
    broker: Broker, contenders: list[Contender], rounds: int, counts: dict[int, int]
) -> None:
    for number in range(-1, rounds):  # the first is the warm-up
        for contender in contenders:
            for window, count in counts.items():
                measured = run_round(broker, contender, window, count)
                if number >= 0:
                    contender.rounds[window].append(measured)
        contenders.reverse()  # nobody is always the first
        progress(f"round {number + 1} of {rounds}")
    if rounds % 2 == 0:  # with the warm-up an odd number of turns
        contenders.reverse()


def print_results(contenders: list[Contender], peers: list[str], counts: dict[int, int]) -> None:
    for window, count in counts.items():
        how = "one at a time" if window == 1 else f"{window} under way"
        print(f"{how}: {len(contenders[0].rounds[window])} rounds of {count} commands")
        fields = {
            "CPU us/command": "cpu",
            "commands/s": "rate",
            "p50 us": "p50",
            "p99 us": "p99",
            "mosquitto CPU": "broker_cpu",
            "load CPU": "load_cpu",
        }
        rows = [
            [one.name, *(spread(one.column(window, field), 0) for field in fields.values())]
            for one in contenders
        ]
        print_table(["", *fields], rows)
    by_name = {one.name: one for one in contenders}
    for name, ours in by_name.items():
        if not name.startswith("petalkit"):
            continue
        for peer in peers:
            bare = by_name[peer]
            for window in counts:
                pairs = zip(ours.column(window, "cpu"), bare.column(window, "cpu"), strict=True)
                ratio = statistics.median(one / other for one, other in pairs)
                print_aim(f"{name}, window {window}: CPU to {peer}", ratio, AIM_RATIO)
        latency = statistics.median(ours.column(1, "p50")) / 1000
        print_aim(f"{name}: p50 one at a time", latency, AIM_LATENCY, " ms")
    print()


def run_floods(broker: Broker, contenders: list[Contender], count: int) -> None:
    rows: list[list[str]] = []
    for contender in contenders:
        for qos in (1, 0):
            before = cpu_of(contender.pid)
            with Client(broker.port, "flood") as client, settled():
                client.subscribe(f"{contender.base}/response")
                result = flood(client, contender.base, make_commands(count), qos)
            rows.append(
                [
                    f"{contender.name}, QoS {qos}",
                    str(result.answered),
                    str(result.refused),
                    str(count - result.answered - result.refused),
                    str(result.twice),
                    f"{result.answered / result.wall:.0f}",
                    f"{1e6 * (cpu_of(contender.pid) - before) / count:.0f}",
                    f"{peak_memory(contender.pid):.1f}",
                ]
            )
            progress(f"flood of {contender.name} at QoS {qos}: done")
    print(f"flood: {count} commands sent at once")
    head = ["", "answered", "refused", "lost", "twice", "answers/s", "CPU us/command", "peak MiB"]
    print_table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=3000, help="per round, 64 under way")
    parser.add_argument("--single", type=int, default=500, help="per round, one at a time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--transport", action="append", help="of petalkit; can be given several times"
    )
    parser.add_argument("--protocol", choices=("3.1.1", "5"), default="3.1.1")
    parser.add_argument("--peer-python", help="with asyncio-mqtt 0.16.2 and paho-mqtt 1.6.1")
    parser.add_argument(
        "--peer-style",
        choices=("sequential", "tasks", "both"),
        default="both",
        help="the bare program awaits each command, or starts a task for each",
    )
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--flood", action="store_true", help=f"and {FLOOD} commands at once")
    arguments = parser.parse_args()
    programs = {
        f"petalkit {transport}": petalkit_command(transport, "--protocol", arguments.protocol)
        for transport in arguments.transport or ["asyncio-mqtt"]
    }
    versions = {"mosquitto": mosquitto_version()}
    peers: list[str] = []
    if not arguments.no_peer:
        python = arguments.peer_python or make_peer_environment()
        styles = ("sequential", "tasks")
        for style in styles if arguments.peer_style == "both" else (arguments.peer_style,):
            peers.append(f"bare asyncio-mqtt, {style}")
            programs[peers[-1]] = bare_command(python, style)
        show = (
            "from importlib.metadata import version as v; import platform;"
            "print(f\"python {platform.python_version()}, asyncio-mqtt {v('asyncio-mqtt')}, \""
            "f\"paho-mqtt {v('paho-mqtt')}, msgspec {v('msgspec')}\")"
        )
        versions["peer"] = output_of(python, "-c", show)
    print_environment(**versions, mqtt=arguments.protocol)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(mosquitto())
        contenders: list[Contender] = []
        for number, (name, command) in enumerate(programs.items()):
            device = f"device-{number}"
            process = stack.enter_context(program(broker, device, command))
            contenders.append(Contender(name, identity(device).base_topic, process.pid))
        counts = {64: arguments.commands, 1: arguments.single}
        measure(broker, contenders, arguments.rounds, counts)
        print_results(contenders, peers, counts)
        if arguments.flood:
            run_floods(broker, contenders, FLOOD)


if __name__ == "__main__":
    main()
