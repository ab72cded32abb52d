"""Two questions about petalkit alone: its memory with a slow petal, and whether cost stays flat."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from _common import identity, spread
from _programs import Broker, program
from _report import Aim, Table
from _rounds import Contender, measure, run_flood

SLOW = 100_000  # commands, each of which takes a millisecond
# Unanswered at once, in turn. No more than that: mosquitto numbers what it queues, with 16 bits.
SLOW_AHEAD = (5_000, 50_000)
SLOW_LIMIT = 60.0  # seconds for all of them
SLOW_CONCURRENCY = 16  # of the petal: the default
AIM_MEMORY = 10.0  # MiB over idle
COMMANDS, PETALS = 500, 20
AIM_FLAT = 1.10


def run_slow(broker: Broker, name: str, command: Sequence[str]) -> tuple[Table, list[Aim]]:
    """Memory at its peak, less that of the program when it had just come online."""
    full = [*command, "--concurrency", str(SLOW_CONCURRENCY)]
    rows: list[list[str]] = []
    aims: list[Aim] = []
    for ahead in SLOW_AHEAD:
        device = f"slow-{ahead}"
        with program(broker, device, full) as process:
            contender = Contender(name, identity(device).base_topic, process.pid)
            found = run_flood(
                broker,
                contender,
                1,
                SLOW,
                names=["bench/slow"],
                limit=SLOW_LIMIT,
                ahead=ahead,
            )
        what = f"{name}, {ahead} ahead"
        row = [what, str(found.answered), str(found.refused), str(found.lost), f"{found.rate:.0f}"]
        rows.append([*row, f"{contender.idle:.1f}", f"{found.peak:.1f}", f"{found.over_idle:+.1f}"])
        slow = f"{what}, slow petal"
        aims += [
            Aim(f"{slow}: memory over idle", found.over_idle, AIM_MEMORY, " MiB"),
            Aim(f"{slow}: commands lost or refused", found.lost + found.refused, 0),
        ]
    title = f"{SLOW} commands of 1 ms at QoS 1, {SLOW_CONCURRENCY} at a time"
    head = ["", "answered", "refused", "lost", "answers/s", "idle MiB", "peak MiB", "over idle"]
    return Table(title, head, rows), aims


def run_flat(
    broker: Broker, name: str, command: Sequence[str], rounds: int, count: int
) -> tuple[Table, list[Aim]]:
    """CPU per command with little registered and with much; window 64, round by round in turn."""
    one = ["bench-0/greet-0"]
    crowds = {
        "1 petal, 1 command": (1, 1, one),
        f"1 petal, {COMMANDS} commands in turn": (
            1,
            COMMANDS,
            [f"bench-0/greet-{number}" for number in range(COMMANDS)],
        ),
        f"{PETALS} petals, one of them called": (PETALS, 1, one),
        f"{PETALS} petals in turn": (
            PETALS,
            1,
            [f"bench-{number}/greet-0" for number in range(PETALS)],
        ),
    }
    with contextlib.ExitStack() as stack:
        contenders: list[Contender] = []
        for number, (what, (petals, commands, names)) in enumerate(crowds.items()):
            device = f"flat-{number}"
            full = [*command, "--crowd", str(petals), str(commands)]
            process = stack.enter_context(program(broker, device, full))
            base = identity(device).base_topic
            contenders.append(Contender(what, base, process.pid, names))
        measure(broker, contenders, rounds, {64: count})
    first = contenders[0]
    title = f"{name}, 64 under way: what more petals and commands cost"
    head = ["", "CPU us/command", "to the first", "commands/s"]
    rows = [
        [
            contender.name,
            spread(contender.column(64, "cpu")),
            f"{contender.ratio(first, 64):.2f}",
            spread(contender.column(64, "rate"), 0),
        ]
        for contender in contenders
    ]
    return Table(title, head, rows), [
        Aim(f"{name}, {contender.name}: CPU to one", contender.ratio(first, 64), AIM_FLAT)
        for contender in contenders[1:]
    ]
