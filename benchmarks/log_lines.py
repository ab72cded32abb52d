"""The two INFO lines of a command: what they add to its CPU, to a pipe that somebody reads.

One runtime over the stream in memory of native.py serves the same commands with its lines and
without them, in turns; the difference is what "received" and "answered" cost, from the call in
dispatch to the write. `--old PATH` measures the `src` of another build in the same rounds.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parent / "src"
FORMS = ("text", "json")


def measure_here(count: int, window: int) -> None:
    """In a process of one build: print CPU us per command, without lines and with them."""
    import contextlib
    import logging
    import tempfile

    import trio

    import native
    from petalkit._serving.process.logs import configure_logging

    try:  # an older build has none
        from petalkit._serving.process.passes import gathered_by_pass
    except ImportError:
        gathered_by_pass = contextlib.nullcontext  # type: ignore[assignment]

    def run(form: str | None, commands: int) -> float:
        found: list[float] = []
        reader, writer = os.pipe()
        with (
            subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.DEVNULL),
            os.fdopen(writer, "w", encoding="utf-8") as stream,
        ):
            os.close(reader)
            level = "warning" if form is None else "info"
            configure_logging(level, "json" if form == "json" else "text", stream)

            async def serve() -> None:
                with gathered_by_pass():
                    packets = native.packets(commands)
                    await native.run_petalkit(native.BrokerStream(packets, window), found.append)

            trio.run(serve)
            configure_logging("warning", stream=sys.stderr)
        return found[0] / commands * 1e6

    logging.captureWarnings(False)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run("text", count // 4)  # warms up
        print(json.dumps({str(form): run(form, count) for form in (None, *FORMS)}))


def measure(source: Path, count: int, window: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--here", "--commands", str(count), "--window", str(window)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(source), str(HERE)))},
        stdout=subprocess.PIPE,
        timeout=300,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--commands", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=int, default=16, help="commands under way")
    parser.add_argument("--old", type=Path, help="the `src` of another build")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        measure_here(options.commands, options.window)
        return
    from _common import print_environment, print_table, spread

    print_environment()
    builds = {"this build": SOURCES}
    if options.old is not None:
        builds[str(options.old)] = options.old.resolve()
    found: dict[str, dict[str, list[float]]] = {
        name: collections.defaultdict(list) for name in builds
    }
    for _ in range(options.rounds):
        for name, source in builds.items():
            once = measure(source, options.commands, options.window)
            found[name]["quiet"].append(once["None"])
            for form in FORMS:
                found[name][form].append(once[form] - once["None"])
    print(f"{options.window} under way, {options.rounds} rounds of {options.commands} commands")
    head = ["CPU us/command", "without lines", *(f"both lines, {form}" for form in FORMS)]
    rows = [
        [name, *(spread(found[name][column]) for column in ("quiet", *FORMS))] for name in builds
    ]
    print_table(head, rows)


if __name__ == "__main__":
    main()
