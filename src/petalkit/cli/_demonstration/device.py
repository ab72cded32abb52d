"""A device, the broker that it is on, and a client of it, all in this process."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from ..._authoring.petal import Petal
from ..._serving.opening import serve
from ..._values.errors import PetalkitError
from ..._values.settings.settings import Settings
from ...client import Client, open_client
from .._embedded_broker import open_embedded_broker
from .._example import ExamplePetal
from .flight_log import FlightLogPetal

ORGANIZATION_ID = "acme"
START_TIMEOUT = 30.0  # seconds for broker, petals and client together
GRACE = 0.5  # seconds that jobs get at the end: what they do is made up


class DidNotStart(PetalkitError):
    """It took too long."""

    def __str__(self) -> str:
        return f"the demo did not start within {START_TIMEOUT:g} s; see --log-level info"


@asynccontextmanager
async def open_demonstration(
    *, has_flight_log: bool = True
) -> AsyncGenerator[tuple[Settings, Client]]:
    """Run it while the block runs; gives the settings for further clients, and a client.

    Args:
        has_flight_log: whether it serves more than the example petal.

    Raises:
        DidNotStart: it took longer than `START_TIMEOUT`.
        ConfigError: the broker's package is not installed.
    """
    with trio.CancelScope(deadline=trio.current_time() + START_TIMEOUT) as start:
        async with open_embedded_broker() as broker:
            settings = Settings(
                broker=broker.url,
                transport="native",
                organization_id=ORGANIZATION_ID,
                device_id=f"Instance-{secrets.token_hex(3)}",
                grace=GRACE,
            )
            petals: list[Petal] = [ExamplePetal()]
            if has_flight_log:
                petals.append(FlightLogPetal())
            async with trio.open_nursery() as nursery:
                runtime = await nursery.start(serve, petals, settings)
                async with open_client(settings) as client:
                    start.deadline = float("inf")  # started; from here a person decides
                    yield settings, client
                runtime.stop()
    if start.cancelled_caught:
        raise DidNotStart
