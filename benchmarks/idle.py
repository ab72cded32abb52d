"""A program with nothing to do: its start, its memory, and how often it wakes up.

`petalkit run` of one petal over mosquitto, with its journal and its INFO lines, as it is shipped:
seconds and CPU seconds from exec to the line that says it has subscribed; MiB in memory (VmRSS)
and voluntary context switches a second of all its threads, after it has settled. Python finds its
compiled files, as it does where petalkit is installed. With `--old PATH`
the `src` of another build takes turns with this one.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs

from _common import ORGANIZATION, cpu_of, memory, print_environment, print_table, progress, spread
from _programs import mosquitto, mosquitto_version

SOURCES = Path(__file__).resolve().parent.parent / "src"
LIMIT = 60.0  # seconds for a start
SETTLED = 2.0  # seconds after it, in which what a start leaves behind is done

PETAL = """
from petalkit import Petal, command

class Idle(Petal):
    name = "idle"

    @command("hello")
    async def hello(self) -> dict[str, str]:
        return {"message": "hello"}
"""


@attrs.frozen
class Idle:
    started: float  # seconds
    cpu: float  # seconds
    memory: float  # MiB
    wakeups: float  # in a second
    threads: int


def wakeups_of(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.M)
        total += int(found[1]) if found else 0
    return total


def measure(environ: dict[str, str], port: int, transport: str, seconds: float) -> Idle:
    with tempfile.TemporaryDirectory(prefix="petalkit-benchmark-") as folder:
        Path(folder, "idle.py").write_text(PETAL)
        command = [
            *(sys.executable, "-m", "petalkit", "run", "idle.py", "--transport", transport),
            *("--broker", f"mqtt://127.0.0.1:{port}", "--organization-id", ORGANIZATION),
            *("--device-id", "idle", "--journal", str(Path(folder, "journal"))),
        ]
        began = time.monotonic()
        with subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                wait_for(process, b"connected as client")
                started, cpu = time.monotonic() - began, cpu_of(process.pid)
                time.sleep(SETTLED)
                before, at = wakeups_of(process.pid), time.monotonic()
                time.sleep(seconds)
                woken = (wakeups_of(process.pid) - before) / (time.monotonic() - at)
                threads = len(os.listdir(f"/proc/{process.pid}/task"))
                return Idle(started, cpu, memory(process.pid), woken, threads)
            finally:
                process.terminate()
                try:
                    process.wait(LIMIT)
                except subprocess.TimeoutExpired:
                    process.kill()


def environment(source: Path, compiled: str) -> dict[str, str]:
    found = {**os.environ, "PYTHONPATH": str(source), "PYTHONPYCACHEPREFIX": compiled}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


def wait_for(process: subprocess.Popen[bytes], words: bytes) -> None:
    assert process.stderr is not None
    said, end = b"", time.monotonic() + LIMIT
    while words not in said:
        ready, _, _ = select.select([process.stderr], [], [], max(0, end - time.monotonic()))
        data = os.read(process.stderr.fileno(), 65_536) if ready else b""
        if not data:
            raise SystemExit(f"it did not start: {said.decode(errors='replace')}")
        said += data


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="in which wake-ups are counted")
    parser.add_argument("--transport", default="native")
    parser.add_argument("--old", type=Path, help="the `src` of another build")
    options = parser.parse_args()
    print_environment(mosquitto=mosquitto_version())
    builds = {"this build": SOURCES}
    if options.old is not None:
        builds[str(options.old)] = options.old.resolve()
    found: dict[str, list[Idle]] = {name: [] for name in builds}
    with mosquitto() as broker, tempfile.TemporaryDirectory(prefix="petalkit-") as compiled:
        for number in range(-1, options.rounds):  # the first compiles
            for name, source in builds.items():
                seconds = options.seconds if number >= 0 else 0.1
                environ = environment(source, compiled)
                one = measure(environ, broker.port, options.transport, seconds)
                if number >= 0:
                    found[name].append(one)
            progress(f"round {number + 1} of {options.rounds}")
    head = [options.transport, "s to subscribed", "CPU s to that", "MiB", "wake-ups/s", "threads"]
    rows = [
        [
            name,
            spread((one.started for one in ones), 2),
            spread((one.cpu for one in ones), 2),
            spread(one.memory for one in ones),
            spread((one.wakeups for one in ones), 2),
            spread((one.threads for one in ones), 0),
        ]
        for name, ones in found.items()
    ]
    print_table(head, rows)


if __name__ == "__main__":
    main()
