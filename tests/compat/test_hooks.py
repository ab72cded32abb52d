"""The hooks of a petal: the host's order, within limits, and what a failure ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import AllPetalsFailed, Settings
from petalkit.compat import BaseProxy, Petal, adapt
from petalkit.testing import open_harness

from .petals import GuidePetal, Message, NativePetal, swallow

pytestmark = pytest.mark.trio


class Broken(GuidePetal):
    """One hook is replaced."""

    def __init__(self, hook: str, function: Callable[..., Any], name: str = "broken") -> None:
        super().__init__(name)
        setattr(self, hook, function)


async def hang() -> None:
    await asyncio.sleep(100_000)


async def raise_() -> None:
    raise LookupError("not today")


def raise_plainly() -> None:
    raise LookupError("not today")


# -- the order


async def test_the_order_is_the_hosts(autojump_clock: Any) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)) as harness:
        assert (await harness.call("example-petal/hello")).success
        assert petal.hooks == ["startup", "_setup_mqtt_topics", "async_startup"]
    assert petal.hooks[3:] == ["async_shutdown", "shutdown"]


async def test_startup_runs_in_the_loop_with_the_proxies(autojump_clock: Any) -> None:
    seen: dict[str, Any] = {}

    class Look(GuidePetal):
        def inject_proxies(self, proxies: Any) -> None:
            super().inject_proxies(proxies)
            self.hooks.append("inject_proxies")

        def startup(self) -> None:
            super().startup()
            seen["running"] = asyncio.get_running_loop()
            seen["current"] = asyncio.get_event_loop()
            seen["_loop"] = self._loop
            seen["task"] = asyncio.create_task(asyncio.sleep(1))

    petal = Look()
    async with open_harness(*adapt(petal)) as harness:
        await harness.advance(2)
        assert seen["task"].done()
        assert seen["running"] is seen["current"] is seen["_loop"]
    assert petal.hooks[:2] == ["inject_proxies", "startup"]


async def test_with_a_late_organization_id_async_startup_waits_five_seconds(
    autojump_clock: Any,
) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal), organization_id=None) as harness:
        await trio.sleep(4.9)
        assert petal.hooks == ["startup"]
        await trio.sleep(0.2)
        assert petal.hooks == ["startup", "async_startup"]
        await trio.sleep(3600)
        assert petal.hooks == ["startup", "async_startup"]
        await harness.set_organization("acme")
        await harness.wait_connected()
        assert (await harness.call("example-petal/hello")).success
        assert petal.hooks == ["startup", "async_startup", "_setup_mqtt_topics"]


async def test_a_changed_organization_id_leaves_handlers_where_they_are(
    autojump_clock: Any,
) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)) as harness:
        assert (await harness.call("example-petal/hello")).success
        await harness.set_organization("other")
        await harness.wait_connected()
        assert petal._mqtt_proxy.organization_id == "other"
        assert (await harness.call("example-petal/hello")).success
    assert petal.hooks.count("_setup_mqtt_topics") == 1


async def test_commands_go_on_over_a_lost_link(autojump_clock: Any) -> None:
    class Slow(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            await asyncio.sleep(10)
            await super()._hello_handler(topic, message)

    async with open_harness(*adapt(Slow())) as harness:
        with harness.responses() as sink:
            harness.send("example-petal/hello", message_id="a")
            await trio.sleep(5)
            harness.drop_link()
            await harness.wait_connected()
            (response,) = await sink.wait(1)
    assert response["messageId"] == "a"


async def test_setup_waits_for_the_link_a_while(autojump_clock: Any) -> None:
    """As in the host, where a petal may ask whether it is connected."""
    seen: list[bool] = []

    class Look(GuidePetal):
        async def _setup_mqtt_topics(self) -> None:
            seen.append(self._mqtt_proxy.is_connected)
            await super()._setup_mqtt_topics()

    async with open_harness(*adapt(Look())) as harness:
        assert (await harness.call("example-petal/hello")).success
    assert seen == [True]


async def test_a_petal_may_leave_out_hooks_and_super(autojump_clock: Any) -> None:
    class Bare(Petal):
        name = "bare"
        version = "1"
        use_mqtt_proxy = True

        def __init__(self) -> None:
            self.mine = 1

        async def _setup_mqtt_topics(self) -> None:
            self._proxies["mqtt"].register_handler(self._handle)

        async def _handle(self, topic: str, message: Message) -> None:
            await self._proxies["mqtt"].send_command_response(message["messageId"], {"ok": 1})

    async with open_harness(*adapt(Bare())) as harness:
        assert (await harness.call("bare/x")).success


async def test_a_petal_can_be_served_again(autojump_clock: Any) -> None:
    petals = adapt(GuidePetal())
    for _ in range(2):
        async with open_harness(*petals) as harness:
            assert (await harness.call("example-petal/hello")).success


async def test_what_the_birth_says(autojump_clock: Any) -> None:
    async with open_harness(*adapt(GuidePetal()), NativePetal()) as harness:
        status = harness.status()
    assert status is not None
    assert status["petals"] == [
        {"name": "example-petal", "version": "1.0.0"},
        {"name": "native-petal", "version": "4.0.0"},
    ]


# -- failures


@pytest.mark.parametrize(
    ("hook", "function", "reason"),
    [
        ("startup", raise_plainly, "startup() raised LookupError: not today"),
        ("startup", lambda: sys.exit("bye"), "startup() raised SystemExit: bye"),
        ("_setup_mqtt_topics", raise_, "_setup_mqtt_topics() raised LookupError: not today"),
        ("_setup_mqtt_topics", hang, "_setup_mqtt_topics() did not end within 30 s"),
        ("_setup_mqtt_topics", swallow, "_setup_mqtt_topics() did not end within 30 s"),
        ("_setup_mqtt_actions", raise_, "_setup_mqtt_actions() raised LookupError: not today"),
    ],
)
async def test_a_petal_that_cannot_start_is_out_of_service_alone(
    autojump_clock: Any,
    caplog: pytest.LogCaptureFixture,
    hook: str,
    function: Callable[..., Any],
    reason: str,
) -> None:
    broken = Broken(hook, function)
    broken.has_mqtt_actions = lambda: True  # type: ignore[method-assign]
    if hook != "_setup_mqtt_actions":
        broken._setup_mqtt_actions = _nothing  # type: ignore[method-assign]
    async with open_harness(*adapt(broken, GuidePetal())) as harness:
        await trio.sleep(60)
        assert (await harness.call("broken/hello")).error_code == "UNAVAILABLE"
        assert (await harness.call("example-petal/hello")).success
        assert harness.statistics().unavailable_petals == ("broken",)
    assert reason in caplog.text


async def _nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (raise_, "goes on without it: async_startup() raised LookupError: not today"),
        (hang, "goes on without it: async_startup() did not end within 30 s"),
        (swallow, "goes on without it: async_startup() did not end within 30 s"),
    ],
)
async def test_a_petal_goes_on_without_its_async_startup(
    autojump_clock: Any,
    caplog: pytest.LogCaptureFixture,
    function: Callable[..., Any],
    reason: str,
) -> None:
    """As in the host: its commands were set up before."""
    async with open_harness(*adapt(Broken("async_startup", function))) as harness:
        await trio.sleep(60)
        assert (await harness.call("broken/hello")).success
    assert reason in caplog.text


async def test_where_no_petal_can_start_there_is_nothing_to_serve(autojump_clock: Any) -> None:
    with pytest.raises(AllPetalsFailed):
        async with open_harness(*adapt(Broken("startup", raise_plainly))):
            pytest.fail("it was served")


async def test_a_hook_that_fails_late_answers_what_waited(autojump_clock: Any) -> None:
    async def fail_later() -> None:
        await asyncio.sleep(20)
        raise LookupError("not today")

    async with open_harness(*adapt(Broken("_setup_mqtt_topics", fail_later))) as harness:
        assert (await harness.call("broken/hello")).error_code == "UNAVAILABLE"
        assert 20 <= trio.current_time() < 21


# -- the end


@pytest.mark.parametrize(
    ("hook", "function", "reason"),
    [
        ("async_shutdown", raise_, "async_shutdown() raised LookupError: not today"),
        ("async_shutdown", hang, "async_shutdown() did not end within 2 s"),
        ("async_shutdown", swallow, "async_shutdown does not end although it is cancelled"),
        ("shutdown", raise_plainly, "shutdown() raised LookupError: not today"),
    ],
)
async def test_no_hook_holds_up_the_stop(
    autojump_clock: Any,
    caplog: pytest.LogCaptureFixture,
    hook: str,
    function: Callable[..., Any],
    reason: str,
) -> None:
    other = GuidePetal()
    async with open_harness(*adapt(Broken(hook, function), other)) as harness:
        assert (await harness.call("broken/hello")).success
        before = trio.current_time()
    assert trio.current_time() - before <= 6
    assert reason in caplog.text
    assert other.hooks[-2:] == ["async_shutdown", "shutdown"]


async def test_a_startup_that_has_run_although_it_was_cut_short_is_followed_by_shutdown(
    autojump_clock: Any,
) -> None:
    class Cut(GuidePetal):
        async def startup(self) -> None:  # type: ignore[override]
            with contextlib.suppress(asyncio.CancelledError):
                await hang()
            super().startup()

    petal = Cut()
    settings = Settings(startup_timeout=1)
    async with open_harness(*adapt(petal), NativePetal(), settings=settings) as harness:
        assert harness.statistics().unavailable_petals == ("example-petal",)
    assert petal.hooks == ["startup", "async_shutdown", "shutdown"]


async def test_the_petals_tasks_still_run_in_its_last_hooks(autojump_clock: Any) -> None:
    ended: list[str] = []

    class Polite(GuidePetal):
        def startup(self) -> None:
            super().startup()
            self.queue: asyncio.Queue[str] = asyncio.Queue()
            self.task = asyncio.create_task(self._work())

        async def _work(self) -> None:
            while (item := await self.queue.get()) != "end":
                ended.append(item)

        async def async_shutdown(self) -> None:
            await self.queue.put("last words")
            await self.queue.put("end")
            await self.task
            ended.append("drained")

    async with open_harness(*adapt(Polite())):
        pass
    assert ended == ["last words", "drained"]


async def test_proxies_are_stopped_after_the_tasks_whose_clean_up_needs_them(
    autojump_clock: Any,
) -> None:
    calls: list[str] = []

    class Logger(BaseProxy):
        open = True

        async def start(self) -> None: ...

        async def stop(self) -> None:
            self.open = False
            calls.append("proxy stopped")

    class Recording(GuidePetal):
        def startup(self) -> None:
            super().startup()
            self.task = asyncio.create_task(self._record())

        async def _record(self) -> None:
            logger = self._proxies["logger"]
            try:
                await hang()
            finally:
                await asyncio.sleep(0.5)
                calls.append(f"recorder on again: {logger.open}")
                sent = await self._mqtt_proxy.publish_message({"command": "/motors/stop"})
                calls.append(f"motors stopped: {sent}")

        async def async_shutdown(self) -> None:
            calls.append("async_shutdown")

        def shutdown(self) -> None:
            calls.append("shutdown")

    petals = adapt(Recording(), proxy_factories={"logger": Logger})
    async with open_harness(*petals) as harness:
        with harness.broker.observe("+/+/+/+/command/web") as seen:
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
    assert calls == [
        "async_shutdown",
        "shutdown",
        "recorder on again: True",
        "motors stopped: True",
        "proxy stopped",
    ]
    assert [message.payload for message in seen] == [
        b'{"command":"/motors/stop","deviceId":"Instance-1"}'
    ]


async def test_a_task_that_does_not_end_keeps_no_proxy_from_its_stop(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stopped: list[float] = []

    class Radio(BaseProxy):
        async def start(self) -> None: ...

        async def stop(self) -> None:
            stopped.append(trio.current_time())

    class Stuck(GuidePetal):
        def startup(self) -> None:
            super().startup()
            self._proxies["radio"]
            self.task = asyncio.create_task(swallow(), name="stuck")

        async def async_shutdown(self) -> None:
            await swallow()

    async with open_harness(*adapt(Stuck(), proxy_factories={"radio": Radio})) as harness:
        before = trio.current_time()
        harness.runtime.stop()
        await harness.runtime.wait_stopped()
    assert len(stopped) == 1
    assert trio.current_time() - before <= 5
    assert "stuck does not end although it is cancelled" in caplog.text


async def test_events_of_the_last_hooks_are_sent(autojump_clock: Any) -> None:
    class Polite(GuidePetal):
        async def async_shutdown(self) -> None:
            assert await self._mqtt_proxy.publish_message({"command": "/bye"})

    async with open_harness(*adapt(Polite())) as harness, trio.open_nursery() as nursery:
        with harness.broker.observe("+/+/+/+/command/web") as seen:
            nursery.start_soon(harness.runtime.wait_stopped)
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
            (message,) = seen
            assert message.payload == b'{"command":"/bye","deviceId":"Instance-1"}'


async def test_a_command_in_flight_at_stop_is_waited_for(autojump_clock: Any) -> None:
    class Slow(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            await asyncio.sleep(5)
            await super()._hello_handler(topic, message)

    async with open_harness(*adapt(Slow())) as harness:
        with harness.responses() as sink:
            harness.send("example-petal/hello")
            await harness.advance(1)
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
            assert [one["success"] for one in sink] == [True]


async def test_a_handler_that_outlasts_the_grace_is_cancelled_and_awaited(
    autojump_clock: Any,
) -> None:
    ended: list[str] = []

    class Slow(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(0.1)  # its clean-up is waited for
                ended.append("cleaned up")

    async with open_harness(*adapt(Slow()), settings=Settings(grace=3.0)) as harness:
        with harness.responses() as sink:
            harness.send("example-petal/hello")
            await harness.advance(1)
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
            assert [one["error_code"] for one in sink] == ["CANCELLED"]
        assert ended == ["cleaned up"]


async def test_a_handler_that_has_answered_gets_the_grace_too(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As published petals do it: answer "accepted", then write the parameters."""
    written: list[int] = []

    class Writing(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            await super()._hello_handler(topic, message)
            for n in range(message["data"]["n"]):
                await asyncio.sleep(1)
                written.append(n)

        async def async_shutdown(self) -> None:
            await super().async_shutdown()
            written.append(-1)

    petal = Writing()
    async with open_harness(*adapt(petal)) as harness:
        assert (await harness.call("example-petal/hello", {"n": 3})).success
        assert written == []
    assert written == [0, 1, 2, -1]

    written.clear()
    async with open_harness(*adapt(petal), settings=Settings(grace=2.5)) as harness:
        assert (await harness.call("example-petal/hello", {"n": 100})).success
    assert written == [0, 1, -1]
    assert "a handler is cancelled that went on after its answer" in caplog.text


async def test_the_log_says_that_a_petal_is_set_up(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "petalkit.compat")
    async with open_harness(*adapt(GuidePetal())) as harness:
        await harness.advance(1)
    assert "petal 'example-petal' is set up" in caplog.text
