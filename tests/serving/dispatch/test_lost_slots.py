"""Handlers and threads that do not end when they are to: told after a while, once, and counted."""

from __future__ import annotations

import logging
import threading

import pytest
import trio
import trio.testing

from petalkit import Petal, Settings, command
from petalkit.testing import open_harness

from ..recorder import settle

pytestmark = pytest.mark.trio


class Stubborn(Petal):
    name = "stubborn"

    def __init__(self) -> None:
        self.let_go = trio.Event()

    @command("shield", timeout=3.0)
    async def shield(self) -> None:
        with trio.CancelScope(shield=True):
            await self.let_go.wait()

    @command("swallow", timeout=3.0)
    async def swallow(self) -> None:
        with trio.CancelScope(shield=True):
            try:
                await self.let_go.wait()
            except trio.Cancelled:
                await self.let_go.wait()

    @command("urgent", urgent=True)
    async def urgent(self) -> None:
        pass

    @command("brief", timeout=3.0)
    async def brief(self) -> None:
        await trio.sleep(30)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if "has not ended" in record.getMessage()
    ]


@pytest.mark.parametrize("name", ["shield", "swallow"])
async def test_a_handler_that_does_not_end_is_told_once_and_counted(
    name: str, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Stubborn()
    async with open_harness(petal) as harness:
        harness.send(f"stubborn/{name}")
        await trio.sleep(3 + 9.9)
        assert not told(caplog)
        await trio.sleep(2.2)
        (text,) = told(caplog)
        assert f"stubborn/{name}" in text
        assert "petal 'stubborn'" in text
        await trio.sleep(60)
        assert len(told(caplog)) == 1
        assert harness.statistics().slots_lost == 1
        with caplog.at_level(logging.INFO):
            petal.let_go.set()
            await trio.sleep(3)
        assert "has ended after all" in caplog.text


async def test_one_that_is_cancelled_counts_from_then(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Stubborn()
    async with open_harness(petal, settings=Settings(grace=0.0, cleanup_timeout=30.0)) as harness:
        harness.send("stubborn/shield")
        await settle()
        harness.runtime.stop()
        await trio.sleep(13)
        assert len(told(caplog)) == 1
        petal.let_go.set()


async def test_a_handler_that_ends_in_time_is_not_told(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Stubborn()) as harness:
        answer = await harness.call("stubborn/brief")
        assert answer.error_code == "TIMEOUT"
        await trio.sleep(60)
        assert not told(caplog)
        assert harness.statistics().slots_lost == 0


async def test_a_thread_that_does_not_return_is_told_as_a_thread(
    mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    class Threads(Petal):
        name = "threads"

        @command("wait", thread=True, timeout=3.0)
        def wait(self) -> None:
            release.wait()

    async with open_harness(Threads()) as harness:
        try:
            harness.send("threads/wait")
            await settle()
            for _ in range(16):
                mock_clock.jump(1.0)
                await settle()
            (text,) = told(caplog)
            assert text.startswith("the thread of threads/wait")
        finally:
            release.set()


async def test_one_whose_time_was_over_before_the_stop_is_answered_timeout(
    autojump_clock: object,
) -> None:
    petal = Stubborn()
    async with open_harness(petal, settings=Settings(grace=1.0)) as harness:
        with harness.responses() as responses:
            harness.send("stubborn/shield")
            await trio.sleep(5)
            harness.runtime.stop()
            await harness.runtime.stop_done.wait()
            assert [one["error_code"] for one in responses] == ["TIMEOUT"]
            assert harness.runtime.parts.left_running() == ["the handler of stubborn/shield"]
        petal.let_go.set()


@pytest.mark.parametrize("limits", [{"petal_concurrency": 2}, {"concurrency": 2}])
async def test_a_petal_whose_slots_are_all_lost_is_out_of_service_until_one_comes_back(
    limits: dict[str, int], autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Stubborn()
    settings = Settings(**limits)  # type: ignore[arg-type]
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            harness.send("stubborn/shield", message_id="a")
            await trio.sleep(20)
            assert (await harness.call("stubborn/brief")).error_code == "TIMEOUT"
            assert harness.statistics().unavailable_petals == ()
            harness.send("stubborn/shield", message_id="b")
            harness.send("stubborn/brief", message_id="c")
            await trio.sleep(60)
            waited = [one for one in responses if one["messageId"] == "c"]
            assert [one["error_code"] for one in waited] == ["UNAVAILABLE"]
        assert (await harness.call("stubborn/brief")).error_code == "UNAVAILABLE"
        assert (await harness.call("stubborn/urgent")).success
        assert harness.statistics().unavailable_petals == ("stubborn",)
        errors = [one for one in caplog.records if one.levelname == "ERROR"]
        assert len(errors) == 1
        assert "all its slots are lost" in errors[0].getMessage()
        petal.let_go.set()
        await trio.sleep(3)
        assert harness.statistics().unavailable_petals == ()
        assert (await harness.call("stubborn/brief")).error_code == "TIMEOUT"
