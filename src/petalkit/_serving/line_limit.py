"""Lines of the log that a sender can cause without end, at a bounded rate.

The rule: of each kind so many are written a second, and how many more there were is told. The
counters count all. The trap: a number that is told with the next line of its kind is told never
when the flood ends, so a task tells it.
"""

from __future__ import annotations

import logging
import math

import attrs
import trio

TOLD_EVERY = 10.0  # seconds between two lines that tell of the rest


@attrs.define
class _Kind:
    logger: logging.Logger
    level: int
    room: float  # lines that may be written now
    at: float  # when that was so
    left_out: int = 0


class LineLimit:
    """See the module. Of the task of the runtime alone.

    Args:
        rate: lines of one kind in a second; so many may come at once, too. With 0 none is written,
            and their number is told all the same.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._burst = math.ceil(rate)
        self._kinds: dict[str, _Kind] = {}
        self._left_out = trio.Event()

    def allows(self, logger: logging.Logger, level: int, kind: str) -> bool:
        """Whether a line may be written; if not, it is counted.

        Args:
            logger: it is of.
            level: the same.
            kind: in words; there is a fixed number of kinds.
        """
        now = trio.current_time()
        found = self._kinds.get(kind)
        if found is None:
            if not logger.isEnabledFor(level):
                return False
            found = self._kinds[kind] = _Kind(logger, level, self._burst, now)
        room = min(found.room + (now - found.at) * self._rate, self._burst)
        found.at = now
        if room >= 1:
            found.room = room - 1
            return True
        found.room = room
        found.left_out += 1
        self._left_out.set()
        return False

    async def run(self) -> None:
        """Tell of what was left out, now and then, until cancelled; then at once."""
        try:
            while True:
                await self._left_out.wait()
                await trio.sleep(TOLD_EVERY)
                self.tell()
        finally:
            self.tell()

    def tell(self) -> None:
        """Tell of what was left out, if anything was."""
        self._left_out = trio.Event()
        for name, kind in self._kinds.items():
            if kind.left_out:
                text = "%d more are not shown one by one: %s"
                kind.logger.log(kind.level, text, kind.left_out, name)
                kind.left_out = 0
