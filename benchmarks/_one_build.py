"""One build of petalkit, measured when it is asked; the other end of against.py.

    python _one_build.py SRC

A line of JSON in, what to run; a line of JSON out, what it took. `sys.path` is set before anything
of petalkit is imported, so that SRC is served and not what is installed.
"""

from __future__ import annotations

import cProfile
import json
import logging
import pstats
import sys
from pathlib import Path
from typing import Any

SRC = Path(sys.argv[1]).resolve()
sys.path.insert(0, str(SRC))

import trio  # noqa: E402

import dispatch  # noqa: E402
import native  # noqa: E402
import petalkit  # noqa: E402
from _common import make_commands  # noqa: E402


def run(way: str, window: int, count: int) -> float:
    """CPU us for each command."""
    if way == "native":
        return native.measure(native.run_petalkit, native.packets(count), window)
    row = dispatch.ROWS["petalkit with a journal" if way == "journal" else "petalkit"]
    measured = trio.run(dispatch.limited, row, make_commands(count), window)
    return 1e6 * measured.cpu / count


def count_calls(way: str, window: int, count: int) -> dict[str, float]:
    """How often each function is called for one command; what a start and a stop take is left out.

    That is what twice as many commands call more often.
    """
    once, twice = (calls_of(way, window, number) for number in (count, 2 * count))
    calls = {name: (twice[name] - once.get(name, 0)) / count for name in twice}
    return {name: number for name, number in calls.items() if abs(number) > 0.002}


def calls_of(way: str, window: int, count: int) -> dict[str, int]:
    profile = cProfile.Profile()
    profile.runcall(run, way, window, count)
    found: dict[str, int] = {}
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, _, function), (_, number, *_) in stats.items():
        place = f"{module_of(file)}:" if file != "~" else ""
        found[place + function] = found.get(place + function, 0) + number
    return found


def module_of(file: str) -> str:
    path = Path(file)
    if path.is_relative_to(SRC):
        return str(path.relative_to(SRC).with_suffix(""))
    return "/".join(path.with_suffix("").parts[-2:])


def main() -> None:
    found = Path(petalkit.__file__ or "")
    if not found.is_relative_to(SRC):
        raise SystemExit(f"{SRC} has no petalkit: found {found}")
    logging.getLogger().setLevel(logging.WARNING)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        result = run(*arguments) if what == "cpu" else count_calls(*arguments)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
