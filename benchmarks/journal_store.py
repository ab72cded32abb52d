"""The journal's file alone: what a command costs from its acceptance to its settled answer.

Each round writes the whole life of many commands: in one batch N commands are accepted and
started, N others finish and have their answer posted, and the answers of N more are settled. So
five operations and three batches make a life. Reported is the CPU time of the thread that writes,
and how long a batch takes on the clock; both also while another thread computes without a pause,
which is the worst that an event loop can do to it: the writer gets the GIL every 5 ms at most.

The folder should be on the disk that is meant: --folder.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from _common import print_environment, print_table, spread
from petalkit._serving.ledger.journal.operations import (
    Finished,
    Operation,
    Settled,
)
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import Accepted

MIB = 1024 * 1024
PAYLOAD = b'{"command":"bench/echo","messageId":"0123456789","data":{"n":1}}'.ljust(200)
RESPONSE = b'{"messageId":"0123456789","success":true}'.ljust(200)
BASE = "org/acme/device/Instance-1"
COMMANDS = {1: 1_000, 4: 4_000, 16: 10_000, 64: 20_000, 256: 30_000}
CONTENDED = {1: 100, 4: 400, 16: 1_600, 64: 5_000, 256: 10_000}


def life(place: int) -> tuple[Operation, ...]:
    """What happens to one command."""
    number = 2 * place + 1
    now = 1.8e9 + place / 1000
    return (
        Accepted(
            number,
            f"{place:032x}",
            "bench/echo",
            PAYLOAD,
            f"{BASE}/command",
            "acme",
            "Instance-1",
            BASE,
            True,
            None,
            None,
            now,
            now,
        ),
        Finished(
            *(number, None, RESPONSE, True, now + 0.0003),
            *(number + 1, f"{BASE}/response", None, now + 3600),
        ),
        Settled(number + 1, None),
    )


def batches(count: int, size: int) -> Iterator[list[Operation]]:
    """Operations of `count` commands, each batch with `size` of them in each of three places."""
    lives = [life(place) for place in range(count)]
    for start in range(0, count + 2 * size, size):
        batch = [one[2] for one in lives[max(0, start - 2 * size) : max(0, start - size)]]
        for one in lives[max(0, start - size) : start]:
            batch += one[1:2]
        for one in lives[start : start + size]:
            batch += one[:1]
        yield batch


class Busy:
    """Another thread that computes and never waits, while the block runs."""

    def __enter__(self) -> None:
        self._stop = False
        self._thread = threading.Thread(target=self._compute)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()

    def _compute(self) -> None:
        while not self._stop:
            sum(range(1000))


def measure(folder: Path, count: int, size: int, busy: bool) -> tuple[float, float]:
    """Microseconds of CPU per command, and milliseconds of time per batch."""
    work = list(batches(count, size))
    with tempfile.TemporaryDirectory(dir=folder) as place:
        store = JournalStore.open(Path(place, "journal"), device_id="d", size_max=512 * MIB)
        if busy:
            with Busy():
                taken = write(store, work)
        else:
            taken = write(store, work)
        store.close()
    cpu, elapsed = taken
    return cpu / count * 1e6, elapsed / len(work) * 1e3


def write(store: JournalStore, work: Sequence[Sequence[Operation]]) -> tuple[float, float]:
    cpu, started = time.thread_time(), time.perf_counter()
    for batch in work:
        store.write(batch)
    return time.thread_time() - cpu, time.perf_counter() - started


def measure_others(folder: Path, count: int) -> list[tuple[str, str]]:
    """What is done less often, with a file of so many commands."""
    found: list[tuple[str, str]] = []

    def timed(what: str, started: float, per: int = 1, unit: str = "ms") -> None:
        taken = (time.perf_counter() - started) / per
        found.append((what, f"{taken * (1e3 if unit == 'ms' else 1e6):.1f} {unit}"))

    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place, "journal")
        store = JournalStore.open(path, device_id="d", size_max=512 * MIB)
        for batch in batches(count, 256):
            store.write(batch)
        store.close()
        found.append(("bytes of the file per command", f"{path.stat().st_size / count:.0f}"))
        started = time.perf_counter()
        store = JournalStore.open(path, device_id="d", size_max=512 * MIB)
        timed(f"open and check a file of {count} commands", started)
        started = time.perf_counter()
        store.load()
        timed("load it", started)
        started = time.perf_counter()
        for place_of_one in range(0, count, count // 1000):
            store.read(2 * place_of_one + 1)
        timed("read one record", started, 1000, "us")
        started = time.perf_counter()
        assert store.prune(count=count, before=1.7e9) == []
        timed("look what is too old, and find nothing", started)
        started = time.perf_counter()
        while store.prune(count=0, before=None):
            pass
        timed("prune one record", started, count, "us")
        store.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    arguments = parser.parse_args()
    print_environment()
    rows = []
    for size in COMMANDS:
        alone = [
            measure(arguments.folder, COMMANDS[size], size, False) for _ in range(arguments.rounds)
        ]
        beside = [
            measure(arguments.folder, CONTENDED[size], size, True) for _ in range(arguments.rounds)
        ]
        rows.append(
            [
                str(size),
                spread([cpu for cpu, _ in alone]),
                spread([elapsed for _, elapsed in alone]),
                spread([cpu for cpu, _ in beside]),
                spread([elapsed for _, elapsed in beside]),
            ]
        )
    print_table(
        ["batch", "CPU us per command", "ms per batch", "CPU, other busy", "ms, other busy"], rows
    )
    for what, value in measure_others(arguments.folder, 100_000):
        print(f"{what}: {value}")


if __name__ == "__main__":
    main()
