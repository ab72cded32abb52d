"""How what a petal does ends: its tasks, its callbacks, its threads, its own cancellations."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from petalkit import Settings
from petalkit.compat import adapt, get_organization_manager
from petalkit.compat._loop.loop import open_petal_loop
from petalkit.compat._loop.threads import run_in_own_loop
from petalkit.testing import Harness, open_harness

from .petals import QUICK, GuidePetal, HandlerPetal, Message, swallow

pytestmark = pytest.mark.trio


async def ignore(petal: HandlerPetal, message: Message) -> None:
    """For tests about something else."""


# -- tasks that the loop's own factory did not make


class OfItsOwnFactory(GuidePetal):
    """Makes its tasks itself, and one of them cannot be cancelled."""

    def __init__(self, factory: Callable[..., Any] | None) -> None:
        super().__init__("own")
        self._factory = factory

    def startup(self) -> None:
        super().startup()
        assert self._loop is not None
        self._loop.set_task_factory(self._factory)
        self.task = self._make()

    def _make(self) -> Any:
        return asyncio.create_task(swallow(), name="the swallower")


def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    return asyncio.Task(coroutine, loop=loop, **options)


FACTORIES = [pytest.param(make_task, id="its own"), pytest.param(None, id="none")]
if hasattr(asyncio, "eager_task_factory"):
    FACTORIES.append(pytest.param(asyncio.eager_task_factory, id="eager"))


@pytest.mark.parametrize("factory", FACTORIES)
async def test_a_task_of_the_petals_own_factory_cannot_hang_the_stop(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture, factory: Any
) -> None:
    async with open_harness(*adapt(OfItsOwnFactory(factory))) as harness:
        assert (await harness.call("own/hello")).success
        before = trio.current_time()
    assert trio.current_time() - before <= 6
    assert "the swallower does not end although it is cancelled" in caplog.text


async def test_a_task_made_by_hand_cannot_hang_the_stop(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class ByHand(OfItsOwnFactory):
        def _make(self) -> Any:
            return asyncio.Task(swallow(), loop=self._loop, name="the swallower")

    async with open_harness(*adapt(ByHand(None))) as harness:
        assert (await harness.call("own/hello")).success
        before = trio.current_time()
    assert trio.current_time() - before <= 6
    assert "the swallower does not end although it is cancelled" in caplog.text


async def test_handlers_that_cannot_be_cancelled_are_counted_and_bounded(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petalkit.compat._petal.asking.LEFT_MAX", 3)

    async def hang(petal: HandlerPetal, message: Message) -> None:
        await swallow()

    settings = Settings(compat_timeout=0.1)
    async with open_harness(*adapt(HandlerPetal(hang)), settings=settings) as harness:
        codes = [(await harness.call("petal/x")).error_code for _ in range(5)]
    assert codes == ["TIMEOUT"] * 3 + ["BUSY"] * 2


# -- cancellations of the petal's own making


async def cancel_own_task() -> None:
    task = asyncio.create_task(asyncio.sleep(10))
    task.cancel()
    await task


async def test_a_handler_that_ends_by_a_cancellation_of_its_own_has_failed(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(petal: HandlerPetal, message: Message) -> None:
        await cancel_own_task()

    async with open_harness(*adapt(HandlerPetal(handle)), settings=QUICK) as harness:
        assert (await harness.call("petal/x")).error_code == "HANDLER_ERROR"
    assert "CancelledError" in caplog.text


async def test_a_hook_that_ends_by_a_cancellation_of_its_own_has_failed(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Cancelling(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            await cancel_own_task()

    async with open_harness(*adapt(Cancelling("cancelling"), GuidePetal())) as harness:
        assert (await harness.call("cancelling/hello")).error_code == "UNAVAILABLE"
        assert harness.statistics().unavailable_petals == ("cancelling",)


async def test_a_keyboard_interrupt_of_a_handlers_own_ends_nothing(autojump_clock: Any) -> None:
    async def handle(petal: HandlerPetal, message: Message) -> None:
        raise KeyboardInterrupt

    async with open_harness(*adapt(HandlerPetal(handle)), settings=QUICK) as harness:
        assert (await harness.call("petal/x")).error_code == "HANDLER_ERROR"
        assert (await harness.call("petal/x")).error_code == "HANDLER_ERROR"


async def test_an_exit_of_one_master_keeps_no_answer_of_another(autojump_clock: Any) -> None:
    async def leave(petal: HandlerPetal, message: Message) -> None:
        raise SystemExit(3)

    async def serve(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True)

    petals = adapt(HandlerPetal(leave, "a"), HandlerPetal(serve, "b"))
    async with open_harness(*petals, settings=QUICK) as harness:
        assert (await harness.call("legacy/x")).success


# -- errors that nobody waits for


async def test_an_error_in_the_clean_up_of_a_handler_is_logged(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(petal: HandlerPetal, message: Message) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            raise RuntimeError("the motors do not stop") from None

    settings = Settings(compat_timeout=5.0)
    async with open_harness(*adapt(HandlerPetal(handle)), settings=settings) as harness:
        assert (await harness.call("petal/x")).error_code == "TIMEOUT"
    assert "the motors do not stop" in caplog.text


async def test_an_error_in_the_clean_up_of_a_hook_is_logged(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(GuidePetal):
        async def async_shutdown(self) -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                raise RuntimeError("the file is half written") from None

    async with open_harness(*adapt(Slow())) as harness:
        assert (await harness.call("example-petal/hello")).success
    assert "the file is half written" in caplog.text


async def test_the_log_shows_no_arguments_of_callbacks(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def parse(data: dict[str, Any]) -> None:
        raise LookupError("not there")

    async def handle(petal: HandlerPetal, message: Message) -> None:
        asyncio.get_running_loop().call_soon(parse, message["data"])
        await asyncio.sleep(0.1)
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(handle))) as harness:
        assert (await harness.call("petal/x", {"password": "hunter2"})).success
    assert "not there" in caplog.text
    assert "hunter2" not in "".join(record.getMessage() for record in caplog.records)


# -- callbacks of the organization


class Registering(GuidePetal):
    """Registers a method of its own before it has a loop."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.called: list[tuple[str | None, bool]] = []
        get_organization_manager().register_callback(self.changed)

    async def changed(self, organization_id: str | None) -> None:
        self.called.append((organization_id, asyncio.get_running_loop() is self._loop))


async def change_organization(harness: Harness) -> None:
    await harness.advance(1)
    await harness.set_organization("other")
    await trio.sleep(60)


async def test_a_method_registered_by_the_constructor_is_called_in_its_petals_loop(
    autojump_clock: Any,
) -> None:
    petal = Registering("b")
    try:
        async with open_harness(*adapt(GuidePetal("a"), petal)) as harness:
            await change_organization(harness)
    finally:
        get_organization_manager().unregister_callback(petal.changed)
    assert petal.called[-1] == ("other", True)
    assert all(in_its_loop for _, in_its_loop in petal.called)


async def test_nobodys_callbacks_are_called_although_the_first_petal_has_failed(
    autojump_clock: Any,
) -> None:
    class Failing(GuidePetal):
        def startup(self) -> None:
            raise OSError("no device")

    called: list[str | None] = []

    async def changed(organization_id: str | None) -> None:
        called.append(organization_id)

    manager = get_organization_manager()
    manager.register_callback(changed)
    try:
        async with open_harness(*adapt(Failing("a"), GuidePetal("b"))) as harness:
            await change_organization(harness)
    finally:
        manager.unregister_callback(changed)
    assert called[-1] == "other"


async def test_a_callback_that_hangs_loses_the_next_one_no_change(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str | None] = []

    async def hang(organization_id: str | None) -> None:
        await asyncio.sleep(100_000)

    async def note(organization_id: str | None) -> None:
        called.append(organization_id)

    class Both(GuidePetal):
        def startup(self) -> None:
            super().startup()
            get_organization_manager().register_callback(hang)
            get_organization_manager().register_callback(note)

    async with open_harness(*adapt(Both())) as harness:
        await change_organization(harness)
        await trio.sleep(60)
    assert called[-1] == "other"
    assert "organization callback did not end within 30 s" in caplog.text


# -- identities


async def test_a_late_receipt_stays_under_the_identity_of_its_command(
    autojump_clock: Any,
) -> None:
    async def handle(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True)
        await asyncio.sleep(100)
        await petal.proxy.send_command_ack(message["messageId"], "petal", "done")

    async with open_harness(*adapt(HandlerPetal(handle))) as harness:
        with harness.broker.observe("+/+/+/+/ack") as receipts:
            assert (await harness.call("petal/x")).success
            await harness.set_organization("rival")
            await trio.sleep(300)
            assert [one.topic for one in receipts if "rival" in one.topic] == []


async def test_a_second_answer_without_message_id_is_not_anothers(autojump_clock: Any) -> None:
    """Commands without an ID share one; whose code answers says which is meant."""

    async def handle(petal: HandlerPetal, message: Message) -> None:
        number = message["data"]["n"]
        await asyncio.sleep(0 if number == 1 else 3)
        await petal.answer(message, success=True, n=number)
        await asyncio.sleep(2)
        await petal.answer(message, success=True, n=number, again=True)

    async with open_harness(*adapt(HandlerPetal(handle)), settings=QUICK) as harness:
        with harness.responses() as sink:
            for number in (1, 2):
                harness.send_raw(
                    b'{"command":"petal/x","waitResponse":true,"data":{"n":%d}}' % number
                )
                await trio.sleep(1)
            await trio.sleep(30)
            assert [(one["n"], "again" in one) for one in sink] == [(1, False), (2, False)]


# -- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_petal_takes_no_signals(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    """The loops of two petals would undo each other's, and the process stops by its own."""
    before = signal.getsignal(number)

    class Taking(GuidePetal):
        def startup(self) -> None:
            super().startup()
            assert self._loop is not None
            self._loop.add_signal_handler(number, print)

    async with open_harness(*adapt(Taking())) as harness:
        assert (await harness.call("example-petal/hello")).success
        assert signal.getsignal(number) is before
    assert f"wants to handle {number.name}: not done" in caplog.text


# -- threads


async def test_a_function_in_a_thread_is_cancelled_although_its_loop_is_just_being_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    making, go_on, over = threading.Event(), threading.Event(), trio.Event()
    ran: list[str] = []
    token = trio.lowlevel.current_trio_token()

    class Slow(asyncio.SelectorEventLoop):
        def __init__(self) -> None:
            making.set()
            assert go_on.wait(10)
            super().__init__()

        def close(self) -> None:
            super().close()
            token.run_sync_soon(over.set)

    async def work() -> None:
        ran.append("begun")
        await asyncio.sleep(1000)
        ran.append("ended")

    async with open_petal_loop("petal", 5) as loop:
        monkeypatch.setattr(asyncio, "SelectorEventLoop", Slow)

        async def main() -> None:
            task = asyncio.create_task(run_in_own_loop(work))
            await asyncio.to_thread(making.wait, 10)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            go_on.set()

        await loop.run("main", main)
        with trio.fail_after(10):
            await over.wait()
    assert "ended" not in ran


async def test_a_thread_that_sends_as_its_petal_ends_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has the petal's loop in hand, and hands its message over once that loop is closed."""
    reached, gate = threading.Event(), threading.Event()
    crossing = asyncio.run_coroutine_threadsafe
    sent: list[bool] = []

    def cross_late(made: Any, loop: Any) -> Any:
        if threading.current_thread().name == "the petal's own":
            reached.set()
            assert gate.wait(10)
        return crossing(made, loop)

    monkeypatch.setattr("petalkit.compat._petal.desk.asyncio.run_coroutine_threadsafe", cross_late)
    petal = HandlerPetal(ignore)

    def send() -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            sent.append(runner.run(petal.proxy.publish_message({"a": 1})))

    thread = threading.Thread(target=send, name="the petal's own", daemon=True)
    async with open_harness(*adapt(petal)) as harness:
        await trio.testing.wait_all_tasks_blocked()
        thread.start()
        assert await trio.to_thread.run_sync(reached.wait, 10)
        assert harness.statistics().unavailable_petals == ()
    gate.set()
    await trio.to_thread.run_sync(thread.join, 10)
    assert sent == [False]
