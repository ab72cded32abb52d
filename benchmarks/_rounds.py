"""Rounds with programs under test: closed loops and floods, and what each of them cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

from _common import (
    cpu_of,
    make_commands,
    memory,
    peak_memory,
    percentile,
    progress,
    settled,
)
from _load import BenchmarkError, Client, closed_loop, flood
from _programs import Broker

WINDOWS = (64, 1)  # commands under way


@attrs.frozen
class Round:
    """One program, one round; times per command, in microseconds."""

    cpu: float
    broker_cpu: float
    load_cpu: float
    rate: float
    p50: float
    p99: float


@attrs.frozen
class Flooded:
    """What became of commands sent at once; memory in MiB, of the program's whole life."""

    qos: int
    count: int
    answered: int
    refused: int
    twice: int
    rate: float
    cpu: float
    peak: float
    over_idle: float

    @property
    def lost(self) -> int:
        """Those without any response."""
        return self.count - self.answered - self.refused


@attrs.define
class Contender:
    """A program under test, connected.

    Attributes:
        idle: MiB in memory when it had come online, before its first command.
        failed: why it is not measured any longer.
    """

    name: str
    base: str
    pid: int
    names: Sequence[str] = ("bench/greet",)
    is_peer: bool = False
    idle: float = attrs.field(init=False)
    rounds: dict[int, list[Round]] = attrs.field(factory=lambda: {one: [] for one in WINDOWS})
    floods: list[Flooded] = attrs.field(factory=list)
    failed: str = ""

    def __attrs_post_init__(self) -> None:
        self.idle = memory(self.pid)

    def column(self, window: int, field: str) -> list[float]:
        """One figure of all rounds."""
        return [getattr(one, field) for one in self.rounds[window]]

    def ratio(self, other: Contender, window: int, field: str = "cpu") -> float:
        """The median of this program's figure to the other's, round by round."""
        pairs = zip(self.column(window, field), other.column(window, field), strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


def run_round(broker: Broker, contender: Contender, window: int, count: int) -> Round:
    """One closed loop.

    Raises:
        BenchmarkError: an answer was wrong, missing, or came twice.
    """
    commands = make_commands(count, contender.names)
    with Client(broker.port, "load") as client, settled():
        client.subscribe(f"{contender.base}/response")
        cpu, broker_cpu = cpu_of(contender.pid), cpu_of(broker.pid)
        loop = closed_loop(client, contender.base, commands, window)
        cpu, broker_cpu = cpu_of(contender.pid) - cpu, cpu_of(broker.pid) - broker_cpu
    return Round(
        cpu=1e6 * cpu / count,
        broker_cpu=1e6 * broker_cpu / count,
        load_cpu=1e6 * loop.cpu / count,
        rate=count / loop.wall,
        p50=1e6 * percentile(loop.round_trips, 0.50),
        p99=1e6 * percentile(loop.round_trips, 0.99),
    )


def measure(
    broker: Broker, contenders: Sequence[Contender], rounds: int, counts: dict[int, int]
) -> None:
    """Rounds in turn, the first as a warm-up; a peer that fails is left out from then on."""
    order = list(contenders)
    for number in range(-1, rounds):
        for contender in order:
            for window, count in counts.items():
                if contender.failed:
                    continue
                try:
                    measured = run_round(broker, contender, window, count)
                except (BenchmarkError, ProcessLookupError) as error:
                    if not contender.is_peer:
                        raise
                    contender.failed = str(error)
                    progress(f"{contender.name} is left out: {error}")
                    continue
                if number >= 0:
                    contender.rounds[window].append(measured)
        order.reverse()  # nobody is always the first
        progress(f"round {number + 1} of {rounds}")


def run_flood(
    broker: Broker,
    contender: Contender,
    qos: int,
    count: int,
    *,
    names: Sequence[str] | None = None,
    limit: float = 60.0,
    ahead: int | None = None,
) -> Flooded:
    """Commands sent at once, and a count of what came back; the rest is for `flood`."""
    before = cpu_of(contender.pid)
    with Client(broker.port, "flood") as client, settled():
        client.subscribe(f"{contender.base}/response")
        commands = make_commands(count, names or contender.names)
        result = flood(client, contender.base, commands, qos, limit=limit, ahead=ahead)
    peak = peak_memory(contender.pid)
    progress(f"{count} at once to {contender.name} at QoS {qos}: {result.answered} answered")
    return Flooded(
        qos=qos,
        count=count,
        answered=result.answered,
        refused=result.refused,
        twice=result.twice,
        rate=result.answered / max(result.wall, 1e-9),
        cpu=1e6 * (cpu_of(contender.pid) - before) / count,
        peak=peak,
        over_idle=peak - contender.idle,
    )
