"""Bytes that a command makes the disk write, as `petalkit run` is shipped, beside another build.

By the kernel's count for the process (`write_bytes` of /proc/PID/io: whole pages, when they are
changed): the log, the database and its write-ahead log, with the first commands warmed up and left
out. It does not count what the file system writes for itself. An SD card wears by this.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

from _common import identity, make_commands, print_aim, print_environment, print_table
from _load import Client, closed_loop
from _programs import Broker, mosquitto, program, shipped_command

WINDOWS = {1: 1_500, 16: 8_000, 64: 12_000}  # commands under way: how many
WARM_UP = 500
AIM = 0.5  # of another build's


def written(pid: int) -> int:
    """Bytes that a process has made the disk write."""
    found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def measure(broker: Broker, folder: Path, window: int, src: list[str]) -> float:
    """Bytes per command."""
    device = f"device-{window}-{len(src)}"
    command = shipped_command("native", *src, "--journal", str(folder / device))
    with program(broker, device, command) as process, Client(broker.port, "load") as client:
        base = identity(device).base_topic
        client.subscribe(f"{base}/response")
        closed_loop(client, base, make_commands(WARM_UP), window)
        before = written(process.pid)
        closed_loop(client, base, make_commands(WINDOWS[window]), window)
        return (written(process.pid) - before) / WINDOWS[window]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", metavar="SRC", help="a folder with another build's `petalkit`")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk that is meant")
    arguments = parser.parse_args()
    builds = {"": []} | ({"old": ["--src", arguments.old]} if arguments.old else {})
    print_environment()
    rows: list[list[str]] = []
    aims: list[tuple[str, float]] = []
    with mosquitto() as broker, tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        for window in WINDOWS:
            found = [measure(broker, Path(place), window, src) for src in builds.values()]
            rows.append([str(window), *(f"{size:.0f}" for size in found)])
            if arguments.old:
                aims.append((f"{window} under way, to the other", found[0] / found[1]))
    print_table(["under way", *(f"bytes per command {name}".strip() for name in builds)], rows)
    for name, ratio in aims:
        print_aim(name, ratio, AIM)


if __name__ == "__main__":
    main()
