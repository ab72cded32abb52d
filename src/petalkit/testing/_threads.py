"""Holds an autojump clock while a thread is under way.

The trap: an autojump clock sees that all tasks wait, and not that a thread works for one of them.
It jumps to the next deadline, and a command is "timed out" after no time at all. The rule: as
long as a thread is under way the clock stands still, for `HOLD` real seconds at most. A thread that
itself waits for Trio's time, or lives as long as its petal, would wait for ever else; then the
clock goes on, and that is said. For the same thread it is held again, a quarter as long at each
jump: a thread that lives as long as its petal costs seconds in all, and not at each jump.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager

import trio
import trio.testing

logger = logging.getLogger("petalkit.testing")

HOLD = 5.0  # real seconds
HOLD_MIN = 0.01  # the same, at last: for one that has slept on Trio's clock, and returns


class ThreadGuard(trio.abc.Instrument):
    """See the module.

    Args:
        clock: with autojump.
        limiters: whose tokens are held by threads under way.

    Attributes:
        users: harnesses of this run.
    """

    def __init__(self, clock: trio.testing.MockClock, *limiters: trio.CapacityLimiter) -> None:
        self._clock = clock
        self._limiters = [*limiters]
        self._usual = clock.autojump_threshold
        self._held_at: float | None = None
        self._outlasted = 0  # threads for which the clock was held as long as it may be
        self._hold = HOLD
        self.users = 0

    def watch(self, limiter: trio.CapacityLimiter) -> None:
        """Look at the threads of one more limiter too."""
        self._limiters.append(limiter)

    def _under_way(self) -> int:
        return sum(limiter.borrowed_tokens for limiter in self._limiters)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Look whether the clock has jumped: it does so between two steps."""
        if self._held_at is None or self._clock.current_time() == self._held_at:
            return
        under_way = self._under_way()
        if under_way > self._outlasted:
            logger.warning(
                "the clock went on while a thread was under way: with autojump_clock it is held "
                "for %g real seconds, and shorter then. If that was not meant (a thread that waits "
                "for Trio's time, or lives as long as its petal), take mock_clock, or call the "
                "plain method directly",
                HOLD,
            )
        self._outlasted = under_way
        self._hold_for(max(self._hold / 4, min(HOLD, HOLD_MIN)))

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Look whether there are threads: they begin and end in a task's step."""
        under_way = self._under_way()
        self._outlasted = min(self._outlasted, under_way)
        if not under_way:
            self.release()
            return
        if self._held_at is None or (under_way > self._outlasted and self._hold < HOLD):
            self._hold_for(HOLD)
        # Every time: a step may set the clock itself (Harness.advance).
        self._held_at = self._clock.current_time()

    def _hold_for(self, seconds: float) -> None:
        self._hold = self._clock.autojump_threshold = seconds
        self._held_at = self._clock.current_time()

    def release(self) -> None:
        """Let the clock jump as it did, if it is held."""
        if self._held_at is not None:
            self._held_at = None
            self._clock.autojump_threshold = self._usual


@contextmanager
def guard_threads() -> Generator[Callable[[trio.CapacityLimiter], None]]:
    """Hold the clock of this run for threads, if it jumps by itself.

    Gives a function for limiters beside Trio's own, which `trio.to_thread.run_sync` takes.
    """
    clock = trio.lowlevel.current_clock()
    if (
        not isinstance(clock, trio.testing.MockClock)
        or clock.autojump_threshold == math.inf
        or clock.rate  # it never stands still
    ):
        yield lambda _: None
        return
    # One for all harnesses of a run: two would undo what the other does.
    guard = _guards.get(clock)
    if guard is None:
        guard = _guards[clock] = ThreadGuard(clock, trio.to_thread.current_default_thread_limiter())
        trio.lowlevel.add_instrument(guard)
    guard.users += 1
    try:
        yield guard.watch
    finally:
        guard.users -= 1
        if not guard.users:
            del _guards[clock]
            trio.lowlevel.remove_instrument(guard)
            guard.release()


_guards: weakref.WeakKeyDictionary[trio.testing.MockClock, ThreadGuard] = (
    weakref.WeakKeyDictionary()
)
