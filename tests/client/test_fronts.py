"""The fronts for asyncio programs and for threads: the same client, in a Trio loop of a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from petalkit import ConfigError, ConnectFailed, Identity, JobState, Settings
from petalkit.client import CallTimeout, DeviceBusy, JobCancelled, PetalRefused, aio, sync
from petalkit.client._portal import THREAD_NAME
from petalkit.testing import Harness, MemoryBroker, MemoryTransport, open_harness
from petalkit.transports import ConnectOptions, Link, Transport

from .long_work import CALLER, LongPetal

LIMIT = 20.0  # seconds, on a busy machine


class QuickPetal(LongPetal):
    """The same with no time in it: the loop of a client has a real clock."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = threading.Event()
        self.started = threading.Event()
        self.add_command("wait", self.wait)
        self.add_command("busy", self.busy)

    async def wait(self) -> None:
        self.started.set()
        await trio.sleep_forever()

    async def busy(self) -> None:
        from petalkit import CommandError

        raise CommandError("BUSY", "something else is under way", retryable=True)


class WithDevice(Transport):
    """Brings a broker and a device into the loop of the client."""

    def __init__(self) -> None:
        self.petal = QuickPetal()
        self.broker = MemoryBroker()
        self.harness: Harness | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        async with open_harness(self.petal, broker=self.broker) as self.harness:
            yield

    def connect(self, options: ConnectOptions) -> AbstractAsyncContextManager[Link]:
        return MemoryTransport(self.broker).connect(options)


def run(program: Callable[[], Awaitable[None]]) -> None:
    """An asyncio program, within a limit."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await program()

    asyncio.run(limited())
    assert no_thread_is_left()


def no_thread_is_left() -> bool:
    return THREAD_NAME not in {one.name for one in threading.enumerate()}


@pytest.fixture
def device() -> WithDevice:
    return WithDevice()


# -- asyncio


def test_asyncio_calls_and_gets_typed_errors(device: WithDevice) -> None:
    async def program() -> None:
        async with aio.open_client(CALLER, transport=device) as client:
            assert client.identity == Identity("acme", "Instance-1")
            answers = await asyncio.gather(
                *(client.call("long/hello", {"name": str(n)}) for n in range(50))
            )
            assert [one["message"] for one in answers] == [f"Hello, {n}!" for n in range(50)]
            with pytest.raises(DeviceBusy) as busy:
                await client.call("long/busy", retries=0)
            assert busy.value.code == "BUSY"
            assert not (await client.request("long/busy")).success
            await client.send("long/hello")
            assert (await client.statistics()).answered == 52
            assert "Instance-1" in [one.device_id for one in await client.devices(settle=0.05)]
            assert "long/hello" in (await client.info()).commands

    run(program)


def test_cancelling_the_asyncio_task_cancels_the_call(device: WithDevice) -> None:
    async def program() -> None:
        async with aio.open_client(CALLER, transport=device) as client:
            task = asyncio.create_task(client.call("long/wait"))
            await asyncio.to_thread(device.petal.started.wait, LIMIT)
            assert (await client.statistics()).waiting == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while (await client.statistics()).waiting:
                await asyncio.sleep(0)

    run(program)


def test_asyncio_follows_jobs_streams_and_events(device: WithDevice) -> None:
    async def program() -> None:
        async with aio.open_client(CALLER, transport=device) as client:
            async with client.job("long/copy", {"count": 0}) as job:
                states = [one.state async for one in job.updates()]
                assert await job.result() == {"copied": 0}
                assert job.latest.job_id == job.id
            assert states[-1] is JobState.SUCCEEDED
            async with client.job("long/copy", {"count": 99}) as job:
                await job.cancel()
                with pytest.raises(JobCancelled):
                    await job.result(LIMIT)
                assert (await job.status()).state is JobState.CANCELLED
            async with client.events("long/greeted") as events:
                await client.call("long/hello")
                assert (await anext(events)).data == {"name": "World"}
            async for value in client.stream("long/position"):
                assert value["n"] >= 0
                break

    run(program)


def test_asyncio_waits_for_its_turn_within_its_time(device: WithDevice) -> None:
    async def program() -> None:
        settings = attrs.evolve(CALLER, call_concurrency=1)
        async with aio.open_client(settings, transport=device) as client:
            first = asyncio.create_task(client.call("long/wait"))
            await asyncio.to_thread(device.petal.started.wait, LIMIT)
            with pytest.raises(CallTimeout, match="it was not sent"):
                await client.call("long/hello", timeout=0.05)
            first.cancel()
            assert (await client.call("long/hello")).success

    run(program)


def test_what_waits_when_the_asyncio_block_is_left_is_told(device: WithDevice) -> None:
    async def program() -> None:
        async with aio.open_client(CALLER, transport=device) as client:
            waiting = asyncio.create_task(client.call("long/wait"))
            await asyncio.to_thread(device.petal.started.wait, LIMIT)
        with pytest.raises(trio.ClosedResourceError):
            await waiting
        with pytest.raises(trio.ClosedResourceError):
            await client.call("long/hello")

    run(program)


def test_a_client_that_cannot_be_opened_says_why() -> None:
    async def program() -> None:
        settings = Settings(broker="mqtt://127.0.0.1:1", organization_id="acme", device_id="d")
        with pytest.raises(ConnectFailed):
            async with aio.open_client(settings):
                raise AssertionError
        with pytest.raises(ConfigError):
            async with aio.open_client(broker="nonsense"):
                raise AssertionError

    run(program)


class Hangs(Transport):
    """A broker that does not answer."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    @asynccontextmanager
    async def connect(self, options: ConnectOptions) -> AsyncGenerator[Link]:
        self.asked.set()
        await trio.sleep_forever()
        yield None  # type: ignore[misc]


def test_who_is_cancelled_while_it_is_opened_leaves_no_thread() -> None:
    async def program() -> None:
        transport = Hangs()

        async def opening() -> None:
            async with aio.open_client(CALLER, transport=transport):
                raise AssertionError

        task = asyncio.create_task(opening())
        await asyncio.to_thread(transport.asked.wait, LIMIT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(program)


# -- threads


def test_threads_call_and_get_typed_errors(device: WithDevice) -> None:
    with sync.open_client(CALLER, transport=device) as client, ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: client.call("long/hello", {"name": str(n)}), range(50))
        assert [one["message"] for one in answers] == [f"Hello, {n}!" for n in range(50)]
        assert client.request("long/hello", {"name": 7}).error_code == "INVALID_DATA"
        with pytest.raises(PetalRefused, match="NO_CARD"):
            client.call("long/detect", {"fail": True}, second_phase=True)
        client.send("long/hello")
        assert client.statistics().answered == 52
        assert client.info().petals[0]["name"] == "long"
        assert client.devices(settle=0.05)[0].online
        assert client.identity.device_id == "Instance-1"
    assert no_thread_is_left()


def test_a_thread_follows_jobs_streams_and_events(device: WithDevice) -> None:
    with sync.open_client(CALLER, transport=device) as client:
        with client.job("long/copy", {"count": 0}) as job:
            assert [one.state for one in job.updates()][-1] is JobState.SUCCEEDED
            assert job.result() == {"copied": 0}
        with client.job("long/copy", {"count": 99}) as job:
            assert job.cancel().job_id == job.id
            with pytest.raises(JobCancelled):
                job.result(LIMIT)
            assert job.status().state is JobState.CANCELLED
        with client.events("long/greeted") as events:
            client.call("long/hello")
            assert next(events).data == {"name": "World"}
        assert [value["n"] for value in client.stream("long/short")] == [0, 1, 2]


def test_a_thread_whose_time_is_over_says_so(device: WithDevice) -> None:
    settings = attrs.evolve(CALLER, call_concurrency=1)
    with sync.open_client(settings, transport=device) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.call, "long/wait", timeout=0.5)
        assert device.petal.started.wait(LIMIT)
        with pytest.raises(CallTimeout, match="it was not sent"):
            client.call("long/hello", timeout=0.05)
        with pytest.raises(CallTimeout, match="may still run it"):
            first.result()


def test_what_interrupts_a_thread_cancels_its_call(
    device: WithDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import Future

    with sync.open_client(CALLER, transport=device) as client:

        def interrupted(future: Future[Any], timeout: float | None = None) -> Any:
            assert device.petal.started.wait(LIMIT)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Future, "result", interrupted)
            with pytest.raises(KeyboardInterrupt):
                sync._ask(client._portal, lambda: client_of(client).call("long/wait"))
        while client.statistics().waiting:
            pass


def client_of(client: sync.Client) -> Any:
    return client._portal.opened._result  # type: ignore[attr-defined]


def test_what_waits_when_the_block_is_left_is_told(device: WithDevice) -> None:
    with ThreadPoolExecutor(1) as pool:
        with sync.open_client(CALLER, transport=device) as client:
            waiting = pool.submit(client.call, "long/wait")
            assert device.petal.started.wait(LIMIT)
        with pytest.raises(trio.ClosedResourceError):
            waiting.result(LIMIT)
        with pytest.raises(trio.ClosedResourceError):
            client.call("long/hello")


def test_a_client_for_threads_that_cannot_be_opened_says_why() -> None:
    nowhere = Settings(broker="mqtt://127.0.0.1:1", organization_id="acme", device_id="d")
    with pytest.raises(ConnectFailed), sync.open_client(nowhere):
        raise AssertionError
    assert no_thread_is_left()


def test_a_loop_that_fails_fails_all_who_wait(device: WithDevice) -> None:
    with ThreadPoolExecutor(1) as pool, sync.open_client(CALLER, transport=device) as client:
        waiting = pool.submit(client.call, "long/wait")
        assert device.petal.started.wait(LIMIT)

        async def fail() -> None:
            def explode() -> None:
                raise LookupError("a bug")

            client_of(client)._nursery.start_soon(trio.to_thread.run_sync, explode)

        sync._ask(client._portal, fail)
        with pytest.raises((trio.ClosedResourceError, BaseExceptionGroup)):
            waiting.result(LIMIT)
        with pytest.raises((trio.ClosedResourceError, BaseExceptionGroup)):
            client.call("long/hello")
