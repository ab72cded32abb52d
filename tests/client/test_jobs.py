"""A job as its caller has it: started, watched, waited for, cancelled, across links."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from petalkit import JobState
from petalkit.client import (
    InvalidRequest,
    JobCancelled,
    JobFailed,
    NotAJob,
    UnknownCommand,
    UnknownJob,
)

from .long_work import LongPetal, client_session, device_and_client

pytestmark = pytest.mark.trio

EVERY_WIRE = pytest.mark.parametrize(
    ("protocol", "dialect", "envelope"),
    [
        ("3.1.1", "guide", "web"),
        ("3.1.1", "host-0.2", "web"),
        ("5", "guide", "web"),
        ("5", "guide", "plain"),
        ("5", "host-0.2", "plain"),
    ],
)


@EVERY_WIRE
async def test_a_job_is_watched_to_its_end(
    protocol: str, dialect: str, envelope: Any, autojump_clock: object
) -> None:
    async with (
        device_and_client(protocol=protocol, dialect=dialect) as (_, client),
        client.job("long/copy", {"count": 3}, envelope=envelope) as job,
    ):
        seen = [update async for update in job.updates()]
        assert await job.result() == {"copied": 3}
        assert client.statistics().unreadable == 0
    assert [one.progress for one in seen if one.message == "file 1"] == [pytest.approx(1 / 3)]
    assert seen[-1].state is JobState.SUCCEEDED
    assert seen[-1].ended
    assert {one.job_id for one in seen} == {job.id}
    assert next(one.details for one in seen if one.message == "file 2") == {"bytes": 20}


async def test_a_job_that_fails_says_why(autojump_clock: object) -> None:
    async with (
        device_and_client() as (_, client),
        client.job("long/copy", {"fail": True}) as job,
    ):
        with pytest.raises(JobFailed, match="CARD_FULL: there is no room") as failed:
            await job.result()
    assert (failed.value.code, failed.value.state) == ("CARD_FULL", JobState.FAILED)
    assert failed.value.job_id == job.id


async def test_a_job_is_cancelled(autojump_clock: object) -> None:
    async with device_and_client() as (_, client), client.job("long/copy", {"count": 99}) as job:
        await trio.sleep(3.5)
        assert job.latest.message == "file 3"
        assert (await job.cancel()).state in (JobState.CANCELLING, JobState.CANCELLED)
        with pytest.raises(JobCancelled):
            await job.result()


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_job_goes_on_when_its_block_is_left_unless_it_was_to_be_cancelled(
    cancelled: bool, autojump_clock: object
) -> None:
    async with device_and_client() as (harness, client):
        async with client.job("long/copy", {"count": 99}, cancel_on_leave=cancelled) as job:
            await trio.sleep(2.5)
        await trio.sleep(1)
        status = await client.call("long/result_copy", {"job_id": job.id})
        assert status["state"] == ("cancelled" if cancelled else "running")
        assert client.statistics().readers == 0
        assert (await harness.call("long/subscribe_copy", {"subscribed_stream_id": "x"})).success
        with pytest.raises(trio.ClosedResourceError):
            await job.result()


async def test_a_caller_that_is_cancelled_cancels_its_job_if_it_said_so(
    autojump_clock: object,
) -> None:
    async with device_and_client() as (_, client):
        with trio.move_on_after(2.5):
            async with client.job("long/copy", {"count": 99}, cancel_on_leave=True) as job:
                await job.result()
        await trio.sleep(1)
        assert (await client.call("long/result_copy", {"job_id": job.id}))["state"] == "cancelled"


async def test_the_end_of_a_job_is_heard_of_though_the_link_was_away(
    autojump_clock: object,
) -> None:
    petal = LongPetal()
    async with (
        device_and_client(petal) as (harness, client),
        client.job("long/copy", {"count": 3}) as job,
    ):
        await trio.sleep(1.5)
        harness.broker.refuse_connections()
        harness.broker.drop_links(client_session(harness))
        await trio.sleep(5)  # it ends meanwhile
        harness.broker.accept_connections()
        with trio.fail_after(12):  # the wait before a reconnect, and no silence after it
            assert await job.result(timeout=60) == {"copied": 3}
    assert petal.runs == 1
    assert client.statistics().links == 2


async def test_a_lost_report_of_the_end_is_found_by_asking(autojump_clock: object) -> None:
    async with (
        device_and_client() as (_harness, client),
        client.job("long/copy", {"count": 3}) as job,
    ):
        await trio.sleep(1.5)
        await client.call("long/unsubscribe_copy", {"subscribed_stream_id": job.stream_id})
        before = trio.current_time()
        assert await job.result() == {"copied": 3}
        assert trio.current_time() - before < 40


async def test_a_job_that_the_device_forgot_is_an_error(autojump_clock: object) -> None:
    petal = LongPetal()
    async with (
        device_and_client(petal) as (harness, client),
        client.job("long/copy", {"count": 99}) as job,
    ):
        job.id = "another"  # as of a device that came back without a journal
        harness.broker.drop_links(client_session(harness))
        with pytest.raises(UnknownJob):
            await job.result()
        with pytest.raises(UnknownJob):
            _ = [one async for one in job.updates()]


async def test_what_is_no_job_is_no_job(autojump_clock: object) -> None:
    async with device_and_client() as (_, client):
        with pytest.raises(NotAJob, match="use call"):
            async with client.job("long/hello"):
                raise AssertionError
        with pytest.raises(UnknownCommand):
            async with client.job("long/none"):
                raise AssertionError
        with pytest.raises(InvalidRequest) as wrong:
            async with client.job("long/copy", {"count": "x"}):
                raise AssertionError
        assert wrong.value.errors[0]["path"] == "data.count"


async def test_a_job_that_waits_for_its_turn_says_its_position(autojump_clock: object) -> None:
    async with (
        device_and_client() as (_, client),
        client.job("long/copy", {"count": 3}) as first,
        client.job("long/copy", {"count": 2}) as second,
    ):
        assert (second.latest.state, second.latest.position) == (JobState.ACCEPTED, 1)
        assert await second.result() == {"copied": 2}
        assert await first.result() == {"copied": 3}


async def test_readers_of_a_job_are_many(autojump_clock: object) -> None:
    seen: list[list[float | None]] = []

    async def read(job: Any) -> None:
        seen.append([one.progress async for one in job.updates()])

    async with device_and_client() as (_, client), client.job("long/copy") as job:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, job)
            nursery.start_soon(read, job)
        await read(job)
    assert seen[0] == seen[1]
    assert len(seen[0]) >= 4
    assert seen[2] == [1.0]


async def test_a_slow_reader_misses_the_oldest_and_not_the_end(autojump_clock: object) -> None:
    async with (
        device_and_client(call_buffer=2) as (_, client),
        client.job("long/copy", {"count": 9}) as job,
    ):
        updates = job.updates()
        await job.result()
        assert [one.state async for one in updates] == [JobState.RUNNING, JobState.SUCCEEDED]
        assert client.statistics().dropped > 0
