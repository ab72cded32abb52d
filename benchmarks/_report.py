"""What broker.py has found: tables on stdout, and the page with its picture in `docs/benchmarks/`.

The picture is drawn by `_plot.py` in the peers' environment, which has matplotlib; this process
needs nothing but petalkit.
"""

from __future__ import annotations

import datetime as dt
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import msgspec

from _common import ROOT, print_aim, print_table, spread
from _peers import GROUP, make_environment
from _rounds import WINDOWS, Contender

FOLDER = ROOT / "docs" / "benchmarks"
PLOT_LIMIT = 120.0  # seconds


@attrs.frozen
class Aim:
    """Something that a run meets or misses."""

    name: str
    value: float
    bound: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.bound


@attrs.frozen
class Table:
    """A heading, the names of the columns, and rows that begin with a name."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@attrs.define
class Report:
    """Everything of one run."""

    environment: Mapping[str, str]
    tables: list[Table] = attrs.field(factory=list)
    aims: list[Aim] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)

    def print(self) -> None:
        """To stdout."""
        for table in self.tables:
            print(table.title)
            print_table(table.head, table.rows)
        for note in self.notes:
            print(f"note: {note}")
        for aim in self.aims:
            print_aim(aim.name, aim.value, aim.bound, aim.unit)


def round_tables(contenders: Sequence[Contender], reference: Contender | None) -> list[Table]:
    """One table for each window, with the ratio to the reference, round by round."""
    tables: list[Table] = []
    fields = {
        "commands/s": "rate",
        "p50 us": "p50",
        "p99 us": "p99",
        "mosquitto CPU": "broker_cpu",
        "load CPU": "load_cpu",
    }
    for window in WINDOWS:
        measured = [one for one in contenders if one.rounds[window] and not one.failed]
        if not measured:
            continue
        how = "one at a time" if window == 1 else f"{window} under way"
        title = f"{how}, median (lowest..highest) of {len(measured[0].rounds[window])} rounds"
        rows: list[list[str]] = []
        for one in measured:
            row = [one.name, spread(one.column(window, "cpu"), 0)]
            if reference is not None:
                row.append(f"{one.ratio(reference, window):.2f}")
            rows.append(row + [spread(one.column(window, field), 0) for field in fields.values()])
        head = ["", "CPU us/command"]
        if reference is not None:
            head.append(f"to {reference.name}")
        tables.append(Table(title, [*head, *fields], rows))
    return tables


def flood_table(contenders: Sequence[Contender]) -> Table:
    """What became of commands sent at once."""
    head = ["", "answered", "refused", "lost", "twice", "answers/s", "CPU us/command"]
    rows = [
        [
            f"{one.name}, QoS {found.qos}",
            *(str(value) for value in (found.answered, found.refused, found.lost, found.twice)),
            f"{found.rate:.0f}",
            f"{found.cpu:.0f}",
            f"{found.peak:.1f}",
            f"{found.over_idle:+.1f}",
        ]
        for one in contenders
        for found in one.floods
    ]
    count = next(found.count for one in contenders for found in one.floods)
    return Table(f"{count} commands sent at once", [*head, "peak MiB", "over idle"], rows)


# -- the page


def write_page(report: Report, contenders: Sequence[Contender], command: str) -> None:
    """`docs/benchmarks/broker.md` and `broker.svg`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "broker.md").write_text(_markdown(report, command))
    bars = [
        {
            "name": one.name,
            "peer": one.is_peer,
            "cpu": _range(one.column(64, "cpu")),
            "p50": _range(one.column(1, "p50")),
        }
        for one in contenders
        if not one.failed
    ]
    subprocess.run(
        [
            make_environment(GROUP),
            str(Path(__file__).with_name("_plot.py")),
            str(FOLDER / "broker.svg"),
        ],
        input=msgspec.json.encode(bars),
        check=True,
        timeout=PLOT_LIMIT,
    )


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def _markdown(report: Report, command: str) -> str:
    date = dt.datetime.now(dt.UTC).date().isoformat()
    lines = [
        f"<!-- Written by `{command}`; do not edit. -->",
        "",
        "# The last whole run",
        "",
        f"Measured on {date} by `{command}`.",
        "",
    ]
    for table in report.tables:
        lines += [f"**{table.title[0].upper()}{table.title[1:]}**", "", _row(table.head)]
        lines += [_row(["---"] + ["---:"] * (len(table.head) - 1))]
        lines += [*(_row(row) for row in table.rows), ""]
    if report.notes:
        lines += [*(f"- {note}" for note in report.notes), ""]
    if report.aims:
        lines += ["**Aims**", "", "| Aim | At most | Measured | |", "|---|---:|---:|---|"]
        for aim in report.aims:
            unit = f" {aim.unit.strip()}" if aim.unit else ""
            verdict = "met" if aim.met else "**missed**"
            lines.append(
                f"| {aim.name} | {aim.bound:g}{unit} | {aim.value:.4g}{unit} | {verdict} |"
            )
        lines.append("")
    lines += ["**Versions and machine**", "", "| | |", "|---|---|"]
    lines += [_row(pair) for pair in report.environment.items()]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
