"""Holds an autojump clock while a thread is under way.

The trap: an autojump clock sees that all tasks wait, and not that a thread works for one of them.
It jumps to the next deadline, and a command is "timed out" after no time at all. The rule: as
long as a thread is under way the clock stands still, for `HOLD` real seconds at most. A thread that
itself waits for Trio's time would wait for ever else; then the clock goes on, and that is said.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from contextlib import contextmanager

import trio
import trio.testing

logger = logging.getLogger("petalkit.testing")

HOLD = 5.0  # real seconds


class ThreadGuard(trio.abc.Instrument):
    """See the module.

    Args:
        clock: with autojump.
        limiters: whose tokens are held by threads under way.
    """

    def __init__(self, clock: trio.testing.MockClock, *limiters: trio.CapacityLimiter) -> None:
        self._clock = clock
        self._limiters = limiters
        usual = clock.autojump_threshold
        self._usual = 0.0 if usual == HOLD else usual  # held by another harness
        self._held_at: float | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Look whether there are threads: they begin and end in a task's step."""
        busy = any(limiter.borrowed_tokens for limiter in self._limiters)
        if busy and self._held_at is None:
            self._held_at = self._clock.current_time()
            self._clock.autojump_threshold = HOLD
        elif not busy and self._held_at is not None:
            self.release()
        elif self._held_at is not None and self._clock.current_time() != self._held_at:
            self._held_at = self._clock.current_time()
            logger.warning(
                "the clock went on while a thread was under way: with autojump_clock it is held "
                "for %g real seconds. If that was not meant (Harness.advance, a thread that waits "
                "for Trio's time), take mock_clock, or call the plain method directly",
                HOLD,
            )

    def release(self) -> None:
        """Let the clock jump as it did."""
        self._held_at = None
        self._clock.autojump_threshold = self._usual


@contextmanager
def guard_threads(*limiters: trio.CapacityLimiter) -> Generator[None]:
    """Hold the clock of this run for the threads of these limiters, if it jumps by itself.

    Args:
        limiters: beside Trio's own, which `trio.to_thread.run_sync` takes.
    """
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, trio.testing.MockClock) or clock.autojump_threshold == math.inf:
        yield
        return
    guard = ThreadGuard(clock, trio.to_thread.current_default_thread_limiter(), *limiters)
    trio.lowlevel.add_instrument(guard)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(guard)
        guard.release()
