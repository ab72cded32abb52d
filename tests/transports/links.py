"""What the tests of every kind of link share: who connects, and what has come."""

from __future__ import annotations

import trio

from petalkit.transports import ConnectOptions, Delivery, Link

LIMIT = 10.0  # seconds; only a test that fails gets near it
OPTIONS = ConnectOptions(client_id="device")


async def collect(link: Link, count: int, *, ack: bool = True) -> list[Delivery]:
    """Receive so many deliveries, or a few more."""
    found: list[Delivery] = []
    with trio.fail_after(LIMIT):
        while len(found) < count:
            batch = await link.receive()
            for delivery in batch if ack else ():
                delivery.ack()
            found += batch
    return found


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(each.payload) for each in deliveries]
