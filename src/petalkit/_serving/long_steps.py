"""Tells of steps that keep the event loop to themselves for long: decoding, binding, encoding.

The rule: what is long is bounded by `payload_max`, and told. It is not done in a thread, where
Python would let it hold up the loop all the same, and commands would start out of order. Of small
payloads nothing is measured: what takes long there (a pattern, a hook) the watchdog names. The
trap: whoever sends such commands chooses how often, so the lines have a rate, and the counter has
them all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from .._values.statistics import Counters

logger = logging.getLogger("petalkit.commands")

LONG = 0.020  # seconds
MEASURED = 2048  # bytes: what is smaller is not measured
INTERVAL = 10.0  # seconds from one line to the next


class LongSteps:
    """See the module.

    Args:
        counters: for `long_steps`.
        clock: seconds; real ones, whatever Trio's clock: a blocked loop is blocked for the world.
    """

    def __init__(self, counters: Counters, clock: Callable[[], float] = time.perf_counter) -> None:
        self._counters = counters
        self.clock = clock
        self._told_at: float | None = None
        self._since = 0

    def tell(self, began: float, step: str, fields: Mapping[str, Any]) -> None:
        """Tell of a step, if it was long.

        Args:
            began: what `clock` said then.
            step: what was done: `"reading its data"`.
            fields: of the log record; `command` is its name.
        """
        now = self.clock()
        if now - began < LONG:
            return
        self._counters.long_steps += 1
        if self._told_at is not None and now - self._told_at < INTERVAL:
            self._since += 1
            return
        more = f"; so did {self._since} other steps since the last such line" if self._since else ""
        logger.warning(
            "%s: %s took %d ms, in which nothing else could run%s",
            fields["command"],
            step,
            round((now - began) * 1000),
            more,
            extra=dict(fields),
        )
        self._told_at, self._since = now, 0
