"""What one story has shown, and which of its bounds is broken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

STOP_LIMIT = 0.050  # seconds from the bytes of an urgent stop to its start
MEMORY_FACTOR = 1.25  # of the sum of bounds, over idle
MIB = 1024 * 1024
LOAD_MEMORY = 160 * MIB  # over idle: the worst case of the sum is more than these loads need


@attrs.frozen
class Probe:
    """What the device has put down of one command: when it was read, and when it was started."""

    read: float
    started: float
    waited: float  # seconds without a processor, between the two

    @property
    def took(self) -> float:
        """Seconds between the two that a machine with a free processor would need too."""
        return max(0.0, self.started - self.read - self.waited)


def read_probes(file: Path) -> tuple[dict[str, Probe], list[str], list[str]]:
    """Of the probes of a device: what was started, what was read and not, what ran `once`."""
    read: dict[str, tuple[float, float]] = {}
    probes: dict[str, Probe] = {}
    once: list[str] = []
    for line in file.read_text().splitlines() if file.exists() else ():
        what, message_id, at, waited = line.split()
        if what == "read":
            read.setdefault(message_id, (float(at), float(waited)))
        elif what == "once":
            once.append(message_id)
        elif message_id in read and message_id not in probes:
            since, had = read[message_id]
            probes[message_id] = Probe(since, float(at), float(waited) - had)
    return probes, [name for name in read if name not in probes], once


def percentile(values: Iterable[float], share: float) -> float:
    """Of any values; nan of none."""
    found = sorted(values)
    return found[min(len(found) - 1, int(share * len(found)))] if found else math.nan


@attrs.define(kw_only=True)
class Row:
    """One story on one transport. Times are seconds, sizes bytes.

    Attributes:
        rate: commands a second that were dealt with, while there were any.
        quiet: round trips of the victim before the load.
        victim: the same while it lasted.
        stops: urgent stops that were sent.
        stop_started: of those that were read, to their start.
        stop_round_trips: of those that were answered, from sending to answer.
        stops_unread: sent, and not read by the device.
        stops_not_run: read and not started, or refused.
        over_idle: peak of the resident memory, less what it was before.
        bound: the sum of all bounds of the settings.
        sent: commands of the load.
        answered: of these.
        refused: of these, by error code.
        dropped: messages that the broker says it has dropped, to whomever.
        counters: of the device, as far as they say that something is lost.
        told: whether the log has a WARNING.
        notes: what else is to be said.
        broken: bounds that did not hold, in words.
    """

    story: str
    transport: str
    seed: int
    rate: float = 0.0
    quiet: Sequence[float] = ()
    victim: Sequence[float] = ()
    stops: int = 0
    stop_started: Sequence[float] = ()
    stop_round_trips: Sequence[float] = ()
    stops_unread: int = 0
    stops_not_run: int = 0
    over_idle: int = 0
    bound: int = 0
    sent: int = 0
    answered: int = 0
    refused: Mapping[str, int] = attrs.field(factory=dict)
    dropped: int = 0
    counters: Mapping[str, int] = attrs.field(factory=dict)
    told: bool = False
    seconds: float = 0.0
    notes: list[str] = attrs.field(factory=list)
    broken: list[str] = attrs.field(factory=list)

    @property
    def missing(self) -> int:
        """Commands that the broker has delivered, for all that it says, and nobody has answered."""
        return max(0, self.sent - self.answered - self.dropped)

    def judge(self, *, all_answered: bool, or_counted: bool = False) -> None:
        """What holds for every story.

        Args:
            all_answered: whether all that the broker has delivered is answered.
            or_counted: whether a counter and a WARNING are enough instead, as for junk.
        """
        if self.stops_not_run:
            self.broken.append(f"{self.stops_not_run} urgent stops were read and did not run")
        if self.stops and not self.stop_started:
            self.broken.append("no urgent stop ran at all")
        worst = max(self.stop_started, default=0.0)
        if worst > STOP_LIMIT:
            self.broken.append(f"a stop started {1000 * worst:.0f} ms after its bytes were read")
        if self.bound and self.over_idle > MEMORY_FACTOR * self.bound:
            self.broken.append(
                f"{self.over_idle / MIB:.0f} MiB over idle, "
                f"{MEMORY_FACTOR} x {self.bound / MIB:.0f} MiB are allowed"
            )
        if self.over_idle > LOAD_MEMORY:
            self.broken.append(
                f"{self.over_idle / MIB:.0f} MiB over idle, {LOAD_MEMORY / MIB:.0f} are allowed"
            )
        if all_answered and self.missing:
            counted = sum(self.counters.values())
            if counted < self.missing or not or_counted:
                text = f"{self.missing} commands without an answer ({counted} counted)"
                self.broken.append(text)
            if not self.told:
                self.broken.append("what is lost has no WARNING")
