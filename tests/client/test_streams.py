"""Values of streams, events of petals, and second phases, as a caller reads them."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio
import trio.testing

from petalkit.client import CallTimeout, PetalRefused, StreamFailed, UnknownCommand
from petalkit.client._long import following
from petalkit.client._long.streams import ClientStream

from .long_work import LongPetal, client_session, device_and_client
from .test_jobs import EVERY_WIRE

pytestmark = pytest.mark.trio


async def read(stream: ClientStream, count: int) -> list[Any]:
    values: list[Any] = []
    async for value in stream:
        values.append(value)
        if len(values) == count:
            break
    return values


@EVERY_WIRE
async def test_a_stream_is_read_at_the_rate_asked_for(
    protocol: str, dialect: str, envelope: Any, autojump_clock: object
) -> None:
    async with (
        device_and_client(protocol=protocol, dialect=dialect) as (_, client),
        client.stream("long/position", rate=5, envelope=envelope) as values,
    ):
        start = trio.current_time()
        found = [one["n"] for one in await read(values, 11)]
        assert trio.current_time() - start == pytest.approx(2.0, abs=0.15)
    assert found == sorted(found)
    assert len(set(found)) == 11


async def test_the_device_says_at_which_rate_it_sends(autojump_clock: object) -> None:
    async with (
        device_and_client() as (_, client),
        client.stream("long/position", rate=80) as values,
    ):
        assert values.rate == 50.0


async def test_who_leaves_the_block_is_forgotten_by_the_device(autojump_clock: object) -> None:
    petal = LongPetal()
    async with device_and_client(petal) as (_, client):
        async with client.stream("long/position") as values:
            await read(values, 2)
            assert petal.readers == 1
        await trio.sleep(0.1)
        assert (petal.readers, client.statistics().readers) == (0, 0)
        with pytest.raises(trio.ClosedResourceError):
            await read(values, 1)


async def test_a_loop_without_a_block_is_ended_when_nobody_has_the_iterator(
    autojump_clock: object,
) -> None:
    petal = LongPetal()
    async with device_and_client(petal) as (_, client):
        async for value in client.stream("long/position"):
            if value["n"] > 3:
                break
        del value
        gc.collect()
        await trio.sleep(1)
        assert (petal.begun, petal.readers) == (1, 0)
        assert client.statistics().readers == 0


async def test_a_stream_that_ends_ends_the_loop(autojump_clock: object) -> None:
    async with device_and_client() as (_, client):
        found = [value["n"] async for value in client.stream("long/short", rate=50)]
    assert found == [0, 1, 2]


@pytest.mark.parametrize("envelope", ["web", "plain"])
async def test_a_stream_that_fails_says_so(envelope: Any, autojump_clock: object) -> None:
    found: list[Any] = []
    async with device_and_client() as (_, client):
        with pytest.raises(StreamFailed, match="NO_FIX: there are no satellites") as failed:
            async for value in client.stream("long/broken", envelope=envelope):
                found.append(value)
    assert found == [{"n": 0}]
    assert failed.value.code == "NO_FIX"


async def test_a_stream_that_nobody_serves_is_refused(autojump_clock: object) -> None:
    async with device_and_client() as (_, client):
        with pytest.raises(UnknownCommand):
            await read(client.stream("long/none"), 1)
        assert client.statistics().readers == 0


async def test_a_stream_goes_on_over_the_next_link(autojump_clock: object) -> None:
    async with device_and_client() as (harness, client), client.stream("long/position") as values:
        await read(values, 2)
        harness.broker.drop_links(client_session(harness))
        await trio.sleep(2)
        late = await read(values, 30)
        assert late[-1]["n"] > late[0]["n"]
        assert client.statistics().links == 2


async def test_a_stream_is_subscribed_to_again_when_its_device_is_born_anew(
    autojump_clock: object,
) -> None:
    petal = LongPetal()
    async with (
        device_and_client(petal) as (harness, client),
        client.stream("long/position") as values,
    ):
        await read(values, 2)
        harness.runtime.jobs.subscriptions.remove("long/position")  # it has forgotten
        (device,) = set(harness.broker.sessions) - {client_session(harness)}
        harness.broker.drop_links(device)  # and says `online` again
        with trio.fail_after(20):
            await read(values, 30)
        assert petal.begun == 2


async def test_a_stream_is_renewed_before_the_device_forgets_it(autojump_clock: object) -> None:
    async with device_and_client() as (harness, client):
        async with client.stream("long/position", rate=1) as values:
            async for _ in values:
                if trio.current_time() > 2 * following.RENEW + 10:
                    break
        assert client.statistics().calls >= 4  # three times subscribed, once not any more
        assert harness.statistics().accepted == client.statistics().calls


async def test_a_slow_reader_gets_the_newest(autojump_clock: object) -> None:
    async with device_and_client(call_buffer=3) as (_, client):
        async with client.stream("long/position") as values:
            await trio.sleep(5)
            found = [one["n"] for one in await read(values, 3)]
        assert found[0] > 40
        assert client.statistics().dropped > 30


# -- events


@pytest.mark.parametrize("dialect", ["guide", "host-0.2"])
async def test_events_of_a_petal_are_read(dialect: str, autojump_clock: object) -> None:
    async with device_and_client(dialect=dialect) as (_, client):
        async with client.events("long/greeted") as events:
            for name in ("Ada", "Grace"):
                await client.call("long/hello", {"name": name})
            found = [await anext(events), await anext(events)]
        assert [one.data["name"] for one in found] == ["Ada", "Grace"]
        assert {one.command for one in found} == {"/long/greeted"}
        assert {one.device_id for one in found} == {"Instance-1"}
        assert client.statistics().readers == 0


async def test_what_readers_of_streams_are_told_is_no_event_unless_all_is_wanted(
    autojump_clock: object,
) -> None:
    async with (
        device_and_client() as (_, client),
        client.events() as events,
        client.events(everything=True) as everything,
        client.stream("long/position") as values,
    ):
        await read(values, 3)
        await client.call("long/hello")
        assert (await anext(events)).command == "/long/greeted"
        first = await anext(everything)
        assert first.command == "/long/publish_position"
        assert first.data["stream_payload"] == {"n": 0}


async def test_a_loop_over_events_without_a_block_ends_with_its_iterator(
    autojump_clock: object,
) -> None:
    async with device_and_client() as (_, client), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def greet() -> None:
            await trio.sleep(1)
            await client.call("long/hello")

        async for event in client.events():
            assert event.data == {"name": "World"}
            break
        gc.collect()
        await trio.sleep(1)
        assert client.statistics().readers == 0


async def test_who_reads_events_is_told_that_the_client_is_gone(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery, device_and_client() as (_, client):

        @nursery.start_soon
        async def listen() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await anext(client.events())

        await trio.testing.wait_all_tasks_blocked()


# -- second phases


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
@pytest.mark.parametrize("dialect", ["guide", "host-0.2"])
async def test_a_call_may_wait_for_the_second_answer(
    protocol: str, dialect: str, autojump_clock: object
) -> None:
    async with device_and_client(protocol=protocol, dialect=dialect) as (_, client):
        for _ in range(2):  # of MQTT 5 the second time is answered on another topic
            first = await client.call("long/detect")
            assert first["pending"] is True
            second = await client.call("long/detect", second_phase=True)
            assert second["records"] == 12
            with pytest.raises(PetalRefused, match="NO_CARD"):
                await client.call("long/detect", {"fail": True}, second_phase=True)
        assert client.statistics().readers == 0


async def test_who_waits_for_a_second_answer_has_its_limit_too(autojump_clock: object) -> None:
    async with device_and_client() as (_, client):
        with pytest.raises(CallTimeout):
            await client.call("long/detect", second_phase=True, timeout=1)
        assert client.statistics().readers == 0
