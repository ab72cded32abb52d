"""Telemetry: streams of which each reader gets the latest value, at a rate of its own.

    petalkit run examples/telemetry.py --organization-id acme

and, for a reader that calls itself "me",

    petalkit call telemetry/subscribe_attitude '{"subscribed_stream_id": "me"}' --device-id NAME

`attitude` is a generator: it runs while somebody reads it. `position` is a value that is there
anyway, and is looked at when a reader's turn comes.
"""

import contextlib
import math
from collections.abc import AsyncGenerator, Callable

import attrs
import trio

from petalkit import Petal, stream

PERIOD = 1 / 50  # seconds between two messages of the autopilot


@attrs.frozen
class Attitude:
    roll: float  # radians
    pitch: float


@attrs.frozen
class Position:
    latitude: float  # degrees
    longitude: float
    at: float  # seconds on Trio's clock


async def simulated_autopilot() -> AsyncGenerator[Attitude]:
    """Stands for the line to an autopilot."""
    while True:
        now = trio.current_time()
        yield Attitude(roll=math.sin(now), pitch=math.cos(now))
        await trio.sleep(PERIOD)


class TelemetryPetal(Petal):
    """Passes on what the autopilot says."""

    name = "telemetry"
    version = "1.0.0"

    def __init__(self, autopilot: Callable[[], AsyncGenerator[Attitude]] = simulated_autopilot):
        self._autopilot = autopilot
        self.latest = Position(47.0, 8.0, 0.0)

    @stream("attitude", max_rate=50)
    async def attitude(self) -> AsyncGenerator[Attitude]:
        """Its first reader opens the line, and its last one closes it."""
        async with contextlib.aclosing(self._autopilot()) as attitudes:
            async for attitude in attitudes:
                yield attitude

    @stream("position", max_rate=10)
    def position(self) -> Position:
        """The last known one."""
        return self.latest
