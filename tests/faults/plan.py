"""What happens in one run, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import attrs

from .cases import Rules
from .checker import Violation
from .faults import Fault, Line
from .history import History
from .load import RULES

End = Literal["kill", "stop"]


@attrs.frozen(kw_only=True)
class Plan:
    """What happens in one run.

    Attributes:
        seed: of everything random.
        commands: of both petals together.
        window: commands of a sender that are not answered, at most.
        copies: the share that is sent a second time.
        faults: of the link, one after the other.
        line: how slow it is; then some commands and answers are long.
        flap: seconds after which the link is cut, again and again; None for never.
        ends: what ends the process, spread evenly over the commands; it is started again.
        end_every: seconds after which it is killed, again and again; None for never.
        crashes: crash points; each is given to one more process, when the one before is dead.
        hinder: whether all slots of one petal are taken once, for the other to go on.
        journal: whether the device keeps one, in a file of the run's folder.
        jobs: how many jobs, and commands with a second phase, are begun beside.
        options: more of the device's command line.
        ask_again: whether what was open when a process ended is sent again, as a sender must
            that cannot rely on a journal.
    """

    seed: int
    commands: int = 300
    window: int = 40
    copies: float = 0.05
    faults: Sequence[Fault] = ()
    line: Line | None = None
    flap: float | None = None
    ends: Sequence[End] = ()
    end_every: float | None = None
    crashes: Sequence[str] = ()
    hinder: bool = False
    journal: bool = False
    jobs: int = 0
    options: Sequence[str] = ()
    ask_again: bool = attrs.Factory(lambda self: not self.journal, takes_self=True)

    @property
    def rules(self) -> Rules:
        rules = Rules(journal=self.journal, **RULES)
        if "--overflow" not in self.options:
            return rules
        codes = {name: {*codes, "BUSY", "DROPPED"} for name, codes in rules.codes.items()}
        return attrs.evolve(rules, codes=codes)


@attrs.define
class Outcome:
    """What came of it.

    Attributes:
        counts: of everything worth telling.
        faults: that have happened, by name.
        latencies: seconds, in order.
        counters: of the last process.
        memory: the most that a process had, in bytes.
        seconds: it took.
        log: of the last process.
    """

    history: History
    violations: list[Violation] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)
    faults: Counter[str] = attrs.field(factory=Counter)
    latencies: list[float] = attrs.field(factory=list)
    counters: dict[str, Any] = attrs.field(factory=dict)
    memory: int = 0
    seconds: float = 0.0
    log: str = ""

    def explain(self, most: int = 20) -> str:
        """The violations, each with the whole story of its command."""
        lines = []
        for violation in self.violations[:most]:
            lines.append(str(violation))
            if violation.message_id is not None:
                lines += [f"    {event}" for event in self.history.of(violation.message_id)]
        left = len(self.violations) - most
        return "\n".join([*lines, f"... and {left} more"] if left > 0 else lines)
