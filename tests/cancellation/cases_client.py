"""What callers wait for: `Client`, its jobs, streams and events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import trio
import trio.testing

from petalkit import Client, Settings, open_client
from petalkit.client import ClientJob

from .grounds import LATE, SETTINGS, WORKERS, Calling, calling, can_call
from .table import case


@case(Client.call, ground=calling, again=can_call, lasting=WORKERS)
async def client_call(ground: Calling) -> None:
    assert (await ground.client.call("swept/slow")).success


@asynccontextmanager
async def crowded() -> AsyncGenerator[Calling]:
    """As many calls as may wait at once are waiting."""
    async with calling(attrs.evolve(SETTINGS, call_concurrency=1)) as ground:
        ground.served.nursery.start_soon(ground.client.call, "swept/slow")
        await trio.testing.wait_all_tasks_blocked()
        assert ground.client.statistics().waiting == 1
        yield ground


@case(Client.call, ground=crowded, again=can_call, lasting=WORKERS)
async def client_call_waits_for_its_turn(ground: Calling) -> None:
    assert (await ground.client.call("swept/hello")).success


@case(Client.send, ground=calling, again=can_call, lasting=WORKERS)
async def client_send(ground: Calling) -> None:
    before = len(ground.served.petal.seen)
    await ground.client.send("swept/hello")
    await trio.sleep(2 * LATE)
    assert len(ground.served.petal.seen) == before + 1


@case(open_client, ground=calling, again=can_call, lasting=WORKERS)
async def client_life(ground: Calling) -> None:
    async with open_client(
        Settings(), identity=ground.client.identity, transport=ground.transport
    ) as client:
        assert (await client.call("swept/hello")).success


@case(Client.request, ground=calling, again=can_call, lasting=WORKERS)
async def client_request(ground: Calling) -> None:
    assert not (await ground.client.request("swept/none")).success


@case(Client.devices, ground=calling, again=can_call, lasting=WORKERS)
async def client_devices(ground: Calling) -> None:
    assert len(await ground.client.devices(settle=0.2)) == 1


@case(Client.info, ground=calling, again=can_call, lasting=WORKERS)
async def client_info(ground: Calling) -> None:
    assert (await ground.client.info()).jobs


async def job_can_be_started(ground: Calling) -> None:
    await trio.sleep(2)  # the one of before has ended
    assert ground.client.statistics().readers == 0
    async with ground.client.job("swept/count") as job:
        assert await job.result(30) == {"result": 3}
    await can_call(ground)


@case(
    ClientJob.result,
    ClientJob.updates,
    ground=calling,
    again=job_can_be_started,
    lasting=WORKERS,
)
async def client_job(ground: Calling) -> None:
    async with ground.client.job("swept/count") as job:
        assert [one async for one in job.updates()][-1].ended
        assert await job.result()


@case(
    ClientJob.cancel,
    ClientJob.status,
    ground=calling,
    again=job_can_be_started,
    lasting=WORKERS,
)
async def client_job_is_cancelled(ground: Calling) -> None:
    async with ground.client.job("swept/count", cancel_on_leave=True) as job:
        await job.status()
        assert (await job.cancel()).job_id == job.id


async def nobody_reads(ground: Calling) -> None:
    await trio.sleep(1)
    assert ground.client.statistics().readers == 0
    await can_call(ground)


@case(Client.stream, ground=calling, again=nobody_reads, lasting=WORKERS)
async def client_stream(ground: Calling) -> None:
    async with ground.client.stream("swept/values") as values:
        for _ in range(3):
            assert await anext(values) == {"n": 1}


@case(Client.events, ground=calling, again=nobody_reads, lasting=WORKERS)
async def client_events(ground: Calling) -> None:
    async with ground.client.events() as events:
        await ground.served.petal.publish_message({"command": "/swept/said"})
        assert (await anext(events)).command == "/swept/said"
