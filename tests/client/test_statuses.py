"""Births and farewells of one device, and jobs that were started by somebody else."""

from __future__ import annotations

import pytest
import trio

from petalkit import RejectedByBroker
from petalkit.client import UnknownJob, open_client
from petalkit.testing import MemoryTransport, open_harness

from .long_work import CALLER, LongPetal, device_and_client

pytestmark = pytest.mark.trio


async def test_a_device_that_goes_and_comes_back_is_told(autojump_clock: object) -> None:
    async with device_and_client() as (harness, client), client.statuses() as statuses:
        assert (await anext(statuses)).status == "online"
        harness.drop_link()
        await harness.wait_connected()
        with trio.fail_after(60):
            # Its will, and its birth.
            assert [(await anext(statuses)).status for _ in range(2)] == ["offline", "online"]
        async with client.statuses() as more:  # the filter is there, and what is retained was said
            with trio.fail_after(5):
                found = await anext(more)
        assert (found.device_id, found.status, dict(found.petals)) == (
            "Instance-1",
            "online",
            {"long": "0"},
        )
        assert client.statistics().readers == 1
    assert client.statistics().readers == 0


async def test_a_job_of_somebody_else_is_followed_by_its_id(autojump_clock: object) -> None:
    petal = LongPetal()
    async with device_and_client(petal) as (_, client):
        started = await client.call("long/copy", {"count": 4})
        job_id = started["job_id"]
        async with client.job("long/copy", job_id=job_id) as job:
            assert job.id == job_id
            seen = [update.message async for update in job.updates()]
            assert await job.result() == {"copied": 4}
        assert "file 3" in seen
        assert petal.runs == 1
        # And after its end.
        async with client.job("long/copy", job_id=job_id) as job:
            with trio.fail_after(1):
                assert [update.state async for update in job.updates()] == ["succeeded"]
                assert await job.result() == {"copied": 4}
        with pytest.raises(UnknownJob):
            async with client.job("long/copy", job_id="j-none"):
                pass
        assert client.statistics().readers == 0
    assert petal.runs == 1


async def test_a_client_can_be_opened_where_no_device_answers_it(autojump_clock: object) -> None:
    async with open_harness(LongPetal()) as harness:
        transport = MemoryTransport(harness.broker)
        harness.broker.reject_subscribe("org/acme/device/Instance-1/response")
        with pytest.raises(RejectedByBroker):
            async with open_client(CALLER, transport=transport):
                pass
        async with open_client(CALLER, transport=transport, prepare=False) as client:
            assert [one.device_id for one in await client.devices()] == ["Instance-1"]
            harness.broker.reject_subscribe("org/acme/device/Instance-1/response", None)
            assert (await client.call("long/hello"))["message"] == "Hello, World!"
