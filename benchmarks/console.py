"""How many frames per second the page of `petalkit console` holds, with 50 streams at 10 Hz.

    python benchmarks/console.py

In a real Chromium without a display, which draws with the CPU, on the machine that also runs the
device and the console. Frames are counted by requestAnimationFrame; a frame that comes later than
25 ms after the one before is late. CPU is in seconds per second: of the page's main thread, as
Chromium counts it, and of this process with device, broker (in the process) and console.

Needs node, Chromium, and what `scripts/page` installs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import trio

from petalkit import Petal, Settings, stream
from petalkit._values.settings.settings import HTTP_OFF
from petalkit.cli._console.bridge import Moves
from petalkit.cli._console.command import open_console
from petalkit.client import open_client
from petalkit.testing import MemoryTransport, open_harness

ROOT = Path(__file__).parents[1]
STREAMS = 50
RATE = 10  # Hz
SETTINGS = Settings(organization_id="acme", device_id="Instance-1", compat_http=HTTP_OFF, grace=0.1)
HEIGHTS = {"a screen": 900, "all plots in view": 6000}
LIMIT = 180.0  # seconds of one measurement


def make_petal() -> Petal:
    """A petal of 50 streams, each of two numbers."""

    def made(number: int) -> Any:
        async def values(self: Petal) -> AsyncGenerator[dict[str, float]]:
            while True:
                now = trio.current_time() + number
                yield {"first": math.sin(now), "second": 2 * math.cos(now / 3)}
                await trio.sleep(1 / RATE)

        values.__name__ = values.__qualname__ = f"signal_{number:02}"
        return stream(f"signal_{number:02}", max_rate=RATE)(values)

    members: dict[str, Any] = {f"signal_{number:02}": made(number) for number in range(STREAMS)}
    made_class: Any = type("Signals", (Petal,), {"name": "signals", **members})
    petal: Petal = made_class()
    return petal


async def measure(seconds: float, height: int) -> dict[str, Any]:
    """One measurement."""
    moves = Moves(watch=tuple(f"signals/signal_{number:02}" for number in range(STREAMS)))
    async with open_harness(make_petal(), settings=SETTINGS) as harness:
        transport = MemoryTransport(harness.broker)
        async with (
            open_client(SETTINGS, transport=transport) as client,
            open_console(client, SETTINGS, 0, moves) as address,
        ):
            script = ROOT / "web" / "tests" / "frames.mjs"
            before, begun = time.process_time(), time.monotonic()
            with trio.fail_after(LIMIT):
                done = await trio.run_process(
                    ["node", str(script), address, str(seconds), str(height)], capture_stdout=True
                )
            cpu = (time.process_time() - before) / (time.monotonic() - begun)
    return {**json.loads(done.stdout), "server": cpu}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--least", type=float, help="frames per second that must be held")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before")
    print(
        "| in view | frames/s | median ms | p95 | p99 | worst | late | page CPU | of it script |"
        " layout | server CPU |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    best = 0.0
    for _ in range(given.rounds):
        for name, height in HEIGHTS.items():
            found = trio.run(measure, given.seconds, height)
            if height == HEIGHTS["a screen"]:
                best = max(best, found["fps"])
            numbers = [f"{found[one]:.1f}" for one in ("fps", "median", "p95", "p99", "worst")]
            shares = [f"{found[one]:.2f}" for one in ("thread", "script", "layout", "server")]
            late = f"{100 * found['late']:.1f} %"
            words = " | ".join([f"{name} ({found['plots']})", *numbers, late, *shares])
            print(f"| {words} |", flush=True)
    if given.least is not None and best < given.least:
        sys.exit(f"{best:.1f} frames per second, and {given.least:g} are wanted")


if __name__ == "__main__":
    main()
