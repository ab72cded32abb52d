"""`python -m tests.faults.soak`: runs many seeds, writes a report, and fails at any violation.

The history of a seed that broke a promise is kept beside the report, as JSON lines, with the log of
the device: `check(History.load(file), plan.rules)` judges it again.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import attrs
import trio

import petalkit

from .crash_points import NOTE_POINTS, POINTS
from .driver import drive
from .faults import KINDS, Line, Schedule
from .plan import Outcome, Plan

COMMANDS_PER_FAULT = 50
TRANSPORTS = {
    "3.1.1": ("--protocol", "3.1.1"),
    "5": ("--protocol", "5"),
    "native": ("--transport", "native"),
}
# Bytes a second, down and up: a good mobile line, and a bad one.
LINES = {"fast": None, "8k": Line(8000, 8000), "1.2k": Line(8000, 1200)}
MIXED = ("fast", "8k", "fast", "1.2k")  # of seeds in turn
SLOW_COMMANDS = {"8k": 600, "1.2k": 200}  # of a seed, at most: about two minutes
SLOW_WINDOW = 20  # more than a petal has slots: all of them are taken once
COLUMNS = (
    "commands", "copies", "sent again", "responses", "redeliveries", "connections",
    "session losses", "killed", "stopped", "crashed", "given up",
    "ran although refused",
)  # fmt: skip


@attrs.define
class Row:
    """One seed in the report."""

    seed: int
    transport: str
    line: str
    outcome: Outcome | None
    text: str = ""  # why there is no outcome

    @property
    def failed(self) -> bool:
        return self.outcome is None or bool(self.outcome.violations)


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    add = parser.add_argument
    add("--seeds", type=int, help="how many, at least; 20, or with a time as many as fit")
    add("--first-seed", type=int, default=1)
    add("--commands", type=int, default=10_000, help="of each seed")
    add("--hours", type=float, default=0.0, help="go on with further seeds until they are over")
    add("--minutes", type=float, default=0.0, help="the same; both are added")
    add(
        "--line",
        choices=[*LINES, "mixed"],
        default="mixed",
        help="to the broker: 8k and 1.2k are bytes a second (the latter only up), and such seeds "
        "have fewer commands, some of them long; mixed: every other seed",
    )
    add("--window", type=int, default=100, help="open commands of a sender")
    add("--flap", type=float, default=None, help="cut the link every so many seconds")
    add("--kill-every", type=float, default=None, help="kill the process every so many seconds")
    add("--crash-points", action="store_true", help="let processes kill themselves at these, too")
    add("--faults", choices=[*KINDS, "all", "none"], nargs="+", default=["all"])
    add("--gap", type=int, nargs=2, default=(20, 400), help="packets of a kind between two faults")
    add("--journal", action=argparse.BooleanOptionalAction, default=False)
    add("--transport", choices=[*TRANSPORTS, "each"], default="each", help="each: in turn")
    add("--jobs", type=int, default=0, help="jobs of each seed, beside the commands")
    add("--device", default="", help="more options of petalkit run, in one argument")
    add("--report", type=Path, default=Path("soak.md"))
    return parser.parse_args(given)


def plan_of(options: argparse.Namespace, seed: int, transport: str, line: str) -> Plan:
    commands = min(options.commands, SLOW_COMMANDS.get(line, options.commands))
    slow = LINES[line] is not None
    kinds = [] if "all" in options.faults else [k for k in options.faults if k != "none"]
    count = 0 if "none" in options.faults else commands // COMMANDS_PER_FAULT
    gap = (options.gap[0] // 4, options.gap[1] // 4) if slow else tuple(options.gap)
    crashes: list[str] = []
    if options.crash_points:
        # Each at its first, an early and a later time; without a journal there is but one.
        names = POINTS if options.journal else ("effect-done",)
        if options.journal and options.jobs:
            names = (*POINTS, *NOTE_POINTS)
        crashes = [f"{name}:{count}" for count in (1, 10, 100) for name in names]
    return Plan(
        seed=seed,
        commands=commands,
        window=min(options.window, SLOW_WINDOW) if slow else options.window,
        line=LINES[line],
        faults=list(Schedule(seed, count=count, gap=gap, kinds=kinds)),
        flap=options.flap,
        end_every=options.kill_every,
        crashes=crashes,
        # Where commands are refused, its slots may never all be taken.
        hinder=options.kill_every is None and not crashes and "--overflow" not in options.device,
        journal=options.journal,
        jobs=options.jobs,
        options=[*TRANSPORTS[transport], "--log-level", "warning", *shlex.split(options.device)],
    )


def seeds(options: argparse.Namespace) -> Iterator[tuple[int, str, str]]:
    """Seeds, their transports and lines, until there were enough and the time is over."""
    ends = time.monotonic() + 3600 * options.hours + 60 * options.minutes
    least = options.seeds
    if least is None:
        least = 0 if options.hours or options.minutes else 20
    lines = MIXED if options.line == "mixed" else (options.line,)
    names = list(TRANSPORTS) if options.transport == "each" else [options.transport]
    for number in itertools.count():
        if number >= least and time.monotonic() >= ends:
            return
        yield options.first_seed + number, names[number % len(names)], lines[number % len(lines)]


def run_seed(options: argparse.Namespace, seed: int, transport: str, line: str) -> Row:
    """One run in a folder of its own, which is left only if it went wrong."""
    plan = plan_of(options, seed, transport, line)
    folder = Path(tempfile.mkdtemp(prefix=f"soak-{seed}-"))
    try:
        outcome = trio.run(functools.partial(drive, plan, folder))
    except Exception as error:
        return Row(seed, transport, line, None, f"{error!r}; see {folder}")
    row = Row(seed, transport, line, outcome)
    if row.failed:
        kept = options.report.with_suffix("")
        kept.mkdir(parents=True, exist_ok=True)
        outcome.history.save(kept / f"seed-{seed}.jsonl")
        (kept / f"seed-{seed}.log").write_text(outcome.log)
        (kept / f"seed-{seed}.txt").write_text(outcome.explain(100))
    shutil.rmtree(folder)
    # What is reported needs no events, and thousands of them for every seed are too many.
    outcome.history = type(outcome.history)()
    return row


def percentile(values: Sequence[float], share: float) -> float:
    """Of sorted values, in milliseconds."""
    if not values:
        return math.nan
    return 1000 * values[min(len(values) - 1, int(share * len(values)))]


def report(options: argparse.Namespace, rows: Sequence[Row], seconds: float) -> str:
    done = [row.outcome for row in rows if row.outcome is not None]
    counts = sum((outcome.counts for outcome in done), Counter[str]())
    faults = sum((outcome.faults for outcome in done), Counter[str]())
    broken = Counter(v.promise for outcome in done for v in outcome.violations)
    failed = [row for row in rows if row.failed]
    latencies = sorted(itertools.chain.from_iterable(outcome.latencies for outcome in done))
    packages = ("trio", "paho-mqtt", "mqtt5", "msgspec")
    lines = [
        "# Soak",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, petalkit {petalkit.__version__}, Python "
        f"{platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
        + f", {platform.system()} {platform.machine()}.",
        "",
        f"Journal {'on' if options.journal else 'off'}, {options.commands} commands a seed "
        "(fewer over a slow line), "
        f"{options.window} open at once, link cut every {options.flap or '-'} s, process killed "
        f"every {options.kill_every or '-'} s, faults: {', '.join(options.faults)}"
        + (f", device: {options.device}." if options.device else "."),
        "",
        f"**{len(rows)} seeds in {seconds / 3600:.2f} h, {len(failed)} of them failed. "
        f"{sum(broken.values())} violations"
        + (f": {', '.join(f'{n} of {p}' for p, n in sorted(broken.items()))}" if broken else "")
        + ".**",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {counts[name]} |" for name in COLUMNS),
        f"| latency, median | {percentile(latencies, 0.5):.1f} ms |",
        f"| latency, 99 % | {percentile(latencies, 0.99):.1f} ms |",
        f"| memory of a device, most | {max((o.memory for o in done), default=0) >> 20} MiB |",
        "",
        "Latency is that of a whole command, faults and restarts included.",
        "",
        "| fault | times |",
        "|---|---|",
        *(f"| {name} | {number} |" for name, number in sorted(faults.items())),
        "",
        "| seed | transport | line | commands | killed | redeliveries | violations | 99 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        outcome = row.outcome
        if outcome is None:
            lines.append(f"| {row.seed} | {row.transport} | {row.line} | {row.text} | | | | |")
        else:
            c, late = outcome.counts, percentile(outcome.latencies, 0.99)
            lines.append(
                f"| {row.seed} | {row.transport} | {row.line} | {c['commands']} | {c['killed']} "
                f"| {c['redeliveries']} | {len(outcome.violations)} | {late:.0f} ms |"
            )
    for row in failed:
        if row.outcome is not None:
            lines += ["", f"Seed {row.seed}:", ""]
            lines += [f"- {violation}" for violation in row.outcome.violations[:20]]
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(given: Sequence[str]) -> int:
    options = arguments(given)
    began = time.monotonic()
    rows: list[Row] = []
    for seed, transport, line in seeds(options):
        row = run_seed(options, seed, transport, line)
        rows.append(row)
        # After each, so that whoever stops it has what was found until then.
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(report(options, rows, time.monotonic() - began))
        said = row.text
        if row.outcome is not None:
            said = f"{len(row.outcome.violations)} violations in {row.outcome.seconds:.0f} s"
        say(f"seed {seed} {transport} {line}: {said}")
    say(options.report.read_text())
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
