"""Long work through mosquitto: rates that hold, CPU, memory, and what ordinary commands feel of it.

200 jobs report ten times a second, and five readers watch each; 100 streams have a hundred values a
second, and a reader takes ten of them. Beside them ordinary commands, one at a time, are compared
with those of a device without jobs, in turns. See README.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import timeit
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs
import msgspec

from _common import (
    cpu_of,
    identity,
    make_commands,
    memory,
    peak_memory,
    percentile,
    print_aim,
    print_environment,
    print_table,
    progress,
)
from _load import Client
from _programs import mosquitto, mosquitto_version, program

JOBS, READERS, STREAMS, RATE = 200, 5, 100, 10.0

AIM_RATE = 0.05  # by how much a rate may be off
AIM_CORE = 0.5
AIM_P50 = 1.2  # of ordinary commands, to those of a device without jobs
AIM_UNSEEN = 1.0  # us, a report that nobody sees
AIM_GROWTH = 1.0  # MiB that are more at the end of a stretch: flat
FLAT = 600.0  # seconds for which memory has to be flat


@attrs.frozen
class Watched:
    """What one stretch of watching has shown."""

    jobs: list[float]  # messages per second, of each job and reader
    streams: list[float]  # the same of each stream
    core: float
    growth: float  # MiB


def command(name: str, **data: object) -> bytes:
    """One that is on the wire."""
    envelope = {
        "command": name,
        "messageId": f"{name}-{time.time_ns()}",
        "waitResponse": True,
        "data": data,
    }
    return msgspec.json.encode(envelope)


def begin(client: Client, topic: str) -> None:
    """Subscribe, and start everything."""
    for reader in range(READERS):
        arguments = {"subscribed_stream_id": f"job-{reader}", "data_rate_hz": RATE}
        client.publish(topic, command("long/subscribe_work", **arguments), 1)
    for number in range(JOBS):
        client.publish(topic, command("long/work", n=number), 1)
    for number in range(STREAMS):
        arguments = {"subscribed_stream_id": f"stream-{number}", "data_rate_hz": RATE}
        client.publish(topic, command(f"long/subscribe_values{number}", **arguments), 1)
    client.send()


def watch(client: Client, pid: int, seconds: float) -> Watched:
    """Count what comes for so long."""
    seen: Counter[tuple[str, str]] = Counter()
    before, cpu, start = memory(pid), cpu_of(pid), time.monotonic()
    while time.monotonic() < start + seconds:
        for _, payload in client.poll(0.2):
            data = msgspec.json.decode(payload).get("data", {})
            reader = data.get("published_stream_id", "")
            seen[reader, data.get("stream_payload", {}).get("job_id", "")] += 1
    took = time.monotonic() - start
    jobs = [count / took for (reader, _), count in seen.items() if reader.startswith("job")]
    streams = [count / took for (reader, _), count in seen.items() if reader.startswith("stream")]
    if seconds > 1 and (len(jobs) < JOBS * READERS or len(streams) < STREAMS):
        progress(f"only {len(jobs)} of {JOBS * READERS} and {len(streams)} of {STREAMS} were seen")
    core = (cpu_of(pid) - cpu) / took
    return Watched(
        jobs + [0.0] * (JOBS * READERS - len(jobs)),
        streams + [0.0] * (STREAMS - len(streams)),
        core,
        memory(pid) - before,
    )


def round_trip(client: Client, topic: str, count: int) -> list[float]:
    """Seconds of ordinary commands, one at a time."""
    found: list[float] = []
    for message_id, payload in make_commands(count):
        wanted = message_id.encode()
        start = time.perf_counter()
        client.publish(topic, payload, 1)
        client.send()
        while not any(wanted in one for _, one in client.poll(5.0)):
            if time.perf_counter() > start + 10:
                raise SystemExit("an ordinary command had no answer within 10 s")
        found.append(time.perf_counter() - start)
    return found


def unseen() -> float:
    """Microseconds of a report that nobody sees."""
    from petalkit._authoring.jobs.progress import Progress

    class Nobody:
        def changed(self) -> None:
            if "long/work" in readers:
                raise AssertionError

    readers: dict[str, object] = {}
    whole = Progress(Nobody().changed)
    count = 200_000
    return min(timeit.repeat(lambda: whole.report(0.5), number=count, repeat=5)) / count * 1e6


def off_by(rates: Sequence[float]) -> float:
    """How far the one is off that is farthest."""
    return max(abs(rate / RATE - 1) for rate in rates)


def petal(transport: str) -> list[str]:
    here = Path(__file__).resolve().parent
    return [sys.executable, str(here / "_jobs_petal.py"), "--transport", transport]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where an aim was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", default="native")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--commands", type=int, default=200, help="ordinary ones of a round")
    given = parser.parse_args(arguments)
    print_environment(mosquitto=mosquitto_version())
    with (
        mosquitto() as broker,
        program(broker, "quiet", petal(given.transport)) as quiet,
        program(broker, "busy", petal(given.transport)) as busy,
        Client(broker.port, "watcher") as watcher,
        Client(broker.port, "caller") as caller,
    ):
        del quiet
        watcher.subscribe(identity("busy").topic("command/web"))
        topics = {one: identity(one).topic("command") for one in ("quiet", "busy")}
        for one in topics:
            caller.subscribe(identity(one).topic("response"))
        begin(watcher, topics["busy"])
        watch(watcher, busy.pid, 3.0)  # warm-up
        watched = watch(watcher, busy.pid, given.seconds)
        trips: dict[str, list[float]] = {one: [] for one in topics}
        for _ in range(given.rounds):
            for one, topic in topics.items():
                trips[one].append(percentile(round_trip(caller, topic, given.commands), 0.5))
                watch(watcher, busy.pid, 0.2)
        peak = peak_memory(busy.pid)
    p50 = {one: statistics.median(found) * 1e6 for one, found in trips.items()}
    report, missed = unseen(), False
    print_table(
        ["readers", "Hz, median", "Hz, slowest", "Hz, fastest"],
        [
            [name, *(f"{one:.2f}" for one in (statistics.median(rates), min(rates), max(rates)))]
            for name, rates in (
                (f"{JOBS} jobs, {READERS} each", watched.jobs),
                (f"{STREAMS} streams", watched.streams),
            )
        ],
    )
    print_table(
        ["seconds", "cores", "MiB more", "MiB, peak"],
        [[f"{given.seconds:g}", f"{watched.core:.2f}", f"{watched.growth:.1f}", f"{peak:.0f}"]],
    )
    print_table(
        ["ordinary commands", "p50, us"], [[one, f"{value:.0f}"] for one, value in p50.items()]
    )
    for name, value, aim, unit in (
        ("rate of jobs, the farthest off", off_by(watched.jobs), AIM_RATE, ""),
        ("rate of streams, the farthest off", off_by(watched.streams), AIM_RATE, ""),
        ("cores", watched.core, AIM_CORE, ""),
        (f"memory, more after {given.seconds:g} s", watched.growth, AIM_GROWTH, " MiB"),
        ("p50 of commands, to a device without jobs", p50["busy"] / p50["quiet"], AIM_P50, ""),
        ("a report that nobody sees", report, AIM_UNSEEN, " us"),
    ):
        print_aim(name, value, aim, unit)
        missed = missed or value > aim
    if given.seconds < FLAT:
        progress(f"memory has to be flat for {FLAT:g} s: --seconds {FLAT:g} sees that")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
