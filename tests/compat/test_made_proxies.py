"""Proxies from factories: made when asked for, shared or not, tried again, stopped at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import Settings
from petalkit.compat import BaseProxy, Petal, adapt
from petalkit.testing import open_harness

from .petals import GuidePetal, HandlerPetal, Message, NativePetal, swallow

pytestmark = pytest.mark.trio


class Radio(BaseProxy):
    """Counts its lives."""

    made: list[Radio]
    calls: list[str]

    def __init__(self) -> None:
        self.made.append(self)

    async def start(self) -> None:
        await asyncio.sleep(0.5)
        self._loop = asyncio.get_running_loop()
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")


@pytest.fixture
def radio() -> type[Radio]:
    """A class of its own for each test."""

    class Fresh(Radio):
        made: list[Radio] = []  # noqa: RUF012 - for each test
        calls: list[str] = []  # noqa: RUF012

    return Fresh


class Asking(Petal):
    """Asks at its start, and tells in a command what it got and whether that was ready."""

    version = "1"
    use_mqtt_proxy = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def startup(self) -> None:
        self.radio: Any = self._proxies["radio"]
        self.ready_at_startup = self.radio.is_ready

    async def _setup_mqtt_topics(self) -> None:
        self._proxies["mqtt"].register_handler(self._handle)

    async def _handle(self, topic: str, message: Message) -> None:
        fields = {"success": self.radio._loop is asyncio.get_running_loop()}
        await self._proxies["mqtt"].send_command_response(message["messageId"], fields)


def make_asking(radio: Any, **options: Any) -> Any:
    return adapt(Asking("one"), Asking("two"), proxy_factories={"radio": radio}, **options)


# -- one for all


async def test_petals_share_a_proxy_and_so_an_asyncio_loop(
    autojump_clock: Any, radio: type[Radio]
) -> None:
    one, two = Asking("one"), Asking("two")
    async with open_harness(*adapt(one, two, proxy_factories={"radio": radio})) as harness:
        assert len(radio.made) == 1
        assert one.radio is two.radio is radio.made[0]
        assert one._loop is two._loop is radio.made[0]._loop
        assert one.ready_at_startup
        assert two.ready_at_startup
        assert (await harness.call("one/x")).success
        assert (await harness.call("two/x")).success
        assert radio.calls == ["start"]
    assert radio.calls == ["start", "stop"]


async def test_a_proxy_that_nobody_asks_for_is_not_made(
    autojump_clock: Any, radio: type[Radio]
) -> None:
    petals = adapt(GuidePetal(), GuidePetal("other"), proxy_factories={"radio": radio})
    async with open_harness(*petals) as harness:
        assert (await harness.call("example-petal/hello")).success
    assert radio.made == []


async def test_a_petal_can_have_a_proxy_and_a_loop_for_itself(
    autojump_clock: Any, radio: type[Radio]
) -> None:
    one, two, silent = Asking("one"), Asking("two"), GuidePetal()
    factories: dict[str, Callable[[], Any]] = {"radio": radio}
    petals = adapt(one, two, silent, proxy_factories_per_petal=factories)
    async with open_harness(*petals) as harness:
        assert (await harness.call("one/x")).success
        assert (await harness.call("two/x")).success
        assert len(radio.made) == 2
        assert one.radio is not two.radio
        assert one._loop is not two._loop
    assert radio.calls == ["start", "start", "stop", "stop"]


async def test_a_proxy_is_stopped_when_the_last_petal_has_ended(
    autojump_clock: Any, radio: type[Radio]
) -> None:
    class Late(Asking):
        def startup(self) -> None:
            super().startup()
            self.task = asyncio.create_task(self._work())

        async def _work(self) -> None:
            try:
                await asyncio.sleep(100_000)
            finally:
                await asyncio.sleep(0.5)
                self.radio.calls.append(f"{self.name} has ended")

    petals = adapt(Late("one"), Late("two"), proxy_factories={"radio": radio})
    async with open_harness(*petals):
        pass
    assert sorted(radio.calls[:3]) == ["one has ended", "start", "two has ended"]
    assert radio.calls[3:] == ["stop"]


async def test_one_petal_of_a_shared_loop_ends_without_the_others(
    autojump_clock: Any, radio: type[Radio], caplog: pytest.LogCaptureFixture
) -> None:
    """Its tasks end with it, and theirs go on, although asyncio knows of no difference."""
    ended: list[str] = []

    class Working(Asking):
        def startup(self) -> None:
            super().startup()
            self.task = asyncio.create_task(self._work())

        async def _work(self) -> None:
            try:
                await asyncio.sleep(100_000)
            finally:
                ended.append(self.name)

        async def _handle(self, topic: str, message: Message) -> None:
            if message["command"] == "one/stop":
                asyncio.get_running_loop().stop()
            else:
                await super()._handle(topic, message)

    petals = adapt(Working("one"), Working("two"), proxy_factories={"radio": radio})
    async with open_harness(*petals) as harness:
        await harness.call("one/stop")
        await trio.sleep(10)
        assert harness.statistics().unavailable_petals == ("one",)
        assert ended == ["one"]
        assert (await harness.call("two/x")).success
        assert radio.calls == ["start"]
    assert ended == ["one", "two"]
    assert radio.calls == ["start", "stop"]


async def test_an_error_in_a_shared_loop_is_logged_under_the_petal_whose_it_is(
    autojump_clock: Any, radio: type[Radio], caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Asking):
        def startup(self) -> None:
            super().startup()
            asyncio.get_running_loop().call_later(1, self._fail)

        def _fail(self) -> None:
            raise LookupError(f"of {self.name}")

    petals = adapt(Failing("one"), Failing("two"), proxy_factories={"radio": radio})
    async with open_harness(*petals) as harness:
        await harness.advance(5)
    errors = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert sorted(vars(one)["petal"] for one in errors) == ["one", "two"]


async def test_a_stuck_task_in_a_shared_loop_holds_up_no_stop(
    autojump_clock: Any, radio: type[Radio], caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Asking):
        def startup(self) -> None:
            super().startup()
            self.task = asyncio.create_task(swallow(), name=f"stuck {self.name}")

    petals = adapt(Stuck("one"), Stuck("two"), proxy_factories={"radio": radio})
    async with open_harness(*petals) as harness:
        before = trio.current_time()
        harness.runtime.stop()
        await harness.runtime.wait_stopped()
    assert trio.current_time() - before <= 10
    assert radio.calls == ["start", "stop"]
    assert "stuck one does not end although it is cancelled" in caplog.text


async def test_shared_petals_can_be_served_again(autojump_clock: Any, radio: type[Radio]) -> None:
    petals = make_asking(radio)
    for _ in range(2):
        async with open_harness(*petals) as harness:
            assert (await harness.call("two/x")).success
    assert radio.calls == ["start", "stop"] * 2


# -- what fails


async def test_a_start_that_fails_is_logged_and_tried_again_and_takes_no_petal_out(
    autojump_clock: Any, radio: type[Radio], caplog: pytest.LogCaptureFixture
) -> None:
    async def start(self: Radio) -> None:
        self.calls.append("try")
        if len(self.calls) < 4:
            raise ConnectionRefusedError("nobody there")
        await Radio.start(self)

    radio.start = start  # type: ignore[method-assign]
    async with open_harness(*make_asking(radio), NativePetal()) as harness:
        assert harness.statistics().unavailable_petals == ()
        assert not (await harness.call("one/x")).success
        await trio.sleep(10)  # after 1, 2 and 4 seconds
        assert radio.calls == ["try"] * 4 + ["start"]
        assert (await harness.call("one/x")).success
    assert "the proxy 'radio' did not start: ConnectionRefusedError: nobody there" in caplog.text
    told = [one for one in caplog.records if "did not start" in one.getMessage()]
    assert [one.exc_info is not None for one in told] == [True, False, False]
    assert len(radio.made) == 1


async def test_a_start_that_hangs_holds_up_a_petal_for_ten_seconds_at_most(
    autojump_clock: Any, radio: type[Radio], caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(self: Radio) -> None:
        await asyncio.sleep(100_000)

    radio.start = hang  # type: ignore[method-assign]
    before = trio.current_time()
    async with open_harness(*make_asking(radio)) as harness:
        assert trio.current_time() - before < 30
        assert harness.statistics().unavailable_petals == ()
        await trio.sleep(60)
        assert radio.calls == []
    assert "not waited for any more: the start of the proxies radio" in caplog.text
    assert "the proxy 'radio' did not start: TimeoutError: not within 30 s" in caplog.text
    assert radio.calls == ["stop"]


async def test_starts_that_hang_share_the_ten_seconds(
    autojump_clock: Any, radio: type[Radio], caplog: pytest.LogCaptureFixture
) -> None:
    """Else a petal's own and a shared one would take it out of service, by `startup_timeout`."""

    async def hang(self: Radio) -> None:
        await asyncio.sleep(100_000)

    radio.start = hang  # type: ignore[method-assign]

    class Both(Asking):
        def startup(self) -> None:
            super().startup()
            self.lamp = self._proxies["lamp"]

    petals = Both("one"), Both("two")
    factories = {"proxy_factories": {"radio": radio}, "proxy_factories_per_petal": {"lamp": radio}}
    before = trio.current_time()
    async with open_harness(*adapt(*petals, **factories)) as harness:
        assert harness.statistics().unavailable_petals == ()
        assert trio.current_time() - before == pytest.approx(10, abs=1)


async def test_a_proxy_that_cannot_be_made_is_none_and_made_when_it_can_be(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []

    def make() -> Any:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("no such device")
        return "a radio"

    async def handler(petal: HandlerPetal, message: Message) -> None:
        await petal.answer(message, success=True, radio=petal._proxies.get("radio"))

    petals = adapt(HandlerPetal(handler), GuidePetal(), proxy_factories={"radio": make})
    async with open_harness(*petals) as harness:
        got = [(await harness.call("petal/x"))["radio"] for _ in range(4)]
    assert got == [None, None, "a radio", "a radio"]
    assert "the proxy 'radio' cannot be made" in caplog.text
    assert "no such device" in caplog.text


async def test_a_proxy_that_does_not_stop_is_named_and_left(
    autojump_clock: Any, radio: type[Radio], caplog: pytest.LogCaptureFixture
) -> None:
    async def stop(self: Radio) -> None:
        await swallow()

    radio.stop = stop  # type: ignore[method-assign]
    async with open_harness(*make_asking(radio)) as harness:
        before = trio.current_time()
        harness.runtime.stop()
        await harness.runtime.wait_stopped()
    assert trio.current_time() - before <= 10
    assert "stop of the proxy radio did not end within" in caplog.text


# -- how they are made


async def test_a_factory_finds_the_loop_that_the_petals_share(
    autojump_clock: Any, radio: type[Radio], caplog: pytest.LogCaptureFixture
) -> None:
    loops: list[Any] = []

    class Looking(radio):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            loops.append(asyncio.get_running_loop())

    one, two = Asking("one"), Asking("two")
    async with open_harness(*adapt(one, two, proxy_factories={"radio": Looking})):
        assert loops == [one._loop] == [two._loop]
    assert "cannot be made" not in caplog.text


async def test_a_factory_may_await(autojump_clock: Any) -> None:
    async def make() -> str:
        await asyncio.sleep(1)
        return "a radio"

    class Awaited(Petal):
        name = "awaited"
        version = "1"

        def startup(self) -> None:
            self.got = self._proxies["radio"]

    petal = Awaited()
    async with open_harness(*adapt(petal, GuidePetal(), proxy_factories={"radio": make})):
        assert petal.got == "a radio"


async def test_a_factory_is_given_the_proxies_that_it_needs(
    autojump_clock: Any, radio: type[Radio]
) -> None:
    class Files:
        needs = {"link": "radio"}  # noqa: RUF012

        def __call__(self, link: Any) -> Any:
            return ["files over", link]

    class Wanting(Petal):
        name = "wanting"
        version = "1"

        def startup(self) -> None:
            self.got = self._proxies["files"]

    petal = Wanting()
    factories: dict[str, Callable[..., Any]] = {"files": Files(), "radio": radio}
    async with open_harness(*adapt(petal, GuidePetal(), proxy_factories=factories)):
        assert petal.got == ["files over", radio.made[0]]


async def test_a_handler_in_a_thread_may_be_the_first_to_ask(radio: type[Radio]) -> None:
    name = "radio"  # which no look at the code sees

    async def handler(petal: HandlerPetal, message: Message) -> None:
        found = petal._proxies.get(name)
        await petal.answer(message, success=found is radio.made[0])

    petals = adapt(HandlerPetal(handler, cpu_heavy=True), proxy_factories={"radio": radio})
    with trio.fail_after(20):
        async with open_harness(*petals) as harness:
            assert radio.made == []
            assert (await harness.call("petal/x", timeout=10)).success
    assert len(radio.made) == 1


async def test_a_proxy_that_is_given_twice_is_refused(radio: type[Radio]) -> None:
    with pytest.raises(ValueError, match="given twice: radio"):
        adapt(GuidePetal(), proxies={"radio": 1}, proxy_factories={"radio": radio})


async def test_a_petals_own_stop_leaves_settings_their_meaning(
    autojump_clock: Any, radio: type[Radio]
) -> None:
    """With a longer `cleanup_timeout` proxies have longer to stop."""

    async def stop(self: Radio) -> None:
        await asyncio.sleep(3)
        self.calls.append("slow stop")

    radio.stop = stop  # type: ignore[method-assign]
    settings = Settings(cleanup_timeout=20)
    async with open_harness(*make_asking(radio), settings=settings):
        pass
    assert radio.calls == ["start", "slow stop"]
