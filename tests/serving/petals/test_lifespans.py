"""Petals' lives: entered once, ended in order, and one petal's trouble is only its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import logging.config
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit import AllPetalsFailed, ConfigError, Petal, Settings, command
from petalkit._serving.petals.lifespans import PetalLife
from petalkit._serving.process.run import run_until_signalled
from petalkit.testing import MemoryBroker, MemoryTransport, open_harness

from ..recorder import Disorderly, Recorder, settle

pytestmark = pytest.mark.trio

Step = Callable[["Living"], Awaitable[None]]


async def nothing(petal: Living) -> None:
    pass


async def sleep_forever(petal: Living) -> None:
    await trio.sleep_forever()


async def fail(petal: Living) -> None:
    raise OSError("no such sensor")


async def exit_(petal: Living) -> None:
    raise SystemExit(1)


async def fail_in_nursery(petal: Living) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail, petal)
        nursery.start_soon(trio.sleep_forever)


class NoText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def raiser(error: BaseException) -> Step:
    async def raise_(petal: Living) -> None:
        raise error

    return raise_


FOREIGN = [
    asyncio.CancelledError(),
    GeneratorExit(),
    SystemExit(1),
    BaseException("of its own"),
    NoText(),
    BaseExceptionGroup("several", [asyncio.CancelledError(), NoText()]),
]


class Living(Petal):
    """Does what the test says at the start and at the end, and logs both."""

    name = "living"

    def __init__(self, start: Step = nothing, end: Step = nothing) -> None:
        self._start = start
        self._end = end
        self.log: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.log.append(f"enter, identity {'known' if self.identity else 'unknown'}")
        await self._start(self)
        try:
            yield
        finally:
            self.log.append("leave")
            await self._end(self)
            self.log.append("left")

    async def background(self, *, error: Exception | None = None) -> None:
        self.log.append("background")
        try:
            if error is not None:
                raise error
            await trio.sleep_forever()
        finally:
            self.log.append("background ended")

    @command("ping")
    async def ping(self) -> None:
        pass

    @command("hold", timeout=math.inf)
    async def hold(self) -> None:
        await trio.sleep_forever()

    @command("crash")
    async def crash(self) -> None:
        self.nursery.start_soon(self._crash)
        await trio.sleep(1)

    async def _crash(self) -> None:
        await self.background(error=OSError("sensor lost"))


async def test_a_lifespan_is_entered_once_before_the_identity_is_known(
    autojump_clock: object,
) -> None:
    petal = Living()
    async with open_harness(petal, organization_id=None) as harness:
        assert petal.log == ["enter, identity unknown"]
        await harness.set_organization("acme")
        await harness.wait_connected()
        harness.drop_link()
        await harness.wait_connected()
        await harness.set_organization("other")
        await harness.wait_connected()
        assert (await harness.call("living/ping")).success
    assert petal.log == ["enter, identity unknown", "leave", "left"]


@pytest.mark.parametrize("start", [fail, exit_, fail_in_nursery, sleep_forever])
async def test_a_petal_that_does_not_start_is_unavailable_and_others_go_on(
    start: Step, autojump_clock: object
) -> None:
    other = Recorder()
    async with open_harness(Living(start), other) as harness:
        assert (await harness.call("rec/note")).success
        response = await harness.call("living/ping")
        assert response.error_code == "UNAVAILABLE"
        assert response.retryable
        assert harness.statistics().unavailable_petals == ("living",)


async def test_a_slow_start_is_bounded(autojump_clock: object) -> None:
    before = trio.current_time()
    async with open_harness(
        Living(sleep_forever), Recorder(), settings=Settings(startup_timeout=7.0)
    ):
        assert trio.current_time() - before == 7.0


async def test_if_no_petal_starts_there_is_nothing_to_serve(autojump_clock: object) -> None:
    with pytest.raises(AllPetalsFailed, match="living"):
        async with open_harness(Living(fail)):
            raise AssertionError("was not to be entered")


async def test_a_lifespan_that_does_not_yield_is_that_petals_failure(
    autojump_clock: object,
) -> None:
    class NoYield(Petal):
        name = "no-yield"

        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            if self.identity == "never":
                yield

        @command("ping")
        async def ping(self) -> None:
            pass

    async with open_harness(NoYield(), Recorder()) as harness:
        assert (await harness.call("no-yield/ping")).error_code == "UNAVAILABLE"


async def test_a_lifespan_that_is_no_context_manager_is_that_petals_failure(
    autojump_clock: object,
) -> None:
    class Odd(Petal):
        name = "odd"

        def lifespan(self) -> Any:
            return None

        @command("ping")
        async def ping(self) -> None:
            pass

    async with open_harness(Odd(), Recorder()) as harness:
        assert (await harness.call("odd/ping")).error_code == "UNAVAILABLE"
        assert (await harness.call("rec/note")).success


# -- background tasks


async def test_background_tasks_end_before_the_lifespan_is_left(autojump_clock: object) -> None:
    async def start(petal: Living) -> None:
        petal.nursery.start_soon(petal.background)

    petal = Living(start)
    async with open_harness(petal):
        await settle()
    assert petal.log == [
        "enter, identity known",
        "background",
        "background ended",
        "leave",
        "left",
    ]


async def test_a_background_task_that_raises_ends_this_petal_and_no_other(
    autojump_clock: object,
) -> None:
    petal, other = Living(), Recorder()
    async with open_harness(petal, other) as harness:
        with harness.responses() as responses:
            harness.send("living/hold", message_id="held")
            harness.send("rec/hold", message_id="other")
            await settle()
            crash = await harness.call("living/crash", message_id="crash")
            assert crash.error_code == "UNAVAILABLE"
            assert (await harness.call("living/ping")).error_code == "UNAVAILABLE"
            await settle()
            codes = {response["messageId"]: response["error_code"] for response in responses}
            assert codes["held"] == "UNAVAILABLE"
            assert "other" not in codes
            other.open()
            assert (await harness.call("rec/note")).success
            assert petal.log[-1] == "left"  # at once, not only when the runtime stops


async def test_commands_that_wait_when_a_petal_fails_are_answered_unavailable(
    autojump_clock: object,
) -> None:
    petal = Living()
    async with open_harness(petal, Recorder(), settings=Settings(petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            harness.send("living/crash")
            for _ in range(3):
                harness.send("living/ping")
            await responses.wait(4)
            assert {response["error_code"] for response in responses} == {"UNAVAILABLE"}
        assert harness.statistics().waiting == 0


async def test_a_runtime_whose_last_petal_failed_goes_on_and_says_so(
    autojump_clock: object,
) -> None:
    async with open_harness(Living()) as harness:
        await harness.call("living/crash")
        assert (await harness.call("living/ping")).error_code == "UNAVAILABLE"
        assert (await harness.call("petalkit/ping")).success


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["start", "background", "end"])
async def test_whatever_a_petal_raises_ends_this_petal_and_is_told(
    where: str,
    error: BaseException,
    autojump_clock: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def background(petal: Living) -> None:
        petal.nursery.start_soon(raiser(error), petal)

    petal = Living(
        *(
            [raiser(error)]
            if where == "start"
            else [background]
            if where == "background"
            else [nothing]
        ),
        *([raiser(error)] if where == "end" else []),
    )
    other = Recorder()
    async with open_harness(petal, other) as harness:
        assert (await harness.call("rec/note")).success
        if where != "end":
            assert (await harness.call("living/ping")).error_code == "UNAVAILABLE"
    [record] = [one for one in caplog.records if "out of service" in one.getMessage()]
    assert type(error).__name__ in record.getMessage()
    assert "Traceback" in caplog.text


# -- leaving


async def test_cleanup_runs_shielded_from_the_cancellation_of_the_block(
    autojump_clock: object,
) -> None:
    async def end(petal: Living) -> None:
        await trio.sleep(3)

    petal = Living(end=end)
    with trio.CancelScope() as scope:
        async with open_harness(petal):
            scope.cancel()
            await trio.sleep_forever()
    assert petal.log[-1] == "left"


async def test_only_a_lifespan_that_takes_long_to_leave_is_said_to(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def abandon(petal: Living) -> None:
        # What a runtime does that is cancelled while it starts, here in the very step of entering.
        [life] = [one for one in lives if one.petal is petal]
        life.abandon_start()

    lives: list[PetalLife] = []
    noted = PetalLife.run

    async def note(self: PetalLife, **given: Any) -> None:
        lives.append(self)
        await noted(self, **given)

    monkeypatch.setattr(PetalLife, "run", note)
    async with open_harness(Living(abandon), Recorder()):
        await settle()
    assert "took too long" not in caplog.text
    async with open_harness(Living(nothing, sleep_forever)):
        await settle()
    assert "petal 'living': leaving the lifespan took too long" in caplog.text


async def test_a_stop_while_it_starts_is_no_failure_of_the_petals(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with trio.move_on_after(1) as scope:
        async with open_harness(Living(sleep_forever)):
            raise AssertionError("it was entered")
    assert scope.cancelled_caught
    [record] = [one for one in caplog.records if "out of service" in one.getMessage()]
    assert record.levelname == "INFO"
    assert record.getMessage().endswith("the runtime stops before it has started")


async def test_cleanup_is_bounded(autojump_clock: object) -> None:
    petal = Living(end=sleep_forever)
    async with open_harness(petal, settings=Settings(cleanup_timeout=4.0)):
        before = trio.current_time()
    assert trio.current_time() - before == 4.0
    assert petal.log[-1] == "leave"


async def test_a_petal_whose_cleanup_raises_hurts_nobody(autojump_clock: object) -> None:
    good = Living()
    good.name = "good"
    async with open_harness(Living(end=fail), good):
        pass
    assert good.log[-1] == "left"


# -- the petal's host


async def test_a_petal_outside_a_runtime_says_so_in_words() -> None:
    petal = Living()
    assert petal.identity is None
    with pytest.raises(RuntimeError, match="open_harness"):
        petal.nursery  # noqa: B018
    with pytest.raises(RuntimeError, match="open_harness"):
        await petal.publish_message({})
    with pytest.raises(RuntimeError, match="open_harness"):
        await petal.wait_identity()


async def test_a_petal_in_two_runtimes_is_refused(autojump_clock: object) -> None:
    petal = Living()
    async with open_harness(petal):
        with pytest.raises(RuntimeError, match="already"):
            async with open_harness(petal):
                raise AssertionError("was not to be entered")
        assert petal.identity is not None  # still the first runtime's


async def test_the_identity_can_be_waited_for(autojump_clock: object) -> None:
    async def start(petal: Living) -> None:
        async def wait() -> None:
            identity = await petal.wait_identity()
            petal.log.append(identity.organization_id)

        petal.nursery.start_soon(wait)

    petal = Living(start)
    async with open_harness(petal, organization_id=None) as harness:
        await trio.sleep(100)
        await harness.set_organization("acme")
        await settle()
        assert petal.log == ["enter, identity unknown", "acme"]


async def test_a_command_that_a_lifespan_adds_is_served(autojump_clock: object) -> None:
    async def extra() -> dict[str, int]:
        return {"n": 1}

    async def start(petal: Living) -> None:
        petal.add_command("extra", extra)

    async with open_harness(Living(start)) as harness:
        assert (await harness.call("living/extra"))["n"] == 1


async def test_a_process_whose_every_petal_failed_ends_with_an_error(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever supervises the process can start it again; nobody inside can."""

    class Crashing(Petal):
        name = "crashing"

        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            async def crash() -> None:
                await trio.sleep(5)
                raise OSError("the camera is gone")

            self.nursery.start_soon(crash)
            yield

    transport = MemoryTransport(MemoryBroker())
    monkeypatch.setattr("petalkit._serving.opening.create_transport", lambda settings: transport)
    settings = Settings(
        organization_id="acme", device_id="Instance-1", watchdog=0, petal_restart_max=3
    )
    with pytest.raises(AllPetalsFailed, match="out of service"), trio.fail_after(60):
        await run_until_signalled([Crashing()], settings)
    assert trio.current_time() == 4 * 5 + 1 + 2 + 4  # it was started again three times


@pytest.mark.parametrize("name", ["ca_file", "password_file"])
async def test_a_person_at_a_terminal_is_told_of_a_missing_file_at_once_and_a_service_waits_for_it(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    transport = MemoryTransport(MemoryBroker())
    monkeypatch.setattr("petalkit._serving.opening.create_transport", lambda settings: transport)
    settings = Settings(
        broker="mqtts://localhost",
        organization_id="acme",
        device_id="Instance-1",
        username="u",
        watchdog=0,
        **{name: tmp_path / "none"},  # type: ignore[arg-type]
    )

    class Quiet(Petal):
        name = "quiet"

    monkeypatch.setattr("sys.stderr", io.StringIO())
    with trio.move_on_after(60) as served:
        await run_until_signalled([Quiet()], settings)
    assert served.cancelled_caught
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with trio.fail_after(60), pytest.raises(ConfigError, match=f"^{name}: .*cannot be read"):
        await run_until_signalled([Quiet()], settings)


async def test_a_start_that_leaves_disorder_ends_its_own_petal_only(
    autojump_clock: object,
) -> None:
    async with open_harness(Disorderly(), Recorder()) as harness:
        assert (await harness.call("rec/note")).success
        assert harness.statistics().unavailable_petals == ("disorderly",)


async def test_a_petal_that_configures_logging_silences_only_itself(
    caplog: pytest.LogCaptureFixture, autojump_clock: object
) -> None:
    """`disable_existing_loggers` is true unless told otherwise."""

    class Configures(Petal):
        name = "configures"

        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            logging.config.dictConfig({"version": 1, "incremental": False})
            yield

    loggers = [
        one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)
    ]
    on = [logger for logger in loggers if not logger.disabled]
    try:
        async with open_harness(Configures()):
            ours = [
                logger
                for name, logger in logging.root.manager.loggerDict.items()
                if name.startswith("petalkit.") and isinstance(logger, logging.Logger)
            ]
            assert len(ours) > 5
            assert not [logger.name for logger in ours if logger.disabled]
        (told,) = [one for one in caplog.records if "turned off" in one.getMessage()]
        assert "petal 'configures' has turned off petalkit's loggers" in told.getMessage()
        assert "disable_existing_loggers=False" in told.getMessage()
    finally:
        for logger in on:  # those of other tests too
            logger.disabled = False
