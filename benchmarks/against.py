"""This build beside another one: CPU and Python calls for one command, in one run.

    python benchmarks/against.py --old ../before/src

Each build is a process of its own, and they take turns, round by round, so that what else the
machine does falls on both. What is printed is the ratio of the medians, and of the rounds beside
each other. A process may be a few per cent slower than its twin by where its memory happens to be,
so there are several lives of both. The calls are counted by cProfile: they do not vary.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import ROOT, print_environment, print_table, progress, spread

HERE = Path(__file__).parent
WAYS = ("memory", "native", "journal")


class Build:
    """A process that has one build."""

    def __init__(self, src: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "_one_build.py"), str(src)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def ask(self, *what: object) -> Any:
        """One answer to one question."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a build ended before it had answered")
        return json.loads(line)

    def end(self) -> None:
        """There are no more questions."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def cpu(sources: Sequence[Path], way: str, window: int, options: argparse.Namespace) -> list[str]:
    """A line of the table."""
    old: list[float] = []
    new: list[float] = []
    for life in range(options.lives):
        builds = [Build(src) for src in sources]
        for number in range(-1, options.rounds):  # the first is the warm-up
            turns = list(zip(builds, (old, new), strict=True))
            for build, found in reversed(turns) if number % 2 else turns:
                spent = build.ask("cpu", way, window, options.commands)
                if number >= 0:
                    found.append(spent)
        for build in builds:
            build.end()
        progress(f"{way}, {window} under way: life {life + 1} of {options.lives}")
    ratio = statistics.median(new) / statistics.median(old)
    pairs = [mine / other for mine, other in zip(new, old, strict=True)]
    return [
        f"{way}, {window} under way",
        spread(old),
        spread(new),
        f"{ratio:.3f}",
        spread(pairs, 3),
    ]


def calls(sources: Sequence[Path], way: str, window: int, options: argparse.Namespace) -> None:
    """How many there are, and of which functions the numbers differ."""
    found: list[dict[str, float]] = []
    for src in sources:
        build = Build(src)
        found.append(build.ask("calls", way, window, 1000))
        build.end()
    old, new = found
    print(f"{way}, {window} under way: {sum(old.values()):.1f} calls, now {sum(new.values()):.1f}")
    differs = {
        name: (old.get(name, 0.0), new.get(name, 0.0))
        for name in {*old, *new}
        if options.all or abs(old.get(name, 0.0) - new.get(name, 0.0)) > 0.05
    }
    rows = sorted(differs.items(), key=lambda item: (item[1][0] - item[1][1], item[0]))
    print_table(
        ["function", "old", "new"], [[name, f"{a:.2f}", f"{b:.2f}"] for name, (a, b) in rows]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--old", type=Path, required=True, metavar="SRC", help="the other's src")
    parser.add_argument("--way", action="append", choices=WAYS, help="again and again")
    parser.add_argument("--window", type=int, action="append", help="again and again: 1, 64")
    parser.add_argument("--commands", type=int, default=4000, help="per round")
    parser.add_argument("--rounds", type=int, default=5, help="in each life")
    parser.add_argument("--lives", type=int, default=4)
    parser.add_argument("--calls", action="store_true", help="count calls instead")
    parser.add_argument("--all", action="store_true", help="with those that do not differ")
    options = parser.parse_args()
    sources = (options.old.resolve(), ROOT / "src")
    ways = options.way or ["memory", "native"]
    windows = options.window or [1, 64]
    if options.calls:
        for way in ways:
            for window in windows:
                calls(sources, way, window, options)
        return
    print_environment()
    rows = [cpu(sources, way, window, options) for way in ways for window in windows]
    print_table(["CPU us/command", "old", "new", "ratio", "of the rounds"], rows)


if __name__ == "__main__":
    main()
