"""What all benchmarks share: one policy for warm-up and garbage, one clock, one kind of table.

The policy, so that two programs are compared and not two moments: everything is warmed up by a
round that is not counted; before each round the garbage is collected, and collection stays on
during it, as it is on a device; the programs compared take turns, round by round; what is printed
is the median of the rounds, with the lowest and the highest beside it.
"""

from __future__ import annotations

import contextlib
import gc
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from importlib import metadata
from pathlib import Path

import attrs
import msgspec

from petalkit import Identity

ROOT = Path(__file__).resolve().parent.parent
ORGANIZATION = "bench"
TEXT = "Hello, Developer! (3)"  # what the handler has to answer


def identity(device: str) -> Identity:
    """The identity of a program under test."""
    return Identity(ORGANIZATION, device)


_run_number = time.time_ns()
_commands_made = 0


def make_commands(count: int, names: Sequence[str] = ("bench/greet",)) -> list[tuple[str, bytes]]:
    """Commands as they are on the wire, by these names in turn, with unused message IDs."""
    global _commands_made
    first = _commands_made
    _commands_made += count
    return [
        (
            message_id := f"{_run_number:x}-{number:07d}",
            msgspec.json.encode(
                {
                    "command": names[number % len(names)],
                    "messageId": message_id,
                    "waitResponse": True,
                    "data": {"name": "Developer", "count": 3},
                    "timestamp": "2026-01-01T00:00:00.000Z",
                }
            ),
        )
        for number in range(first, first + count)
    ]


def check_response(payload: bytes) -> str:
    """The message ID of a response, which has to be the right one in all its fields."""
    response = msgspec.json.decode(payload)
    if response.get("success") is not True or response.get("message") != TEXT:
        raise SystemExit(f"a wrong response: {payload!r}")
    message_id: str = response["messageId"]
    return message_id


# -- measuring


@attrs.frozen
class Measured:
    """What one round took: seconds on the wall, seconds of CPU."""

    wall: float
    cpu: float


@contextlib.contextmanager
def settled() -> Generator[None]:
    """Begin without garbage of what came before; it goes on being collected meanwhile."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def stopwatch() -> Generator[Callable[[], Measured]]:
    """Time of the wall and CPU of this process, from the block's beginning to the call."""
    wall, cpu = time.perf_counter(), time.process_time()

    def read() -> Measured:
        return Measured(time.perf_counter() - wall, time.process_time() - cpu)

    yield read


def cpu_of(pid: int) -> float:
    """CPU seconds, user and system, of all threads that a process has had.

    By the kernel's clock for that process, clock_getcpuclockid(3), which counts in nanoseconds;
    /proc/PID/stat counts in hundredths of a second.
    """
    return time.clock_gettime((~pid << 3) | 2)


def peak_memory(pid: int) -> float:
    """The most MiB that a process has had in memory (VmHWM)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def memory(pid: int) -> float:
    """The MiB that a process has in memory now (VmRSS)."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(values: Iterable[float], digits: int = 1) -> str:
    """Median, and from lowest to highest."""
    found = list(values)
    middle = statistics.median(found)
    if len(found) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({min(found):.{digits}f}..{max(found):.{digits}f})"


# -- printing


def print_environment(**more: str) -> None:
    """The versions that the figures belong to."""
    lines = environment(**more)
    print("; ".join(f"{name} {value}" for name, value in lines.items()))
    print()


def environment(**more: str) -> dict[str, str]:
    """The same by name: versions of what runs in this interpreter, and the machine."""
    cpu = re.search(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo"))
    cores = len(re.findall(r"^processor", _read("/proc/cpuinfo"), re.MULTILINE))
    return {
        "python": platform.python_version(),
        **{
            name: metadata.version(name)
            for name in ("petalkit", "trio", "trio-asyncio", "paho-mqtt", "msgspec", "cattrs")
        },
        "kernel": platform.release(),
        "cpu": f"{cpu[1] if cpu else platform.machine()}, {cores} cores",
        "load before": " ".join(_read("/proc/loadavg").split()[:3]),
        **more,
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells))
    print()


def print_aim(name: str, value: float, bound: float, unit: str = "") -> None:
    """One aim, and whether this run met it."""
    verdict = "met" if value <= bound else "MISSED"
    print(f"aim: {name} at most {bound:g}{unit}: {value:.2f}{unit}, {verdict}")


def output_of(*command: str) -> str:
    """The first line that a program prints about itself."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return (
        (done.stdout or done.stderr).strip().splitlines()[0] if done.stdout or done.stderr else ""
    )


def progress(text: str) -> None:
    """To stderr, so that the table can be kept by itself."""
    print(text, file=sys.stderr, flush=True)
