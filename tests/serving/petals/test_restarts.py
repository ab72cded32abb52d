"""A petal that fails is started again: a device that was unplugged needs no visit."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
import trio

from petalkit import AllPetalsFailed, ConfigError, Petal, RegistrationError, Settings, command
from petalkit.testing import open_harness

from ..recorder import Disorderly, Recorder, settle

pytestmark = pytest.mark.trio


class Camera(Petal):
    """Fails as the test says, and notes when."""

    name = "camera"

    def __init__(self, *starts: BaseException | None) -> None:
        self.starts = list(starts)
        self.log: list[tuple[float, str]] = []
        self.unplugged = trio.Event()

    def note(self, what: str) -> None:
        self.log.append((trio.current_time(), what))

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.note("enter")
        error = self.starts.pop(0) if self.starts else None
        if error is not None:
            raise error
        self.unplugged = trio.Event()
        self.nursery.start_soon(self.watch)
        self.add_command("shutter", self.shutter)
        try:
            yield
        finally:
            self.note("leave")

    async def watch(self) -> None:
        await self.unplugged.wait()
        raise OSError("the camera is gone")

    async def shutter(self) -> dict[str, int]:
        return {"pictures": 1}

    @command("hold", timeout=1000)
    async def hold(self) -> None:
        await trio.sleep_forever()


class Never(Camera):
    restart_policy = "never"


async def test_a_petal_whose_device_is_not_plugged_in_yet_is_started_again(
    autojump_clock: object,
) -> None:
    petal = Camera(OSError("no camera"), OSError("no camera"), OSError("no camera"))
    async with open_harness(petal, restarts=True) as harness:
        response = await harness.call("camera/hold")
        assert response.error_code == "UNAVAILABLE"
        assert response.retryable
        assert harness.statistics().unavailable_petals == ("camera",)
        await trio.sleep(7.5)
        assert petal.log == [(0.0, "enter"), (1.0, "enter"), (3.0, "enter"), (7.0, "enter")]
        assert (await harness.call("camera/shutter"))["pictures"] == 1
        assert harness.statistics().unavailable_petals == ()
        assert harness.statistics().petals_restarted == 3


async def test_a_petal_that_fails_while_it_serves_is_started_again(
    mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    petal, other = Camera(), Recorder()
    async with open_harness(petal, other, restarts=True) as harness:
        with harness.responses() as responses:
            harness.send("camera/hold", message_id="held")
            await settle()
            petal.unplugged.set()
            await settle()
            assert [one["error_code"] for one in responses] == ["UNAVAILABLE"]
        await harness.advance(0.999)
        # Known, and to come back: the sender is not told that it does not exist.
        assert (await harness.call("camera/shutter")).error_code == "UNAVAILABLE"
        assert (await harness.call("rec/note")).success
        await harness.advance(0.001)
        assert petal.log == [(0.0, "enter"), (0.0, "leave"), (1.0, "enter")]
        assert (await harness.call("camera/shutter"))["pictures"] == 1
    [record] = [one for one in caplog.records if "out of service" in one.getMessage()]
    assert record.levelname == "ERROR"
    assert record.getMessage() == (
        "petal 'camera' is out of service: a background task raised: OSError: the camera is gone. "
        "It is started again in 1 s (attempt 1 of 20)"
    )


async def test_the_wait_grows_to_its_bound_and_the_row_has_an_end(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Camera(*[OSError("no camera")] * 99)
    settings = Settings(petal_restart_delay_min=2, petal_restart_delay_max=5, petal_restart_max=4)
    async with open_harness(petal, Recorder(), settings=settings, restarts=True) as harness:
        await trio.sleep(1000)
        assert [at for at, _ in petal.log] == [0.0, 2.0, 6.0, 11.0, 16.0]
        assert (await harness.call("camera/hold")).error_code == "UNAVAILABLE"
        assert not harness.runtime.all_failed
    critical = [one for one in caplog.records if one.levelname == "CRITICAL"]
    assert len(critical) == 1
    assert "started again 4 times in a row" in critical[0].getMessage()


async def test_after_long_service_the_row_begins_anew(autojump_clock: object) -> None:
    petal = Camera()
    settings = Settings(petal_restart_max=1, petal_restart_window=100)
    async with open_harness(petal, settings=settings, restarts=True) as harness:
        for _ in range(3):
            await trio.sleep(101)
            petal.unplugged.set()
            await settle()
        assert harness.statistics().petals_restarted == 2
        await trio.sleep(50)
        petal.unplugged.set()
        await settle()
        await trio.sleep(50)
        assert harness.statistics().petals_restarted == 3
        assert harness.runtime.all_failed


@pytest.mark.parametrize(
    "error", [TypeError("x"), NameError("x"), AttributeError("x"), ConfigError("x", "y")], ids=repr
)
async def test_a_mistake_of_the_author_is_told_at_the_start_and_not_repeated(
    error: Exception, autojump_clock: object
) -> None:
    petal = Camera(error)
    with pytest.raises(AllPetalsFailed, match="camera"):
        async with open_harness(petal, restarts=True):
            raise AssertionError("was not to be entered")
    assert petal.log == [(0.0, "enter")]


async def test_after_it_has_served_even_a_mistake_is_tried_again(autojump_clock: object) -> None:
    petal = Camera(None, TypeError("odd data"))
    async with open_harness(petal, restarts=True) as harness:
        petal.unplugged.set()
        await trio.sleep(10)
        assert [at for at, what in petal.log if what == "enter"] == [0.0, 1.0, 3.0]
        assert (await harness.call("camera/shutter")).success


async def test_a_start_that_takes_too_long_is_tried_again(autojump_clock: object) -> None:
    class Slow(Petal):
        name = "slow"
        tries = 0

        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            self.tries += 1
            if self.tries == 1:
                await trio.sleep_forever()
            yield

        @command("ping")
        async def ping(self) -> None: ...

    async with open_harness(Slow(), restarts=True) as harness:
        assert trio.current_time() == 30
        assert (await harness.call("slow/ping")).error_code == "UNAVAILABLE"
        await trio.sleep(1.5)
        assert (await harness.call("slow/ping")).success


async def test_a_petal_may_decide_for_itself(autojump_clock: object) -> None:
    with pytest.raises(AllPetalsFailed):
        async with open_harness(Never(OSError("no camera")), restarts=True):
            raise AssertionError("was not to be entered")


async def test_a_policy_that_does_not_exist_is_refused(autojump_clock: object) -> None:
    petal = Camera()
    petal.restart_policy = "always"  # type: ignore[assignment]
    with pytest.raises(RegistrationError, match="restart_policy must be 'never' or 'on-failure'"):
        async with open_harness(petal):
            pass


async def stop_now(petal: Camera) -> None: ...


async def fail_first(petal: Camera) -> None:
    petal.unplugged.set()
    await settle()


async def fail_and_enter_slowly(petal: Camera) -> None:
    petal.unplugged.set()
    await trio.sleep(1)
    await settle()


@pytest.mark.parametrize("before", [stop_now, fail_first, fail_and_enter_slowly])
async def test_a_stop_waits_for_no_restart(
    before: Callable[[Camera], Awaitable[None]], autojump_clock: object
) -> None:
    class SlowAgain(Camera):
        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            if self.log:
                self.note("enter")
                await trio.sleep_forever()
            async with super().lifespan():
                yield

    petal = SlowAgain()
    async with open_harness(petal, Recorder(), restarts=True):
        await before(petal)
        left = trio.current_time()
    assert trio.current_time() == left
    assert petal.__petalkit_host__ is None


async def test_what_a_life_has_added_is_forgotten_when_the_next_does_not_add_it(
    autojump_clock: object,
) -> None:
    class Once(Camera):
        def add_command(self, name: str, handler: Any, **options: Any) -> None:
            if [what for _, what in self.log].count("enter") == 1:
                super().add_command(name, handler, **options)
                self.remove_command("hold")

    petal = Once()
    async with open_harness(petal, restarts=True) as harness:
        assert (await harness.call("camera/hold")).error_code == "UNKNOWN_COMMAND"
        petal.unplugged.set()
        await trio.sleep(2)
        assert (await harness.call("camera/shutter")).error_code == "UNKNOWN_COMMAND"
        harness.send("camera/hold")
        await settle()
        assert harness.statistics().running == 1


async def test_a_petal_that_left_its_task_in_disorder_is_not_started_again(
    autojump_clock: object,
) -> None:
    async with open_harness(Disorderly(), Recorder(), restarts=True) as harness:
        await trio.sleep(1000)
        assert (await harness.call("rec/note")).success
        assert harness.statistics().petals_restarted == 0


class Lamp(Petal):
    """Notes its life, and fails when the test says."""

    name = "lamp"

    def __init__(self) -> None:
        self.log: list[tuple[float, str]] = []
        self.broken = trio.Event()

    def note(self, what: str) -> None:
        self.log.append((trio.current_time(), what))

    async def watch(self) -> None:
        await self.broken.wait()
        raise OSError("the lamp is gone")

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.note("enter")
        self.broken = trio.Event()
        self.nursery.start_soon(self.watch)
        yield
        self.note("leave")

    @command("shared/blink", timeout=1000)
    async def blink(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(30)
            self.note("dark")


async def test_there_is_no_second_life_while_a_handler_of_the_first_goes_on(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Lamp()
    async with open_harness(petal, restarts=True) as harness:
        harness.send("shared/blink")
        await settle()
        petal.broken.set()
        await trio.sleep(20)
        assert petal.log == [(0.0, "enter"), (5.0, "leave")]
        assert "handlers of its last life do not end" in caplog.text
        await trio.sleep(20)
        assert petal.log[2:] == [(30.0, "dark"), (30.0, "enter")]


async def test_a_stop_does_not_wait_for_that_handler_either(autojump_clock: object) -> None:
    petal = Lamp()
    settings = Settings(grace=0, cleanup_timeout=2)
    async with open_harness(petal, settings=settings, restarts=True) as harness:
        harness.send("shared/blink")
        await settle()
        petal.broken.set()
        await trio.sleep(5)
        assert len(petal.log) == 2
    assert [what for _, what in petal.log] == ["enter", "leave", "dark"]


async def test_a_name_that_another_has_taken_meanwhile_ends_nobody_else(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def blink() -> dict[str, str]:
        return {"by": "other"}

    petal, other = Lamp(), Recorder()
    async with open_harness(petal, other, restarts=True) as harness:
        petal.remove_command("shared/blink")
        other.add_command("shared/blink", blink)
        petal.broken.set()
        await trio.sleep(2)
        assert (await harness.call("shared/blink"))["by"] == "other"
        assert harness.statistics().unavailable_petals == ("lamp",)
        assert "it cannot be started again" in caplog.text
        assert "'shared/blink' is already served by petal 'rec'" in caplog.text
        other.remove_command("shared/blink")
        await trio.sleep(10)
        assert harness.statistics().unavailable_petals == ()
        assert harness.statistics().petals_restarted == 1


async def test_a_petal_that_is_not_started_again_after_all_says_so(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Disorderly(Lamp):
        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            async with super().lifespan():
                yield
            trio.CancelScope().__enter__()

    petal = Disorderly()
    async with open_harness(petal, Recorder(), restarts=True) as harness:
        petal.broken.set()
        await trio.sleep(1000)
        assert (await harness.call("rec/note")).success
        assert harness.statistics().petals_restarted == 0
    [critical] = [one for one in caplog.records if one.levelname == "CRITICAL"]
    assert critical.getMessage().startswith("petal 'lamp' is not started again after all: ")


async def test_an_error_on_the_way_out_is_told_too(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Lamp):
        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            async with super().lifespan():
                yield
            raise ValueError("the port cannot be closed")

    petal = Stubborn()
    async with open_harness(petal, restarts=True):
        petal.broken.set()
        await settle()
        assert "failed again as it ended: its lifespan raised: ValueError: the port" in caplog.text
        await trio.sleep(2)
        assert [what for _, what in petal.log] == ["enter", "leave", "enter"]


@pytest.mark.parametrize("before", [fail_first, fail_and_enter_slowly])
async def test_a_stop_before_the_next_start_is_no_failure(
    before: Callable[[Any], Awaitable[None]], autojump_clock: object
) -> None:
    class Slow(Camera):
        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            if self.log:
                await trio.sleep_forever()
            async with super().lifespan():
                yield

    petal = Slow()
    async with open_harness(petal, restarts=True) as harness:
        await before(petal)
        assert harness.statistics().unavailable_petals == ("camera",)
    assert not harness.runtime.all_failed  # or a process would end with 1 at SIGTERM


async def test_nor_is_one_before_the_first(autojump_clock: object) -> None:
    async with open_harness(Camera(OSError("no camera")), restarts=True) as harness:
        assert harness.statistics().unavailable_petals == ("camera",)
    assert not harness.runtime.all_failed
