"""The petal of the demonstration with something to see: a job, streams, events, errors.

Nothing here flies: what it tells is made up from the time that has passed.
"""

from __future__ import annotations

import contextlib
import enum
import math
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated

import attrs
import msgspec
import trio

from ..._authoring.command import command
from ..._authoring.jobs.handle import Job
from ..._authoring.jobs.job import job
from ..._authoring.jobs.stream import stream
from ..._authoring.petal import Petal
from ..._values.errors import CommandError

PIECE = 2.0  # MB, between two reports
SPEED = 4.0  # MB per second
EVENT_INTERVAL = 5.0  # seconds
PERIOD = 0.05  # seconds between two values of the attitude


class Mode(enum.Enum):
    """How a plan is flown."""

    SURVEY = "survey"
    ORBIT = "orbit"
    RETURN = "return"


@attrs.frozen
class Waypoint:
    """A place to pass."""

    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    altitude: Annotated[float, msgspec.Meta(ge=0, le=500)] = 40.0


class FlightLogPetal(Petal):
    """Records of flights, and what the vehicle says now. Simulated."""

    name = "flight-log"
    version = "1.0.0"

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Tell of the battery while it lives."""
        self.nursery.start_soon(self._tell_battery)
        yield

    async def _tell_battery(self) -> None:
        while True:
            now = trio.current_time()
            await self.publish_message(
                {
                    "command": "/flight-log/battery",
                    "data": {"volts": round(15.6 + 0.4 * math.sin(now / 60), 2), "cells": 4},
                },
                latest="battery",
            )
            await trio.sleep(EVENT_INTERVAL)

    @job("fetch", timeout=3600, concurrency=3, queue=5)
    async def fetch(
        self,
        job: Job,
        record: str = "flight-0042.ulg",
        megabytes: Annotated[int, msgspec.Meta(ge=1, le=4000)] = 480,
    ) -> Mapping[str, object]:
        """Copy a record from the vehicle's memory card, and check the copy."""
        async with job.step("copy", weight=0.95) as step:
            done = 0.0
            while done < megabytes:
                await trio.sleep(PIECE / SPEED)
                done = min(float(megabytes), done + PIECE)
                await step.progress(done / megabytes, f"{record}: {done:.0f} of {megabytes} MB")
        async with job.step("check", weight=0.05) as step:
            for part in range(5):
                await step.progress(part / 5, "checking")
                await trio.sleep(0.4)
        return {"record": record, "megabytes": megabytes, "damaged": False}

    @command("records")
    async def records(
        self, newest: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    ) -> Mapping[str, object]:
        """The newest records on the card."""
        names = [f"flight-{42 - number:04}.ulg" for number in range(newest)]
        return {"records": [{"name": one, "megabytes": 480} for one in names]}

    @command("plan")
    async def plan(
        self,
        waypoints: Annotated[list[Waypoint], msgspec.Meta(min_length=1, max_length=20)],
        mode: Mode = Mode.SURVEY,
        speed: Annotated[float, msgspec.Meta(gt=0, le=20)] = 8.0,
        note: str | None = None,
        dry_run: bool = True,
    ) -> Mapping[str, object]:
        """Check a flight plan; nothing is flown."""
        if not dry_run:
            raise CommandError("NOT_ARMED", "this vehicle is made up, and stays on the ground")
        return {"accepted": len(waypoints), "mode": mode.value, "speed": speed, "note": note}

    @command("erase")
    async def erase(self, record: str) -> Mapping[str, object]:
        """Delete a record, which is refused: it shows what an error looks like."""
        raise CommandError("CARD_LOCKED", f"the card is locked, so {record} stays", retryable=True)

    @stream("attitude", max_rate=20)
    async def attitude(self) -> AsyncGenerator[dict[str, float]]:
        """Roll, pitch and heading, in degrees."""
        while True:
            now = trio.current_time()
            yield {
                "roll": round(14 * math.sin(now / 1.9) + 3 * math.sin(now * 2.3), 2),
                "pitch": round(6 * math.cos(now / 2.7) + 2 * math.sin(now * 1.7), 2),
                "heading": round(30 * math.sin(now / 11), 2),
            }
            await trio.sleep(PERIOD)

    @stream("altitude", max_rate=10)
    def altitude(self) -> dict[str, float]:
        """Metres above the start, and how fast that changes."""
        now = trio.current_time()
        return {
            "metres": round(40 + 12 * math.sin(now / 9), 2),
            "climb": round(12 / 9 * math.cos(now / 9), 3),
        }
