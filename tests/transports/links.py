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


def cancel_soon(nursery: trio.Nursery, scope: trio.CancelScope, steps: int) -> None:
    """Cancel a scope when so many rounds of Trio's loop have passed."""

    async def cancel() -> None:
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    nursery.start_soon(cancel)
