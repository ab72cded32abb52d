"""A background service: motors driven at 50 Hz, held by a dead man's switch.

Each `motors/set` keeps the throttle for a moment only. When no other one follows in time, the
motors stop; they stop too when the petal is stopped or cancelled, or fails. The rule that makes
that true is one `finally`, in the one task that drives them.

    petalkit run examples/heartbeat.py --organization-id acme
"""

import contextlib
from collections.abc import Callable

import trio

from petalkit import CommandError, Petal, command

PERIOD = 1 / 50  # seconds between two writes to the motors
HOLD_MAX = 3.0  # seconds that one command may hold the throttle
REPORT_PERIOD = 1.0  # seconds between two events to web clients


def write_nowhere(throttle: float) -> None:
    """Stands for the motor driver. A real one must not block: it is called in the event loop."""


class MotorsPetal(Petal):
    """Drives motors while somebody keeps asking for it."""

    name = "motors-petal"
    version = "1.0.0"
    prefix = "motors"

    def __init__(self, write: Callable[[float], None] = write_nowhere):
        self._write = write
        self._throttle = 0.0
        self._held_until = 0.0  # on Trio's clock

    @contextlib.asynccontextmanager
    async def lifespan(self):
        # The nursery cancels both tasks at a stop, and waits for them, before this goes on.
        self.nursery.start_soon(self._drive)
        self.nursery.start_soon(self._report)
        yield

    @command("set", timeout=1.0, journal=False)  # not worth a wait for the disk, 50 times a second
    async def set_throttle(self, throttle: float, hold: float = 0.5):
        """Drive with a throttle of 0 to 1, for `hold` seconds unless it is renewed."""
        if not 0.0 <= throttle <= 1.0:
            raise CommandError("OUT_OF_RANGE", "throttle must be 0 to 1")
        if not 0.0 < hold <= HOLD_MAX:
            raise CommandError("OUT_OF_RANGE", f"hold must be above 0 and at most {HOLD_MAX:g} s")
        self._throttle = throttle
        self._held_until = trio.current_time() + hold

    @command("stop", urgent=True, timeout=1.0)
    async def stop_now(self):
        """Stop now, past every queue."""
        self._throttle = 0.0
        self._write(0.0)

    async def _drive(self):
        try:
            due = trio.current_time()
            while True:
                if trio.current_time() >= self._held_until:
                    self._throttle = 0.0
                self._write(self._throttle)
                # From due time to due time, so that it does not drift. Periods that were
                # missed on a busy machine are left out, not caught up.
                due = max(due + PERIOD, trio.current_time())
                await trio.sleep_until(due)
        finally:
            self._write(0.0)

    async def _report(self):
        # A task of its own: publishing waits while the outbox is full, and motors do not wait.
        while True:
            # Nobody wants the old ones after an outage: of those that wait, the newest is sent.
            await self.publish_message(
                {"command": "/motors-petal/throttle", "data": {"throttle": self._throttle}},
                latest="throttle",
            )
            await trio.sleep(REPORT_PERIOD)
