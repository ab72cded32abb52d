"""What several petals share: run beside their commands, and ended before they are."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import Petal, Settings, command
from petalkit.testing import open_harness

from ..recorder import settle

pytestmark = pytest.mark.trio


class Shared:
    """A service that does what a test says."""

    name = "the shared thing"

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.story: list[str] = []
        self.under_way = trio.Event()
        self.under_way.set()
        self.hangs = False

    async def run(self, settings: Settings) -> None:
        self.story.append("run")
        self._closing, self._cancelled = trio.Event(), trio.Event()
        if self.errors:
            raise self.errors.pop(0)
        await self._closing.wait()
        if self.hangs:
            await trio.sleep_forever()
        await self._cancelled.wait()
        self.story.append("ended")

    def close(self) -> None:
        self.story.append("close")
        self._closing.set()

    async def wait_quiet(self) -> None:
        await self.under_way.wait()

    def cancel(self) -> None:
        self.story.append("cancel")
        self._cancelled.set()


class Sharing(Petal):
    def __init__(self, name: str, service: Shared) -> None:
        self.name = name
        self.__petalkit_service__ = service
        self.service = service

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        yield
        self.service.story.append(f"{self.name} left")

    @command("hello")
    async def hello(self) -> None: ...


async def test_one_runs_for_all_petals_that_share_it_and_ends_before_them(
    autojump_clock: Any,
) -> None:
    service = Shared()
    async with open_harness(Sharing("one", service), Sharing("two", service)):
        assert service.story == ["run"]
    assert service.story[:4] == ["run", "close", "cancel", "ended"]
    assert sorted(service.story[4:]) == ["one left", "two left"]


async def test_what_is_under_way_gets_the_grace_and_no_more(autojump_clock: Any) -> None:
    service = Shared()
    service.under_way = trio.Event()
    began = 0.0
    async with open_harness(Sharing("one", service), settings=Settings(grace=7.0)):
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(7.0)


async def test_one_that_hangs_holds_up_no_stop(autojump_clock: Any) -> None:
    service = Shared()
    service.hangs = True
    async with open_harness(Sharing("one", service), settings=Settings(cleanup_timeout=3.0)):
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(3.0)
    assert service.story[-1] == "one left"


async def test_one_that_fails_ends_no_command_and_is_started_again(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service = Shared(OSError("address in use"), RuntimeError("a bug"))
    async with open_harness(Sharing("one", service)) as harness:
        await settle()
        assert (await harness.call("one/hello")).success
        await trio.sleep(1.1)
        assert service.story == ["run"] * 2
        await trio.sleep(2.1)  # twice as long
        assert service.story == ["run"] * 3
        assert (await harness.call("one/hello")).success
    told = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert [bool(one.exc_info) for one in told] == [False, True]
    assert told[0].getMessage() == (
        "the shared thing has failed, and is started again in 1 s; commands go on: "
        "OSError: address in use"
    )


async def test_a_stop_does_not_wait_for_its_next_start(autojump_clock: Any) -> None:
    service = Shared(*[OSError("address in use")] * 9)
    async with open_harness(Sharing("one", service)):
        await trio.sleep(100)
        runs, began = service.story.count("run"), trio.current_time()
    assert trio.current_time() == began
    assert service.story.count("run") == runs
