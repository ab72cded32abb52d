"""A motor calibration with a dead man's switch: it goes on only as long as its operator renews it.

    petalkit run examples/motor_calibration.py --organization-id acme

Each `motor/calibrate` renews the lease, at most 3 s. The motor is stopped on every path: the end of
the calibration, a lease that runs out, a cancellation, an error, a lost link, and a stop of the
device by the `finally:`; a device that died, by `on_interrupted` of the next run, which needs a
journal (`petalkit run` has one).
"""

from collections.abc import Callable
from typing import Annotated

import msgspec
import trio

from petalkit import InterruptedJob, Job, Petal, command, job

LEASE = 3.0  # seconds
STOP_LIMIT = 1.0  # seconds that a stop of the motor may take
STEPS = 20
STEP_TIME = 0.5  # seconds

Throttle = Annotated[float, msgspec.Meta(ge=0, le=0.5)]


class MotorLine:
    """Stands for the line to the motor's controller."""

    async def set_throttle(self, throttle: float) -> None:
        """Tell the motor."""
        await trio.sleep(0.01)

    async def read_rpm(self) -> float:
        """Ask it."""
        await trio.sleep(0.01)
        return 0.0


class MotorPetal(Petal):
    """Calibrates one motor."""

    name = "motor"
    version = "1.0.0"

    def __init__(self, open_line: Callable[[], MotorLine] = MotorLine):
        self._line = open_line()

    @job("calibrate", lease=LEASE, end_on_link_loss=True, timeout=120, exclusive="motor")
    async def calibrate(self, job: Job, most: Throttle = 0.3):
        """Speeds at rising throttles. Send it again within 3 s, or the motor stops."""
        speeds: list[float] = []
        try:
            for step in range(STEPS):
                await self._line.set_throttle(most * (step + 1) / STEPS)
                await trio.sleep(STEP_TIME)
                speeds.append(await self._line.read_rpm())
                await job.progress((step + 1) / STEPS, rpm=speeds[-1])
        finally:
            # Whatever has ended it: what stands here is done, and bounded.
            with job.cleanup(STOP_LIMIT):
                await self._line.set_throttle(0.0)
        return {"speeds": speeds}

    @command("stop", urgent=True, timeout=2.0)
    async def stop_now(self):
        """Past every queue; what turns it is cancelled by `motor/cancel_calibrate`."""
        await self._line.set_throttle(0.0)

    async def on_interrupted(self, job: InterruptedJob):
        """The last run died while the motor turned: stop it, before anything else is served."""
        await self._line.set_throttle(0.0)
