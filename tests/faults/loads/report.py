"""The table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .row import MIB, Row, percentile

HEAD = (
    "load", "transport", "1/s", "victim p50 / p99 (quiet p99)", "stop: read to start, worst",
    "stop: round trip, worst", "over idle", "of the bounds", "sent / answered",
    "lost, and who says so", "broken",
)  # fmt: skip


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{1000 * seconds:.1f}"


def cells(row: Row) -> list[str]:
    """One line of the table."""
    quiet = f" ({_ms(percentile(row.quiet, 0.99))})" if row.quiet else ""
    victim = f"{_ms(percentile(row.victim, 0.5))} / {_ms(percentile(row.victim, 0.99))}{quiet} ms"
    started = f"{_ms(max(row.stop_started, default=math.nan))} ms"
    missing = row.stops - len(row.stop_started)
    if missing:
        started += f", {missing} of {row.stops} not started"
    says = [f"{row.missing} missing"] if row.missing else []
    says += [f"broker dropped {row.dropped}"] if row.dropped else []
    says += [f"{name} {count}" for name, count in {**row.refused, **row.counters}.items()]
    says += ["a WARNING"] if row.told else []
    return [
        row.story,
        row.transport,
        f"{row.rate:.0f}",
        victim,
        started,
        f"{_ms(max(row.stop_round_trips, default=math.nan))} ms",
        f"{row.over_idle / MIB:.1f} MiB",
        f"{row.over_idle / row.bound:.2f}" if row.bound else "-",
        f"{row.sent} / {row.answered}",
        ", ".join([*says, *row.notes]) or "-",
        "; ".join(row.broken) or "-",
    ]


def table(rows: Sequence[Row]) -> str:
    """All of them, in Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *map(cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def summary(row: Row) -> str:
    """One row as it is done, on one line."""
    names = ("", "", "1/s", "victim", "stop", "its round trip", "memory", "of bounds", "", "", "")
    said = (f"{name} {cell}".strip() for name, cell in zip(names, cells(row)[:-1], strict=False))
    word = "BROKEN: " + "; ".join(row.broken) if row.broken else "holds"
    return f"{row.seconds:.0f} s: {'; '.join(said)} -> {word}"
