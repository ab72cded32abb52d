"""What is sent: seeded commands of two petals, with a window, and some of them again.

The petal `work` has one command of every kind. While all its slots are taken, `other` has to go on.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from .history import Hindered, Relieved, read_effects
from .petals import POLL, SLOTS
from .sender import PATIENCE, Client

COPY_WITHIN = 200  # commands after which a copy is sent, at most: well within the window of 1000
OTHERS = 20  # answers of the other petal while `work` is hindered
BULK = 10_000  # bytes of a long command or answer
BULK_EVERY = 20  # commands, where there are any

# How often which command of the petal `work` is sent, and with what.
MIX: tuple[tuple[str, int, bool], ...] = (
    ("quick", 40, False),
    ("slow", 20, True),
    ("narrow", 10, True),
    ("idempotent", 12, True),
    ("exclusive", 5, True),
    ("urgent", 6, False),
    ("failing", 7, False),
)
RULES: dict[str, Any] = {
    "idempotent": {"work/idempotent"},
    "urgent": {"work/urgent"},
    "lines": {"work/narrow"},
    "codes": {
        **{f"work/{name}": {None} for name, _, _ in MIX},
        "work/hold": {None},
        "other/quick": {None},
        "work/exclusive": {None, "BUSY"},
        "work/failing": {"HANDLER_ERROR", "NO"},
    },
}


class Load:
    """See the module.

    Args:
        client: sends them.
        seed: of everything random.
        window: commands of a petal that are not answered, at most.
        copies: the share that is sent a second time.
        bulky: whether some commands and answers are long.
        gone: whether no device is left, so that nobody is to be waited for.
        counts: where it counts.
    """

    def __init__(
        self,
        client: Client,
        *,
        seed: int,
        window: int,
        copies: float,
        bulky: bool,
        gone: Callable[[], bool],
        counts: Counter[str],
    ) -> None:
        self.client = client
        self.seed = seed
        self.window = window
        self.copies = copies
        self.bulky = bulky
        self.gone = gone
        self.counts = counts
        self._others_left = False

    async def send_work(self, count: int, *, effects: Path | None = None) -> None:
        """Send so many to `work`.

        Args:
            count: how many.
            effects: what its handlers write, to see when all its slots are taken, as they are then
                once; None for never.
        """
        chance = random.Random(f"work {self.seed}")
        names = [name for name, weight, _ in MIX for _ in range(weight)]
        timed = {name for name, _, takes_time in MIX if takes_time}
        sender = Sender(self, "work", chance)
        for n in range(count):
            if n == count // 2 and effects is not None:
                await self._hinder(sender, effects)
            name = chance.choice(names)
            data: dict[str, Any]
            data = {"ms": chance.choice([1, 2, 5, 20])} if name in timed else {}
            if self.bulky and not n % BULK_EVERY:
                name = "quick"
                data = {"give": BULK} if n % (2 * BULK_EVERY) else {"take": "x" * BULK}
            await sender.send(f"work/{name}", n, data)
        await sender.finish()

    async def send_other(self, count: int) -> None:
        """Send so many to `other`."""
        self._others_left = True
        sender = Sender(self, "other", random.Random(f"other {self.seed}"))
        for n in range(count):
            await sender.send("other/quick", n, {})
        await sender.finish()
        self._others_left = False

    async def _hinder(self, sender: Sender, effects: Path) -> None:
        """Take all slots of `work`, until the other petal has shown that it goes on."""
        client = self.client
        await sender.wait_answered()
        gate = effects.with_name("gate")
        for n in range(SLOTS):
            await sender.send("work/hold", 100_000 + n, {"gate": str(gate)})
        with trio.move_on_after(PATIENCE):
            while sum(each.command == "work/hold" for each in read_effects(effects)) < SLOTS:
                await trio.sleep(POLL)
        client.history.add(Hindered(at=time.monotonic(), petal="work"))
        enough = client.responses + OTHERS
        await client.wait(lambda: client.responses >= enough or not self._others_left)
        client.history.add(Relieved(at=time.monotonic(), petal="work"))
        gate.touch()


class Sender:
    """Sends in order, with a window, and some again a while later."""

    def __init__(self, load: Load, name: str, chance: random.Random) -> None:
        self._load = load
        self._client = load.client
        self._counts = load.counts
        self._name = name
        self._chance = chance
        self._sent = 0
        self._mine: set[str] = set()
        self._copies: list[tuple[int, str]] = []

    def _open(self) -> int:
        self._mine &= self._client.open.keys()
        return len(self._mine)

    async def send(self, command: str, n: int, data: dict[str, Any]) -> None:
        await self._wait_open_below(self._load.window)
        message_id = f"{self._name}-{self._load.seed}-{n}"
        await self._client.send(command, message_id, n, self._name, data)
        self._mine.add(message_id)
        self._counts["commands"] += 1
        self._sent += 1
        if self._chance.random() < self._load.copies:
            self._copies.append((self._sent + self._chance.randint(1, COPY_WITHIN), message_id))
        await self._send_copies(self._sent)

    async def _send_copies(self, now: float) -> None:
        for due, message_id in [each for each in self._copies if each[0] <= now]:
            self._copies.remove((due, message_id))
            self._counts["copies"] += 1
            await self._client.send_again(message_id)

    async def _wait_open_below(self, bound: int) -> None:
        if self._load.gone():
            return
        if not await self._client.wait(lambda: self._open() < bound):
            self._counts["given up"] += len(self._mine)
            self._mine.clear()

    async def wait_answered(self) -> None:
        await self._wait_open_below(1)

    async def finish(self) -> None:
        """Send what is left of the copies."""
        await self._send_copies(math.inf)
