"""Through mosquitto: CPU per command of the program under test, round trips, floods and memory.

petalkit beside peers that do the same work without it; QoS 1 both ways; a closed loop with 64
commands under way, and one at a time. mosquitto, the programs and the load generator (this process)
are processes of their own. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _common import environment, identity, print_environment, progress
from _limits import run_flat, run_slow
from _peers import PEERS, choose, versions
from _programs import (
    mosquitto,
    mosquitto_version,
    petalkit_command,
    program,
    shipped_command,
    sidecar,
)
from _report import Aim, Report, flood_table, round_tables, write_page
from _rounds import Contender, measure, run_flood

REFERENCE = "trio-mqtt5"  # the peer that the ratios are to
AIM_LATENCY = 1.0  # ms, one at a time, p50
AIM_SIDECAR = 600.0  # us: a third of what the guide's host was measured to need
FLOOD = 10_000

# transport -> peer -> CPU per command of petalkit to the peer's, 64 under way
AIM_CPU = {
    "native": {"trio-mqtt5": 1.15, "gmqtt": 1.0},
    "asyncio-mqtt": {"asyncio-mqtt, sequential": 0.9, "asyncio-mqtt, tasks": 0.9},
    "sidecar": {"fastapi": 1 / 3},
}
AIM_JOURNAL = 2.0  # CPU per command with a journal to that without, 64 under way
AIM_P50 = {"native": {"trio-mqtt5": 1.3}}  # the same for p50, one at a time


def transport_command(transport: str, protocol: str) -> list[str]:
    """How petalkit is started; the native transport speaks nothing but MQTT 5."""
    return petalkit_command(transport, "--protocol", "5" if transport == "native" else protocol)


def round_aims(contenders: Sequence[Contender], transports: Sequence[str]) -> list[Aim]:
    by_name = {one.name: one for one in contenders if not one.failed}
    aims: list[Aim] = []
    for transport in transports:
        ours = by_name[f"petalkit {transport}"]
        for peer, bound in AIM_CPU.get(transport, {}).items():
            if peer in by_name:
                ratio = ours.ratio(by_name[peer], 64)
                aims.append(Aim(f"{ours.name}: CPU to {peer}, 64 under way", ratio, bound))
        for peer, bound in AIM_P50.get(transport, {}).items():
            if peer in by_name:
                ratio = ours.ratio(by_name[peer], 1, "p50")
                aims.append(Aim(f"{ours.name}: p50 to {peer}, one at a time", ratio, bound))
        if transport == "sidecar":
            cpu = statistics.median(ours.column(64, "cpu"))
            aims.append(Aim(f"{ours.name}: CPU, 64 under way", cpu, AIM_SIDECAR, " us"))
            continue
        latency = statistics.median(ours.column(1, "p50")) / 1000
        aims.append(Aim(f"{ours.name}: p50 one at a time", latency, AIM_LATENCY, " ms"))
    return aims


# As `petalkit run` is: to the quiet build of the same run, and to another build (--old).
AIM_SHIPPED_RATE = 0.60  # commands/s of the quiet build, 64 under way, at least
AIM_SHIPPED = {(64, "cpu"): 0.5, (1, "p50"): 0.6, (64, "p50"): 0.3, (64, "p99"): 0.3}
_SHIPPED = {"quiet": (False, "warning"), "journal": (True, "warning"), "shipped": (True, "info")}


def shipped_programs(transport: str, folder: Path, old: str | None) -> dict[str, list[str]]:
    """`petalkit run` without journal and INFO lines, with a journal, and with both."""
    programs: dict[str, list[str]] = {}
    for build, src in (("", []), *([(" of old", ["--src", old])] if old else [])):
        for name, (journal, level) in _SHIPPED.items():
            if build and not journal:
                continue
            place = folder / f"{transport}-{name}{build.replace(' ', '-')}"
            where = ["--journal", str(place)] if journal else []
            more = [*src, *where, "--log-level", level, "--log", f"{place}.log"]
            programs[f"{transport}, {name}{build}"] = shipped_command(transport, *more)
    return programs


def shipped_aims(contenders: Sequence[Contender], transport: str, old: bool) -> list[Aim]:
    """The aims of what users run, with its journal and with the log beside."""
    by_name = {one.name: one for one in contenders if not one.failed}
    aims: list[Aim] = []
    for name in ("journal", "shipped"):
        ours, quiet = by_name[f"{transport}, {name}"], by_name[f"{transport}, quiet"]
        rate = ours.ratio(quiet, 64, "rate")
        what = f"{ours.name}: commands/s of the quiet one to it, 64 under way"
        aims.append(Aim(what, 1 / rate, 1 / AIM_SHIPPED_RATE))
        for (window, field), bound in AIM_SHIPPED.items() if old else ():
            ratio = ours.ratio(by_name[f"{ours.name} of old"], window, field)
            aims.append(Aim(f"{ours.name}: {field} to old, {window} under way", ratio, bound))
    return aims


def with_journal(name: str) -> str:
    return f"{name}, journal"


def journal_aims(
    contenders: Sequence[Contender], transports: Sequence[str], folder: Path
) -> list[Aim]:
    """What a journal costs, in CPU and in waits for the disk: as they are on this disk now."""
    by_name = {one.name: one for one in contenders if not one.failed}
    sync = fsync_time(folder)
    aims = [Aim("fdatasync of 8 KiB on the journal's disk, p50", sync / 1000, math.inf, " ms")]
    for transport in transports:
        off, on = by_name[f"petalkit {transport}"], by_name[with_journal(f"petalkit {transport}")]
        aims.append(Aim(f"{on.name}: CPU to without, 64 under way", on.ratio(off, 64), AIM_JOURNAL))
        more = statistics.median(on.column(1, "p50")) - statistics.median(off.column(1, "p50"))
        aims.append(Aim(f"{on.name}: p50 more, one at a time, in fdatasyncs", more / sync, 1.0))
    return aims


def fsync_time(folder: Path) -> float:
    """Microseconds of one write that is on disk when it returns."""
    took: list[float] = []
    with (folder / "fdatasync").open("wb", buffering=0) as file:
        for _ in range(300):
            began = time.perf_counter()
            file.write(bytes(8192))
            os.fdatasync(file.fileno())
            took.append(1e6 * (time.perf_counter() - began))
    return statistics.median(took)


def flood_aims(contenders: Sequence[Contender]) -> list[Aim]:
    return [
        Aim(f"{one.name}: {what} of {found.count} at QoS {found.qos}", value, 0)
        for one in contenders
        if not one.is_peer
        for found in one.floods
        for what, value in (("lost", found.lost), ("refused", found.refused))
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=3000, help="per round, 64 under way")
    parser.add_argument("--single", type=int, default=500, help="per round, one at a time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--transport", action="append", help="of petalkit; can be given several times"
    )
    parser.add_argument(
        "--protocol", choices=("3.1.1", "5"), default="3.1.1", help="of asyncio-mqtt"
    )
    parser.add_argument(
        "--peer", action="append", choices=tuple(PEERS), help="again and again; all without it"
    )
    parser.add_argument(
        "--peer-style",
        choices=("sequential", "tasks", "both"),
        default="both",
        help="of asyncio-mqtt: it awaits each command, or starts a task for each",
    )
    parser.add_argument("--journal", action="store_true", help="each transport with one too")
    parser.add_argument(
        "--as-shipped",
        action="store_true",
        help="`petalkit run` with journal and INFO lines, beside the quiet one, and nothing else",
    )
    parser.add_argument("--old", metavar="SRC", help="with --as-shipped: another build beside it")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--flood", action="store_true", help=f"{FLOOD} commands at once")
    parser.add_argument("--slow", action="store_true", help="memory, with a slow petal")
    parser.add_argument("--flat", action="store_true", help="cost with many petals and commands")
    parser.add_argument("--plot", action="store_true", help="write docs/benchmarks/broker.*")
    parser.add_argument("--all", action="store_true", help="all four of these")
    found = parser.parse_args()
    found.transport = list(dict.fromkeys(found.transport or ["asyncio-mqtt"]))
    if found.all:
        found.flood = found.slow = found.flat = found.plot = True
    return found


def main() -> None:
    options = arguments()
    peers = (
        []
        if options.no_peer
        else choose(options.peer, options.peer_style, over_http="sidecar" in options.transport)
    )
    programs = {
        f"petalkit {transport}": transport_command(transport, options.protocol)
        for transport in options.transport
    }
    folder = Path(tempfile.mkdtemp(prefix="petalkit-journal-"))  # not in /dev/shm: it has to wait
    if options.as_shipped:
        programs = {}
        for transport in options.transport:
            programs |= shipped_programs(transport, folder, options.old)
    elif options.journal:
        programs |= {
            with_journal(name): [*command, "--journal", str(folder / name.replace(" ", "-"))]
            for name, command in programs.items()
        }
    ours = dict(programs)
    over_http = {"petalkit sidecar", *(peer.name for peer in peers if peer.over_http)}
    programs |= {peer.name: peer.command() for peer in peers}
    about = {"mosquitto": mosquitto_version(), "mqtt of asyncio-mqtt": options.protocol}
    about |= {f"peer: {name}": version for name, version in versions(peers).items()}
    report = Report(environment(**about))
    print_environment(**about)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(mosquitto())
        contenders: list[Contender] = []
        for number, (name, command) in enumerate(programs.items()):
            device = f"device-{number}"
            if name in over_http:
                command = [*command, "--sidecar-url", stack.enter_context(sidecar(broker))]
            process = stack.enter_context(program(broker, device, command))
            base = identity(device).base_topic
            contenders.append(Contender(name, base, process.pid, is_peer=name not in ours))
        counts = {64: options.commands, 1: options.single}
        measure(broker, contenders, options.rounds, counts)
        reference = next((c for c in contenders if c.name == REFERENCE and not c.failed), None)
        report.tables += round_tables(contenders, reference)
        if options.as_shipped:
            for transport in options.transport:
                report.aims += shipped_aims(contenders, transport, options.old is not None)
        else:
            report.aims += round_aims(contenders, options.transport)
        if options.journal and not options.as_shipped:
            report.aims += journal_aims(contenders, options.transport, folder)
        if options.flood:
            for contender in contenders:
                if not contender.failed:
                    contender.floods = [run_flood(broker, contender, q, FLOOD) for q in (1, 0)]
            report.tables.append(flood_table(contenders))
            report.aims += flood_aims(contenders)
        report.notes += [
            f"{one.name} is left out: {one.failed}" for one in contenders if one.failed
        ]
    with mosquitto() as broker:
        for name, command in ours.items():
            if name in over_http or options.as_shipped:
                continue  # what these two measure is the runtime's, whatever the transport
            if options.slow:
                table, aims = run_slow(broker, name, command)
                report.tables.append(table)
                report.aims += aims
            if options.flat:
                table, aims = run_flat(broker, name, command, options.rounds, options.commands)
                report.tables.append(table)
                report.aims += aims
    shutil.rmtree(folder)
    report.print()
    if options.plot:
        write_page(report, contenders, f"python benchmarks/broker.py {shlex.join(sys.argv[1:])}")
        progress("written: docs/benchmarks/broker.md and broker.svg")


if __name__ == "__main__":
    main()
