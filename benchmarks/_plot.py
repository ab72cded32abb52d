"""Draws the picture of broker.py: figures as JSON on stdin, the SVG's path as argument.

Run by the interpreter of the benchmark group. Text stays text, the ground is transparent, and the
colours are middling ones, so that it can be read on a light page and on a dark one.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INK = "#7d858f"
PETALKIT = "#2f81c7"
PEER = "#9aa3ad"

matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "petalkit",
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


def draw(axes: Any, bars: list[dict[str, Any]], field: str, title: str) -> None:
    """Horizontal bars of the median, with a line from the lowest to the highest."""
    for place, bar in enumerate(bars):
        low, middle, high = bar[field]
        axes.barh(place, middle, height=0.62, color=PEER if bar["peer"] else PETALKIT)
        axes.errorbar(
            middle,
            place,
            xerr=[[middle - low], [high - middle]],
            color=INK,
            capsize=3,
            linewidth=1,
        )
        axes.annotate(
            f"{middle:.0f}", (high, place), (6, 0), textcoords="offset points", va="center"
        )
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlim(0, 1.12 * max(bar[field][2] for bar in bars))
    axes.grid(axis="x", color=INK, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def main() -> None:
    bars = sorted(json.load(sys.stdin), key=lambda bar: bar["cpu"][1])
    figure, (left, right) = plt.subplots(
        1, 2, sharey=True, figsize=(9.6, 0.9 + 0.36 * len(bars)), layout="constrained"
    )
    draw(left, bars, "cpu", "CPU per command, 64 under way (us)")
    draw(right, bars, "p50", "round trip p50, one at a time (us)")
    left.set_yticks(range(len(bars)), [bar["name"] for bar in bars])
    left.invert_yaxis()
    figure.savefig(sys.argv[1], format="svg", transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
