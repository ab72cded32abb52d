"""The asyncio loop of a petal: what asyncio code needs of it, and that it is nobody else's end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from petalkit import Settings
from petalkit.compat import adapt
from petalkit.compat._loop.loop import PetalLoop, open_petal_loop
from petalkit.testing import open_harness

from .petals import GuidePetal, HandlerPetal, Message, swallow

pytestmark = pytest.mark.trio


# -- errors that nobody waits for


async def test_an_error_in_a_forgotten_task_is_logged_and_ends_nothing(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise LookupError("forgotten")

    async def forget(petal: HandlerPetal, message: Message) -> None:
        asyncio.create_task(fail())  # noqa: RUF006 - nobody waits for it
        await asyncio.sleep(0.1)
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(forget))) as harness:
        assert (await harness.call("petal/x")).success
        gc.collect()
        await harness.advance(1)
        assert (await harness.call("petal/x")).success
        gc.collect()
        await harness.advance(1)
    records = [one for one in caplog.records if "never retrieved" in one.getMessage()]
    assert len(records) == 2
    assert records[0].levelno == logging.ERROR
    assert records[0].__dict__["petal"] == "petal"
    assert "forgotten" in caplog.text


@pytest.mark.parametrize("error", [LookupError("in a callback"), asyncio.CancelledError()])
async def test_an_error_in_a_callback_ends_nothing(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    async def call(petal: HandlerPetal, message: Message) -> None:
        asyncio.get_running_loop().call_soon(fail)
        asyncio.get_running_loop().call_later(0.1, fail)
        await asyncio.sleep(1)
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(call))) as harness:
        assert (await harness.call("petal/x")).success
    assert caplog.text.count("Exception in callback") == 2


async def test_an_exit_in_a_task_or_a_callback_ends_nothing(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave() -> None:
        sys.exit("from a task")

    class Leaving(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            self.task = asyncio.create_task(leave())
            asyncio.get_running_loop().call_soon(sys.exit, "from a callback")
            asyncio.get_running_loop().call_later(1, sys.exit, "from a timer")
            await asyncio.sleep(10)
            await super()._hello_handler(topic, message)

    async with open_harness(*adapt(Leaving("leaving"), GuidePetal())) as harness:
        assert (await harness.call("leaving/hello")).success
        assert (await harness.call("leaving/hello")).success
        assert (await harness.call("example-petal/hello")).success
        assert harness.statistics().unavailable_petals == ()
    for place in ("a task", "a callback", "a timer"):
        assert caplog.text.count(f"SystemExit: from {place}") >= 2
    assert "which ends nothing here" in caplog.text


async def test_a_petal_that_stops_its_loop_is_out_of_service(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Stopping(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            asyncio.get_running_loop().stop()
            await asyncio.sleep(10)

    async with open_harness(*adapt(Stopping("stopping"), GuidePetal())) as harness:
        assert (await harness.call("stopping/hello")).error_code == "UNAVAILABLE"
        assert (await harness.call("example-petal/hello")).success
        before = trio.current_time()
    assert trio.current_time() - before < 1
    assert "the petal's asyncio loop has ended" in caplog.text
    assert "has stopped its loop: not called are async_shutdown, shutdown" in caplog.text
    assert "does not end" not in caplog.text


async def test_a_petal_cannot_take_the_signals_that_stop_the_process(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    class Taking(GuidePetal):
        def startup(self) -> None:
            super().startup()
            assert self._loop is not None
            self._loop.add_signal_handler(signal.SIGTERM, print)

    async with open_harness(*adapt(Taking())) as harness:
        assert (await harness.call("example-petal/hello")).success
        assert signal.getsignal(signal.SIGTERM) is before
    assert "wants to handle SIGTERM: not done" in caplog.text


# -- the end of tasks


async def test_tasks_that_were_left_behind_end_with_the_petal(autojump_clock: Any) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(100_000)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)  # cancelled once, and not again in its clean-up
            ended.append("ended")
            raise

    async def start(petal: HandlerPetal, message: Message) -> None:
        for _ in range(3):
            asyncio.create_task(work())  # noqa: RUF006
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(start))) as harness:
        assert (await harness.call("petal/x")).success
        gc.collect()
        await harness.advance(100)
        assert ended == []
    assert ended == ["ended"] * 3


async def test_a_task_that_swallows_its_cancellation_cannot_hang_the_stop(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def start(petal: HandlerPetal, message: Message) -> None:
        petal.task = asyncio.create_task(swallow(), name="the swallower")  # type: ignore[attr-defined]
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(start))) as harness:
        assert (await harness.call("petal/x")).success
        before = trio.current_time()
    assert trio.current_time() - before <= 6
    assert "the swallower does not end although it is cancelled" in caplog.text


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("shared", [False, True])
async def test_a_task_that_never_waits_cannot_hang_the_stop(stopped: bool, shared: bool) -> None:
    """Its next step is always ready, so a loop that runs all that is left would run for ever."""

    async def spin() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)

    async def start(petal: HandlerPetal, message: Message) -> None:
        petal.task = asyncio.create_task(spin())  # type: ignore[attr-defined]
        await petal.answer(message, success=True)

    class Other(GuidePetal):
        name = "other"

    factories = {"proxy_factories": {"radio": object}} if shared else {}
    settings = Settings(cleanup_timeout=0.5)
    petal = HandlerPetal(start)
    with trio.move_on_after(20) as scope:
        async with open_harness(*adapt(petal, Other(), **factories), settings=settings) as harness:
            assert (await harness.call("petal/x")).success
            if stopped:
                assert petal._loop is not None
                petal._loop.stop()
    assert not scope.cancelled_caught


async def test_a_stopped_loop_ends_although_code_in_it_wants_something_of_trio() -> None:
    """Such as an answer by HTTP that its cancellation sets free."""

    async def ask(loop: PetalLoop) -> None:
        try:
            await asyncio.sleep(100_000)
        finally:
            await loop.loop.trio_as_future(trio.sleep, 0)

    async with open_petal_loop("petal", 0.1) as loop:
        call = loop.start("ask", ask, loop)
        await wait_all_tasks_blocked()
        assert call.task is not None
        call.task.cancel()
        loop.loop.stop()
        await loop.wait_stopped()
    assert loop.loop.is_closed()


async def test_a_handler_that_swallows_its_cancellation_cannot_hang_the_stop(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(petal: HandlerPetal, message: Message) -> None:
        await swallow()

    settings = Settings(grace=1.0)
    async with open_harness(*adapt(HandlerPetal(hang)), settings=settings) as harness:
        with harness.responses() as sink:
            harness.send("petal/x")
            await harness.advance(1)
            before = trio.current_time()
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
            assert [one["error_code"] for one in sink] == ["CANCELLED"]
    assert trio.current_time() - before <= 12
    assert "petal/x does not end although it is cancelled" in caplog.text


async def test_a_handler_that_swallows_its_timeout_is_answered_for_and_named(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(petal: HandlerPetal, message: Message) -> None:
        await swallow()

    settings = Settings(compat_timeout=10.0)
    async with open_harness(*adapt(HandlerPetal(hang)), settings=settings) as harness:
        assert (await harness.call("petal/x")).error_code == "TIMEOUT"
        assert trio.current_time() < 14
        assert "petal/x does not end although it is cancelled" in caplog.text
        assert (await harness.call("petal/x")).error_code == "TIMEOUT"  # it can be called again


async def test_an_async_generator_that_hangs_cannot_hang_the_stop(autojump_clock: Any) -> None:
    async def generate() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(100_000)

    async def start(petal: HandlerPetal, message: Message) -> None:
        petal.generator = generate()  # type: ignore[attr-defined]
        await anext(petal.generator)  # type: ignore[attr-defined]
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(start))) as harness:
        assert (await harness.call("petal/x")).success
        before = trio.current_time()
    assert trio.current_time() - before <= 6


async def test_cancelling_the_runtime_ends_petals_too(autojump_clock: Any) -> None:
    petal = GuidePetal()
    with trio.CancelScope() as scope:
        async with open_harness(*adapt(petal)) as harness:
            assert (await harness.call("example-petal/hello")).success
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert petal.hooks[-2:] == ["async_shutdown", "shutdown"]


# -- one petal, one loop


async def test_each_petal_has_a_loop_of_its_own(autojump_clock: Any) -> None:
    one, two = GuidePetal("one"), GuidePetal("two")
    async with open_harness(*adapt(one, two)) as harness:
        await harness.call("one/hello")
        await harness.call("two/hello")
        assert one._loop is not None
        assert one._loop is not two._loop


async def test_one_petal_may_use_the_proxy_of_another(autojump_clock: Any) -> None:
    other = GuidePetal("other")

    async def borrow(petal: HandlerPetal, message: Message) -> None:
        sent = await other._mqtt_proxy.publish_message({"command": "/borrowed"})
        await petal.answer(message, success=True, sent=sent)

    async with open_harness(*adapt(HandlerPetal(borrow), other)) as harness:
        with harness.events() as events:
            assert (await harness.call("petal/x"))["sent"] is True
            assert [one["command"] for one in await events.wait(1)] == ["/borrowed"]


# -- what asyncio code uses


async def test_the_means_of_asyncio_work(autojump_clock: Any) -> None:
    async def use(petal: HandlerPetal, message: Message) -> None:
        loop = asyncio.get_running_loop()
        assert asyncio.get_event_loop() is loop is petal._loop
        task = asyncio.current_task()
        assert task is not None
        assert task in asyncio.all_tasks()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(100), timeout=0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.sleep(100)
        lock, event = asyncio.Lock(), asyncio.Event()
        condition, semaphore = asyncio.Condition(), asyncio.Semaphore(2)
        async with lock, semaphore, condition:
            loop.call_later(0.1, event.set)
            await event.wait()
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        await asyncio.gather(queue.put(1), queue.get(), asyncio.sleep(0.1))
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0.1))
        done, pending = await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0.1))], timeout=1)
        assert (len(done), len(pending)) == (1, 0)
        shielded = asyncio.shield(asyncio.sleep(0.1))
        await shielded
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(use))) as harness:
        response = await harness.call("petal/x")
    assert response.success, dict(response)


async def test_threads_and_processes_work() -> None:
    """In real time, and bounded."""

    async def use(petal: HandlerPetal, message: Message) -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(lambda: 1) == 1
        executor = concurrent.futures.ThreadPoolExecutor(1)
        loop.set_default_executor(executor)
        assert await loop.run_in_executor(None, lambda: 2) == 2
        executor.shutdown()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print('out')", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        await petal.answer(message, success=process.returncode == 0, out=out.decode().strip())

    async with open_harness(*adapt(HandlerPetal(use))) as harness:
        with trio.fail_after(30):
            response = await harness.call("petal/x", timeout=25)
    assert response["out"] == "out", dict(response)


async def test_streams_work() -> None:
    """In real time, over loopback, and bounded."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def use(petal: HandlerPetal, message: Message) -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        server.close()
        await petal.answer(message, success=True, line=line.decode().strip())

    async with open_harness(*adapt(HandlerPetal(use))) as harness:
        with trio.fail_after(30):
            response = await harness.call("petal/x", timeout=25)
    assert response["line"] == "hello", dict(response)


async def test_a_blocked_thread_does_not_hold_up_the_stop() -> None:
    """In real time: the thread waits for an event that the test sets at its end."""
    import threading

    release, entered = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        release.wait(60)

    async def start(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True)
        await asyncio.to_thread(block)

    settings = Settings(cleanup_timeout=0.5, grace=0.1)
    try:
        with trio.fail_after(30):
            async with open_harness(*adapt(HandlerPetal(start)), settings=settings) as harness:
                assert (await harness.call("petal/x", timeout=20)).success
                await trio.to_thread.run_sync(entered.wait, 10)
    finally:
        release.set()
